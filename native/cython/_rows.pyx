# cython: language_level=3
"""The thin Cython door to blocks of jobs and to the row writer: store records in, job rows out.

Does not own LMDB, nor which records belong together. Invariants: a block is read only within its length, and one that
contradicts itself is a ValueError that names it; rows that a function here is given were made by this module.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from c_fold cimport (
    WH_ROW_BACKLOG, WH_ROW_KEY_MAX, wh_block_check, wh_block_id, wh_block_next, wh_block_open, wh_block_row, wh_block_walk,
    wh_row_filter, wh_row_key, wh_row_pack, wh_row_parts, wh_row_room, wh_rows_cut, wh_rows_measure, wh_rows_next,
)

cdef enum:
    FLAGS_AT = 39
    ROOM_FIRST = 1 << 16


cdef inline bytes _bytes(const uint8_t *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, length)


cdef int _bad_block(bytes key) except -1:
    raise ValueError(f"the block of jobs {key.hex()} is cut, of an unknown version or contradicts itself")


cdef int _bad_record(const uint8_t *id) except -1:
    raise ValueError(f"a record of job {_bytes(id, 16).hex()} is cut or of an unknown version")


cdef int _open(wh_block_walk *walk, bytes key, bytes value) except -1:
    if PyBytes_GET_SIZE(key) != 16:
        raise ValueError(f"the key {key.hex()} of a block of jobs is no id")
    if wh_block_open(walk, <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(value),
                     PyBytes_GET_SIZE(value)) != 0:
        _bad_block(key)
    return 0


def last_id(bytes key, bytes value):
    """The highest id of a block."""
    cdef uint8_t id[16]
    if PyBytes_GET_SIZE(key) != 16 or wh_block_check(
        <const uint8_t *>PyBytes_AS_STRING(key), <const uint8_t *>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), id
    ) < 0:
        _bad_block(key)
    return _bytes(id, 16)


def find_specs(bytes key, bytes value, list ids, size_t at, dict found):
    """Puts id -> spec into `found` for those of the ascending `ids` from number `at` on that the block holds, where the first
    of them belongs into this block, if anywhere; the number of the first id behind the block.
    """
    cdef wh_block_walk walk
    cdef wh_block_row row
    cdef uint8_t here[16]
    cdef size_t count = len(ids), first = at
    cdef int code, order
    _open(&walk, key, value)
    while at < count:
        code = wh_block_next(&walk, &row)
        if code < 0:
            _bad_block(key)
        if code == 0:
            break
        wh_block_id(<const uint8_t *>PyBytes_AS_STRING(key), row.seq, here)
        while at < count:
            wanted = <bytes?>ids[at]
            if PyBytes_GET_SIZE(wanted) != 16:
                raise ValueError(f"a key of {len(wanted)} bytes is not an id")
            order = memcmp(PyBytes_AS_STRING(wanted), here, 16)
            if order > 0:
                break
            if order == 0:
                found[wanted] = _bytes(row.spec, row.spec_len)
            at += 1
    return at if at > first else first + 1


cdef class RowFilter:
    """Which rows are wanted: `after <= (due_ms, id) < before`, and the kinds of jobs to leave out."""

    cdef wh_row_filter _filter
    cdef bytes _after_id, _before_id

    def __cinit__(self, uint64_t after_ms, bytes after_id, uint64_t before_ms, bytes before_id, uint64_t bucket_width_ms,
                  bint waiting_only, bint home_only):
        if len(after_id) != 16 or len(before_id) != 16 or bucket_width_ms == 0:
            raise ValueError("ids have 16 bytes, buckets at least 1 ms")
        self._after_id, self._before_id = after_id, before_id
        self._filter.after_ms, self._filter.before_ms = after_ms, before_ms
        self._filter.after_id = <const uint8_t *>PyBytes_AS_STRING(after_id)
        self._filter.before_id = <const uint8_t *>PyBytes_AS_STRING(before_id)
        self._filter.bucket_width_ms = bucket_width_ms
        self._filter.waiting_only, self._filter.home_only = waiting_only, home_only


cdef class _Rows:
    """Rows that are being written."""

    cdef uint8_t *out
    cdef size_t used, capacity

    def __dealloc__(self):
        free(self.out)

    cdef int add(self, const wh_row_parts *parts, const wh_row_filter *rows_filter, uint8_t flags) except -1:
        cdef size_t room = wh_row_room(parts), capacity
        cdef uint8_t *grown
        cdef ptrdiff_t length
        if room > self.capacity - self.used:
            capacity = self.capacity * 2 + room + ROOM_FIRST
            grown = <uint8_t *>realloc(self.out, capacity)
            if grown == NULL:
                raise MemoryError
            self.out, self.capacity = grown, capacity
        length = wh_row_pack(parts, rows_filter, flags, self.out + self.used)
        if length < 0:
            _bad_record(parts.id)
        self.used += length
        return 0

    cdef bytes taken(self):
        return _bytes(self.out, self.used)


cdef inline void _set(const uint8_t **data, size_t *length, bytes record) noexcept:
    data[0], length[0] = <const uint8_t *>PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record)


def pack_rows(list items, dict states, dict leases, RowFilter rows_filter, uint8_t flags=0):
    """The rows of [(id, spec)] that pass the filter; `states` and `leases` are id -> record of those that have one."""
    cdef _Rows rows = _Rows()
    cdef wh_row_parts parts
    cdef bytes id, spec, record
    for id, spec in items:
        if PyBytes_GET_SIZE(id) != 16:
            raise ValueError(f"a key of {len(id)} bytes is not an id")
        parts.id, parts.state, parts.lease = <const uint8_t *>PyBytes_AS_STRING(id), NULL, NULL
        _set(&parts.spec, &parts.spec_len, spec)
        if states and (record := states.get(id)) is not None:
            _set(&parts.state, &parts.state_len, record)
        if leases and (record := leases.get(id)) is not None:
            _set(&parts.lease, &parts.lease_len, record)
        rows.add(&parts, &rows_filter._filter, flags)
    return rows.taken()


cdef bytes _record_at(list records, size_t *at, const uint8_t *id):
    """The record of the job in [(id, record)], ascending, from number *at on; None: it has none."""
    cdef bytes key, record
    cdef int order
    while at[0] < <size_t>len(records):
        key, record = records[at[0]]
        order = memcmp(PyBytes_AS_STRING(key), id, 16)
        if order > 0:
            return None
        at[0] += 1
        if order == 0:
            return record
    return None


def pack_blocks(list blocks, list states, list leases, RowFilter rows_filter):
    """The rows of ascending [(key, block)] that pass the filter; `states` and `leases` are ascending [(id, record)]."""
    cdef _Rows rows = _Rows()
    cdef wh_row_parts parts
    cdef wh_block_walk walk
    cdef wh_block_row row
    cdef uint8_t id[16]
    cdef size_t state_at = 0, lease_at = 0
    cdef bytes key, value, record
    cdef int code
    parts.id = id
    for key, value in blocks:
        _open(&walk, key, value)
        while True:
            code = wh_block_next(&walk, &row)
            if code < 0:
                _bad_block(key)
            if code == 0:
                break
            wh_block_id(<const uint8_t *>PyBytes_AS_STRING(key), row.seq, id)
            parts.state, parts.lease = NULL, NULL
            parts.spec, parts.spec_len = row.spec, row.spec_len
            if states and (record := _record_at(states, &state_at, id)) is not None:
                _set(&parts.state, &parts.state_len, record)
            if leases and (record := _record_at(leases, &lease_at, id)) is not None:
                _set(&parts.lease, &parts.lease_len, record)
            rows.add(&parts, &rows_filter._filter, 0)
    return rows.taken()


cdef ptrdiff_t _next(const uint8_t *row, size_t left, uint64_t *due_ms) except -1:
    cdef ptrdiff_t length = wh_rows_next(row, left, due_ms)
    if length < 0:
        raise ValueError("the rows are cut")
    return length


def backlog_keys(bytes rows, uint64_t end_ms):
    """The keys under which the backlog would hold those of the rows that are due before `end_ms`, in their order."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
    cdef size_t length = PyBytes_GET_SIZE(rows), at = 0
    cdef uint64_t due_ms
    cdef uint8_t key[WH_ROW_KEY_MAX]
    cdef ptrdiff_t size
    found = []
    while at < length:
        size = _next(data + at, length - at, &due_ms)
        if due_ms < end_ms:
            found.append(_bytes(key, wh_row_key(data + at, key)))
        at += size
    return found


