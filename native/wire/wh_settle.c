/* Settle messages (acks, nacks, releases, renewals) to packed batches, and the answers. */
#include <assert.h>

#include "wh_job_message.h"

#define NO_DELAY 0xFFFFFFFFu
#define FLAG_NO_RETRY 1
#define FLAG_REFUSED 2

/* model/batch.py SETTLE_BATCH_HEAD, SETTLE_HEAD and SETTLE_RESULT. */
typedef struct {
    uint32_t count, zero;
} batch_head;

typedef struct {
    uint8_t op, flags;
    uint16_t error_length;
    uint32_t result_length, retry_delay_ms, extend_ms;
    uint64_t fencing;
    uint8_t job_id[WH_ID_BYTES];
    uint64_t receive_us;
} settle_head;

typedef struct {
    uint8_t op, code, flags, state;
    uint32_t zero;
    uint64_t lease_expire_ms;
} settle_result;

static_assert(sizeof(batch_head) == 8 && sizeof(settle_head) == 48 && sizeof(settle_result) == 16, "as the Python side packs them");

/* Longest SettledItem: token, operation, code, repeated, state, expiry, field. */
#define ITEM_BYTES_MAX (2 + WH_ECHO_BYTES_MAX + 2 + 3 + 2 + 3 + 11 + 2 + WH_WORD_BYTES_MAX)
static_assert(ITEM_BYTES_MAX < 128, "the length of an item is written as one byte");

/* One item as it came, whatever its operation. */
typedef struct {
    wh_span token, error, result;
    wh_pb_time span; /* retry_delay or extend_duration */
    bool has_span, no_retry;
    uint64_t receive_us;
} settle_item;

static uint32_t item_tag(int kind, int op) {
    return WH_PB_TAG(kind != WH_SETTLE_STREAM ? 3 : op == WH_OP_RENEW ? 1 : op, WH_PB_BYTES);
}

int wh_stream_peek(wh_span message) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag, member = 0;
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag) || !wh_pb_skip(&reader, tag, WH_PB_DEPTH)) {
            return -1;
        }
        if ((tag & 7) != WH_PB_BYTES || tag >> 3 > 5) {
            continue;
        }
        if (member && member != tag >> 3) {
            return -1;
        }
        member = tag >> 3;
    }
    return (int)member;
}

static bool read_ack(wh_pb_reader *reader, uint32_t tag, settle_item *item, int depth) {
    switch (tag) {
    case WH_PB_TAG(1, WH_PB_BYTES):
        return wh_pb_bytes(reader, &item->token);
    case WH_PB_TAG(2, WH_PB_BYTES):
        return wh_pb_bytes(reader, &item->result);
    case WH_PB_TAG(3, WH_PB_FIXED64):
        return wh_pb_fixed64(reader, &item->receive_us);
    default:
        return wh_pb_skip(reader, tag, depth);
    }
}

static bool read_nack(wh_pb_reader *reader, uint32_t tag, settle_item *item, int depth) {
    wh_span span;
    uint64_t number;
    switch (tag) {
    case WH_PB_TAG(1, WH_PB_BYTES):
        return wh_pb_bytes(reader, &item->token);
    case WH_PB_TAG(2, WH_PB_BYTES):
        return wh_pb_string(reader, &item->error);
    case WH_PB_TAG(3, WH_PB_BYTES):
        item->has_span = true;
        return wh_pb_bytes(reader, &span) && wh_pb_time_merge(&item->span, span, depth - 1);
    case WH_PB_TAG(4, WH_PB_VARINT):
        if (!wh_pb_varint(reader, &number)) {
            return false;
        }
        item->no_retry = number != 0;
        return true;
    case WH_PB_TAG(5, WH_PB_FIXED64):
        return wh_pb_fixed64(reader, &item->receive_us);
    default:
        return wh_pb_skip(reader, tag, depth);
    }
}

static bool read_release(wh_pb_reader *reader, uint32_t tag, settle_item *item, int depth) {
    return tag == WH_PB_TAG(1, WH_PB_BYTES) ? wh_pb_bytes(reader, &item->token) : wh_pb_skip(reader, tag, depth);
}

