/* The core's state: what it keeps of jobs, leases, queues, streams, keys and loads. Layout only; nobody outside of the core includes this. */
#ifndef WH_CORE_STATE_H
#define WH_CORE_STATE_H

#include "wh_toucher.h"
#include "wh_core.h"
#include "wh_group.h"
#include "wh_model.h"
#include "wh_pool.h"
#include "wh_records.h"
#include "wh_wheel.h"

enum { WH_LEVELS_COUNT = WH_PRIORITY_MAX + 1 };

/* A job id as two big endian halves, so that numbers compare as the bytes do. */
typedef struct {
    uint64_t hi; /* shard u16 | bucket u32 | upper u16 of seq */
    uint64_t lo; /* lower u48 of seq | reserved u16 */
} wh_id;

/* Bits of wh_job.flags. A job is READY, or LEASED, or waits for its time; ARMED says that the wheel holds its time or its expiry. */
enum { WH_JOB_BACKLOG = 1, WH_JOB_READY = 2, WH_JOB_LEASED = 4, WH_JOB_ARMED = 8, WH_JOB_EXPIRES = 16 };

typedef struct {
    wh_id id;
    uint64_t due_ms;
    uint8_t *spec; /* NULL: the slot is free */
    uint64_t stamp; /* READY: push number; LEASED: reference of the lease */
    uint32_t queue;
    uint16_t attempt;
    uint8_t flags;
    uint8_t priority;
} wh_job;
_Static_assert(sizeof(wh_job) == 48, "a resident job costs 48 bytes");

typedef struct {
    uint32_t job;
    uint32_t session;
    uint64_t fencing; /* 0: the slot is free */
    uint64_t fire_ms;
    uint32_t lease_ms;
    uint32_t previous, next; /* of the session, in order of granting */
    bool delivered, redelivery, held;
} wh_lease;

typedef struct {
    uint64_t place;
    uint64_t number;
    uint32_t job;
} wh_ready;

typedef struct {
    wh_ready *run; /* [head, length) */
    size_t head, length, capacity, marked;
    wh_ready *heap;
    size_t heap_length, heap_capacity;
    wh_ready high; /* the least urgent that the heap got since it was last empty */
} wh_level;

typedef struct wh_stream wh_stream;

typedef struct {
    uint8_t *path;
    uint8_t path_len;
    bool met, paused, backlog;
    bool small; /* while the horizon is lowered: it held little before that */
    uint16_t occupied; /* bit per level that has entries */
    uint64_t spills, running, ready, ready_bytes;
    uint64_t held; /* bytes of all its resident jobs */
    wh_stream **streams;
    size_t stream_count, stream_capacity, turn;
    wh_level levels[WH_LEVELS_COUNT];
    uint64_t *release_skew, *receive_skew; /* NULL until the first value */
} wh_queue;

typedef struct {
    uint8_t name[16];
    uint32_t reference;
    uint8_t worker_len;
    uint8_t worker[255];
    uint32_t first, last; /* leases */
    uint64_t lease_count, bytes_outstanding;
    wh_stream *stream;
} wh_session;

typedef struct {
    uint32_t lease;
    uint64_t fencing;
} wh_frame_lease;

typedef struct wh_frame {
    struct wh_frame *next;
    uint64_t release_ms, group;
    size_t bytes;
    uint32_t count, capacity;
    wh_frame_lease *leases;
} wh_frame;

typedef struct {
    uint64_t group;
    wh_id id;
    uint64_t fencing;
    uint8_t code;
} wh_revoked;

struct wh_stream {
    wh_stream *previous, *next; /* in order of attaching */
    uint64_t number;
    uint32_t reference;
    wh_session *session;
    uint32_t *queues;
    size_t queue_count;
    int64_t max_jobs, max_bytes;
    uint64_t lease_ms;
    wh_frame *first_frame, *last_frame;
    wh_revoked *revoked;
    size_t revoked_count, revoked_capacity;
};

typedef struct {
    uint8_t hash[16];
    wh_id id;
    uint64_t content, create_ms, group;
    uint32_t previous, next; /* oldest first */
} wh_key;

typedef struct {
    uint64_t number, content, base_ms, first_seq;
    uint32_t count;
    uint16_t shard;
} wh_producer_batch;

typedef struct {
    uint8_t session[16];
    uint64_t highest;
    wh_producer_batch *batches;
    uint32_t batch_count, batch_capacity;
    uint32_t previous, next; /* least recently used first */
} wh_producer;

typedef struct {
    uint64_t fencing;
    wh_id id;
    uint8_t code, after;
} wh_settled;

typedef struct {
    wh_id id;
    uint64_t number;
    uint32_t next;
} wh_departed;

typedef struct {
    uint64_t number, began;
} wh_open_load;

typedef struct {
    uint8_t *data;
    size_t length, capacity;
} wh_buffer;

typedef struct {
    uint64_t now_us, durable;
    int64_t budget;
    wh_stream *stream;
    wh_frame *before, *frame; /* the frame found, and the one in front of it */
    bool revoked_seen;
    uint32_t kind;
} wh_release_cursor;

struct wh_core {
    uint8_t uuid[16];
    uint32_t shards, shard, epoch;
    uint64_t bucket_width_ms, resident_bytes_max, recent_keys_max, departed_max;
    uint64_t seq, fencing, group, pushes, watermark_ms, horizon_due_ms;
    wh_id horizon_id;
    uint64_t *index;
    wh_group_shelf *shelf;
    wh_group_buffer open;
    wh_buffer scratch;
    size_t tick_began; /* bytes of the open group when the tick began */
    bool broken, keys_complete;

    wh_toucher *toucher;
    wh_pool jobs;
    wh_records records;
    wh_index job_index;
    uint64_t resident_bytes, record_bytes;
    wh_wheel *wheel, *lease_wheel;
    uint32_t *expired; /* WH_EXPIRIES_PER_TICK_MAX */

    wh_pool leases, sessions, streams; /* sessions and streams: pointers */
    wh_index lease_index, session_index, stream_index;
    wh_stream *first_stream, *last_stream;

    wh_queue **queues; /* all that a resident job or stream names, by reference */
    uint32_t queue_count, queue_capacity;
    wh_index queue_index;
    uint32_t *met; /* references in the order met */
    uint32_t met_count;
    uint32_t last_queue; /* found last */
    uint32_t queue_turn;

    wh_pool keys, producers;
    wh_index key_index, producer_index;
    uint32_t oldest_key, newest_key, oldest_producer, newest_producer;
    uint64_t checkpointed_group;

    wh_settled *settled; /* a ring once it is full */
    uint32_t settled_count, settled_capacity, settled_next;
    wh_index settled_index;

    wh_open_load *loads;
    size_t load_count, load_capacity;
    uint64_t load_number, departures;
    wh_pool departed;
    wh_index departed_index;
    uint32_t oldest_departed, newest_departed;

    wh_release_cursor cursor;
    wh_counters counters;
};

#endif
