/* The parts of the protobuf reader that are not worth inlining. */
#include "wh_pb.h"

bool wh_pb_varint_slow(wh_pb_reader *reader, uint64_t *value) {
    uint64_t sum = 0;
    const uint8_t *at = reader->at;
    for (unsigned shift = 0; shift < 70 && at < reader->end; shift += 7) {
        uint8_t byte = *at++;
        sum |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            reader->at = at;
            *value = sum;
            return true;
        }
    }
    return false;
}

bool wh_pb_tag_slow(wh_pb_reader *reader, uint32_t *tag) {
    uint64_t sum = 0;
    const uint8_t *at = reader->at;
    for (unsigned shift = 0; shift < 35 && at < reader->end; shift += 7) {
        uint8_t byte = *at++;
        sum |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            reader->at = at;
            *tag = (uint32_t)sum;
            return sum >= 8 && sum <= UINT32_MAX;
        }
    }
    return false;
}

static bool skip_fixed(wh_pb_reader *reader, size_t length) {
    if ((size_t)(reader->end - reader->at) < length) {
        return false;
    }
    reader->at += length;
    return true;
}

/* A group nests by counting, not by recursion: `open` holds the tags that its levels still wait for. */
static bool skip_group(wh_pb_reader *reader, uint32_t tag, int depth) {
    uint32_t open[WH_PB_DEPTH];
    int level = 0;
    if (depth <= 0) {
        return false;
    }
    open[level++] = tag;
    while (level > 0) {
        if (!wh_pb_tag(reader, &tag)) {
            return false;
        }
        switch (tag & 7) {
        case WH_PB_GROUP:
            if (level >= depth) {
                return false;
            }
            open[level++] = tag;
            break;
        case WH_PB_END_GROUP:
            if (open[--level] >> 3 != tag >> 3) {
                return false;
            }
            break;
        default:
            if (!wh_pb_skip(reader, tag, depth - level)) {
                return false;
            }
        }
    }
    return true;
}

bool wh_pb_skip(wh_pb_reader *reader, uint32_t tag, int depth) {
    uint64_t number;
    wh_span span;
    switch (tag & 7) {
    case WH_PB_VARINT:
        return wh_pb_varint(reader, &number);
    case WH_PB_FIXED64:
        return skip_fixed(reader, 8);
    case WH_PB_BYTES:
        return wh_pb_bytes(reader, &span);
    case WH_PB_GROUP:
        return skip_group(reader, tag, depth);
    case WH_PB_FIXED32:
        return skip_fixed(reader, 4);
    default:
        return false;
    }
}

/* Bytes of the character that begins at `at`, 0 when it is not well formed. */
static size_t utf8_character(const uint8_t *at, size_t left) {
    uint8_t first = at[0], low = 0x80, high = 0xBF;
    size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (first < 0xC2 || first > 0xF4 || left < length) {
        return 0;
    }
    switch (first) {
    case 0xE0: low = 0xA0; break;
    case 0xED: high = 0x9F; break;
    case 0xF0: low = 0x90; break;
    case 0xF4: high = 0x8F; break;
    default: break;
    }
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

bool wh_pb_utf8(const uint8_t *data, size_t length) {
    const uint8_t *at = data, *end = data + length;
    while (at < end) {
        uint64_t word;
        if (end - at >= 8 && (memcpy(&word, at, 8), !(word & 0x8080808080808080u))) {
            at += 8;
        } else if (*at < 0x80) {
            at++;
        } else {
            size_t step = utf8_character(at, (size_t)(end - at));
            if (!step) {
                return false;
            }
            at += step;
        }
    }
    return true;
}
