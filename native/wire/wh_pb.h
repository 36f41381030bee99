/* The protobuf wire format: a bounded reader and an unchecked writer, both inline.
 *
 * Owns: varints, tags, spans, skipping, UTF-8. Does not own: any message. Invariant: a reader never looks past its end, and accepts
 * exactly what the official parsers accept (tags of at most 5 bytes, varints of at most 10, lengths below 2^31, groups to depth 100).
 */
#ifndef WH_PB_H
#define WH_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the packed layouts are little endian"
#endif

enum { WH_PB_VARINT = 0, WH_PB_FIXED64 = 1, WH_PB_BYTES = 2, WH_PB_GROUP = 3, WH_PB_END_GROUP = 4, WH_PB_FIXED32 = 5 };

/* How deep messages and groups may nest. */
#define WH_PB_DEPTH 100

#define WH_PB_TAG(field, wire_type) ((uint32_t)(field) << 3 | (wire_type))

typedef struct {
    const uint8_t *data;
    size_t length;
} wh_span;

typedef struct {
    const uint8_t *at, *end;
} wh_pb_reader;

/* What does not fit the inline fast path; see the functions without `_slow`. */
bool wh_pb_varint_slow(wh_pb_reader *reader, uint64_t *value);
bool wh_pb_tag_slow(wh_pb_reader *reader, uint32_t *tag);

/* Passes over the value that belongs to `tag`. False when it is malformed or nests deeper than `depth`. */
bool wh_pb_skip(wh_pb_reader *reader, uint32_t tag, int depth);

/* Whether the bytes are well-formed UTF-8 (Unicode table 3-7: no surrogates, nothing overlong). */
bool wh_pb_utf8(const uint8_t *data, size_t length);

static inline wh_pb_reader wh_pb_over(wh_span span) {
    return (wh_pb_reader){span.data, span.data + span.length};
}

static inline bool wh_pb_more(const wh_pb_reader *reader) {
    return reader->at < reader->end;
}

static inline bool wh_pb_varint(wh_pb_reader *reader, uint64_t *value) {
    if (reader->at < reader->end && *reader->at < 0x80) {
        *value = *reader->at++;
        return true;
    }
    return wh_pb_varint_slow(reader, value);
}

/* The next tag; field number 0 is malformed. */
static inline bool wh_pb_tag(wh_pb_reader *reader, uint32_t *tag) {
    if (reader->at < reader->end && *reader->at < 0x80) {
        *tag = *reader->at++;
        return *tag >= 8;
    }
    return wh_pb_tag_slow(reader, tag);
}

/* The span of a length-delimited value. */
static inline bool wh_pb_bytes(wh_pb_reader *reader, wh_span *span) {
    uint64_t length;
    if (!wh_pb_varint(reader, &length) || length > INT32_MAX || length > (size_t)(reader->end - reader->at)) {
        return false;
    }
    *span = (wh_span){reader->at, (size_t)length};
    reader->at += length;
    return true;
}

/* A string: bytes that are UTF-8. */
static inline bool wh_pb_string(wh_pb_reader *reader, wh_span *span) {
    return wh_pb_bytes(reader, span) && wh_pb_utf8(span->data, span->length);
}

static inline bool wh_pb_fixed64(wh_pb_reader *reader, uint64_t *value) {
    if ((size_t)(reader->end - reader->at) < sizeof *value) {
        return false;
    }
    memcpy(value, reader->at, sizeof *value);
    reader->at += sizeof *value;
    return true;
}

/* A number of 32 bits: what a longer one has above is dropped, as the official parsers do. */
static inline bool wh_pb_uint32(wh_pb_reader *reader, uint32_t *value) {
    uint64_t number;
    if (!wh_pb_varint(reader, &number)) {
        return false;
    }
    *value = (uint32_t)number;
    return true;
}

static inline bool wh_pb_bool(wh_pb_reader *reader, bool *value) {
    uint64_t number;
    if (!wh_pb_varint(reader, &number)) {
        return false;
    }
    *value = number != 0;
    return true;
}

/* Bytes that a varint takes: one for each 7 bits begun; 9/64 stands for 1/7 and is exact for up to 64 bits. */
static inline size_t wh_pb_varint_size(uint64_t value) {
    return (size_t)((63 - __builtin_clzll(value | 1)) * 9 + 73) >> 6;
}

static inline uint8_t *wh_pb_put_varint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Bytes that a field takes with its tag (of `tag_size` bytes); zero values are not written. */
static inline size_t wh_pb_number_size(size_t tag_size, uint64_t value) {
    return value ? tag_size + wh_pb_varint_size(value) : 0;
}

static inline size_t wh_pb_bytes_size(size_t tag_size, size_t length) {
    return length ? tag_size + wh_pb_varint_size(length) + length : 0;
}

static inline uint8_t *wh_pb_put_number(uint8_t *out, uint32_t field, uint64_t value) {
    return value ? wh_pb_put_varint(wh_pb_put_varint(out, WH_PB_TAG(field, WH_PB_VARINT)), value) : out;
}

static inline uint8_t *wh_pb_put_bytes_head(uint8_t *out, uint32_t field, size_t length) {
    return wh_pb_put_varint(wh_pb_put_varint(out, WH_PB_TAG(field, WH_PB_BYTES)), length);
}

static inline uint8_t *wh_pb_put_bytes(uint8_t *out, uint32_t field, const void *data, size_t length) {
    if (!length) {
        return out;
    }
    out = wh_pb_put_bytes_head(out, field, length);
    memcpy(out, data, length);
    return out + length;
}

#endif
