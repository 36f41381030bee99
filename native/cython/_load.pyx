# cython: language_level=3
"""The thin Cython door to what leaves the store, and in which portions: runs of job rows, the backlog's ids, due times by bucket.

Does not own how a row is made (`_rows`). Invariant: rows and blocks are read only within the given bytes; ValueError for what is cut.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport UINT32_MAX, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from c_fold cimport (
    WH_DUES_NO_MEMORY, WH_ROW_BACKLOG, WH_ROW_KEY_MAX, wh_block_id, wh_due, wh_due_cut, wh_due_cut_begin, wh_due_cut_end,
    wh_due_query, wh_dues, wh_dues_add, wh_dues_clear, wh_dues_cut, wh_dues_id, wh_dues_keep, wh_dues_next, wh_dues_touched,
    wh_dues_weight, wh_ids, wh_ids_add, wh_ids_clear, wh_ids_has, wh_row_key, wh_rows_measure, wh_rows_next,
)

cdef enum:
    ID_AT = 4
    FLAGS_AT = 39
    DUES_PER_SLICE = 1 << 16


cdef inline bytes _bytes(const uint8_t *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, length)


cdef ptrdiff_t _next(const uint8_t *row, size_t left, uint64_t *due_ms) except -1:
    cdef ptrdiff_t length = wh_rows_next(row, left, due_ms)
    if length < 0:
        raise ValueError("the rows are cut")
    return length


def backlog_keys(bytes rows):
    """The keys under which the backlog would hold the rows, in their order."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
    cdef size_t length = PyBytes_GET_SIZE(rows), at = 0
    cdef uint64_t due_ms
    cdef uint8_t key[WH_ROW_KEY_MAX]
    cdef ptrdiff_t size
    found = []
    while at < length:
        size = _next(data + at, length - at, &due_ms)
        found.append(_bytes(key, wh_row_key(data + at, key)))
        at += size
    return found


cdef class IdSet:
    """Ids of jobs that have a backlog row."""

    cdef wh_ids _ids

    def __dealloc__(self):
        wh_ids_clear(&self._ids)

    def __len__(self):
        return self._ids.count

    def add(self, list keys):
        """Takes the ids at the end of the keys in."""
        cdef bytes key
        for key in keys:
            if PyBytes_GET_SIZE(key) < 16:
                raise ValueError(f"the key {key.hex()} holds no id")
            if wh_ids_add(&self._ids, <const uint8_t *>PyBytes_AS_STRING(key) + PyBytes_GET_SIZE(key) - 16) != 0:
                raise MemoryError

    def drop(self, bytes rows):
        """The rows of the other jobs."""
        return self._split(rows, True) if self._ids.count else rows

    def flag(self, bytes rows):
        """All rows, ROW_BACKLOG set on those of the set's jobs."""
        return self._split(rows, False) if self._ids.count else rows

    cdef bytes _split(self, bytes rows, bint drop):
        cdef size_t length = PyBytes_GET_SIZE(rows), at = 0, used = 0
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
        cdef uint8_t *out = <uint8_t *>malloc(length + 1)
        cdef uint64_t due_ms
        cdef ptrdiff_t size
        cdef bint has_row
        if out == NULL:
            raise MemoryError
        try:
            while at < length:
                size = _next(data + at, length - at, &due_ms)
                has_row = wh_ids_has(&self._ids, data + at + ID_AT)
                if not (has_row and drop):
                    memcpy(out + used, data + at, size)
                    out[used + FLAGS_AT] |= WH_ROW_BACKLOG if has_row else 0
                    used += size
                at += size
            return _bytes(out, used)
        finally:
            free(out)


cdef class Measure:
    """How many bytes of rows fall on each millisecond from `base_ms` on; and where a budget ends within one of them."""

    cdef uint64_t *_lengths
    cdef size_t _count
    cdef uint64_t _base_ms
    cdef readonly uint64_t total

    def __cinit__(self, uint64_t base_ms, size_t count):
        self._base_ms, self._count = base_ms, count
        self._lengths = <uint64_t *>calloc(count + 1, sizeof(uint64_t))
        if self._lengths == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._lengths)

    def add(self, bytes rows):
        """Counts rows that are due within the range."""
        if wh_rows_measure(<const uint8_t *>PyBytes_AS_STRING(rows), PyBytes_GET_SIZE(rows), self._base_ms, self._lengths, self._count):
            raise ValueError("the rows are cut")
        self.total += PyBytes_GET_SIZE(rows)

    def cut(self, uint64_t left):
        """(due_ms, what is left before it, whether rows come before it) of the first millisecond that does not fit."""
        cdef size_t at = 0
        cdef bint any_before = False
        while at < self._count and self._lengths[at] <= left:
            left -= self._lengths[at]
            any_before = any_before or self._lengths[at] != 0
            at += 1
        return self._base_ms + at, left, any_before


