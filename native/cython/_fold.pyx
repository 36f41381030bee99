# cython: language_level=3
"""The thin Cython door to the C fold and the row writer: group payloads in, sorted operations out; store records in, job rows out.

Owns one C fold and turns its codes into exceptions. Does not own policy, LMDB or journal. Invariant: operations are read only
between `finish` and `reset`; one thread at a time uses a fold (apply and finish release the GIL).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from c_fold cimport (
    WH_FOLD_BAD_SHARD, WH_FOLD_JOB_ENDED, WH_FOLD_NO_MEMORY, WH_FOLD_TABLES, WH_FOLD_UNKNOWN_KIND, wh_fold,
    wh_fold_apply, wh_fold_bytes, wh_fold_entries, wh_fold_finish, wh_fold_free, wh_fold_new, wh_fold_op, wh_fold_ops, wh_fold_reset,
    wh_fold_shard, wh_fold_shard_at, wh_fold_time, wh_fold_watermark, wh_row_filter, wh_row_pack, wh_row_parts, wh_row_room,
    wh_rows_measure,
)

PUT = 1
DELETE = 2
PATCH = 3


cdef int _raise_code(int code, size_t error_at) except -1:
    if code == 0:
        return 0
    if code == WH_FOLD_NO_MEMORY:
        raise MemoryError("the fold could not grow")
    if code == WH_FOLD_UNKNOWN_KIND:
        reason = "is of a kind that this version does not know"
    elif code == WH_FOLD_BAD_SHARD:
        reason = "names a shard that the store does not have"
    elif code == WH_FOLD_JOB_ENDED:
        reason = "cannot follow what earlier entries did to its job"
    else:
        reason = "has lengths or fields that contradict each other"
    raise ValueError(f"the entry at byte {error_at} {reason}")


cdef class Fold:
    """Folds group payloads into sorted puts, deletes and patches for each table (`layout.Table` numbers)."""

    cdef wh_fold *_fold
    cdef uint32_t _shards
    cdef bint _finished

    def __cinit__(self, uint32_t shards, uint64_t bucket_width_ms):
        if shards == 0 or bucket_width_ms == 0:
            raise ValueError("a store has at least one shard and buckets of at least 1 ms")
        self._shards = shards
        self._fold = wh_fold_new(shards, bucket_width_ms)
        if self._fold == NULL:
            raise MemoryError("the fold could not be made")

    def __dealloc__(self):
        wh_fold_free(self._fold)

    def apply(self, const uint8_t[::1] payload):
        """Folds one group. ValueError names the entry that cannot be folded; then only `reset` makes sense."""
        cdef size_t error_at = 0
        cdef size_t length = payload.shape[0]
        cdef int code
        if self._finished:
            raise RuntimeError("the fold is finished: reset it first")
        if length == 0:
            return
        with nogil:
            code = wh_fold_apply(self._fold, &payload[0], length, &error_at)
        _raise_code(code, error_at)

    def finish(self):
        """Sorts the operations; once, after the last `apply`."""
        cdef int code
        if self._finished:
            raise RuntimeError("the fold is finished already")
        with nogil:
            code = wh_fold_finish(self._fold)
        self._finished = True
        _raise_code(code, 0)

    def reset(self):
        """Forgets everything folded."""
        wh_fold_reset(self._fold)
        self._finished = False

    def count(self, int table):
        """How many operations the table has."""
        cdef size_t count = 0
        if table < 0 or table >= WH_FOLD_TABLES:
            raise IndexError(table)
        wh_fold_ops(self._fold, table, &count)
        return count if self._finished else 0

    def take(self, int table, int kind, size_t start, size_t limit):
        """Up to `limit` operations of one kind from number `start` on: ([(key, value)], number to go on with)."""
        cdef size_t count = 0, at = start
        cdef list found = []
        cdef const wh_fold_op *ops
        if table < 0 or table >= WH_FOLD_TABLES:
            raise IndexError(table)
        if not self._finished:
            raise RuntimeError("the fold is not finished")
        ops = wh_fold_ops(self._fold, table, &count)
        while at < count and limit > 0:
            if ops[at].kind == kind:
                found.append((
                    PyBytes_FromStringAndSize(<const char *>ops[at].key, ops[at].key_len),
                    PyBytes_FromStringAndSize(<const char *>ops[at].value, ops[at].value_len),
                ))
                limit -= 1
            at += 1
        return found, at

    def shards(self):
        """[(shard, next_seq, index, epoch)] of the shards that entries named."""
        cdef const wh_fold_shard *shard
        cdef uint32_t number
        found = []
        for number in range(self._shards):
            shard = wh_fold_shard_at(self._fold, number)
            if shard.touched:
                found.append((number, shard.next_seq, shard.index, shard.epoch))
        return found

    @property
    def bytes_used(self):
        """Memory that the fold's contents take."""
        return wh_fold_bytes(self._fold)

    @property
    def entries(self):
        """Entries folded since the reset."""
        return wh_fold_entries(self._fold)

    @property
    def watermark_ms(self):
        """The highest watermark of a CLOSE entry, or 0."""
        return wh_fold_watermark(self._fold)

    @property
    def time_ms(self):
        """The latest time of any entry, or 0."""
        return wh_fold_time(self._fold)


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


