# cython: language_level=3
"""C declarations of the journal: checksum, group frames, durable writes."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from posix.types cimport off_t


cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len


cdef extern from "wh_crc32c.h" nogil:
    uint32_t wh_crc32c(const void *data, size_t size, uint32_t seed)
    uint32_t wh_crc32c_portable(const void *data, size_t size, uint32_t seed)
    int wh_crc32c_is_hardware()


cdef extern from "wh_frame.h" nogil:
    enum: WH_FRAME_MAGIC
    enum: WH_FRAME_VERSION
    enum: WH_FRAME_HEADER_BYTES
    enum: WH_FRAME_ALIGN
    enum: WH_FRAME_UUID_BYTES
    enum: WH_FRAME_GOOD
    enum: WH_FRAME_END
    enum: WH_FRAME_NO_MAGIC
    enum: WH_FRAME_LENGTH
    enum: WH_FRAME_CHECKSUM
    enum: WH_FRAME_NEWER
    enum: WH_FRAME_STORE
    enum: WH_FRAME_NUMBER
    enum: WH_FRAME_CHAIN

    ctypedef struct wh_frame:
        uint64_t number
        uint64_t time_ms
        uint64_t end
        uint32_t payload_length
        uint32_t previous_crc
        uint32_t crc

    ctypedef struct wh_frame_cursor:
        uint64_t offset
        uint64_t last_offset
        uint64_t number
        uint64_t groups
        uint32_t previous_crc
        uint8_t store[16]

    uint64_t wh_frame_size(uint64_t payload_length)
    uint32_t wh_frame_encode(uint8_t *header, const uint8_t *payload, uint32_t payload_length, uint64_t number,
                             uint32_t previous_crc, uint64_t time_ms, const uint8_t *store)
    int wh_frame_next(const uint8_t *data, uint64_t size, wh_frame_cursor *cursor, wh_frame *frame)
    int wh_frame_scan(const uint8_t *data, uint64_t size, wh_frame_cursor *cursor, wh_frame *frame)
    uint64_t wh_frame_find_later(const uint8_t *data, uint64_t size, uint64_t offset, uint64_t number, const uint8_t *store,
                                 wh_frame *frame)


cdef extern from "wh_sync.h" nogil:
    enum: WH_SYNC_PARTS_MAX
    int wh_write_synced(int fd, const iovec *parts, unsigned count, off_t offset, size_t call_bytes_max, uint64_t *elapsed_ns)
