# cython: language_level=3
"""The thin Cython door to runs of job rows on their way out of the store: which of them wait in the backlog, how long they are.

Does not own how a row is made (`_rows`). Invariant: rows are read only within the given bytes; ValueError for a run that is cut.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from c_fold cimport (
    WH_ROW_BACKLOG, WH_ROW_KEY_MAX, wh_ids, wh_ids_add, wh_ids_clear, wh_ids_has, wh_row_key, wh_rows_cut, wh_rows_measure, wh_rows_next,
)

cdef enum:
    ID_AT = 4
    FLAGS_AT = 39


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
    """Appends id and length of each row to `noted`, for `cut_rows`."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(rows)
    cdef size_t length = PyBytes_GET_SIZE(rows), at = 0
    cdef uint64_t due_ms
    cdef ptrdiff_t size
    while at < length:
        size = _next(data + at, length - at, &due_ms)
        noted += _bytes(data + at + ID_AT, 16) + _bytes(data + at, 4)
        at += size


def cut_rows(bytearray noted, uint64_t left, bint take_first):
    """The first id, in ascending order, whose row does not fit into `left` bytes with those before it, None when all fit. The
    lowest one counts as fitting when `take_first` says so.
    """
    cdef size_t at, count = len(noted) // 20
    cdef uint8_t *data = <uint8_t *>PyByteArray_AS_STRING(noted)
    at = wh_rows_cut(data, count, left, take_first)
    return None if at == count else _bytes(data + 20 * at, 16)
