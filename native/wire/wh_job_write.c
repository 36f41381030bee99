/* Checking a NewJob and writing it as a spec record. The order of the checks is that of src/wheeld/wire/checks.py. */
#include <assert.h>

#include "wh_job_message.h"

#define SECOND_MS 1000u
#define NANOS_PER_MS 1000000
#define NANOS_PER_SECOND 1000000000
#define TIMESTAMP_SECONDS_MAX 253402300799
#define DURATION_SECONDS_MAX 315576000000
#define FLAG_DELAY 1
#define FLAG_EXPIRE_AFTER 2
#define SPEC_VERSION 1

/* model/spec.py SPEC_HEAD and model/batch.py ITEM_HEAD. */
typedef struct {
    uint8_t version, flags, priority, queue_length, type_length, key_length;
    uint16_t labels_length;
    uint64_t schedule_ms, create_ms, expire_ms;
    uint32_t payload_length;
    uint16_t max_attempts, backoff_percent;
    uint32_t backoff_initial_ms, backoff_max_ms, lease_ms;
    uint8_t jitter_percent, trace_length;
    uint16_t routing_length;
} spec_head;

typedef struct {
    uint32_t length;
    uint8_t code, field;
    uint16_t zero;
} item_head;

static_assert(sizeof(spec_head) == 56 && sizeof(item_head) == 8, "as the Python side packs them");

typedef struct {
    int code, field;
} refusal;

#define ACCEPTED ((refusal){WH_OK, WH_FIELD_NONE})
#define INVALID(name) ((refusal){WH_FIELD_INVALID, (name)})

static const wh_span DEFAULT_NAME = {(const uint8_t *)"default", 7};

static bool name_byte(uint8_t byte, bool first) {
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9')) {
        return true;
    }
    return !first && (byte == '_' || byte == '.' || byte == '-');
}

static bool name_valid(wh_span name, uint32_t most) {
    if (name.length > most) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        if (!name_byte(name.data[i], i == 0)) {
            return false;
        }
    }
    return true;
}

static bool type_valid(wh_span type, uint32_t most) {
    if (!type.length || type.length > most) {
        return false;
    }
    for (size_t i = 0; i < type.length; i++) {
        if (type.data[i] < 0x20 || type.data[i] == 0x7F) {
            return false;
        }
    }
    return true;
}

static uint64_t to_ms(const wh_pb_time *time) {
    return (uint64_t)time->seconds * SECOND_MS + (uint64_t)((time->nanos + NANOS_PER_MS - 1) / NANOS_PER_MS);
}

static bool time_within(const wh_pb_time *time, int64_t seconds_max) {
    return time->seconds >= 0 && time->seconds <= seconds_max && time->nanos >= 0 && time->nanos < NANOS_PER_SECOND;
}

bool wh_pb_span_ms(const wh_pb_time *time, uint64_t *ms) {
    if (!time_within(time, DURATION_SECONDS_MAX)) {
        return false;
    }
    *ms = to_ms(time);
    return true;
}

static refusal check_names(const wh_wire_rules *rules, const wh_job_message *job) {
    if (!name_valid(job->name_space, rules->name_bytes_max)) {
        return INVALID(WH_FIELD_NAMESPACE);
    }
    if (!name_valid(job->queue, rules->name_bytes_max)) {
        return INVALID(WH_FIELD_QUEUE);
    }
    if (!type_valid(job->type, rules->type_bytes_max)) {
        return INVALID(WH_FIELD_TYPE);
    }
    if (job->payload.length > rules->payload_bytes_max) {
        return (refusal){WH_PAYLOAD_TOO_LARGE, WH_FIELD_PAYLOAD};
    }
    return ACCEPTED;
}

