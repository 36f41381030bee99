/*
 * wh_core: the node's state machine in C. What each call decides stands in wheeld.core.api; wheeld.core.reference is the exact
 * specification: the same calls give the same entries, answers and digest.
 *
 * Owns resident jobs, timers, ready queues, leases, streams, recent keys, producer batches and the open group. Never reads a clock,
 * does no I/O, is not thread safe. Inputs are bounds-checked before anything is decided.
 *
 * Results below 0 are the codes here. After WH_CORE_NO_MEMORY in the middle of a decision the core is broken: every later call says
 * so, and the open group can no longer be taken, so that half a decision never reaches the journal.
 */
#ifndef WH_CORE_H
#define WH_CORE_H

#include "wh_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WH_CORE_NO_MEMORY (-1)
#define WH_CORE_MALFORMED (-2)
#define WH_CORE_MISUSED (-3) /* a stream number that another session uses */

enum { WH_MESSAGE_LEASES = 1, WH_MESSAGE_REVOKED = 2 };

typedef struct wh_core wh_core;

typedef struct {
    uint8_t store_uuid[16];
    uint32_t shards;
    uint64_t bucket_width_ms;
    uint64_t resident_bytes_max;
    uint64_t recent_keys_max;
    uint64_t departed_max;
    uint64_t group;
    uint64_t next_seq;
    const uint64_t *index; /* per shard; NULL: zeros */
    uint64_t epoch;
    uint64_t watermark_ms;
    bool has_keys;
    uint64_t now_ms;
    uint64_t boot_ms;
} wh_core_options;

/* Bytes that stay valid until the next call. */
typedef struct {
    const uint8_t *data;
    size_t length;
} wh_bytes;

typedef struct {
    uint64_t stream;
    uint32_t kind;
    size_t bytes_max; /* room that wh_core_release_write needs */
} wh_message;

typedef struct {
    const uint8_t *path;
    size_t path_len;
    bool paused, backlog;
    uint64_t ready, running, spills, streams, credit, oldest_due_ms;
    const uint64_t *release_skew, *receive_skew; /* WH_HISTOGRAM_BUCKETS each; NULL: zeros */
} wh_queue_view;

/* In the order of wheeld.core.api.Counters. */
typedef struct {
    uint64_t submitted, duplicates, refused, granted, released_frames, released_leases, taken_back, redelivered, acked, nacked, renewed,
        stale_settles, lease_expirations, failed, cancelled, expired, rescheduled, spilled, loaded, load_skipped, resident_jobs,
        resident_bytes, leases, ready, armed, streams, open_group_bytes;
} wh_counters;

/* Makes a core. NULL: no memory, or options out of range. */
wh_core *wh_core_new(const wh_core_options *options);

/* Frees the core; NULL is allowed. */
void wh_core_free(wh_core *core);

/* Before wh_core_start: what recovery knew of a queue, and a run of PRODUCER bodies. 0 or an error. */
int wh_core_restore_queue(wh_core *core, const uint8_t *path, size_t length, bool paused, bool backlog);
int wh_core_restore_producers(wh_core *core, const uint8_t *bodies, size_t length);

/* Stages the epoch of every shard. 0 or an error. */
int wh_core_start(wh_core *core, uint64_t now_ms);

/* Number of items in a batch of the whole length given, or WH_CORE_MALFORMED. */
int64_t wh_core_submit_count(const uint8_t *batch, size_t length);
int64_t wh_core_settle_count(const uint8_t *batch, size_t length);

/* Decides a submit batch; `out` has room for WH_SUBMIT_RESULT bytes per item, and 1. Returns the outcome, or an error. */
int wh_core_submit(wh_core *core, uint64_t now_ms, const uint8_t *batch, size_t length, uint8_t *out, size_t *out_len, uint64_t *group);

/* Decides a settle batch; `out` has room for WH_SETTLE_RESULT bytes per item. `session` has 16 bytes. 0 or an error. */
int wh_core_settle(wh_core *core, uint64_t now_ms, uint64_t boot_ms, const uint8_t *session, const uint8_t *batch, size_t length,
                   uint8_t *out, uint64_t *group);

/* 1: call again, 0: all done, or an error. */
int wh_core_tick(wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, bool grants_allowed);

