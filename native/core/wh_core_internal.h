/* What the files of the core share: the state and its helpers. Nobody else includes this. */
#ifndef WH_CORE_INTERNAL_H
#define WH_CORE_INTERNAL_H

#include "wh_bytes.h"
#include "wh_core.h"
#include "wh_hash.h"
#include "wh_memory.h"
#include "wh_model.h"
#include "wh_pool.h"
#include "wh_wheel.h"

#include <stdlib.h>

enum { WH_RESIDENT_OVERHEAD = 96, WH_PRODUCERS_MAX = 65536, WH_LEVELS_COUNT = WH_PRIORITY_MAX + 1 };

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
} wh_level;

typedef struct wh_stream wh_stream;

typedef struct {
    uint8_t *path;
    uint8_t path_len;
    bool met, paused, backlog;
    uint16_t occupied; /* bit per level that has entries */
    uint64_t spills, running, ready;
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
    wh_buffer open, scratch;
    bool broken, keys_complete;

    wh_pool jobs;
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

/* -- small helpers ---------------------------------------------------------------------------------------------- */

static inline wh_id wh_get_id(const uint8_t *at) {
    return (wh_id){wh_get64_be(at), wh_get64_be(at + 8)};
}

static inline void wh_put_id(uint8_t *at, wh_id id) {
    wh_put64_be(at, id.hi);
    wh_put64_be(at + 8, id.lo);
}

static inline bool wh_same_id(wh_id a, wh_id b) {
    return a.lo == b.lo && a.hi == b.hi;
}

static inline uint32_t wh_id_shard(wh_id id) {
    return (uint32_t)(id.hi >> 48);
}

static inline uint64_t wh_id_seq(wh_id id) {
    return id.hi << 48 | id.lo >> 16;
}

/* Neighbours by seq stay neighbours within a cache line of heads; everything above is mixed, so that no stride piles up. */
static inline uint32_t wh_id_hash(wh_id id) {
    uint64_t seq = wh_id_seq(id);
    uint64_t mixed = wh_mix64(seq >> 3 ^ id.hi >> 48 << 48);
    return (uint32_t)(mixed << 3) | (uint32_t)((seq ^ mixed >> 40) & 7);
}

static inline wh_job *wh_job_at(const wh_core *core, uint32_t reference) {
    return wh_pool_at(&core->jobs, reference);
}

static inline wh_lease *wh_lease_at(const wh_core *core, uint32_t reference) {
    return wh_pool_at(&core->leases, reference);
}

static inline wh_session *wh_session_at(const wh_core *core, uint32_t reference) {
    wh_session **slot = wh_pool_at(&core->sessions, reference);
    return *slot;
}

static inline wh_lease *wh_job_lease(const wh_core *core, const wh_job *job) {
    return job->flags & WH_JOB_LEASED ? wh_lease_at(core, (uint32_t)job->stamp) : NULL;
}

/* The group that must be durable before anything decided so far may be shown. */
static inline uint64_t wh_barrier(const wh_core *core) {
    return core->open.length ? core->group : core->group - 1;
}

static inline bool wh_below_horizon(const wh_core *core, uint64_t due_ms, wh_id id) {
    if (due_ms != core->horizon_due_ms)
        return due_ms < core->horizon_due_ms;
    return id.hi != core->horizon_id.hi ? id.hi < core->horizon_id.hi : id.lo < core->horizon_id.lo;
}

static inline uint8_t wh_waiting_state(uint16_t attempt, uint64_t due_ms, uint64_t now_ms) {
    if (due_ms <= now_ms)
        return WH_STATE_PENDING;
    return attempt ? WH_STATE_RETRYING : WH_STATE_SCHEDULED;
}

static inline uint32_t wh_histogram_index(uint64_t value_us) {
    if (value_us < 16)
        return (uint32_t)value_us;
    unsigned exponent = 59 - (unsigned)__builtin_clzll(value_us);
    uint64_t at = (uint64_t)(exponent + 1) * 16 + (value_us >> exponent) - 16;
    return at < WH_HISTOGRAM_BUCKETS ? (uint32_t)at : WH_HISTOGRAM_BUCKETS - 1;
}

/* How late `now_us` is for `due_ms`; 0 when it is early. */
static inline uint64_t wh_late_us(uint64_t now_us, uint64_t due_ms) {
    return due_ms > now_us / 1000 ? 0 : now_us - due_ms * 1000;
}

static inline uint64_t wh_max64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* -- spec records (wh_spec.c) ----------------------------------------------------------------------------------- */

static inline uint32_t wh_spec_size(const uint8_t *spec) {
    return (uint32_t)WH_SPEC_HEAD + spec[WH_SPEC_QUEUE_LEN_AT] + spec[WH_SPEC_TYPE_LEN_AT] + spec[WH_SPEC_KEY_LEN_AT] +
           wh_get16(spec + WH_SPEC_LABELS_LEN_AT) + spec[WH_SPEC_TRACE_LEN_AT] + wh_get16(spec + WH_SPEC_ROUTING_LEN_AT) +
           wh_get32(spec + WH_SPEC_PAYLOAD_LEN_AT);
}

static inline const uint8_t *wh_spec_queue(const uint8_t *spec) {
    return spec + WH_SPEC_HEAD;
}

/* True when the record can be trusted: version, lengths, and numbers that arithmetic and tables rely on. */
bool wh_spec_valid(const uint8_t *spec, size_t length);

/* Delay after a failed attempt, as wheeld.model.retry.backoff_ms. */
uint64_t wh_backoff_ms(const uint8_t *spec, uint16_t attempt, uint64_t seq);

/* -- open group and entries (wh_entries.c) ---------------------------------------------------------------------- */

/* Makes room for `extra` bytes. false: no memory, nothing changed. */
bool wh_buffer_reserve(wh_buffer *buffer, size_t extra);

/* Writes an entry's head; returns where its body goes, NULL when memory ran out (the core is then broken). */
uint8_t *wh_stage(wh_core *core, uint8_t kind, uint8_t flags, uint32_t shard, uint64_t now_ms, size_t body_len);

/* Everything about how an attempt, or a waiting job, ended. */
typedef struct {
    uint8_t kind, after;
    uint64_t new_due_ms;
    wh_bytes error, result;
} wh_outcome;

/* Writes it; sets the job's backlog flag as it is after the entry. */
void wh_stage_outcome(wh_core *core, uint64_t now_ms, wh_job *job, const wh_lease *lease, const wh_outcome *outcome);
void wh_stage_grant(wh_core *core, uint64_t now_ms, const wh_job *job, const wh_lease *lease, uint64_t expire_ms);
void wh_stage_release(wh_core *core, uint64_t now_ms, const wh_job *job, const wh_lease *lease, uint8_t flags);
void wh_stage_renew(wh_core *core, uint64_t now_ms, const wh_job *job, const wh_lease *lease, uint64_t expire_ms);
void wh_stage_reschedule(wh_core *core, uint64_t now_ms, const wh_job *job, uint64_t due_ms, uint8_t flags);

/* Gives a waiting job its backlog row. */
void wh_stage_backlog(wh_core *core, uint64_t now_ms, wh_job *job);

/* -- job table (wh_table.c) ------------------------------------------------------------------------------------- */

/* Makes room for `extra` jobs. false: no memory, nothing changed. */
bool wh_jobs_reserve(wh_core *core, uint32_t extra);

/* The resident job, or WH_NONE. */
uint32_t wh_job_find(const wh_core *core, wh_id id);

/* Makes a job resident (room is reserved, the id is new); copies the record. WH_NONE: no memory, nothing changed. */
uint32_t wh_job_insert(wh_core *core, wh_id id, uint64_t due_ms, uint16_t attempt, const uint8_t *spec, uint32_t spec_len, bool in_backlog);

/* The job leaves memory. */
void wh_job_remove(wh_core *core, uint32_t reference);

/* The job waits no more: neither armed nor ready. */
void wh_job_unplace(wh_core *core, wh_job *job);

/* A job without a lease waits for its time or for a worker, or leaves for the far tier. */
void wh_job_place(wh_core *core, uint32_t reference);

/* A job whose time has come waits for a worker. */
void wh_job_push_ready(wh_core *core, uint32_t reference);

/* Remembers that a job left, while loads are under way. false: no memory (the core is then broken). */
bool wh_departed_add(wh_core *core, wh_id id);

/* Drops what no load under way can bring back. */
void wh_departed_forget(wh_core *core);

/* The departure number at which the job last left, 0 when it is not remembered. */
uint64_t wh_departed_number(const wh_core *core, wh_id id);

/* The load's entry, NULL when it is not under way. */
wh_open_load *wh_load_find(const wh_core *core, uint64_t number);

/* The row of a job, read by `load`, may be out of date. */
bool wh_load_is_stale(const wh_core *core, wh_id id, uint64_t load);

/* -- queues and what is ready (wh_ready.c) ---------------------------------------------------------------------- */

/* The reference of a path, made when new (not yet met). WH_NONE: no memory, nothing changed. */
uint32_t wh_queue_intern(wh_core *core, const uint8_t *path, size_t length);

/* The queue, from now on among those that the core has met. */
wh_queue *wh_queue_meet(wh_core *core, uint32_t reference);

void wh_queue_free(wh_queue *queue);

/* Adds one value to a histogram that is made when it is first needed; one that cannot be made stays empty. */
void wh_skew_add(uint64_t **histogram, uint64_t late_us);

bool wh_ready_push(wh_queue *queue, uint64_t due_ms, uint8_t priority, uint64_t number, uint32_t job);

/* The level whose first entry is the most urgent, -1: none. */
int wh_ready_first_level(const wh_queue *queue);

/* The level whose run ends with the least urgent entry, -1: none. */
int wh_ready_last_level(const wh_queue *queue);
wh_ready wh_ready_pop(wh_queue *queue, int level);
wh_ready wh_ready_pop_last(wh_queue *queue, int level);

/* Forgets every entry. */
void wh_ready_clear(wh_queue *queue);

static inline bool wh_ready_before(const wh_ready *a, const wh_ready *b) {
    return a->place != b->place ? a->place < b->place : a->number < b->number;
}

/* The entry's job still waits there. */
static inline bool wh_ready_live(const wh_core *core, const wh_ready *entry) {
    const wh_job *job = wh_job_at(core, entry->job);
    return job->flags & WH_JOB_READY && job->stamp == entry->number;
}

/* -- leases and sessions (wh_lease.c) --------------------------------------------------------------------------- */

bool wh_leases_reserve(wh_core *core, uint32_t extra);
uint32_t wh_lease_find(const wh_core *core, uint64_t fencing);

/* Makes a lease of a job (room is reserved) and appends it to the session's. */
uint32_t wh_lease_make(wh_core *core, uint32_t job, wh_session *session, uint64_t fencing, uint32_t lease_ms, uint64_t fire_ms);

/* The lease ends; the job has none. Remembers a delivered token with `code` and the state after. */
void wh_lease_drop(wh_core *core, uint32_t lease, uint8_t code, uint8_t after);

/* The newest end of a token, NULL when it is not remembered. */
const wh_settled *wh_settled_find(const wh_core *core, uint64_t fencing);

/* The session, made when new. NULL: no memory, nothing changed. */
wh_session *wh_session_get(wh_core *core, const uint8_t *name, const uint8_t *worker, size_t worker_len);
wh_session *wh_session_find(const wh_core *core, const uint8_t *name);

/* Frees the session when nothing holds it: no lease and no stream. */
void wh_session_drop_if_idle(wh_core *core, wh_session *session);

/* -- keys and producers (wh_keys.c) ----------------------------------------------------------------------------- */

uint32_t wh_key_find(const wh_core *core, const uint8_t *hash);
bool wh_keys_reserve(wh_core *core, uint32_t extra);

/* Sets what a key names and makes it the newest (room is reserved); `reference` is what wh_key_find said of it. */
void wh_key_set(wh_core *core, uint32_t reference, const uint8_t *hash, wh_id id, uint64_t content, uint64_t create_ms, uint64_t group);

/* Keeps the table bounded; what is forgotten must be in the store. */
void wh_keys_forget(wh_core *core);

/* The producer, made when new, now the most recently used. NULL: no memory (the core is then broken). */
wh_producer *wh_producer_get(wh_core *core, const uint8_t *session);
const wh_producer_batch *wh_producer_find(const wh_producer *producer, uint64_t number);

/* Remembers a batch and forgets those out of the window. false: no memory. */
bool wh_producer_add(wh_producer *producer, const wh_producer_batch *batch);
void wh_producers_free(wh_core *core);

/* -- decisions shared by several files -------------------------------------------------------------------------- */

uint8_t wh_take_back(wh_core *core, uint64_t now_ms, uint32_t lease);
void wh_expire_lease(wh_core *core, uint64_t now_ms, uint32_t lease);
bool wh_revoke(wh_stream *stream, uint64_t group, wh_id id, uint64_t fencing, uint8_t code);

/* Stages a grant and arms its expiry; the lease's reference, WH_NONE when memory ran out (the core is then broken). */
uint32_t wh_start_lease(wh_core *core, uint64_t now_ms, uint64_t boot_ms, wh_session *session, uint32_t job, uint32_t lease_ms, bool redelivery);
void wh_add_to_frame(wh_core *core, uint64_t now_ms, wh_stream *stream, uint32_t lease);
void wh_frame_free(wh_frame *frame);
void wh_detach(wh_core *core, uint64_t now_ms, wh_stream *stream, bool keep_session);
wh_stream *wh_stream_find(const wh_core *core, uint64_t number);

/* A row in the scratch buffer; `lease` NULL: as waiting. false: no memory. */
bool wh_row_of(wh_core *core, const wh_job *job, const wh_lease *lease, uint16_t attempt, uint8_t state, wh_bytes *row);

/* A decoded row that can be trusted. */
typedef struct {
    size_t length;
    wh_id id;
    uint64_t due_ms, fencing, fire_ms;
    uint32_t lease_ms, spec_len;
    uint16_t attempt;
    uint8_t state, flags, worker_len;
    const uint8_t *session, *worker, *spec;
} wh_row;
bool wh_row_read(const wh_core *core, const uint8_t *at, size_t left, wh_row *row);

#endif