static refusal check_times(const wh_wire_rules *rules, const wh_job_message *job, uint64_t latest_ms, spec_head *head) {
    head->priority = (uint8_t)(job->has_priority ? job->priority : rules->priority_default);
    if (job->has_priority && job->priority > rules->priority_max) {
        return INVALID(WH_FIELD_PRIORITY);
    }
    if (job->when_field == 4) {
        if (!time_within(&job->when, TIMESTAMP_SECONDS_MAX)) {
            return INVALID(WH_FIELD_SCHEDULE_TIME);
        }
        head->schedule_ms = to_ms(&job->when);
        if (latest_ms && head->schedule_ms > latest_ms) {
            return (refusal){WH_SCHEDULE_TOO_FAR, WH_FIELD_SCHEDULE_TIME};
        }
    } else if (job->when_field == 5) {
        if (!wh_pb_span_ms(&job->when, &head->schedule_ms)) {
            return INVALID(WH_FIELD_DELAY);
        }
        if (head->schedule_ms > rules->schedule_ahead_ms_max) {
            return (refusal){WH_SCHEDULE_TOO_FAR, WH_FIELD_DELAY};
        }
        head->flags |= FLAG_DELAY;
    }
    if (!wh_pb_span_ms(&job->start_timeout, &head->expire_ms) || head->expire_ms > rules->schedule_ahead_ms_max) {
        return INVALID(WH_FIELD_EXPIRE);
    }
    head->flags |= head->expire_ms ? FLAG_EXPIRE_AFTER : 0;
    return ACCEPTED;
}

static refusal check_labels(const wh_wire_rules *rules, const wh_job_message *job, size_t *block) {
    if (job->labels_overflow || job->label_count > rules->labels_max) {
        return INVALID(WH_FIELD_LABELS);
    }
    *block = 0;
    for (uint32_t i = 0; i < job->label_count; i++) {
        const wh_label *label = &job->labels[i];
        if (!label->key.length || label->key.length > rules->label_key_bytes_max ||
            label->value.length > rules->label_value_bytes_max) {
            return INVALID(WH_FIELD_LABELS);
        }
        *block += 2 + label->key.length + label->value.length;
    }
    return *block > rules->labels_bytes_max ? INVALID(WH_FIELD_LABELS) : ACCEPTED;
}

/* A share as hundredths, rounded half up; NaN is out of every bound. */
static bool to_percent(double value, uint32_t least, uint32_t most, uint32_t *percent) {
    if (!(value >= least / 100.0 && value <= most / 100.0)) {
        return false;
    }
    *percent = (uint32_t)(value * 100 + 0.5);
    return true;
}

static refusal check_policy(const wh_wire_rules *rules, const wh_job_message *job, spec_head *head) {
    uint64_t initial_ms = rules->backoff_initial_ms_default, most_ms = rules->backoff_ms_max_default;
    uint32_t percent = rules->backoff_percent_default, jitter = rules->jitter_percent_default;
    if (job->max_attempts > rules->attempts_max) {
        return INVALID(WH_FIELD_RETRY_POLICY);
    }
    if (job->has_initial &&
        (!wh_pb_span_ms(&job->initial_backoff, &initial_ms) || initial_ms > rules->backoff_ms_limit)) {
        return INVALID(WH_FIELD_RETRY_POLICY);
    }
    most_ms = most_ms > initial_ms ? most_ms : initial_ms;
    if (job->has_max && (!wh_pb_span_ms(&job->max_backoff, &most_ms) || most_ms < initial_ms ||
                         most_ms > rules->backoff_ms_limit)) {
        return INVALID(WH_FIELD_RETRY_POLICY);
    }
    if (job->multiplier != 0 &&
        !to_percent(job->multiplier, rules->backoff_percent_min, rules->backoff_percent_max, &percent)) {
        return INVALID(WH_FIELD_RETRY_POLICY);
    }
    if (job->has_jitter && !to_percent(job->jitter, 0, 100, &jitter)) {
        return INVALID(WH_FIELD_RETRY_POLICY);
    }
    head->max_attempts = (uint16_t)(job->max_attempts ? job->max_attempts : rules->attempts_default);
    head->backoff_initial_ms = (uint32_t)initial_ms;
    head->backoff_max_ms = (uint32_t)most_ms;
    head->backoff_percent = (uint16_t)percent;
    head->jitter_percent = (uint8_t)jitter;
    return ACCEPTED;
}

