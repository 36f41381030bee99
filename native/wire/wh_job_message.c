/* Reading a NewJob: field by field, as protobuf merges. */
#include "wh_job_message.h"

void wh_job_clear(wh_job_message *job) {
    memset(job, 0, offsetof(wh_job_message, labels));
}

bool wh_pb_time_merge(wh_pb_time *time, wh_span message, int depth) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag;
    uint64_t number;
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        switch (tag) {
        case WH_PB_TAG(1, WH_PB_VARINT):
            if (!wh_pb_varint(&reader, &number)) {
                return false;
            }
            time->seconds = (int64_t)number;
            break;
        case WH_PB_TAG(2, WH_PB_VARINT):
            if (!wh_pb_varint(&reader, &number)) {
                return false;
            }
            time->nanos = (int32_t)(uint32_t)number;
            break;
        default:
            if (!wh_pb_skip(&reader, tag, depth)) {
                return false;
            }
        }
    }
    return true;
}

static bool read_time(wh_pb_reader *reader, wh_pb_time *time, int depth) {
    wh_span span;
    return wh_pb_bytes(reader, &span) && wh_pb_time_merge(time, span, depth - 1);
}

static bool read_double(wh_pb_reader *reader, double *value) {
    uint64_t bits;
    if (!wh_pb_fixed64(reader, &bits)) {
        return false;
    }
    memcpy(value, &bits, sizeof bits);
    return true;
}

static bool merge_policy(wh_job_message *job, wh_span message, int depth) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag;
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        switch (tag) {
        case WH_PB_TAG(1, WH_PB_VARINT):
            well = wh_pb_uint32(&reader, &job->max_attempts);
            break;
        case WH_PB_TAG(2, WH_PB_BYTES):
            job->has_initial = true;
            well = read_time(&reader, &job->initial_backoff, depth);
            break;
        case WH_PB_TAG(3, WH_PB_BYTES):
            job->has_max = true;
            well = read_time(&reader, &job->max_backoff, depth);
            break;
        case WH_PB_TAG(4, WH_PB_FIXED64):
            well = read_double(&reader, &job->multiplier);
            break;
        case WH_PB_TAG(5, WH_PB_FIXED64):
            job->has_jitter = true;
            well = read_double(&reader, &job->jitter);
            break;
        default:
            well = wh_pb_skip(&reader, tag, depth);
        }
        if (!well) {
            return false;
        }
    }
    return true;
}

static int compare_spans(wh_span left, wh_span right) {
    size_t common = left.length < right.length ? left.length : right.length;
    int order = common ? memcmp(left.data, right.data, common) : 0;
    return order ? order : (left.length > right.length) - (left.length < right.length);
}

/* Keeps the labels in order of key; a key that comes again takes the new value. */
static void put_label(wh_job_message *job, wh_label label) {
    uint32_t at = job->label_count;
    while (at > 0) {
        int order = compare_spans(job->labels[at - 1].key, label.key);
        if (order == 0) {
            job->labels[at - 1] = label;
            return;
        }
        if (order < 0) {
            break;
        }
        at--;
    }
    if (job->label_count == WH_LABELS_CAP) {
        job->labels_overflow = true;
        return;
    }
    memmove(job->labels + at + 1, job->labels + at, (job->label_count - at) * sizeof label);
    job->labels[at] = label;
    job->label_count++;
}

/* An entry that holds more than key and value is passed over, as upb does: the oracle in the tests, and what Python clients run. */
static bool merge_label(wh_job_message *job, wh_span entry, int depth) {
    wh_pb_reader reader = wh_pb_over(entry);
    bool more = false;
    wh_label label = {{entry.data, 0}, {entry.data, 0}};
    uint32_t tag;
    while (wh_pb_more(&reader)) {
        bool well;
        if (!wh_pb_tag(&reader, &tag)) {
            return false;
        }
        switch (tag) {
        case WH_PB_TAG(1, WH_PB_BYTES):
            well = wh_pb_string(&reader, &label.key);
            break;
        case WH_PB_TAG(2, WH_PB_BYTES):
            well = wh_pb_string(&reader, &label.value);
            break;
        default:
            more = true;
            well = wh_pb_skip(&reader, tag, depth);
        }
        if (!well) {
            return false;
        }
    }
    if (!more) {
        put_label(job, label);
    }
    return true;
}

/* A member of the oneof: one that follows another member begins empty, one that follows itself merges. */
static bool read_when(wh_pb_reader *reader, wh_job_message *job, uint32_t field, int depth) {
    if (job->when_field != field) {
        job->when_field = field;
        job->when = (wh_pb_time){0, 0};
    }
    return read_time(reader, &job->when, depth);
}

static bool read_field(wh_pb_reader *reader, wh_job_message *job, uint32_t tag, int depth) {
    wh_span span;
    switch (tag) {
    case WH_PB_TAG(1, WH_PB_BYTES):
        return wh_pb_string(reader, &job->queue);
    case WH_PB_TAG(2, WH_PB_BYTES):
        return wh_pb_string(reader, &job->type);
    case WH_PB_TAG(3, WH_PB_BYTES):
        return wh_pb_bytes(reader, &job->payload);
    case WH_PB_TAG(4, WH_PB_BYTES):
    case WH_PB_TAG(5, WH_PB_BYTES):
        return read_when(reader, job, tag >> 3, depth);
    case WH_PB_TAG(6, WH_PB_VARINT):
        job->has_priority = true;
        return wh_pb_uint32(reader, &job->priority);
    case WH_PB_TAG(7, WH_PB_BYTES):
        return wh_pb_bytes(reader, &span) && merge_label(job, span, depth - 1);
    case WH_PB_TAG(8, WH_PB_BYTES):
        return wh_pb_string(reader, &job->key);
    case WH_PB_TAG(9, WH_PB_BYTES):
        return wh_pb_string(reader, &job->routing_key);
    case WH_PB_TAG(10, WH_PB_BYTES):
        return read_time(reader, &job->start_timeout, depth);
    case WH_PB_TAG(11, WH_PB_BYTES):
        return wh_pb_bytes(reader, &span) && merge_policy(job, span, depth - 1);
    case WH_PB_TAG(12, WH_PB_BYTES):
        return read_time(reader, &job->lease_duration, depth);
    case WH_PB_TAG(13, WH_PB_BYTES):
        return wh_pb_string(reader, &job->trace);
    case WH_PB_TAG(14, WH_PB_BYTES):
        return wh_pb_string(reader, &job->name_space);
    default:
        return wh_pb_skip(reader, tag, depth);
    }
}

bool wh_job_merge(wh_job_message *job, wh_span message, int depth) {
    wh_pb_reader reader = wh_pb_over(message);
    uint32_t tag;
    while (wh_pb_more(&reader)) {
        if (!wh_pb_tag(&reader, &tag) || !read_field(&reader, job, tag, depth)) {
            return false;
        }
    }
    return true;
}
