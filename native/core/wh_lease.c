/* Leases by fencing token, the sessions that hold them, and the newest tokens that ended. */
#include "wh_core_internal.h"

enum { WH_SETTLED_FIRST = 256 };

static inline uint32_t fencing_hash(uint64_t fencing) {
    /* Tokens count up within an epoch: neighbours stay neighbours. */
    return (uint32_t)fencing + (uint32_t)(fencing >> 32) * UINT32_C(0x9E3779B1);
}

bool wh_leases_reserve(wh_core *core, uint32_t extra) {
    return wh_pool_reserve(&core->leases, extra) && wh_index_reserve(&core->lease_index, core->leases.capacity) &&
           wh_wheel_reserve(core->lease_wheel, core->leases.capacity) == 0;
}

uint32_t wh_lease_find(const wh_core *core, uint64_t fencing) {
    uint32_t at = wh_index_first(&core->lease_index, fencing_hash(fencing));
    while (at != WH_NONE && wh_lease_at(core, at)->fencing != fencing)
        at = wh_index_next(&core->lease_index, at);
    return at;
}

void wh_lease_expect(const wh_core *core, uint64_t fencing) {
    uint32_t at = wh_index_first(&core->lease_index, fencing_hash(fencing));
    if (at == WH_NONE)
        return;
    __builtin_prefetch(wh_lease_at(core, at), 1);
    __builtin_prefetch(&core->lease_index.nodes[at], 1);
}

uint32_t wh_lease_make(wh_core *core, uint32_t job_at, wh_session *session, uint64_t fencing, uint32_t lease_ms, uint64_t fire_ms) {
    uint32_t reference = wh_pool_take(&core->leases);
    wh_job *job = wh_job_at(core, job_at);
    *wh_lease_at(core, reference) = (wh_lease){
        .job = job_at,
        .session = session->reference,
        .fencing = fencing,
        .fire_ms = fire_ms,
        .lease_ms = lease_ms,
        .previous = session->last,
        .next = WH_NONE,
    };
    if (session->last == WH_NONE)
        session->first = reference;
    else
        wh_lease_at(core, session->last)->next = reference;
    session->last = reference;
    session->lease_count++;
    session->bytes_outstanding += wh_spec_size(job->spec);
    wh_index_add(&core->lease_index, reference, fencing_hash(fencing));
    job->flags |= WH_JOB_LEASED;
    job->stamp = reference;
    wh_queue_meet(core, job->queue)->running++;
    return reference;
}

static void unlink_lease(wh_core *core, wh_session *session, const wh_lease *lease) {
    if (lease->previous == WH_NONE)
        session->first = lease->next;
    else
        wh_lease_at(core, lease->previous)->next = lease->next;
    if (lease->next == WH_NONE)
        session->last = lease->previous;
    else
        wh_lease_at(core, lease->next)->previous = lease->previous;
    session->lease_count--;
}

static uint32_t settled_find(const wh_core *core, uint64_t fencing) {
    uint32_t at = wh_index_first(&core->settled_index, fencing_hash(fencing));
    while (at != WH_NONE && core->settled[at].fencing != fencing)
        at = wh_index_next(&core->settled_index, at);
    return at;
}

const wh_settled *wh_settled_find(const wh_core *core, uint64_t fencing) {
    uint32_t at = settled_find(core, fencing);
    return at == WH_NONE ? NULL : &core->settled[at];
}

static bool grow_settled(wh_core *core) {
    uint32_t capacity = core->settled_capacity ? core->settled_capacity * 2 : WH_SETTLED_FIRST;
    if (!wh_index_reserve(&core->settled_index, capacity))
        return false;
    wh_settled *settled = wh_realloc(core->settled, capacity * sizeof *settled);
    if (settled == NULL)
        return false;
    core->settled = settled;
    core->settled_capacity = capacity;
    return true;
}

/* Keeps a token that ended, so that its late settle gets the right answer. */
static void remember(wh_core *core, wh_settled ended) {
    uint32_t at = settled_find(core, ended.fencing);
    if (at != WH_NONE) {
        core->settled[at] = ended;
        return;
    }
    if (core->settled_count == WH_SETTLED_TOKENS_REMEMBERED) {
        at = core->settled_next;
        core->settled_next = (at + 1) % WH_SETTLED_TOKENS_REMEMBERED;
        wh_index_remove(&core->settled_index, at);
    } else {
        if (core->settled_count == core->settled_capacity && !grow_settled(core)) {
            core->broken = true;
            return;
        }
        at = core->settled_count++;
    }
    core->settled[at] = ended;
    wh_index_add(&core->settled_index, at, fencing_hash(ended.fencing));
}

void wh_lease_drop(wh_core *core, uint32_t reference, uint8_t code, uint8_t after) {
    wh_lease *lease = wh_lease_at(core, reference);
    wh_job *job = wh_job_at(core, lease->job);
    wh_session *session = wh_session_at(core, lease->session);
    wh_settled ended = {.fencing = lease->fencing, .id = job->id, .code = code, .after = after};
    bool delivered = lease->delivered;
    wh_index_remove(&core->lease_index, reference);
    (void)wh_wheel_cancel(core->lease_wheel, reference);
    job->flags &= (uint8_t)~WH_JOB_LEASED;
    job->stamp = 0;
    unlink_lease(core, session, lease);
    session->bytes_outstanding -= wh_spec_size(job->spec);
    core->queues[job->queue]->running--;
    wh_pool_give(&core->leases, reference);
    wh_session_drop_if_idle(core, session);
    if (delivered)
        remember(core, ended);
}

static uint32_t session_hash(const wh_core *core, const uint8_t *name) {
    uint8_t hash[16];
    wh_siphash128(core->uuid, name, 16, hash);
    return wh_get32(hash);
}

wh_session *wh_session_find(const wh_core *core, const uint8_t *name) {
    uint32_t at = wh_index_first(&core->session_index, session_hash(core, name));
    while (at != WH_NONE && memcmp(wh_session_at(core, at)->name, name, 16) != 0)
        at = wh_index_next(&core->session_index, at);
    return at == WH_NONE ? NULL : wh_session_at(core, at);
}

wh_session *wh_session_get(wh_core *core, const uint8_t *name, const uint8_t *worker, size_t worker_len) {
    wh_session *session = wh_session_find(core, name);
    if (session != NULL)
        return session;
    if (!wh_pool_reserve(&core->sessions, 1) || !wh_index_reserve(&core->session_index, core->sessions.capacity))
        return NULL;
    session = wh_calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    memcpy(session->name, name, 16);
    session->worker_len = (uint8_t)worker_len;
    wh_append(session->worker, worker, worker_len);
    session->first = session->last = WH_NONE;
    session->reference = wh_pool_take(&core->sessions);
    *(wh_session **)wh_pool_at(&core->sessions, session->reference) = session;
    wh_index_add(&core->session_index, session->reference, session_hash(core, name));
    return session;
}

void wh_session_drop_if_idle(wh_core *core, wh_session *session) {
    if (session->lease_count || session->stream != NULL)
        return;
    wh_index_remove(&core->session_index, session->reference);
    wh_pool_give(&core->sessions, session->reference);
    free(session);
}
