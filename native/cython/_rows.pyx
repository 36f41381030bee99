# cython: language_level=3
"""The thin Cython door to blocks of jobs and to the row writer: store records in, job rows out.

Does not own LMDB, nor which records belong together. Invariant: a block is read only within its length, and one that
contradicts itself is a ValueError that names it.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp

from c_fold cimport (
    wh_block_check, wh_block_id, wh_block_next, wh_block_open, wh_block_row, wh_block_seq, wh_block_walk, wh_row_filter, wh_row_pack,
    wh_row_parts, wh_row_room,
)

cdef enum:
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
    cdef const uint8_t *home = <const uint8_t *>PyBytes_AS_STRING(key)
    cdef const uint8_t *id
    cdef wh_block_walk walk
    cdef wh_block_row row
    cdef size_t count = len(ids), first = at
    cdef uint64_t seq
    cdef bytes wanted
    cdef int code
    _open(&walk, key, value)
    code = wh_block_next(&walk, &row)
    while at < count and code > 0:
        wanted = ids[at]
        if PyBytes_GET_SIZE(wanted) != 16:
            raise ValueError(f"a key of {len(wanted)} bytes is not an id")
        id = <const uint8_t *>PyBytes_AS_STRING(wanted)
        if memcmp(id, home, 6) != 0:
            break
        seq = wh_block_seq(id)
        while code > 0 and row.seq < seq:
            code = wh_block_next(&walk, &row)
        if code > 0:
            if row.seq == seq and id[14] == 0 and id[15] == 0:
                found[wanted] = _bytes(row.spec, row.spec_len)
            at += 1
    if code < 0:
        _bad_block(key)
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

    cdef int reserve(self, size_t room) except -1:
        self.out, self.capacity = <uint8_t *>malloc(room), room
        if self.out == NULL:
            raise MemoryError
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
    cdef size_t state_at = 0, lease_at = 0, room = 1
    cdef bytes key, value, record
    cdef int code
    parts.id = id
    for key, value in blocks:
        room += 2 * PyBytes_GET_SIZE(value)
    rows.reserve(room)
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