cdef wh_row_parts _parts(bytes id, bytes spec, bytes state, bytes lease) noexcept:
    cdef wh_row_parts parts
    parts.id = <const uint8_t *>PyBytes_AS_STRING(id)
    parts.spec, parts.spec_len = <const uint8_t *>PyBytes_AS_STRING(spec), PyBytes_GET_SIZE(spec)
    parts.state, parts.state_len = NULL, 0
    parts.lease, parts.lease_len = NULL, 0
    if state is not None:
        parts.state, parts.state_len = <const uint8_t *>PyBytes_AS_STRING(state), PyBytes_GET_SIZE(state)
    if lease is not None:
        parts.lease, parts.lease_len = <const uint8_t *>PyBytes_AS_STRING(lease), PyBytes_GET_SIZE(lease)
    return parts


def pack_rows(list items, dict states, dict leases, RowFilter rows_filter, uint8_t flags=0):
    """The rows of [(id, spec)] that pass the filter; `states` and `leases` are id -> record of those that have one."""
    cdef size_t capacity = 1 << 16, used = 0, room
    cdef uint8_t *out = <uint8_t *>malloc(capacity)
    cdef uint8_t *grown
    cdef wh_row_parts parts
    cdef ptrdiff_t length
    cdef bint plain = not states and not leases
    cdef bytes id, spec, state, lease
    if out == NULL:
        raise MemoryError
    try:
        for id, spec in items:
            if PyBytes_GET_SIZE(id) != 16:
                raise ValueError(f"a key of {len(id)} bytes is not an id")
            state, lease = (None, None) if plain else (states.get(id), leases.get(id))
            parts = _parts(id, spec, state, lease)
            room = wh_row_room(&parts)
            if room > capacity - used:
                capacity = capacity * 2 + room
                grown = <uint8_t *>realloc(out, capacity)
                if grown == NULL:
                    raise MemoryError
                out = grown
            length = wh_row_pack(&parts, &rows_filter._filter, flags, out + used)
            if length < 0:
                raise ValueError(f"a record of job {id.hex()} is cut or of an unknown version")
            used += length
        return PyBytes_FromStringAndSize(<char *>out, used)
    finally:
        free(out)


def measure_rows(bytes rows, uint64_t base_ms, uint64_t[::1] lengths):
    """Adds each row's length to lengths[due_ms - base_ms], where that exists."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
    if lengths.shape[0] == 0:
        return
    if wh_rows_measure(data, PyBytes_GET_SIZE(rows), base_ms, &lengths[0], lengths.shape[0]) != 0:
        raise ValueError("the rows are cut")
