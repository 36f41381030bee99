/* Lease frames and revocations to stream messages. */
#include "wh_wire.h"

/* Offsets in model/batch.py GRANT_HEAD (not aligned) and in model/spec.py SPEC_HEAD. */
enum {
    GRANT_ID = 4, GRANT_FENCING = 20, GRANT_DUE = 28, GRANT_EXPIRE = 36, GRANT_LEASE = 44, GRANT_ATTEMPT = 48, GRANT_FLAGS = 50,
    GRANT_SPEC_LENGTH = 52, GRANT_BYTES = 56,
    SPEC_PRIORITY = 2, SPEC_QUEUE = 3, SPEC_TYPE = 4, SPEC_KEY = 5, SPEC_LABELS = 6, SPEC_PAYLOAD = 32, SPEC_ATTEMPTS = 36,
    SPEC_TRACE = 53, SPEC_ROUTING = 54, SPEC_BYTES = 56,
    REVOKED_CODE = 24, REVOKED_BYTES = 32,
};

#define FLAG_REDELIVERY 1
#define LEASES_FIELD 2
#define REVOKED_FIELD 4

/* A lease as the frame has it; spans point into the frame. */
typedef struct {
    wh_span name_space, queue, type, labels, trace, payload;
    const uint8_t *token;
    uint64_t fencing, due_ms, expire_ms;
    uint32_t lease_ms;
    uint16_t attempt, flags, max_attempts;
    uint8_t priority;
    size_t step; /* from this lease to the next */
} lease;

static uint16_t load16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t load32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static wh_span take(const uint8_t **at, size_t length) {
    wh_span span = {*at, length};
    *at += length;
    return span;
}

/* Parts `namespace/queue`; the default namespace is not sent. */
static void part_path(lease *found, wh_span path) {
    const uint8_t *slash = path.length ? memchr(path.data, '/', path.length) : NULL;
    size_t length = slash ? (size_t)(slash - path.data) : path.length;
    size_t skipped = slash ? length + 1 : length;
    found->name_space = (wh_span){path.data, length == 7 && !memcmp(path.data, "default", 7) ? 0 : length};
    found->queue = (wh_span){path.data + skipped, path.length - skipped};
}

/* Whether a labels block is whole. */
static bool labels_whole(wh_span labels) {
    size_t at = 0;
    while (at < labels.length) {
        for (int part = 0; part < 2; part++) {
            if (at >= labels.length || labels.length - at - 1 < labels.data[at]) {
                return false;
            }
            at += 1 + (size_t)labels.data[at];
        }
    }
    return true;
}

static bool read_spec(const uint8_t *spec, size_t length, lease *found) {
    if (length < SPEC_BYTES || spec[0] != 1) {
        return false;
    }
    const uint8_t *at = spec + SPEC_BYTES;
    size_t total = (size_t)SPEC_BYTES + spec[SPEC_QUEUE] + spec[SPEC_TYPE] + spec[SPEC_KEY] + load16(spec + SPEC_ROUTING) +
                   load16(spec + SPEC_LABELS) + spec[SPEC_TRACE] + load32(spec + SPEC_PAYLOAD);
    if (total != length) {
        return false;
    }
    part_path(found, take(&at, spec[SPEC_QUEUE]));
    found->type = take(&at, spec[SPEC_TYPE]);
    at += spec[SPEC_KEY] + load16(spec + SPEC_ROUTING);
    found->labels = take(&at, load16(spec + SPEC_LABELS));
    found->trace = take(&at, spec[SPEC_TRACE]);
    found->payload = take(&at, load32(spec + SPEC_PAYLOAD));
    found->priority = spec[SPEC_PRIORITY];
    found->max_attempts = load16(spec + SPEC_ATTEMPTS);
    return true;
}

static bool read_lease(const uint8_t *at, size_t left, lease *found) {
    if (left < GRANT_BYTES) {
        return false;
    }
    found->step = (size_t)load32(at) + 4;
    uint32_t spec_length = load32(at + GRANT_SPEC_LENGTH);
    if (found->step > left || found->step != (size_t)GRANT_BYTES + spec_length) {
        return false;
    }
    found->token = at + GRANT_ID;
    found->fencing = load64(at + GRANT_FENCING);
    found->due_ms = load64(at + GRANT_DUE);
    found->expire_ms = load64(at + GRANT_EXPIRE);
    found->lease_ms = load32(at + GRANT_LEASE);
    found->attempt = load16(at + GRANT_ATTEMPT);
    found->flags = load16(at + GRANT_FLAGS);
    return read_spec(at + GRANT_BYTES, spec_length, found);
}

/* A map entry always carries key and value, even empty ones. */
static size_t label_entry_size(size_t key, size_t value) {
    return 2 + wh_pb_varint_size(key) + key + wh_pb_varint_size(value) + value;
}

static size_t labels_size(wh_span labels) {
    size_t sum = 0, at = 0;
    while (at < labels.length) {
        size_t key = labels.data[at], value = labels.data[at + 1 + key];
        size_t entry = label_entry_size(key, value);
        sum += 1 + wh_pb_varint_size(entry) + entry;
        at += 2 + key + value;
    }
    return sum;
}

static uint8_t *put_text(uint8_t *out, uint32_t field, const uint8_t *data, size_t length) {
    out = wh_pb_put_bytes_head(out, field, length);
    memcpy(out, data, length);
    return out + length;
}

static uint8_t *put_labels(uint8_t *out, wh_span labels) {
    size_t at = 0;
    while (at < labels.length) {
        size_t key = labels.data[at], value = labels.data[at + 1 + key];
        out = wh_pb_put_bytes_head(out, 14, label_entry_size(key, value));
        out = put_text(out, 1, labels.data + at + 1, key);
        out = put_text(out, 2, labels.data + at + 2 + key, value);
        at += 2 + key + value;
    }
    return out;
}

