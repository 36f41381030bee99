/* Small pure helpers over the core's state: ids and their hash, table access, times, the layout of a spec record. */
#ifndef WH_CORE_HELPERS_H
#define WH_CORE_HELPERS_H

#include "wh_bytes.h"
#include "wh_core_state.h"
#include "wh_hash.h"

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

/* The queue holds little: what fills memory is not its doing. */
static inline bool wh_is_small(const wh_core *core, const wh_queue *queue) {
    return queue->held < core->resident_bytes_max / WH_SMALL_QUEUE_SHARE;
}

static inline size_t wh_staged_in_tick(const wh_core *core) {
    return core->open.length - core->tick_began;
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

static inline uint32_t wh_spec_size(const uint8_t *spec) {
    return (uint32_t)WH_SPEC_HEAD + spec[WH_SPEC_QUEUE_LEN_AT] + spec[WH_SPEC_TYPE_LEN_AT] + spec[WH_SPEC_KEY_LEN_AT] +
           wh_get16(spec + WH_SPEC_LABELS_LEN_AT) + spec[WH_SPEC_TRACE_LEN_AT] + wh_get16(spec + WH_SPEC_ROUTING_LEN_AT) +
           wh_get32(spec + WH_SPEC_PAYLOAD_LEN_AT);
}

/* Fetches a record's head, which mostly lies on two cache lines. */
static inline void wh_spec_expect(const uint8_t *spec) {
    __builtin_prefetch(spec);
    __builtin_prefetch(spec + WH_SPEC_HEAD - 1);
}

static inline const uint8_t *wh_spec_queue(const uint8_t *spec) {
    return spec + WH_SPEC_HEAD;
}

static inline bool wh_ready_before(const wh_ready *a, const wh_ready *b) {
    return a->place != b->place ? a->place < b->place : a->number < b->number;
}

/* The entry's job still waits there. */
static inline bool wh_ready_live(const wh_core *core, const wh_ready *entry) {
    const wh_job *job = wh_job_at(core, entry->job);
    return job->flags & WH_JOB_READY && job->stamp == entry->number;
}

#endif