static bool read_item(wh_span message, int op, settle_item *item, int depth) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag;
    if (op == WH_OP_RENEW) {
        item->token = message;
        return true;
    }
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        if (!(op == WH_OP_ACK    ? read_ack(&reader, tag, item, depth)
              : op == WH_OP_NACK ? read_nack(&reader, tag, item, depth)
                                 : read_release(&reader, tag, item, depth))) {
            return false;
        }
    }
    return true;
}

/* The longest prefix of whole characters within `most` bytes; the text is valid UTF-8. */
static size_t cut_text(wh_span text, size_t most) {
    if (text.length <= most) {
        return text.length;
    }
    while (most > 0 && (text.data[most] & 0xC0) == 0x80) {
        most--;
    }
    return most;
}

/* The field at fault, or 0; fills what the head says of the item. */
static int check_item(const wh_wire_rules *rules, int op, settle_item *item, settle_head *head) {
    uint64_t span_ms = 0;
    bool span_valid = wh_pb_span_ms(&item->span, &span_ms);
    if (op == WH_OP_ACK && item->result.length > rules->result_bytes_max) {
        return WH_FIELD_RESULT;
    }
    if (op == WH_OP_NACK && item->has_span) {
        if (!span_valid || span_ms > rules->backoff_ms_limit) {
            return WH_FIELD_RETRY_DELAY;
        }
        head->retry_delay_ms = (uint32_t)span_ms;
    }
    if (op == WH_OP_RENEW) {
        if (!span_valid || span_ms > rules->lease_ms_max || (span_ms && span_ms < rules->lease_ms_min)) {
            return WH_FIELD_LEASE_DURATION;
        }
        head->extend_ms = (uint32_t)span_ms;
    }
    item->error.length = cut_text(item->error, rules->error_bytes_max);
    return WH_FIELD_NONE;
}

static uint8_t *put_item(const wh_wire_rules *rules, int op, settle_item *item, uint8_t *out) {
    settle_head head = {.op = (uint8_t)op, .retry_delay_ms = NO_DELAY};
    wh_span error = item->error, result = item->result;
    bool token_whole = item->token.length == WH_TOKEN_BYTES;
    int field = token_whole ? check_item(rules, op, item, &head) : WH_FIELD_LEASE_TOKEN;
    if (field) {
        head = (settle_head){.op = (uint8_t)op, .flags = FLAG_REFUSED, .retry_delay_ms = NO_DELAY};
        head.extend_ms = (uint32_t)(token_whole ? WH_FIELD_INVALID : WH_TOKEN_UNKNOWN) | (uint32_t)field << 8;
        error = item->token;
        error.length = error.length > WH_ECHO_BYTES_MAX ? WH_ECHO_BYTES_MAX : error.length;
        result.length = 0;
    } else {
        error = item->error;
        head.flags = item->no_retry ? FLAG_NO_RETRY : 0;
        head.receive_us = item->receive_us;
        memcpy(head.job_id, item->token.data, WH_ID_BYTES);
        memcpy(&head.fencing, item->token.data + WH_ID_BYTES, sizeof head.fencing);
    }
    head.error_length = (uint16_t)error.length;
    head.result_length = (uint32_t)result.length;
    memcpy(out, &head, sizeof head);
    out += sizeof head;
    if (error.length) {
        memcpy(out, error.data, error.length);
    }
    out += error.length;
    if (result.length) {
        memcpy(out, result.data, result.length);
    }
    return out + result.length;
}

/* Writes the items of one operation in `message`; NULL when one is malformed. */
static uint8_t *put_items(const wh_wire_rules *rules, wh_span message, int kind, int op, wh_pb_time extend, uint8_t *out) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t wanted = item_tag(kind, op), tag;
    int depth = kind == WH_SETTLE_STREAM ? WH_PB_DEPTH - 1 : WH_PB_DEPTH;
    while (wh_pb_more(&reader)) {
        wh_span span;
        if (!wh_pb_tag(&reader, &tag)) {
            return NULL;
        }
        if (tag != wanted) {
            if (!wh_pb_skip(&reader, tag, depth)) {
                return NULL;
            }
            continue;
        }
        settle_item item = {.span = op == WH_OP_RENEW ? extend : (wh_pb_time){0, 0}};
        if (!wh_pb_bytes(&reader, &span) || !read_item(span, op, &item, depth - 1)) {
            return NULL;
        }
        out = put_item(rules, op, &item, out);
    }
    return out;
}

