/* From due to granted: expire, pull, grant. What leaves past the cap stands in wh_spill.c. */
#include "wh_core_internal.h"

/* The job was not started within its time. */
static void expire_job(wh_core *core, uint64_t now_ms, uint32_t reference) {
    static const char text[] = "start timeout";
    wh_outcome outcome = {.kind = WH_ENTRY_EXPIRE, .after = WH_STATE_EXPIRED, .error = {(const uint8_t *)text, sizeof text - 1}};
    wh_stage_outcome(core, now_ms, wh_job_at(core, reference), NULL, &outcome);
    core->counters.expired++;
    wh_job_remove(core, reference);
}

/* Expired keys, and whether the tick must be called again for more: the output was full, or the wheel's bound on one call ended it. A wheel
 * whose time is past `now` has nothing to give: its late timers wait for its own time. */
static size_t advance(wh_core *core, wh_wheel *wheel, uint64_t now, bool *more) {
    size_t work = WH_WHEEL_MOVES_PER_TICK_MAX;
    size_t count = now < wh_wheel_now(wheel) ? 0 : wh_wheel_advance_some(wheel, now, core->expired, WH_EXPIRIES_PER_TICK_MAX, &work);
    *more |= count == WH_EXPIRIES_PER_TICK_MAX || work == 0;
    return count;
}

/* Those past the tick's bytes are armed again for the next tick. */
static void expire_leases(wh_core *core, uint64_t now_ms, uint64_t boot_ms, bool *more) {
    size_t count = advance(core, core->lease_wheel, boot_ms, more);
    for (size_t at = 0; at < count; at++) {
        if (wh_staged_in_tick(core) < WH_TICK_BYTES_MAX / 2) {
            wh_expire_lease(core, now_ms, core->expired[at]);
            continue;
        }
        core->broken |= wh_wheel_arm(core->lease_wheel, core->expired[at], boot_ms) < 0;
        *more = true;
    }
}

/* Late starts past the tick's bytes are armed again for the next tick. */
static void pull_due(wh_core *core, uint64_t now_ms, uint64_t lead_ms, bool *more) {
    enum { AHEAD = 8 };
    size_t count = advance(core, core->wheel, now_ms + lead_ms, more);
    for (size_t at = 0; at < AHEAD && at < count; at++)
        __builtin_prefetch(wh_job_at(core, core->expired[at]), 1);
    for (size_t at = 0; at < count; at++) {
        uint32_t reference = core->expired[at];
        if (at + AHEAD < count)
            __builtin_prefetch(wh_job_at(core, core->expired[at + AHEAD]), 1);
        if (at + AHEAD / 2 < count)
            wh_spec_expect(wh_job_at(core, core->expired[at + AHEAD / 2])->spec);
        wh_job *job = wh_job_at(core, reference);
        job->flags &= (uint8_t)~WH_JOB_ARMED;
        if (!(job->flags & WH_JOB_READY)) {
            wh_job_push_ready(core, reference);
        } else if (wh_staged_in_tick(core) < WH_TICK_BYTES_MAX / 2) {
            expire_job(core, now_ms, reference);
        } else {
            wh_job_arm(core, reference, now_ms + lead_ms);
            *more = true;
        }
    }
}

/* The next stream of the queue, in turn, that has credit. A turn lasts while the stream has credit, so that frames are large. */
static wh_stream *next_stream(wh_queue *queue) {
    for (size_t step = 0; step < queue->stream_count; step++) {
        size_t at = queue->turn + step;
        at -= at >= queue->stream_count ? queue->stream_count : 0;
        wh_stream *stream = queue->streams[at];
        const wh_session *session = stream->session;
        if ((int64_t)session->lease_count < stream->max_jobs && (int64_t)session->bytes_outstanding < stream->max_bytes) {
            queue->turn = at;
            return stream;
        }
    }
    return NULL;
}

/* The most urgent job that is still there, WH_NONE when there is none. */
static uint32_t pop_ready(wh_core *core, wh_queue *queue) {
    for (int level = wh_ready_first_level(queue); level >= 0; level = wh_ready_first_level(queue)) {
        wh_ready entry = wh_ready_pop(queue, level);
        if (!wh_ready_live(core, &entry))
            continue;
        return entry.job;
    }
    return WH_NONE;
}

/* Brings the job, then the spec, of entries that come next into the cache. */
static void prefetch_ready(const wh_core *core, const wh_queue *queue) {
    if (queue->occupied == 0)
        return;
    const wh_level *level = &queue->levels[__builtin_ctz(queue->occupied)];
    if (level->head + 8 < level->length) {
        __builtin_prefetch(wh_job_at(core, level->run[level->head + 8].job), 1);
        wh_spec_expect(wh_job_at(core, level->run[level->head + 4].job)->spec);
    }
}