def split_backlog(bytes rows, uint64_t end_ms, list keys, found, bint drop):
    """The rows, given their `backlog_keys`: those whose key is in `found` are left out, or flagged ROW_BACKLOG."""
    cdef size_t length = PyBytes_GET_SIZE(rows), at = 0, used = 0, number = 0
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
            has_row = due_ms < end_ms and keys[number] in found
            number += due_ms < end_ms
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
    """Appends id and length of each row to `noted`, for `cut_rows`."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
    cdef size_t length = PyBytes_GET_SIZE(rows), at = 0
    cdef uint64_t due_ms
    cdef ptrdiff_t size
    while at < length:
        size = _next(data + at, length - at, &due_ms)
        noted += _bytes(data + at + 4, 16) + _bytes(data + at, 4)
        at += size


def cut_rows(bytearray noted, uint64_t left, bint take_first):
    """The first id, in ascending order, whose row does not fit into `left` bytes with those before it, None when all fit. The
    lowest one counts as fitting when `take_first` says so.
    """
    cdef size_t at, count = len(noted) // 20
    cdef uint8_t *data = <uint8_t *>PyByteArray_AS_STRING(noted)
    at = wh_rows_cut(data, count, left, take_first)
    return None if at == count else _bytes(data + 20 * at, 16)