/* Counts the items in a Settle or a Renew, validating its own level; merges the latter's duration. */
static bool scan_member(wh_span message, uint32_t member, wh_wire_scan *scan, wh_pb_time *extend) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag;
    wh_span span;
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        if (member == 4 && tag == WH_PB_TAG(2, WH_PB_BYTES)) {
            if (!wh_pb_bytes(&reader, &span) || !wh_pb_time_merge(extend, span, WH_PB_DEPTH - 2)) {
                return false;
            }
            continue;
        }
        scan->count += (tag & 7) == WH_PB_BYTES && tag >> 3 <= (member == 3 ? 3u : 1u);
        if (!wh_pb_skip(&reader, tag, WH_PB_DEPTH - 1)) {
            return false;
        }
    }
    return true;
}

static bool scan_stream(wh_span message, wh_wire_scan *scan, wh_pb_time *extend) {
    wh_pb_reader reader = wh_pb_over(message);
    int member = wh_stream_peek(message);
    uint32_t tag;
    wh_span span;
    if (member != 3 && member != 4) {
        return member >= 0;
    }
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        if (tag == WH_PB_TAG(member, WH_PB_BYTES)) {
            if (!wh_pb_bytes(&reader, &span) || !scan_member(span, (uint32_t)member, scan, extend)) {
                return false;
            }
        } else if (!wh_pb_skip(&reader, tag, WH_PB_DEPTH)) {
            return false;
        }
    }
    return true;
}

static bool scan_unary(wh_span message, int kind, wh_wire_scan *scan, wh_pb_time *extend) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag;
    wh_span span;
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        if (tag == WH_PB_TAG(1, WH_PB_BYTES)) {
            well = wh_pb_string(&reader, &scan->worker);
        } else if (tag == WH_PB_TAG(2, WH_PB_BYTES)) {
            well = wh_pb_string(&reader, &scan->session);
        } else if (tag == WH_PB_TAG(4, WH_PB_BYTES) && kind == WH_OP_RENEW) {
            well = wh_pb_bytes(&reader, &span) && wh_pb_time_merge(extend, span, WH_PB_DEPTH - 1);
        } else {
            scan->count += tag == item_tag(kind, kind);
            well = wh_pb_skip(&reader, tag, WH_PB_DEPTH);
        }
        if (!well) {
            return false;
        }
    }
    return true;
}

static bool scan_message(wh_span message, int kind, wh_wire_scan *scan, wh_pb_time *extend) {
    return kind == WH_SETTLE_STREAM ? scan_stream(message, scan, extend) : scan_unary(message, kind, scan, extend);
}

wh_wire_scan wh_settle_scan(const wh_wire_rules *rules, wh_span message, int kind) {
    wh_wire_scan scan = {.code = WH_OK};
    wh_pb_time extend = {0, 0};
    if (!scan_message(message, kind, &scan, &extend)) {
        scan.code = WH_MALFORMED;
    } else if (scan.count > rules->settles_max) {
        scan.code = WH_BATCH_TOO_LARGE;
    }
    scan.bound = sizeof(batch_head) + (size_t)scan.count * sizeof(settle_head) + message.length;
    return scan;
}

/* Writes the items of one operation from all occurrences of the stream message's member. */
static uint8_t *put_stream(const wh_wire_rules *rules, wh_span message, int op, wh_pb_time extend, uint8_t *out) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t wanted = WH_PB_TAG(op == WH_OP_RENEW ? 4 : 3, WH_PB_BYTES), tag;
    wh_span span;
    while (out && wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return NULL;
        }
        if (tag == wanted) {
            out = wh_pb_bytes(&reader, &span) ? put_items(rules, span, WH_SETTLE_STREAM, op, extend, out) : NULL;
        } else if (!wh_pb_skip(&reader, tag, WH_PB_DEPTH)) {
            return NULL;
        }
    }
    return out;
}

