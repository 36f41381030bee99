/* What producers and workers write, and how they read what the daemon answers. */
#include "wh_client.h"

/* Fields of NewJob. */
enum {
    JOB_QUEUE = 1, JOB_TYPE = 2, JOB_PAYLOAD = 3, JOB_PRIORITY = 6, JOB_LABELS = 7, JOB_KEY = 8, JOB_ROUTING_KEY = 9, JOB_TRACE = 13,
    JOB_NAMESPACE = 14,
};

/* Field of the jobs in a batch, of the results in its answer, and of a Lease's labels. */
enum { BATCH_JOBS = 3, ANSWER_RESULTS = 2, FRAME_FIRE_TIME = 1, FRAME_LEASES = 2, LEASE_LABELS = 14, SETTLED_ITEMS = 1, SETTLE_ACKS = 1 };

size_t wh_job_words_size(const wh_job_words *words) {
    size_t size = wh_pb_bytes_size(1, words->queue.length) + wh_pb_bytes_size(1, words->type.length) +
                  wh_pb_bytes_size(1, words->key.length) + wh_pb_bytes_size(1, words->routing_key.length) +
                  wh_pb_bytes_size(1, words->trace.length) + wh_pb_bytes_size(1, words->name_space.length);
    return words->has_priority ? size + 1 + wh_pb_varint_size(words->priority) : size;
}

static uint8_t *put_span(uint8_t *out, uint32_t field, wh_span span) {
    return wh_pb_put_bytes(out, field, span.data, span.length);
}

uint8_t *wh_job_words_put(uint8_t *out, const wh_job_words *words) {
    out = put_span(out, JOB_QUEUE, words->queue);
    out = put_span(out, JOB_TYPE, words->type);
    if (words->has_priority) {
        out = wh_pb_put_varint(wh_pb_put_varint(out, WH_PB_TAG(JOB_PRIORITY, WH_PB_VARINT)), words->priority);
    }
    out = put_span(out, JOB_KEY, words->key);
    out = put_span(out, JOB_ROUTING_KEY, words->routing_key);
    out = put_span(out, JOB_TRACE, words->trace);
    return put_span(out, JOB_NAMESPACE, words->name_space);
}

static size_t text_size(size_t length) {
    return 1 + wh_pb_varint_size(length) + length;
}

/* A map entry carries key and value, even empty ones. */
static uint8_t *put_text(uint8_t *out, uint32_t field, wh_span text) {
    out = wh_pb_put_bytes_head(out, field, text.length);
    if (text.length) {
        memcpy(out, text.data, text.length);
    }
    return out + text.length;
}

size_t wh_label_size(wh_span key, wh_span value) {
    return text_size(text_size(key.length) + text_size(value.length));
}

uint8_t *wh_label_put(uint8_t *out, wh_span key, wh_span value) {
    out = wh_pb_put_bytes_head(out, JOB_LABELS, text_size(key.length) + text_size(value.length));
    return put_text(put_text(out, 1, key), 2, value);
}

/* Timestamp and Duration have the same fields; negative numbers are written as 64 bits. */
static size_t time_size(int64_t seconds, int32_t nanos) {
    return wh_pb_number_size(1, (uint64_t)seconds) + wh_pb_number_size(1, (uint64_t)(int64_t)nanos);
}

static size_t element_body(size_t head, size_t payload, uint32_t when, int64_t seconds, int32_t nanos) {
    return head + wh_pb_bytes_size(1, payload) + (when ? text_size(time_size(seconds, nanos)) : 0);
}

size_t wh_job_element_size(size_t head, size_t payload, uint32_t when, int64_t seconds, int32_t nanos) {
    return text_size(element_body(head, payload, when, seconds, nanos));
}

uint8_t *wh_job_element_put(uint8_t *out, wh_span head, wh_span payload, uint32_t when, int64_t seconds, int32_t nanos) {
    out = wh_pb_put_bytes_head(out, BATCH_JOBS, element_body(head.length, payload.length, when, seconds, nanos));
    if (head.length) {
        memcpy(out, head.data, head.length);
    }
    out = put_span(out + head.length, JOB_PAYLOAD, payload);
    if (when) {
        out = wh_pb_put_bytes_head(out, when, time_size(seconds, nanos));
        out = wh_pb_put_number(out, 1, (uint64_t)seconds);
        out = wh_pb_put_number(out, 2, (uint64_t)(int64_t)nanos);
    }
    return out;
}

/* A reader that stands at the next value of the repeated message `field`: its span. 1 found, 0 at the end, -1 malformed. */
static int next_message(wh_pb_reader *reader, uint32_t field, wh_span *span) {
    uint32_t tag;
    while (wh_pb_more(reader)) {
        if (!wh_pb_tag(reader, &tag)) {
            return -1;
        }
        if (tag == WH_PB_TAG(field, WH_PB_BYTES)) {
            return wh_pb_bytes(reader, span) ? 1 : -1;
        }
        if (!wh_pb_skip(reader, tag, WH_PB_DEPTH)) {
            return -1;
        }
    }
    return 0;
}

