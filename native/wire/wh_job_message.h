/* A NewJob: read from the wire by merging, checked, and written as a spec record. */
#ifndef WH_JOB_MESSAGE_H
#define WH_JOB_MESSAGE_H

#include "wh_wire.h"

/* A Timestamp or Duration as it came. */
typedef struct {
    int64_t seconds;
    int32_t nanos;
} wh_pb_time;

typedef struct {
    wh_span key, value;
} wh_label;

/* Fields as the wire gave them; spans point into the message. */
typedef struct {
    wh_span queue, type, payload, key, routing_key, trace, name_space;
    wh_pb_time when, start_timeout, lease_duration, initial_backoff, max_backoff;
    double multiplier, jitter;
    uint32_t when_field, priority, max_attempts, label_count;
    bool has_priority, has_initial, has_max, has_jitter, labels_overflow;
    wh_label labels[WH_LABELS_CAP]; /* ascending by key, each key once */
} wh_job_message;

/* Bytes of the longest item that adds nothing of the message's own: heads, and the default names. */
#define WH_ITEM_BYTES_OWN (8 + 56 + 2 * 7 + 1)

/* Makes it empty. The labels' slots are left alone. */
void wh_job_clear(wh_job_message *job);

/* Merges a serialized NewJob into `job`, as protobuf merges. False when it is malformed. */
bool wh_job_merge(wh_job_message *job, wh_span message, int depth);

/* Merges a serialized Timestamp or Duration. */
bool wh_pb_time_merge(wh_pb_time *time, wh_span message, int depth);

/* Whether a Duration is valid (not negative); its ms, rounded up. */
bool wh_pb_span_ms(const wh_pb_time *time, uint64_t *ms);

/* Checks the job and writes ITEM_HEAD and spec, or ITEM_HEAD with the refusal. Returns the bytes written: at most WH_ITEM_BYTES_OWN
 * and the bytes of the message. */
size_t wh_job_write(const wh_wire_rules *rules, const wh_job_message *job, uint64_t latest_ms, uint8_t *out);

#endif