int wh_settle_decode(const wh_wire_rules *rules, wh_span message, int kind, const wh_wire_scan *scan, uint8_t *out, size_t *written) {
    batch_head head = {.count = scan->count};
    wh_wire_scan again = {.code = WH_OK};
    wh_pb_time extend = {0, 0};
    uint8_t *at = out + sizeof head;
    if (!scan_message(message, kind, &again, &extend)) {
        return WH_MALFORMED;
    }
    if (kind == WH_SETTLE_STREAM) {
        for (int op = WH_OP_ACK; at && op <= WH_OP_RENEW; op++) {
            at = put_stream(rules, message, op, extend, at);
        }
    } else {
        at = put_items(rules, message, kind, kind, extend, at);
    }
    if (!at) {
        return WH_MALFORMED;
    }
    memcpy(out, &head, sizeof head);
    *written = (size_t)(at - out);
    return WH_OK;
}

size_t wh_settled_encode_bound(wh_span batch, wh_span results) {
    batch_head head;
    size_t at = sizeof head;
    if (batch.length < sizeof head) {
        return WH_SIZE_INVALID;
    }
    memcpy(&head, batch.data, sizeof head);
    for (uint32_t i = 0; i < head.count; i++) {
        settle_head item;
        if (batch.length - at < sizeof item) {
            return WH_SIZE_INVALID;
        }
        memcpy(&item, batch.data + at, sizeof item);
        at += sizeof item;
        size_t body = (size_t)item.error_length + item.result_length;
        if (batch.length - at < body || ((item.flags & FLAG_REFUSED) && item.error_length > WH_ECHO_BYTES_MAX)) {
            return WH_SIZE_INVALID;
        }
        at += body;
    }
    if (at != batch.length || results.length != (size_t)head.count * sizeof(settle_result)) {
        return WH_SIZE_INVALID;
    }
    return 16 + (size_t)head.count * (2 + ITEM_BYTES_MAX);
}

static uint8_t *put_settled(const wh_wire_rules *rules, const settle_head *item, const uint8_t *echo, const settle_result *result,
                            uint8_t *out) {
    uint8_t *at = wh_pb_put_varint(out, WH_PB_TAG(1, WH_PB_BYTES)), *length = at++;
    if (item->flags & FLAG_REFUSED) {
        wh_span field = rules->fields[item->extend_ms >> 8 & 0xFF];
        at = wh_pb_put_bytes(at, 1, echo, item->error_length);
        at = wh_pb_put_number(at, 2, item->op);
        at = wh_pb_put_number(at, 3, item->extend_ms & 0xFF);
        at = wh_pb_put_bytes(at, 7, field.data, field.length);
    } else {
        at = wh_pb_put_bytes_head(at, 1, WH_TOKEN_BYTES);
        memcpy(at, item->job_id, WH_ID_BYTES);
        memcpy(at + WH_ID_BYTES, &item->fencing, sizeof item->fencing);
        at = wh_pb_put_number(at + WH_TOKEN_BYTES, 2, item->op);
        at = wh_pb_put_number(at, 3, result->code);
        at = wh_pb_put_number(at, 4, result->flags & 1);
        at = wh_pb_put_number(at, 5, result->state);
        at = wh_pb_put_number(at, 6, result->lease_expire_ms);
    }
    *length = (uint8_t)(at - length - 1);
    return at;
}

size_t wh_settled_encode(const wh_wire_rules *rules, int kind, wh_span batch, wh_span results, uint8_t *out) {
    uint8_t head[8], *head_end = head, *body = out + sizeof head, *at = body;
    size_t offset = sizeof(batch_head);
    for (size_t i = 0; i < results.length; i += sizeof(settle_result)) {
        settle_head item;
        settle_result result;
        memcpy(&item, batch.data + offset, sizeof item);
        memcpy(&result, results.data + i, sizeof result);
        offset += sizeof item;
        at = put_settled(rules, &item, batch.data + offset, &result, at);
        offset += (size_t)item.error_length + item.result_length;
    }
    if (kind == WH_ANSWER_STREAM) {
        head_end = wh_pb_put_bytes_head(head, 3, (size_t)(at - body));
    }
    memcpy(out, head, (size_t)(head_end - head));
    memmove(out + (head_end - head), body, (size_t)(at - body));
    return (size_t)(head_end - head + (at - body));
}
