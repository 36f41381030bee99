/* Encode, check, scan and search group frames (see wh_frame.h). */
#include "wh_frame.h"

#include <string.h>

#include "wh_crc32c.h"

/* Offsets of the header's fields; all little-endian. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_FLAGS = 6,
    AT_CRC = 8,
    AT_LENGTH = 12,
    AT_NUMBER = 16,
    AT_PREVIOUS = 24,
    AT_TIME = 32,
    AT_STORE = 40
};

static void put_le(uint8_t *to, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *from, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* Checksum of a header, its own checksum field taken as zero, and of the payload behind it. */
static uint32_t frame_crc(const uint8_t *header, const uint8_t *payload, uint32_t payload_length) {
    uint8_t copy[WH_FRAME_HEADER_BYTES];
    memcpy(copy, header, sizeof copy);
    memset(copy + AT_CRC, 0, 4);
    return wh_crc32c(payload, payload_length, wh_crc32c(copy, sizeof copy, 0));
}

uint64_t wh_frame_size(uint64_t payload_length) {
    uint64_t bytes = WH_FRAME_HEADER_BYTES + payload_length;
    return (bytes + WH_FRAME_ALIGN - 1) / WH_FRAME_ALIGN * WH_FRAME_ALIGN;
}

uint32_t wh_frame_encode(uint8_t *header, const uint8_t *payload, uint32_t payload_length, uint64_t number,
                         uint32_t previous_crc, uint64_t time_ms, const uint8_t *store) {
    memset(header, 0, WH_FRAME_HEADER_BYTES);
    put_le(header + AT_MAGIC, WH_FRAME_MAGIC, 4);
    put_le(header + AT_VERSION, WH_FRAME_VERSION, 2);
    put_le(header + AT_LENGTH, payload_length, 4);
    put_le(header + AT_NUMBER, number, 8);
    put_le(header + AT_PREVIOUS, previous_crc, 4);
    put_le(header + AT_TIME, time_ms, 8);
    memcpy(header + AT_STORE, store, WH_FRAME_UUID_BYTES);
    uint32_t crc = frame_crc(header, payload, payload_length);
    put_le(header + AT_CRC, crc, 4);
    return crc;
}

enum wh_frame_status wh_frame_read(const uint8_t *data, uint64_t size, uint64_t offset, const uint8_t *store, wh_frame *frame) {
    if (offset > size || size - offset < WH_FRAME_HEADER_BYTES) return WH_FRAME_END;
    const uint8_t *header = data + offset;
    if (get_le(header + AT_MAGIC, 4) != WH_FRAME_MAGIC) return WH_FRAME_NO_MAGIC;
    frame->payload_length = (uint32_t)get_le(header + AT_LENGTH, 4);
    if (size - offset - WH_FRAME_HEADER_BYTES < frame->payload_length) return WH_FRAME_LENGTH;
    frame->number = get_le(header + AT_NUMBER, 8);
    frame->time_ms = get_le(header + AT_TIME, 8);
    frame->previous_crc = (uint32_t)get_le(header + AT_PREVIOUS, 4);
    frame->crc = (uint32_t)get_le(header + AT_CRC, 4);
    frame->end = offset + wh_frame_size(frame->payload_length);
    if (frame_crc(header, header + WH_FRAME_HEADER_BYTES, frame->payload_length) != frame->crc) return WH_FRAME_CHECKSUM;
    if (get_le(header + AT_VERSION, 2) != WH_FRAME_VERSION) return WH_FRAME_NEWER;
    if (memcmp(header + AT_STORE, store, WH_FRAME_UUID_BYTES) != 0) return WH_FRAME_STORE;
    return WH_FRAME_GOOD;
}

enum wh_frame_status wh_frame_next(const uint8_t *data, uint64_t size, wh_frame_cursor *cursor, wh_frame *frame) {
    enum wh_frame_status status = wh_frame_read(data, size, cursor->offset, cursor->store, frame);
    if (status != WH_FRAME_GOOD) return status;
    if (frame->number != cursor->number) return WH_FRAME_NUMBER;
    if (frame->previous_crc != cursor->previous_crc) return WH_FRAME_CHAIN;
    cursor->last_offset = cursor->offset;
    cursor->offset = frame->end;
    cursor->previous_crc = frame->crc;
    cursor->number++;
    cursor->groups++;
    return WH_FRAME_GOOD;
}

enum wh_frame_status wh_frame_scan(const uint8_t *data, uint64_t size, wh_frame_cursor *cursor, wh_frame *frame) {
    enum wh_frame_status status;
    do {
        status = wh_frame_next(data, size, cursor, frame);
    } while (status == WH_FRAME_GOOD);
    return status;
}

uint64_t wh_frame_find_later(const uint8_t *data, uint64_t size, uint64_t offset, uint64_t number, const uint8_t *store,
                             wh_frame *frame) {
    for (; offset + WH_FRAME_HEADER_BYTES <= size; offset += WH_FRAME_ALIGN) {
        const uint8_t *header = data + offset;
        if (get_le(header + AT_MAGIC, 4) != WH_FRAME_MAGIC) continue;
        if (get_le(header + AT_NUMBER, 8) <= number) continue;
        if (wh_frame_read(data, size, offset, store, frame) == WH_FRAME_GOOD) return offset;
    }
    return UINT64_MAX;
}
