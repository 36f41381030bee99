/* The hot codec: protobuf messages to packed batches and back. src/wheeld/model/batch.py has the layouts, codec.py the meaning.
 *
 * Owns: nothing; every buffer is the caller's. Sizing comes first (`*_bound`, `*_size`), then writing, so that the output is written
 * once, into its last place. Invariant: no input, however broken, makes a function read or write outside of its buffers.
 */
#ifndef WH_WIRE_H
#define WH_WIRE_H

#include "wh_pb.h"

/* Numbers of the errors registry and of its fields that the codec itself gives. */
enum {
    WH_OK = 0, WH_MALFORMED = 1, WH_FIELD_INVALID = 2, WH_PAYLOAD_TOO_LARGE = 3, WH_SCHEDULE_TOO_FAR = 4, WH_BATCH_TOO_LARGE = 5,
    WH_TOKEN_UNKNOWN = 14,
};
enum {
    WH_FIELD_NONE, WH_FIELD_QUEUE, WH_FIELD_TYPE, WH_FIELD_PAYLOAD, WH_FIELD_PRIORITY, WH_FIELD_SCHEDULE_TIME, WH_FIELD_DELAY,
    WH_FIELD_EXPIRE, WH_FIELD_IDEMPOTENCY_KEY, WH_FIELD_ROUTING_KEY, WH_FIELD_LABELS, WH_FIELD_RETRY_POLICY,
    WH_FIELD_LEASE_DURATION, WH_FIELD_TRACE_CONTEXT, WH_FIELD_NAMESPACE, WH_FIELD_LEASE_TOKEN, WH_FIELD_RETRY_DELAY,
    WH_FIELD_ERROR_MESSAGE, WH_FIELD_RESULT,
};
enum { WH_SUBMIT_CREATE = 1, WH_SUBMIT_BATCH = 2, WH_SUBMIT_STREAM = 3 };
enum { WH_SETTLE_STREAM = 0, WH_OP_ACK = 1, WH_OP_NACK = 2, WH_OP_RELEASE = 3, WH_OP_RENEW = 4 };
enum { WH_ANSWER_STREAM = 0, WH_ANSWER_UNARY = 1 };

#define WH_ID_BYTES 16
#define WH_ID_TEXT 26
#define WH_TOKEN_BYTES 24
#define WH_ECHO_BYTES_MAX 64
#define WH_LABELS_CAP 32
#define WH_WORD_BYTES_MAX 32
#define WH_SIZE_INVALID ((size_t)-1)

/* The bounds and defaults of model/limits.py and the words of model/errors.py; one source, handed over at import. */
typedef struct {
    uint64_t schedule_ahead_ms_max;
    uint32_t name_bytes_max, type_bytes_max, key_bytes_max, routing_key_bytes_max;
    uint32_t labels_max, label_key_bytes_max, label_value_bytes_max, labels_bytes_max;
    uint32_t trace_bytes_max, payload_bytes_max, priority_max, priority_default;
    uint32_t attempts_default, attempts_max, backoff_initial_ms_default, backoff_ms_max_default, backoff_ms_limit;
    uint32_t backoff_percent_default, backoff_percent_min, backoff_percent_max, jitter_percent_default;
    uint32_t lease_ms_min, lease_ms_max, error_bytes_max, result_bytes_max, settles_max, batch_jobs_max;
    wh_span reasons[256]; /* by code; none longer than WH_WORD_BYTES_MAX */
    wh_span fields[256];  /* by field */
} wh_wire_rules;

/* What the first pass over a message finds. */
typedef struct {
    int code;
    uint32_t count;
    size_t bound; /* bytes that the packed batch takes at most */
    uint64_t batch_number;
    wh_span session; /* producer session, or the worker's session */
    wh_span worker;
} wh_wire_scan;

/* First pass over a submit: counts, finds the session, validates the top level. */
wh_wire_scan wh_submit_scan(const wh_wire_rules *rules, wh_span message, int kind);

/* Writes the batch of a scanned message to `out`, which has `scan->bound` bytes. `session16`: what the head is to say. Returns
 * WH_OK and the bytes written, or WH_MALFORMED. */
int wh_submit_decode(const wh_wire_rules *rules, wh_span message, int kind, const wh_wire_scan *scan, const uint8_t *session16,
                     uint64_t latest_ms, uint8_t *out, size_t *written);

/* Bytes that wh_submit_encode writes at most, or WH_SIZE_INVALID when `results` is not whole. */
size_t wh_submit_encode_bound(wh_span results, int kind);

/* Writes the response of a submit; returns the bytes written. CREATE needs one result and may name its time. */
size_t wh_submit_encode(const wh_wire_rules *rules, int kind, uint64_t batch_number, wh_span results, uint64_t schedule_ms,
                        uint8_t *out);

/* The member of a StreamLeasesRequest (field number), 0 for none, -1 for a malformed message or one with several members. */
int wh_stream_peek(wh_span message);

/* First pass over a settle, as wh_submit_scan. */
wh_wire_scan wh_settle_scan(const wh_wire_rules *rules, wh_span message, int kind);

/* Writes the settle batch of a scanned message to `out`, as wh_submit_decode. */
int wh_settle_decode(const wh_wire_rules *rules, wh_span message, int kind, const wh_wire_scan *scan, uint8_t *out, size_t *written);

/* Bytes that wh_settled_encode writes at most, or WH_SIZE_INVALID when batch and results do not fit together. */
size_t wh_settled_encode_bound(wh_span batch, wh_span results);

/* Writes the answer to a settle batch; returns the bytes written. */
size_t wh_settled_encode(const wh_wire_rules *rules, int kind, wh_span batch, wh_span results, uint8_t *out);

/* Bytes of the message that wh_leases_encode writes, or WH_SIZE_INVALID when the frame is broken; `body` gets those of the frame. */
size_t wh_leases_size(int kind, wh_span frame, int64_t fire_time_us, size_t *body);

/* Writes a frame that wh_leases_size has measured. */
void wh_leases_encode(int kind, wh_span frame, int64_t fire_time_us, size_t body, uint8_t *out);

/* Bytes of the message that wh_revoked_encode writes, or WH_SIZE_INVALID. */
size_t wh_revoked_size(wh_span revoked);

/* Writes revocations as a stream message. */
void wh_revoked_encode(wh_span revoked, uint8_t *out);

/* An id as 26 characters of Crockford base32. */
void wh_id_text(const uint8_t *id, uint8_t *text);

#endif
