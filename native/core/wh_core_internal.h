/* What the files of the core offer each other; the state is in wh_core_state.h. Nobody else includes this. */
#ifndef WH_CORE_INTERNAL_H
#define WH_CORE_INTERNAL_H

#include "wh_core_helpers.h"
#include "wh_core_state.h"
#include "wh_memory.h"

#include <stdlib.h>

/* -- spec records (wh_spec.c) ----------------------------------------------------------------------------------- */

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

/* Fetches what the next job to become resident will be written to (room is reserved). */
void wh_job_expect(const wh_core *core, uint32_t spec_len);

/* The job leaves memory. */
void wh_job_remove(wh_core *core, uint32_t reference);

/* The job waits no more: neither armed nor ready. */
void wh_job_unplace(wh_core *core, wh_job *job);

/* A job without a lease waits for its time or for a worker, or leaves for the far tier. */
void wh_job_place(wh_core *core, uint32_t reference);

/* A job whose time has come waits for a worker. */
void wh_job_push_ready(wh_core *core, uint32_t reference);

/* Puts the job's time, or that of its expiry, into the wheel. */
void wh_job_arm(wh_core *core, uint32_t reference, uint64_t due_ms);

/* Whether a waiting job of the queue that the record names belongs into memory: below the horizon, or near and of a small queue. */
bool wh_keeps(wh_core *core, uint64_t due_ms, wh_id id, const uint8_t *spec);

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

/* The level with the least urgent entry, which is then the last of its run; -1: none, or no memory to tell. */
int wh_ready_last_level(wh_queue *queue);
wh_ready wh_ready_pop(wh_queue *queue, int level);
wh_ready wh_ready_pop_last(wh_queue *queue, int level);

/* Forgets every entry. */
void wh_ready_clear(wh_queue *queue);

/* -- leases and sessions (wh_lease.c) --------------------------------------------------------------------------- */

bool wh_leases_reserve(wh_core *core, uint32_t extra);
uint32_t wh_lease_find(const wh_core *core, uint64_t fencing);

/* Fetches what wh_lease_find will read. */
void wh_lease_expect(const wh_core *core, uint64_t fencing);

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

/* Brings memory below its cap. False: the tick's share ended first (wh_spill.c). */
bool wh_spill(wh_core *core, uint64_t now_ms);

/* A job that has its backlog row leaves memory. */
void wh_backlog_leave(wh_core *core, uint32_t reference);

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