def note_rows(bytes rows, bytearray noted):
    """Appends id and length of each row to `noted`, for `Cut`."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
    cdef size_t length = PyBytes_GET_SIZE(rows), at = 0
    cdef uint64_t due_ms
    cdef ptrdiff_t size
    while at < length:
        size = _next(data + at, length - at, &due_ms)
        noted += _bytes(data + at + ID_AT, 16) + _bytes(data + at, 4)
        at += size


cdef class DueQuery:
    """Which jobs are asked for: after <= (due_ms, id) < before, in neither set; a job weighs its row's bytes, or 1."""

    cdef wh_due_query _query
    cdef bytes _after_id, _before_id
    cdef IdSet _first, _second

    def __cinit__(self, tuple after, tuple before, IdSet first=None, IdSet second=None, bint by_count=False):
        self._after_id, self._before_id = after[1], before[1]
        if len(self._after_id) != 16 or len(self._before_id) != 16:
            raise ValueError("ids have 16 bytes")
        self._query.places.after_ms, self._query.places.before_ms = after[0], before[0]
        self._query.places.after_id = <const uint8_t *>PyBytes_AS_STRING(self._after_id)
        self._query.places.before_id = <const uint8_t *>PyBytes_AS_STRING(self._before_id)
        self._first, self._second, self._query.by_count = first, second, by_count
        self._query.left_out[0] = &first._ids if first is not None and first._ids.count else NULL
        self._query.left_out[1] = &second._ids if second is not None and second._ids.count else NULL


cdef class Cut:
    """Where a budget ends in ascending order of ids, the lists of all shards and the jobs of `noted` together. The lowest of all
    counts as fitting when `take_first` says so.
    """

    cdef wh_due_cut _cut
    cdef bytearray _noted

    def __cinit__(self, bytearray noted, uint64_t left, bint take_first):
        self._noted = noted
        self._cut.notes, self._cut.count = <uint8_t *>PyByteArray_AS_STRING(noted), len(noted) // 20
        self._cut.left, self._cut.take_first = left, take_first
        wh_due_cut_begin(&self._cut)

    def end(self):
        """The first id that does not fit behind all lists, None: all fit."""
        cdef uint8_t id[16]
        return _bytes(id, 16) if wh_due_cut_end(&self._cut, id) else None


cdef class DueList:
    """The jobs of one shard and bucket by id: when each is due as it was submitted, and how long its row is."""

    cdef wh_dues _dues

    def __cinit__(self, bytes bucket, uint64_t base_ms, uint64_t width_ms):
        if len(bucket) != 6 or width_ms > UINT32_MAX:
            raise ValueError("shard and bucket have 6 bytes, the width of a bucket 4")
        memcpy(self._dues.bucket, PyBytes_AS_STRING(bucket), 6)
        self._dues.base_ms, self._dues.width_ms = base_ms, width_ms

    def __dealloc__(self):
        wh_dues_clear(&self._dues)

    def __len__(self):
        return self._dues.count

    @property
    def blocks(self):
        """How many blocks the jobs were read from."""
        return self._dues.blocks

    def next_id(self):
        """The lowest id that was not looked at."""
        cdef uint8_t id[16]
        wh_block_id(self._dues.bucket, self._dues.next_seq, id)
        return _bytes(id, 16)

    def add(self, list blocks, DueQuery kept):
        """Takes the jobs of ascending [(key, block)] in, those from `next_id` on that lie within the query's places."""
        cdef bytes key, value
        cdef int code
        for key, value in blocks:
            code = wh_dues_add(&self._dues, <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(value),
                               PyBytes_GET_SIZE(value), &kept._query.places)
            if code == WH_DUES_NO_MEMORY:
                raise MemoryError
            if code:
                raise ValueError(f"the block of jobs {key.hex()} is cut, of an unknown version or contradicts itself")

    def measure(self, Measure measure, DueQuery query, size_t at):
        """Counts a slice of the jobs from number `at` on; the number to go on from."""
        cdef size_t end = min(at + DUES_PER_SLICE, self._dues.count)
        cdef const wh_due *due
        cdef uint64_t offset, weight
        while (due := wh_dues_next(&self._dues, &query._query, &at, end)) != NULL:
            offset, weight = self._dues.base_ms + due.offset_ms - measure._base_ms, wh_dues_weight(&query._query, due)
            if offset < measure._count:
                measure._lengths[offset] += weight
            measure.total += weight
        return end

    def select(self, DueQuery query, size_t at, size_t limit):
        """([id] of up to `limit` jobs in a slice from number `at` on, ascending; the number to go on from)."""
        cdef size_t end = min(at + DUES_PER_SLICE, self._dues.count)
        cdef const wh_due *due
        cdef uint8_t id[16]
        cdef list found = []
        while <size_t>len(found) < limit and (due := wh_dues_next(&self._dues, &query._query, &at, end)) != NULL:
            wh_dues_id(&self._dues, due, id)
            found.append(_bytes(id, 16))
        return found, at

    def touched(self, DueQuery query):
        """About how many of the blocks hold jobs that are asked for."""
        return wh_dues_touched(&self._dues, &query._query)

    def cut(self, DueQuery query, Cut cut):
        """The first id that does not fit behind those of the shards before, None: all fit."""
        cdef uint8_t id[16]
        return _bytes(id, 16) if wh_dues_cut(&self._dues, &query._query, &cut._cut, id) else None

    def keep(self, DueQuery query):
        """Another list, with nothing but the jobs that are asked for."""
        cdef DueList kept = DueList(_bytes(self._dues.bucket, 6), self._dues.base_ms, self._dues.width_ms)
        if wh_dues_keep(&self._dues, &query._query, &kept._dues) != 0:
            raise MemoryError
        return kept
