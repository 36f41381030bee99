/* The client's half of the hot messages: what producers and workers write, and how they read what the daemon answers.
 *
 * Owns: nothing; spans point into the message, buffers are the caller's. Does not own: limits, which the daemon enforces. Invariants: no
 * input, however broken, makes a function read or write outside of its buffers; what a reader accepts it reads as protobuf does, and
 * what it does not know it passes over.
 */
#ifndef WH_CLIENT_H
#define WH_CLIENT_H

#include "wh_pb.h"

/* The fields of a NewJob that need no message of their own. Empty ones are not written; a priority may be 0 and stand there. */
typedef struct {
    wh_span queue, type, key, routing_key, trace, name_space;
    uint32_t priority;
    bool has_priority;
} wh_job_words;

/* Bytes that wh_job_words_put writes. */
size_t wh_job_words_size(const wh_job_words *words);
uint8_t *wh_job_words_put(uint8_t *out, const wh_job_words *words);

/* One entry of NewJob.labels. */
size_t wh_label_size(wh_span key, wh_span value);
uint8_t *wh_label_put(uint8_t *out, wh_span key, wh_span value);

/* A NewJob as one `jobs` element of a batch: its head's fields, the payload, and the time in the field `when` (0: none). */
size_t wh_job_element_size(size_t head, size_t payload, uint32_t when, int64_t seconds, int32_t nanos);
uint8_t *wh_job_element_put(uint8_t *out, wh_span head, wh_span payload, uint32_t when, int64_t seconds, int32_t nanos);

/* A JobResult. */
typedef struct {
    wh_span job_id, field;
    uint32_t code;
    bool duplicate;
} wh_job_result;

/* A SubmitJobsResponse without its results. */
typedef struct {
    uint64_t batch_number, retry_delay_ms;
    uint32_t code;
} wh_submit_answer;

/* Reads it; false when it is malformed. The results are looked at by wh_results_next alone. */
bool wh_submit_answer_of(wh_span message, wh_submit_answer *answer);

/* Next result of a SubmitJobsResponse: 1 found, 0 at its end, -1 malformed. */
int wh_results_next(wh_pb_reader *reader, wh_job_result *result);

/* A Lease; spans point into the message. Labels are counted here and read by wh_label_next. */
typedef struct {
    wh_span token, job_id, type, payload, queue, name_space, trace;
    int64_t schedule_ms, expire_ms;
    uint64_t fencing;
    uint32_t attempt, max_attempts, lease_ms, priority, label_count;
    bool redelivery;
} wh_client_lease;

/* The one member of a StreamLeasesResponse. `field` is 0 when there is none, or more than one: for the general parser to say. */
typedef struct {
    uint32_t field;
    wh_span body;
} wh_stream_member;

/* False when the message is malformed. */
bool wh_stream_member_of(wh_span message, wh_stream_member *member);

/* First pass over a LeaseFrame: counts its leases and reads when it fired. False when it is malformed. */
bool wh_lease_frame_scan(wh_span frame, int64_t *fire_time_us, uint32_t *count);

/* The message of the next lease of a scanned frame: 1 found, 0 at its end, -1 malformed. */
int wh_lease_frame_next(wh_pb_reader *reader, wh_span *message);

/* Reads a lease. False when it is malformed. */
bool wh_lease_read(wh_span message, wh_client_lease *lease);

/* Next label of a lease that was read, over its message: 1 found, 0 at its end. */
int wh_label_next(wh_pb_reader *reader, wh_span *key, wh_span *value);

/* A SettledItem. */
typedef struct {
    wh_span token;
    uint32_t operation, code;
} wh_settled_item;

/* Next item of a Settled: 1 found, 0 at its end, -1 malformed. */
int wh_settled_next(wh_pb_reader *reader, wh_settled_item *item);

/* An Ack as an element of Settle. */
size_t wh_ack_size(size_t token, size_t result, uint64_t receive_us);
uint8_t *wh_ack_put(uint8_t *out, wh_span token, wh_span result, uint64_t receive_us);

#endif