static bool read_result(wh_span message, wh_job_result *result) {
    wh_pb_reader reader = wh_pb_over(message);
    wh_span reason;
    uint32_t tag;
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        switch (tag) {
        case WH_PB_TAG(1, WH_PB_BYTES): well = wh_pb_string(&reader, &result->job_id); break;
        case WH_PB_TAG(2, WH_PB_VARINT): well = wh_pb_uint32(&reader, &result->code); break;
        case WH_PB_TAG(3, WH_PB_BYTES): well = wh_pb_string(&reader, &result->field); break;
        case WH_PB_TAG(4, WH_PB_VARINT): well = wh_pb_bool(&reader, &result->duplicate); break;
        case WH_PB_TAG(5, WH_PB_BYTES): well = wh_pb_string(&reader, &reason); break;
        default: well = wh_pb_skip(&reader, tag, WH_PB_DEPTH - 1);
        }
        if (!well) {
            return false;
        }
    }
    return true;
}

bool wh_submit_answer_of(wh_span message, wh_submit_answer *answer) {
    wh_pb_reader reader = wh_pb_over(message);
    wh_span span;
    uint32_t tag;
    *answer = (wh_submit_answer){0};
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        switch (tag) {
        case WH_PB_TAG(1, WH_PB_VARINT): well = wh_pb_varint(&reader, &answer->batch_number); break;
        case WH_PB_TAG(3, WH_PB_VARINT): well = wh_pb_uint32(&reader, &answer->code); break;
        case WH_PB_TAG(4, WH_PB_BYTES): well = wh_pb_string(&reader, &span); break;
        case WH_PB_TAG(5, WH_PB_VARINT): well = wh_pb_varint(&reader, &answer->retry_delay_ms); break;
        default: well = wh_pb_skip(&reader, tag, WH_PB_DEPTH);
        }
        if (!well) {
            return false;
        }
    }
    return true;
}

int wh_results_next(wh_pb_reader *reader, wh_job_result *result) {
    wh_span message;
    int found = next_message(reader, ANSWER_RESULTS, &message);
    wh_span none = {reader->at, 0};
    *result = (wh_job_result){.job_id = none, .field = none};
    return found == 1 && !read_result(message, result) ? -1 : found;
}

bool wh_stream_member_of(wh_span message, wh_stream_member *member) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag, members = 0;
    *member = (wh_stream_member){0, {message.data, 0}};
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        if ((tag & 7) == WH_PB_BYTES && tag >> 3 <= 6) {
            if (!wh_pb_bytes(&reader, &member->body)) {
                return false;
            }
            member->field = tag >> 3;
            members++;
        } else if (!wh_pb_skip(&reader, tag, WH_PB_DEPTH)) {
            return false;
        }
    }
    member->field = members == 1 ? member->field : 0;
    return true;
}

bool wh_lease_frame_scan(wh_span frame, int64_t *fire_time_us, uint32_t *count) {
    wh_pb_reader reader = wh_pb_over(frame);
    wh_span lease;
    uint64_t number;
    uint32_t tag;
    *fire_time_us = 0;
    *count = 0;
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        switch (tag) {
        case WH_PB_TAG(FRAME_FIRE_TIME, WH_PB_VARINT):
            well = wh_pb_varint(&reader, &number);
            *fire_time_us = well ? (int64_t)number : 0;
            break;
        case WH_PB_TAG(FRAME_LEASES, WH_PB_BYTES):
            well = wh_pb_bytes(&reader, &lease);
            (*count)++;
            break;
        default:
            well = wh_pb_skip(&reader, tag, WH_PB_DEPTH);
        }
        if (!well) {
            return false;
        }
    }
    return true;
}

/* Reads an entry of a string map; one that holds more than key and value is passed over, as upb does. 1, 0 passed over, -1. */
static int read_label(wh_span entry, int depth, wh_span *key, wh_span *value) {
    wh_pb_reader reader = wh_pb_over(entry);
    uint32_t tag;
    int found = 1;
    *key = *value = (wh_span){entry.data, 0};
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return -1;
        }
        switch (tag) {
        case WH_PB_TAG(1, WH_PB_BYTES): well = wh_pb_string(&reader, key); break;
        case WH_PB_TAG(2, WH_PB_BYTES): well = wh_pb_string(&reader, value); break;
        default: found = 0; well = wh_pb_skip(&reader, tag, depth);
        }
        if (!well) {
            return -1;
        }
    }
    return found;
}

static bool count_label(wh_pb_reader *reader, wh_client_lease *lease) {
    wh_span entry, key, value;
    int found = wh_pb_bytes(reader, &entry) ? read_label(entry, WH_PB_DEPTH - 2, &key, &value) : -1;
    lease->label_count += found == 1;
    return found >= 0;
}

