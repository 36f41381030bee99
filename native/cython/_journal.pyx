# cython: language_level=3
"""The journal's native part: CRC-32C, group frames, durable writes.

Owns no memory beyond a call. Work on more than a few kilobytes runs without the GIL.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.types cimport off_t

from c_journal cimport (
    WH_FRAME_ALIGN,
    WH_FRAME_CHAIN,
    WH_FRAME_CHECKSUM,
    WH_FRAME_END,
    WH_FRAME_GOOD,
    WH_FRAME_HEADER_BYTES,
    WH_FRAME_LENGTH,
    WH_FRAME_NEWER,
    WH_FRAME_NO_MAGIC,
    WH_FRAME_NUMBER,
    WH_FRAME_STORE,
    WH_FRAME_UUID_BYTES,
    WH_SYNC_PARTS_MAX,
    iovec,
    wh_crc32c,
    wh_crc32c_is_hardware,
    wh_crc32c_portable,
    wh_frame,
    wh_frame_cursor,
    wh_frame_encode,
    wh_frame_find_later,
    wh_frame_next,
    wh_frame_scan,
    wh_frame_size,
    wh_write_synced,
)

GOOD = WH_FRAME_GOOD
END = WH_FRAME_END
NO_MAGIC = WH_FRAME_NO_MAGIC
LENGTH = WH_FRAME_LENGTH
CHECKSUM = WH_FRAME_CHECKSUM
NEWER = WH_FRAME_NEWER
STORE = WH_FRAME_STORE
NUMBER = WH_FRAME_NUMBER
CHAIN = WH_FRAME_CHAIN
HEADER_BYTES = WH_FRAME_HEADER_BYTES
ALIGN = WH_FRAME_ALIGN


def crc32c(const uint8_t[::1] data not None, uint32_t seed=0):
    """CRC-32C of `data`, continuing from `seed`."""
    cdef size_t size = <size_t>data.shape[0]
    cdef const uint8_t *start
    if size == 0:
        return seed
    start = &data[0]
    with nogil:
        seed = wh_crc32c(start, size, seed)
    return seed


def crc32c_portable(const uint8_t[::1] data not None, uint32_t seed=0):
    """The same by table; what runs where the processor has no instruction for it."""
    return wh_crc32c_portable(&data[0], <size_t>data.shape[0], seed) if data.shape[0] else seed


def crc32c_is_hardware():
    """Whether crc32c uses the processor's instruction."""
    return bool(wh_crc32c_is_hardware())


def frame_size(uint64_t payload_length):
    """Bytes that a group with this payload takes on disk."""
    return wh_frame_size(payload_length)


def encode_header(const uint8_t[::1] payload not None, uint64_t number, uint32_t previous_crc, uint64_t time_ms, bytes store not None):
    """The 64 header bytes of a group and the group's checksum."""
    if len(store) != WH_FRAME_UUID_BYTES:
        raise ValueError("a store uuid has 16 bytes")
    if payload.shape[0] > 0xFFFFFFFF:
        raise ValueError("a payload has at most 2**32 - 1 bytes")
    cdef bytes header = PyBytes_FromStringAndSize(NULL, WH_FRAME_HEADER_BYTES)
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(header)
    cdef const uint8_t *start = &payload[0] if payload.shape[0] else NULL
    cdef const uint8_t *owner = <const uint8_t *>PyBytes_AS_STRING(store)
    cdef uint32_t length = <uint32_t>payload.shape[0]
    cdef uint32_t crc = 0
    with nogil:
        crc = wh_frame_encode(to, start, length, number, previous_crc, time_ms, owner)
    return header, crc