static refusal check_lease(const wh_wire_rules *rules, const wh_job_message *job, spec_head *head) {
    uint64_t lease_ms;
    if (!wh_pb_span_ms(&job->lease_duration, &lease_ms) || lease_ms > rules->lease_ms_max ||
        (lease_ms && lease_ms < rules->lease_ms_min)) {
        return INVALID(WH_FIELD_LEASE_DURATION);
    }
    head->lease_ms = (uint32_t)lease_ms;
    return job->trace.length > rules->trace_bytes_max ? INVALID(WH_FIELD_TRACE_CONTEXT) : ACCEPTED;
}

static refusal check_job(const wh_wire_rules *rules, const wh_job_message *job, uint64_t latest_ms, spec_head *head) {
    size_t labels_length = 0;
    refusal found = check_names(rules, job);
    if (!found.code) {
        found = check_times(rules, job, latest_ms, head);
    }
    if (!found.code && job->key.length > rules->key_bytes_max) {
        found = INVALID(WH_FIELD_IDEMPOTENCY_KEY);
    }
    if (!found.code && job->routing_key.length > rules->routing_key_bytes_max) {
        found = INVALID(WH_FIELD_ROUTING_KEY);
    }
    if (!found.code) {
        found = check_labels(rules, job, &labels_length);
    }
    if (!found.code) {
        found = check_policy(rules, job, head);
    }
    if (!found.code) {
        found = check_lease(rules, job, head);
    }
    head->labels_length = (uint16_t)labels_length;
    return found;
}

static uint8_t *put_span(uint8_t *out, wh_span span) {
    if (span.length) {
        memcpy(out, span.data, span.length);
    }
    return out + span.length;
}

static uint8_t *put_labels(uint8_t *out, const wh_job_message *job) {
    for (uint32_t i = 0; i < job->label_count; i++) {
        *out++ = (uint8_t)job->labels[i].key.length;
        out = put_span(out, job->labels[i].key);
        *out++ = (uint8_t)job->labels[i].value.length;
        out = put_span(out, job->labels[i].value);
    }
    return out;
}

size_t wh_job_write(const wh_wire_rules *rules, const wh_job_message *job, uint64_t latest_ms, uint8_t *out) {
    spec_head head = {.version = SPEC_VERSION};
    refusal found = check_job(rules, job, latest_ms, &head);
    item_head item = {.code = (uint8_t)found.code, .field = (uint8_t)found.field};
    wh_span name_space = job->name_space.length ? job->name_space : DEFAULT_NAME;
    wh_span queue = job->queue.length ? job->queue : DEFAULT_NAME;
    uint8_t *at = out + sizeof item;
    if (!found.code) {
        head.queue_length = (uint8_t)(name_space.length + 1 + queue.length);
        head.type_length = (uint8_t)job->type.length;
        head.key_length = (uint8_t)job->key.length;
        head.routing_length = (uint16_t)job->routing_key.length;
        head.trace_length = (uint8_t)job->trace.length;
        head.payload_length = (uint32_t)job->payload.length;
        memcpy(at, &head, sizeof head);
        at = put_span(at + sizeof head, name_space);
        *at++ = '/';
        at = put_span(at, queue);
        at = put_span(at, job->type);
        at = put_span(at, job->key);
        at = put_span(at, job->routing_key);
        at = put_labels(at, job);
        at = put_span(at, job->trace);
        at = put_span(at, job->payload);
        item.length = (uint32_t)(at - out - sizeof item);
    }
    memcpy(out, &item, sizeof item);
    return (size_t)(at - out);
}