static bool read_lease_field(wh_pb_reader *reader, uint32_t tag, wh_client_lease *lease) {
    uint64_t number;
    bool well;
    switch (tag) {
    case WH_PB_TAG(1, WH_PB_BYTES): return wh_pb_bytes(reader, &lease->token);
    case WH_PB_TAG(2, WH_PB_BYTES): return wh_pb_string(reader, &lease->job_id);
    case WH_PB_TAG(3, WH_PB_BYTES): return wh_pb_string(reader, &lease->type);
    case WH_PB_TAG(4, WH_PB_BYTES): return wh_pb_bytes(reader, &lease->payload);
    case WH_PB_TAG(5, WH_PB_BYTES): return wh_pb_string(reader, &lease->queue);
    case WH_PB_TAG(6, WH_PB_BYTES): return wh_pb_string(reader, &lease->name_space);
    case WH_PB_TAG(7, WH_PB_VARINT): return wh_pb_uint32(reader, &lease->attempt);
    case WH_PB_TAG(8, WH_PB_VARINT): return wh_pb_uint32(reader, &lease->max_attempts);
    case WH_PB_TAG(9, WH_PB_VARINT):
        well = wh_pb_varint(reader, &number);
        lease->schedule_ms = well ? (int64_t)number : 0;
        return well;
    case WH_PB_TAG(10, WH_PB_VARINT):
        well = wh_pb_varint(reader, &number);
        lease->expire_ms = well ? (int64_t)number : 0;
        return well;
    case WH_PB_TAG(11, WH_PB_VARINT): return wh_pb_uint32(reader, &lease->lease_ms);
    case WH_PB_TAG(12, WH_PB_VARINT): return wh_pb_varint(reader, &lease->fencing);
    case WH_PB_TAG(13, WH_PB_VARINT): return wh_pb_uint32(reader, &lease->priority);
    case WH_PB_TAG(LEASE_LABELS, WH_PB_BYTES): return count_label(reader, lease);
    case WH_PB_TAG(15, WH_PB_BYTES): return wh_pb_string(reader, &lease->trace);
    case WH_PB_TAG(16, WH_PB_VARINT): return wh_pb_bool(reader, &lease->redelivery);
    default: return wh_pb_skip(reader, tag, WH_PB_DEPTH - 2);
    }
}

int wh_lease_frame_next(wh_pb_reader *reader, wh_span *message) {
    return next_message(reader, FRAME_LEASES, message);
}

bool wh_lease_read(wh_span message, wh_client_lease *lease) {
    wh_pb_reader fields = wh_pb_over(message);
    wh_span none = {message.data, 0};
    uint32_t tag;
    *lease = (wh_client_lease){none, none, none, none, none, none, none, .label_count = 0};
    while (wh_pb_more(&fields)) {
        if (!wh_pb_tag(&fields, &tag) || !read_lease_field(&fields, tag, lease)) {
            return false;
        }
    }
    return true;
}

int wh_label_next(wh_pb_reader *reader, wh_span *key, wh_span *value) {
    wh_span entry;
    while (next_message(reader, LEASE_LABELS, &entry) == 1) {
        if (read_label(entry, WH_PB_DEPTH - 2, key, value) == 1) {
            return 1;
        }
    }
    return 0;
}

static bool read_settled_field(wh_pb_reader *reader, uint32_t tag, wh_settled_item *item) {
    wh_span field;
    switch (tag) {
    case WH_PB_TAG(1, WH_PB_BYTES): return wh_pb_bytes(reader, &item->token);
    case WH_PB_TAG(2, WH_PB_VARINT): return wh_pb_uint32(reader, &item->operation);
    case WH_PB_TAG(3, WH_PB_VARINT): return wh_pb_uint32(reader, &item->code);
    case WH_PB_TAG(7, WH_PB_BYTES): return wh_pb_string(reader, &field);
    default: return wh_pb_skip(reader, tag, WH_PB_DEPTH - 2);
    }
}

int wh_settled_next(wh_pb_reader *reader, wh_settled_item *item) {
    wh_span message;
    uint32_t tag;
    int found = next_message(reader, SETTLED_ITEMS, &message);
    *item = (wh_settled_item){.token = {reader->at, 0}};
    if (found != 1) {
        return found;
    }
    wh_pb_reader fields = wh_pb_over(message);
    while (wh_pb_more(&fields)) {
        if (!wh_pb_tag(&fields, &tag) || !read_settled_field(&fields, tag, item)) {
            return -1;
        }
    }
    return 1;
}

static size_t ack_body(size_t token, size_t result, uint64_t receive_us) {
    return wh_pb_bytes_size(1, token) + wh_pb_bytes_size(1, result) + (receive_us ? 1 + sizeof receive_us : 0);
}

size_t wh_ack_size(size_t token, size_t result, uint64_t receive_us) {
    return text_size(ack_body(token, result, receive_us));
}

uint8_t *wh_ack_put(uint8_t *out, wh_span token, wh_span result, uint64_t receive_us) {
    out = wh_pb_put_bytes_head(out, SETTLE_ACKS, ack_body(token.length, result.length, receive_us));
    out = put_span(put_span(out, 1, token), 2, result);
    if (receive_us) {
        *out++ = WH_PB_TAG(3, WH_PB_FIXED64);
        memcpy(out, &receive_us, sizeof receive_us);
        out += sizeof receive_us;
    }
    return out;
}
