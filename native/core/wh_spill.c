/*
 * What leaves memory past the byte cap, and in which order: as wheeld.core.reference.spill says. Invariant: a job that leaves has a
 * backlog row, or its time lies at or past the horizon.
 */
#include "wh_core_internal.h"

enum { WH_SLICES = 1024 };

void wh_backlog_leave(wh_core *core, uint32_t reference) {
    wh_queue *queue = wh_queue_meet(core, wh_job_at(core, reference)->queue);
    queue->backlog = true;
    queue->spills++;
    core->counters.spilled++;
    wh_job_remove(core, reference);
}

/* One entry of the queue's end leaves; its job, if it still waits, goes to the backlog. */
static void spill_one(wh_core *core, uint64_t now_ms, wh_queue *queue) {
    int level = wh_ready_last_level(queue);
    if (level < 0) {
        core->broken = true;
        return;
    }
    wh_ready entry = wh_ready_pop_last(queue, level);
    if (!wh_ready_live(core, &entry))
        return;
    wh_job *job = wh_job_at(core, entry.job);
    if (!(job->flags & WH_JOB_BACKLOG))
        wh_stage_backlog(core, now_ms, job);
    wh_backlog_leave(core, entry.job);
}

/* The first met queue whose ready jobs hold the most, NULL when no queue was met; *next: the most that another one's hold (0: none). */
static wh_queue *largest_queue(const wh_core *core, uint64_t *next) {
    wh_queue *largest = NULL;
    *next = 0;
    for (uint32_t at = 0; at < core->met_count; at++) {
        wh_queue *queue = core->queues[core->met[at]];
        if (largest == NULL || queue->ready_bytes > largest->ready_bytes) {
            *next = largest ? largest->ready_bytes : 0;
            largest = queue;
        } else if (queue->ready_bytes > *next) {
            *next = queue->ready_bytes;
        }
    }
    return largest;
}

/* Jobs that wait for their time past `floor_ms`; with `large_only` those of small queues are left out. */
typedef struct {
    uint64_t floor_ms;
    bool large_only;
} wh_choice;

static inline bool is_chosen(const wh_core *core, const wh_job *job, const wh_choice *choice) {
    return job->spec != NULL && !(job->flags & (WH_JOB_LEASED | WH_JOB_READY)) && job->due_ms > choice->floor_ms &&
           !(choice->large_only && core->queues[job->queue]->small);
}

static inline uint64_t job_bytes(const wh_job *job) {
    return WH_RESIDENT_OVERHEAD_BYTES + wh_spec_size(job->spec);
}

/* A range of times, in slices of one width. */
typedef struct {
    uint64_t first_ms, last_ms, width_ms;
    uint64_t bytes[WH_SLICES];
} wh_slices;

static inline bool is_within(const wh_job *job, const wh_slices *slices) {
    return job->due_ms >= slices->first_ms && job->due_ms <= slices->last_ms;
}

static void count_slices(const wh_core *core, const wh_choice *choice, wh_slices *slices) {
    enum { AHEAD = 16 };
    memset(slices->bytes, 0, sizeof slices->bytes);
    for (uint32_t at = 0; at < core->jobs.high; at++) {
        const wh_job *job = wh_job_at(core, at);
        if (at + AHEAD < core->jobs.high && is_within(wh_job_at(core, at + AHEAD), slices))
            __builtin_prefetch(wh_job_at(core, at + AHEAD)->spec);
        if (is_within(job, slices) && is_chosen(core, job, choice))
            slices->bytes[(job->due_ms - slices->first_ms) / slices->width_ms] += job_bytes(job);
    }
}