static size_t lease_size(const lease *found) {
    return 2 + WH_TOKEN_BYTES + 2 + WH_ID_TEXT + wh_pb_bytes_size(1, found->type.length) + wh_pb_bytes_size(1, found->payload.length) +
           wh_pb_bytes_size(1, found->queue.length) + wh_pb_bytes_size(1, found->name_space.length) +
           wh_pb_number_size(1, found->attempt) + wh_pb_number_size(1, found->max_attempts) + wh_pb_number_size(1, found->due_ms) +
           wh_pb_number_size(1, found->expire_ms) + wh_pb_number_size(1, found->lease_ms) + wh_pb_number_size(1, found->fencing) +
           wh_pb_number_size(1, found->priority) + labels_size(found->labels) + wh_pb_bytes_size(1, found->trace.length) +
           wh_pb_number_size(2, found->flags & FLAG_REDELIVERY);
}

static uint8_t *put_lease(uint8_t *out, const lease *found) {
    out = put_text(out, 1, found->token, WH_TOKEN_BYTES);
    out = wh_pb_put_bytes_head(out, 2, WH_ID_TEXT);
    wh_id_text(found->token, out);
    out = wh_pb_put_bytes(out + WH_ID_TEXT, 3, found->type.data, found->type.length);
    out = wh_pb_put_bytes(out, 4, found->payload.data, found->payload.length);
    out = wh_pb_put_bytes(out, 5, found->queue.data, found->queue.length);
    out = wh_pb_put_bytes(out, 6, found->name_space.data, found->name_space.length);
    out = wh_pb_put_number(out, 7, found->attempt);
    out = wh_pb_put_number(out, 8, found->max_attempts);
    out = wh_pb_put_number(out, 9, found->due_ms);
    out = wh_pb_put_number(out, 10, found->expire_ms);
    out = wh_pb_put_number(out, 11, found->lease_ms);
    out = wh_pb_put_number(out, 12, found->fencing);
    out = wh_pb_put_number(out, 13, found->priority);
    out = put_labels(out, found->labels);
    out = wh_pb_put_bytes(out, 15, found->trace.data, found->trace.length);
    return wh_pb_put_number(out, 16, found->flags & FLAG_REDELIVERY);
}

size_t wh_leases_size(int kind, wh_span frame, int64_t fire_time_us, size_t *body) {
    lease found;
    size_t sum = wh_pb_number_size(1, (uint64_t)fire_time_us);
    for (size_t at = 0; at < frame.length; at += found.step) {
        if (!read_lease(frame.data + at, frame.length - at, &found) || !labels_whole(found.labels)) {
            return WH_SIZE_INVALID;
        }
        size_t size = lease_size(&found);
        sum += 1 + wh_pb_varint_size(size) + size;
    }
    *body = sum;
    return kind == WH_ANSWER_STREAM ? 1 + wh_pb_varint_size(sum) + sum : sum;
}

void wh_leases_encode(int kind, wh_span frame, int64_t fire_time_us, size_t body, uint8_t *out) {
    lease found;
    if (kind == WH_ANSWER_STREAM) {
        out = wh_pb_put_bytes_head(out, LEASES_FIELD, body);
    }
    out = wh_pb_put_number(out, 1, (uint64_t)fire_time_us);
    for (size_t at = 0; at < frame.length; at += found.step) {
        if (!read_lease(frame.data + at, frame.length - at, &found)) {
            return;
        }
        out = wh_pb_put_bytes_head(out, 2, lease_size(&found));
        out = put_lease(out, &found);
    }
}

static size_t revoked_item_size(const uint8_t *at) {
    return 2 + WH_TOKEN_BYTES + wh_pb_number_size(1, at[REVOKED_CODE]);
}

static size_t revoked_body(wh_span revoked) {
    size_t sum = 0;
    for (size_t at = 0; at < revoked.length; at += REVOKED_BYTES) {
        sum += 2 + revoked_item_size(revoked.data + at);
    }
    return sum;
}

size_t wh_revoked_size(wh_span revoked) {
    if (revoked.length % REVOKED_BYTES) {
        return WH_SIZE_INVALID;
    }
    size_t body = revoked_body(revoked);
    return 1 + wh_pb_varint_size(body) + body;
}

void wh_revoked_encode(wh_span revoked, uint8_t *out) {
    out = wh_pb_put_bytes_head(out, REVOKED_FIELD, revoked_body(revoked));
    for (size_t at = 0; at < revoked.length; at += REVOKED_BYTES) {
        out = wh_pb_put_bytes_head(out, 1, revoked_item_size(revoked.data + at));
        out = put_text(out, 1, revoked.data + at, WH_TOKEN_BYTES);
        out = wh_pb_put_number(out, 2, revoked.data[at + REVOKED_CODE]);
    }
}

void wh_id_text(const uint8_t *id, uint8_t *text) {
    static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t high, low;
    memcpy(&high, id, sizeof high);
    memcpy(&low, id + 8, sizeof low);
    high = __builtin_bswap64(high);
    low = __builtin_bswap64(low);
    /* 128 bits in three words that hold whole characters: 8 bits, 60 bits, 60 bits. */
    uint64_t middle = (high << 4 | low >> 60) & ((UINT64_C(1) << 60) - 1);
    text[0] = (uint8_t)alphabet[high >> 61];
    text[1] = (uint8_t)alphabet[high >> 56 & 31];
    for (int i = 0; i < 12; i++) {
        text[2 + i] = (uint8_t)alphabet[middle >> (55 - 5 * i) & 31];
        text[14 + i] = (uint8_t)alphabet[low >> (55 - 5 * i) & 31];
    }
}