uint32_t wh_start_lease(wh_core *core, uint64_t now_ms, uint64_t boot_ms, wh_session *session, uint32_t job_at, uint32_t lease_ms, bool redelivery) {
    wh_job *job = wh_job_at(core, job_at);
    if (!wh_leases_reserve(core, 1)) {
        core->broken = true;
        return WH_NONE;
    }
    uint64_t start_ms = wh_max64(now_ms, job->due_ms);
    uint32_t reference = wh_lease_make(core, job_at, session, ++core->fencing, lease_ms, start_ms);
    wh_lease *lease = wh_lease_at(core, reference);
    lease->redelivery = redelivery;
    wh_stage_grant(core, now_ms, job, lease, start_ms + lease_ms);
    job->flags &= (uint8_t)~WH_JOB_BACKLOG;
    if (wh_wheel_arm(core->lease_wheel, reference, boot_ms + (start_ms - now_ms) + lease_ms) < 0)
        core->broken = true;
    return reference;
}

/* Leases a waiting job to the stream's session. */
static void give(wh_core *core, uint64_t now_ms, uint64_t boot_ms, wh_stream *stream, uint32_t reference) {
    wh_job *job = wh_job_at(core, reference);
    uint32_t wanted_ms = wh_get32(job->spec + WH_SPEC_LEASE_AT);
    wh_job_unplace(core, job);
    job->attempt++;
    uint32_t lease = wh_start_lease(core, now_ms, boot_ms, stream->session, reference, wanted_ms ? wanted_ms : (uint32_t)stream->lease_ms, false);
    core->counters.granted++;
    if (lease != WH_NONE)
        wh_add_to_frame(core, now_ms, stream, lease);
}

/* The tick has staged what it may, but for what is spilled. */
static bool is_full(const wh_core *core) {
    return wh_staged_in_tick(core) >= WH_TICK_BYTES_MAX / 4 * 3;
}

/* Takes up to `jobs_max` of a queue's jobs and grants them; those whose time to start is over end instead, and count as well, so that no tick
 * stages more than its bounds allow. */
static uint32_t grant_queue(wh_core *core, uint64_t now_ms, uint64_t boot_ms, wh_queue *queue, uint32_t jobs_max) {
    uint32_t taken = 0;
    while (taken < jobs_max && !queue->paused && !core->broken && !is_full(core)) {
        wh_stream *stream = next_stream(queue);
        if (stream == NULL)
            break;
        prefetch_ready(core, queue);
        uint32_t reference = pop_ready(core, queue);
        if (reference == WH_NONE)
            break;
        const wh_job *job = wh_job_at(core, reference);
        if (job->flags & WH_JOB_EXPIRES && wh_get64(job->spec + WH_SPEC_EXPIRE_AT) <= now_ms)
            expire_job(core, now_ms, reference);
        else
            give(core, now_ms, boot_ms, stream, reference);
        taken++;
    }
    return taken;
}

/* Queues take turns; within a queue its streams do. False when the budget ended first. */
static bool grant(wh_core *core, uint64_t now_ms, uint64_t boot_ms) {
    uint32_t budget = WH_GRANTS_PER_TICK_MAX, queues = core->met_count;
    for (uint32_t idle = 0; idle < queues;) {
        if (budget == 0 || is_full(core))
            return false;
        wh_queue *queue = core->queues[core->met[core->queue_turn % queues]];
        core->queue_turn = (core->queue_turn + 1) % queues;
        uint32_t granted = grant_queue(core, now_ms, boot_ms, queue, budget < WH_QUEUE_TURN_JOBS ? budget : WH_QUEUE_TURN_JOBS);
        budget -= granted;
        idle = granted ? 0 : idle + 1;
    }
    return true;
}

int wh_core_tick(wh_core *core, uint64_t now_ms, uint64_t boot_ms, uint64_t lead_ms, bool grants_allowed) {
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    bool more = false;
    core->tick_began = core->open.length;
    expire_leases(core, now_ms, boot_ms, &more);
    pull_due(core, now_ms, lead_ms, &more);
    bool granted_all = !grants_allowed || grant(core, now_ms, boot_ms);
    bool spilled_all = wh_spill(core, now_ms);
    if (core->broken)
        return WH_CORE_NO_MEMORY;
    return more || !granted_all || !spilled_all;
}