/* Starts giving out messages; no other call may come between this and the last wh_core_release_next. */
void wh_core_release_begin(wh_core *core, uint64_t now_us, uint64_t durable_group, int64_t jobs_max);

/* Finds the next message that may leave. 1, or 0 when there is none left, or an error. */
int wh_core_release_next(wh_core *core, wh_message *message);

/* Writes the message that was found and takes it as given out. Returns its records (0: nothing to send); *written: its bytes. */
uint32_t wh_core_release_write(wh_core *core, uint8_t *out, size_t *written);

uint64_t wh_core_next_wake_ms(const wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, uint64_t durable_group);

/* The open group: its size, its closing when it is not empty (0 or an error), and the barrier. The bytes are the caller's until
   wh_group_free (wh_group.h). */
size_t wh_core_open_group_bytes(const wh_core *core);
int wh_core_take_group(wh_core *core, wh_bytes *taken, uint64_t *group);
uint64_t wh_core_barrier_group(const wh_core *core);

typedef struct {
    uint64_t number;
    const uint8_t *session; /* 16 bytes */
    wh_bytes worker;
    const wh_bytes *queues;
    size_t queue_count;
    int64_t max_jobs, max_bytes;
    uint64_t lease_ms;
    wh_bytes held;
} wh_stream_options;

/* 0 or an error; *gone: REVOKED records. */
int wh_core_open_stream(wh_core *core, uint64_t now_ms, uint64_t boot_ms, const wh_stream_options *options, uint64_t *resumed, wh_bytes *gone);
void wh_core_set_credit(wh_core *core, uint64_t stream, int64_t max_jobs, int64_t max_bytes);
int wh_core_close_stream(wh_core *core, uint64_t now_ms, uint64_t stream);

/* 1 with the row, 0: not resident, or an error. */
int wh_core_get(wh_core *core, uint64_t now_ms, const uint8_t *id, wh_bytes *row);

/* A code of the errors registry (0: done), or an error below 0. `row` of length 0: none. */
int wh_core_cancel(wh_core *core, uint64_t now_ms, const uint8_t *id, wh_bytes row, uint64_t load, wh_bytes *after);
int wh_core_reschedule(wh_core *core, uint64_t now_ms, const uint8_t *id, uint64_t due_ms, wh_bytes row, uint64_t load, wh_bytes *after);
int wh_core_set_queue(wh_core *core, uint64_t now_ms, const uint8_t *path, size_t length, bool paused);

/* Loads: *number and *group of the position to cover. */
int wh_core_begin_load(wh_core *core, uint64_t *number, uint64_t *group);
int wh_core_open_horizon(wh_core *core, uint64_t due_ms, const uint8_t *id, uint64_t *number, uint64_t *group);

/* 0: *taken rows were taken; 1: the load was abandoned; or an error. */
int wh_core_load(wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t number, const uint8_t *rows, size_t length, uint64_t *taken);
void wh_core_end_load(wh_core *core, uint64_t number);
int wh_core_provide_keys(wh_core *core, const uint8_t *records, size_t length);
void wh_core_checkpointed(wh_core *core, uint64_t group);

/* 1: closed, 0: call again, or an error. */
int wh_core_close_before(wh_core *core, uint64_t now_ms, uint64_t watermark_ms, uint64_t entries_max);

/* 1: drained, 0: sweep again, or an error. */
int wh_core_backlog_drained(wh_core *core, const uint8_t *path, size_t length, uint64_t spills);
int wh_core_rebase(wh_core *core, uint64_t now_ms);

void wh_core_horizon(const wh_core *core, uint64_t *due_ms, uint8_t *id);
uint64_t wh_core_watermark_ms(const wh_core *core);

/* Queues in the order in which the core met them. */
size_t wh_core_queue_count(const wh_core *core);
void wh_core_queue_view(const wh_core *core, size_t at, wh_queue_view *view);
void wh_core_counters(const wh_core *core, wh_counters *counters);
uint64_t wh_core_state_hash(const wh_core *core);

/* Bytes allocated for everything but payloads' own records; *records: those. */
size_t wh_core_memory_bytes(const wh_core *core, size_t *records);

/* True when an earlier call ran out of memory in the middle of a decision. */
bool wh_core_broken(const wh_core *core);

#endif
