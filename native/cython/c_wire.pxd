"""C declarations of native/wire."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "wh_wire.h" nogil:
    ctypedef struct wh_span:
        const uint8_t *data
        size_t length

    ctypedef struct wh_wire_rules:
        uint64_t schedule_ahead_ms_max
        uint32_t name_bytes_max, type_bytes_max, key_bytes_max, routing_key_bytes_max
        uint32_t labels_max, label_key_bytes_max, label_value_bytes_max, labels_bytes_max
        uint32_t trace_bytes_max, payload_bytes_max, priority_max, priority_default
        uint32_t attempts_default, attempts_max, backoff_initial_ms_default, backoff_ms_max_default, backoff_ms_limit
        uint32_t backoff_percent_default, backoff_percent_min, backoff_percent_max, jitter_percent_default
        uint32_t lease_ms_min, lease_ms_max, error_bytes_max, result_bytes_max, settles_max, batch_jobs_max
        wh_span reasons[256]
        wh_span fields[256]

    ctypedef struct wh_wire_scan:
        int code
        uint32_t count
        size_t bound
        uint64_t batch_number
        wh_span session
        wh_span worker

    int WH_LABELS_CAP, WH_WORD_BYTES_MAX
    size_t WH_SIZE_INVALID

    wh_wire_scan wh_submit_scan(const wh_wire_rules *rules, wh_span message, int kind)
    int wh_submit_decode(const wh_wire_rules *rules, wh_span message, int kind, const wh_wire_scan *scan,
                         const uint8_t *session16, uint64_t latest_ms, uint8_t *out, size_t *written)
    size_t wh_submit_encode_bound(wh_span results, int kind)
    size_t wh_submit_encode(const wh_wire_rules *rules, int kind, uint64_t batch_number, wh_span results,
                            uint64_t schedule_ms, uint8_t *out)
    int wh_stream_peek(wh_span message)
    wh_wire_scan wh_settle_scan(const wh_wire_rules *rules, wh_span message, int kind)
    int wh_settle_decode(const wh_wire_rules *rules, wh_span message, int kind, const wh_wire_scan *scan, uint8_t *out,
                         size_t *written)
    size_t wh_settled_encode_bound(wh_span batch, wh_span results)
    size_t wh_settled_encode(const wh_wire_rules *rules, int kind, wh_span batch, wh_span results, uint8_t *out)
    size_t wh_leases_size(int kind, wh_span frame, int64_t fire_time_us, size_t *body)
    void wh_leases_encode(int kind, wh_span frame, int64_t fire_time_us, size_t body, uint8_t *out)
    size_t wh_revoked_size(wh_span revoked)
    void wh_revoked_encode(wh_span revoked, uint8_t *out)