/* The largest ms such that the chosen jobs due then or later hold `step_bytes`; 0: all of them hold less. */
static uint64_t place_of_step(const wh_core *core, const wh_choice *choice, uint64_t step_bytes) {
    wh_slices slices = {.first_ms = choice->floor_ms + 1};
    uint64_t later = 0;
    for (uint32_t at = 0; at < core->jobs.high; at++)
        if (is_chosen(core, wh_job_at(core, at), choice))
            slices.last_ms = wh_max64(slices.last_ms, wh_job_at(core, at)->due_ms);
    while (slices.last_ms >= slices.first_ms) {
        slices.width_ms = (slices.last_ms - slices.first_ms) / WH_SLICES + 1;
        count_slices(core, choice, &slices);
        size_t at = WH_SLICES;
        while (at > 0 && later + slices.bytes[at - 1] < step_bytes)
            later += slices.bytes[--at];
        if (at == 0)
            return 0;
        slices.first_ms += (at - 1) * slices.width_ms;
        if (slices.width_ms == 1)
            return slices.first_ms;
        if (slices.last_ms - slices.first_ms >= slices.width_ms)
            slices.last_ms = slices.first_ms + slices.width_ms - 1;
    }
    return 0;
}

static void leave_from(wh_core *core, const wh_choice *choice, uint64_t place_ms) {
    if (core->horizon_due_ms >= place_ms) {
        core->horizon_due_ms = place_ms;
        core->horizon_id = (wh_id){0, 0};
    }
    for (uint32_t at = 0; at < core->jobs.high; at++) {
        const wh_job *job = wh_job_at(core, at);
        if (!is_chosen(core, job, choice) || job->due_ms < place_ms)
            continue;
        if (job->flags & WH_JOB_BACKLOG)
            wh_backlog_leave(core, at);
        else
            wh_job_remove(core, at);
    }
}

/* Whether anything left. */
static bool lower_horizon(wh_core *core, uint64_t now_ms) {
    uint64_t step_bytes = wh_max64(core->resident_bytes_max / WH_HORIZON_STEP_SHARE, 1);
    for (uint32_t at = 0; at < core->queue_count; at++)
        core->queues[at]->small = wh_is_small(core, core->queues[at]);
    for (int all = 0; all < 2; all++) {
        wh_choice choice = {.floor_ms = now_ms + WH_LEAD_MS_MAX, .large_only = !all};
        uint64_t place_ms = place_of_step(core, &choice, step_bytes);
        if (place_ms == 0)
            continue;
        leave_from(core, &choice, place_ms);
        return true;
    }
    return false;
}

/* What ready and leased jobs hold. */
static uint64_t ready_bytes(const wh_core *core) {
    uint64_t bytes = 0;
    for (uint32_t at = 0; at < core->met_count; at++)
        bytes += core->queues[core->met[at]]->ready_bytes;
    return bytes;
}

static uint64_t leased_bytes(const wh_core *core) {
    uint64_t bytes = (uint64_t)core->leases.count * WH_RESIDENT_OVERHEAD_BYTES;
    for (uint32_t bucket = 0; bucket < core->session_index.buckets; bucket++)
        for (uint32_t at = core->session_index.heads[bucket]; at != WH_NONE; at = wh_index_next(&core->session_index, at))
            bytes += wh_session_at(core, at)->bytes_outstanding;
    return bytes;
}

static bool is_over(const wh_core *core) {
    return core->resident_bytes > core->resident_bytes_max;
}

bool wh_spill(wh_core *core, uint64_t now_ms) {
    if (!is_over(core))
        return true;
    uint64_t ready = ready_bytes(core), armed = core->resident_bytes - ready - leased_bytes(core);
    bool worthwhile = armed >= core->resident_bytes_max / WH_HORIZON_STEP_SHARE;
    if (armed > ready && worthwhile && lower_horizon(core, now_ms))
        return !is_over(core);
    wh_queue *largest = NULL;
    uint64_t next = 0;
    for (int count = 0; count < WH_SPILL_JOBS_PER_TICK_MAX && !core->broken && is_over(core); count++) {
        /* Another queue can hold the most only once this one is down to the next one's bytes. */
        if (largest == NULL || largest->ready_bytes <= next)
            largest = largest_queue(core, &next);
        if (largest == NULL || largest->ready_bytes == 0)
            return armed > ready || !worthwhile || !lower_horizon(core, now_ms) || !is_over(core);
        spill_one(core, now_ms, largest);
    }
    return !is_over(core);
}
