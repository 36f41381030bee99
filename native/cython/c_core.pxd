# cython: language_level=3
# The C core; what each function promises stands in native/core/wh_core.h.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "wh_group.h" nogil:
    void wh_group_free(void *data)

cdef extern from "wh_core.h" nogil:
    ctypedef struct wh_core:
        pass

    int WH_CORE_NO_MEMORY
    int WH_CORE_MALFORMED
    int WH_CORE_MISUSED
    int WH_HISTOGRAM_BUCKETS
    int WH_SHARDS_MAX

    ctypedef struct wh_core_options:
        uint8_t store_uuid[16]
        uint32_t shards
        uint64_t bucket_width_ms
        uint64_t resident_bytes_max
        uint64_t recent_keys_max
        uint64_t departed_max
        uint64_t group
        uint64_t next_seq
        const uint64_t *index
        uint64_t epoch
        uint64_t watermark_ms
        bint has_keys
        uint64_t now_ms
        uint64_t boot_ms

    ctypedef struct wh_bytes:
        const uint8_t *data
        size_t length

    ctypedef struct wh_message:
        uint64_t stream
        uint32_t kind
        size_t bytes_max

    ctypedef struct wh_queue_view:
        const uint8_t *path
        size_t path_len
        bint paused
        bint backlog
        uint64_t ready
        uint64_t running
        uint64_t spills
        uint64_t streams
        uint64_t credit
        uint64_t oldest_due_ms
        const uint64_t *release_skew
        const uint64_t *receive_skew

    ctypedef struct wh_counters:
        uint64_t submitted

    ctypedef struct wh_stream_options:
        uint64_t number
        const uint8_t *session
        wh_bytes worker
        const wh_bytes *queues
        size_t queue_count
        int64_t max_jobs
        int64_t max_bytes
        uint64_t lease_ms
        wh_bytes held

    wh_core *wh_core_new(const wh_core_options *options)
    void wh_core_free(wh_core *core)
    int wh_core_restore_queue(wh_core *core, const uint8_t *path, size_t length, bint paused, bint backlog)
    int wh_core_restore_producers(wh_core *core, const uint8_t *bodies, size_t length)
    int wh_core_start(wh_core *core, uint64_t now_ms)
    int64_t wh_core_submit_count(const uint8_t *batch, size_t length)
    int64_t wh_core_settle_count(const uint8_t *batch, size_t length)
    int wh_core_submit(wh_core *core, uint64_t now_ms, const uint8_t *batch, size_t length, uint8_t *out, size_t *out_len, uint64_t *group)
    int wh_core_settle(wh_core *core, uint64_t now_ms, uint64_t boot_ms, const uint8_t *session, const uint8_t *batch, size_t length,
                       uint8_t *out, uint64_t *group)
    int wh_core_tick(wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, bint grants_allowed)
    void wh_core_release_begin(wh_core *core, uint64_t now_us, uint64_t durable_group, int64_t jobs_max)
    int wh_core_release_next(wh_core *core, wh_message *message)
    uint32_t wh_core_release_write(wh_core *core, uint8_t *out, size_t *written)
    uint64_t wh_core_next_wake_ms(const wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, uint64_t durable_group)
    size_t wh_core_open_group_bytes(const wh_core *core)
    int wh_core_take_group(wh_core *core, wh_bytes *taken, uint64_t *group)
    uint64_t wh_core_barrier_group(const wh_core *core)
    int wh_core_open_stream(wh_core *core, uint64_t now_ms, uint64_t boot_ms, const wh_stream_options *options, uint64_t *resumed,
                            wh_bytes *gone)
    void wh_core_set_credit(wh_core *core, uint64_t stream, int64_t max_jobs, int64_t max_bytes)
    int wh_core_close_stream(wh_core *core, uint64_t now_ms, uint64_t stream)
    int wh_core_get(wh_core *core, uint64_t now_ms, const uint8_t *id, wh_bytes *row)
    int wh_core_cancel(wh_core *core, uint64_t now_ms, const uint8_t *id, wh_bytes row, uint64_t load, wh_bytes *after)
    int wh_core_reschedule(wh_core *core, uint64_t now_ms, const uint8_t *id, uint64_t due_ms, wh_bytes row, uint64_t load,
                           wh_bytes *after)
    int wh_core_set_queue(wh_core *core, uint64_t now_ms, const uint8_t *path, size_t length, bint paused)
    int wh_core_begin_load(wh_core *core, uint64_t *number, uint64_t *group)
    int wh_core_open_horizon(wh_core *core, uint64_t due_ms, const uint8_t *id, uint64_t *number, uint64_t *group)
    int wh_core_load(wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t number, const uint8_t *rows, size_t length, uint64_t *taken)
    void wh_core_end_load(wh_core *core, uint64_t number)
    int wh_core_provide_keys(wh_core *core, const uint8_t *records, size_t length)
    void wh_core_checkpointed(wh_core *core, uint64_t group)
    int wh_core_close_before(wh_core *core, uint64_t now_ms, uint64_t watermark_ms, uint64_t entries_max)
    int wh_core_backlog_drained(wh_core *core, const uint8_t *path, size_t length, uint64_t spills)
    int wh_core_rebase(wh_core *core, uint64_t now_ms)
    void wh_core_horizon(const wh_core *core, uint64_t *due_ms, uint8_t *id)
    uint64_t wh_core_watermark_ms(const wh_core *core)
    size_t wh_core_queue_count(const wh_core *core)
    void wh_core_queue_view(const wh_core *core, size_t at, wh_queue_view *view)
    void wh_core_counters(const wh_core *core, wh_counters *counters)
    uint64_t wh_core_state_hash(const wh_core *core)
    size_t wh_core_memory_bytes(const wh_core *core, size_t *records)