def write_synced(int fd, list parts not None, off_t offset, size_t call_bytes_max=0):
    """Write the parts from `offset` on and fdatasync, without the GIL; returns the nanoseconds it took, raises OSError."""
    cdef Py_buffer views[WH_SYNC_PARTS_MAX]
    cdef iovec vectors[WH_SYNC_PARTS_MAX]
    cdef unsigned count = <unsigned>len(parts)
    cdef unsigned held = 0
    cdef uint64_t elapsed_ns = 0
    cdef int error
    if count > WH_SYNC_PARTS_MAX:
        raise ValueError("too many parts in one write")
    try:
        for part in parts:
            PyObject_GetBuffer(part, &views[held], PyBUF_SIMPLE)
            vectors[held].iov_base = views[held].buf
            vectors[held].iov_len = <size_t>views[held].len
            held += 1
        with nogil:
            error = wh_write_synced(fd, vectors, count, offset, call_bytes_max, &elapsed_ns)
    finally:
        while held > 0:
            held -= 1
            PyBuffer_Release(&views[held])
    if error:
        import os
        raise OSError(error, os.strerror(error))
    return elapsed_ns


cdef class Cursor:
    """A place in one segment's bytes and the group that must come next there.

    `data` may be a window of the segment: offsets count from its first byte.
    """

    cdef wh_frame_cursor _cursor
    cdef wh_frame _frame
    cdef bytes _store

    def __cinit__(self, bytes store not None, uint64_t offset, uint64_t number, uint32_t previous_crc):
        if len(store) != WH_FRAME_UUID_BYTES:
            raise ValueError("a store uuid has 16 bytes")
        self._store = store
        memcpy(self._cursor.store, PyBytes_AS_STRING(store), WH_FRAME_UUID_BYTES)
        self._cursor.offset = offset
        self._cursor.number = number
        self._cursor.previous_crc = previous_crc

    @property
    def offset(self):
        """Where the next group must begin; may be set when the window moves."""
        return self._cursor.offset

    @offset.setter
    def offset(self, uint64_t offset):
        self._cursor.offset = offset

    @property
    def last_offset(self):
        """Where the last group passed begins."""
        return self._cursor.last_offset

    @property
    def number(self):
        """The number that must come next."""
        return self._cursor.number

    @property
    def groups(self):
        """How many groups were passed."""
        return self._cursor.groups

    @property
    def previous_crc(self):
        """Checksum of the group before."""
        return self._cursor.previous_crc

    @property
    def found_number(self):
        """Number in the header looked at last; meaningless after NO_MAGIC and END."""
        return self._frame.number

    @property
    def found_length(self):
        """Payload length in the header looked at last."""
        return self._frame.payload_length

    @property
    def found_time_ms(self):
        """Time in the header looked at last."""
        return self._frame.time_ms

    def next(self, const uint8_t[::1] data not None):
        """Step over the expected group; returns GOOD, or why it is not there."""
        cdef uint64_t size = <uint64_t>data.shape[0]
        cdef const uint8_t *start
        cdef int status
        if size == 0:
            return END
        start = &data[0]
        with nogil:
            status = wh_frame_next(start, size, &self._cursor, &self._frame)
        return status

    def scan(self, const uint8_t[::1] data not None):
        """Step over all good groups; returns why the next one is not good."""
        cdef uint64_t size = <uint64_t>data.shape[0]
        cdef const uint8_t *start
        cdef int status
        if size == 0:
            return END
        start = &data[0]
        with nogil:
            status = wh_frame_scan(start, size, &self._cursor, &self._frame)
        return status

    def find_later(self, const uint8_t[::1] data not None, uint64_t offset):
        """Offset and number of a whole group with a number above the expected one at or behind `offset`, or None."""
        cdef uint64_t size = <uint64_t>data.shape[0]
        cdef uint64_t number = self._cursor.number
        cdef uint64_t found
        cdef wh_frame frame
        cdef const uint8_t *start
        cdef const uint8_t *store = <const uint8_t *>PyBytes_AS_STRING(self._store)
        if size == 0:
            return None
        start = &data[0]
        with nogil:
            found = wh_frame_find_later(start, size, offset, number, store, &frame)
        return None if found == UINT64_MAX else (found, frame.number)
