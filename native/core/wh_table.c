/* Resident jobs: insert, remove, wait (wheel or ready), and the memory of those that left while a load is under way. */
#include "wh_core_internal.h"

bool wh_jobs_reserve(wh_core *core, uint32_t extra) {
    if (!wh_pool_reserve(&core->jobs, extra))
        return false;
    uint64_t high = (uint64_t)core->jobs.high + extra;
    uint32_t references = high < core->jobs.capacity ? (uint32_t)high : core->jobs.capacity;
    return wh_index_reserve(&core->job_index, references) && wh_wheel_reserve(core->wheel, references) == 0;
}

void wh_job_expect(const wh_core *core, uint32_t spec_len) {
    uint32_t next = wh_pool_next(&core->jobs);
    wh_record_expect(&core->records, spec_len);
    if (next >= core->jobs.capacity)
        return;
    __builtin_prefetch(&core->job_index.nodes[next], 1);
    wh_wheel_expect(core->wheel, next);
}

uint32_t wh_job_find(const wh_core *core, wh_id id) {
    uint32_t at = wh_index_first(&core->job_index, wh_id_hash(id));
    while (at != WH_NONE && !wh_same_id(wh_job_at(core, at)->id, id))
        at = wh_index_next(&core->job_index, at);
    return at;
}

uint32_t wh_job_insert(wh_core *core, wh_id id, uint64_t due_ms, uint16_t attempt, const uint8_t *spec, uint32_t spec_len, bool in_backlog) {
    uint32_t queue = wh_queue_intern(core, wh_spec_queue(spec), spec[WH_SPEC_QUEUE_LEN_AT]);
    uint8_t *record = queue == WH_NONE ? NULL : wh_record_take(&core->records, spec_len);
    if (record == NULL)
        return WH_NONE;
    memcpy(record, spec, spec_len);
    uint32_t reference = wh_pool_take(&core->jobs);
    bool expires = wh_get64(spec + WH_SPEC_EXPIRE_AT) != 0;
    *wh_job_at(core, reference) = (wh_job){
        .id = id,
        .due_ms = due_ms,
        .spec = record,
        .queue = queue,
        .attempt = attempt,
        .flags = (uint8_t)((in_backlog ? WH_JOB_BACKLOG : 0) | (expires ? WH_JOB_EXPIRES : 0)),
        .priority = spec[WH_SPEC_PRIORITY_AT],
    };
    wh_index_add(&core->job_index, reference, wh_id_hash(id));
    core->resident_bytes += WH_RESIDENT_OVERHEAD_BYTES + spec_len;
    core->queues[queue]->held += WH_RESIDENT_OVERHEAD_BYTES + spec_len;
    core->record_bytes += spec_len;
    return reference;
}

void wh_job_remove(wh_core *core, uint32_t reference) {
    wh_job *job = wh_job_at(core, reference);
    uint32_t spec_len = wh_spec_size(job->spec), queue = job->queue;
    wh_id id = job->id;
    wh_job_unplace(core, job);
    wh_index_remove(&core->job_index, reference);
    wh_record_give(&core->records, job->spec, spec_len);
    wh_pool_give(&core->jobs, reference);
    core->resident_bytes -= WH_RESIDENT_OVERHEAD_BYTES + spec_len;
    core->queues[queue]->held -= WH_RESIDENT_OVERHEAD_BYTES + spec_len;
    core->record_bytes -= spec_len;
    if (core->load_count == 0 || !wh_departed_add(core, id))
        return;
    if (core->departed.count > core->departed_max) {
        core->load_count = 0;
        wh_departed_forget(core);
    }
}

void wh_job_unplace(wh_core *core, wh_job *job) {
    if (job->flags & WH_JOB_ARMED) {
        uint32_t reference = (uint32_t)((size_t)((uint8_t *)job - core->jobs.items) / sizeof *job);
        (void)wh_wheel_cancel(core->wheel, reference);
    }
    if (job->flags & WH_JOB_READY) {
        job->stamp = 0;
        core->queues[job->queue]->ready--;
        core->queues[job->queue]->ready_bytes -= WH_RESIDENT_OVERHEAD_BYTES + wh_spec_size(job->spec);
    }
    job->flags &= (uint8_t)~(WH_JOB_ARMED | WH_JOB_READY);
}

void wh_job_arm(wh_core *core, uint32_t reference, uint64_t due_ms) {
    if (wh_wheel_arm(core->wheel, reference, due_ms) < 0)
        core->broken = true;
    else
        wh_job_at(core, reference)->flags |= WH_JOB_ARMED;
}

bool wh_keeps(wh_core *core, uint64_t due_ms, wh_id id, const uint8_t *spec) {
    if (wh_below_horizon(core, due_ms, id))
        return true;
    if (due_ms >= wh_wheel_now(core->wheel) + WH_NEAR_MS)
        return false;
    uint32_t queue = wh_queue_intern(core, wh_spec_queue(spec), spec[WH_SPEC_QUEUE_LEN_AT]);
    return queue != WH_NONE && wh_is_small(core, core->queues[queue]);
}

void wh_job_place(wh_core *core, uint32_t reference) {
    wh_job *job = wh_job_at(core, reference);
    if (!(job->flags & WH_JOB_BACKLOG) && !wh_keeps(core, job->due_ms, job->id, job->spec))
        wh_job_remove(core, reference);
    else if (job->due_ms <= wh_wheel_now(core->wheel))
        wh_job_push_ready(core, reference);
    else {
        if (job->flags & WH_JOB_BACKLOG)
            (void)wh_queue_meet(core, job->queue); /* known from now on: when it is sent away, its queue has a backlog */
        wh_job_arm(core, reference, job->due_ms);
    }
}

void wh_job_push_ready(wh_core *core, uint32_t reference) {
    wh_job *job = wh_job_at(core, reference);
    wh_queue *queue = wh_queue_meet(core, job->queue);
    job->stamp = ++core->pushes;
    job->flags |= WH_JOB_READY;
    queue->ready++;
    queue->ready_bytes += WH_RESIDENT_OVERHEAD_BYTES + wh_spec_size(job->spec);
    if (!wh_ready_push(queue, job->due_ms, job->priority, job->stamp, reference))
        core->broken = true;
    /* The wheel runs up to WH_LEAD_MS_MAX ahead; this keeps the expiry from coming early. */
    if (job->flags & WH_JOB_EXPIRES)
        wh_job_arm(core, reference, wh_get64(job->spec + WH_SPEC_EXPIRE_AT) + WH_LEAD_MS_MAX);
}

static uint32_t departed_find(const wh_core *core, wh_id id) {
    uint32_t at = wh_index_first(&core->departed_index, wh_id_hash(id));
    while (at != WH_NONE && !wh_same_id(((wh_departed *)wh_pool_at(&core->departed, at))->id, id))
        at = wh_index_next(&core->departed_index, at);
    return at;
}

bool wh_departed_add(wh_core *core, wh_id id) {
    core->departures++;
    if (!wh_pool_reserve(&core->departed, 1) || !wh_index_reserve(&core->departed_index, core->departed.capacity)) {
        core->broken = true;
        return false;
    }
    uint32_t known = departed_find(core, id);
    if (known != WH_NONE)
        wh_index_remove(&core->departed_index, known);
    uint32_t reference = wh_pool_take(&core->departed);
    *(wh_departed *)wh_pool_at(&core->departed, reference) = (wh_departed){.id = id, .number = core->departures, .next = WH_NONE};
    wh_index_add(&core->departed_index, reference, wh_id_hash(id));
    if (core->oldest_departed == WH_NONE)
        core->oldest_departed = reference;
    else
        ((wh_departed *)wh_pool_at(&core->departed, core->newest_departed))->next = reference;
    core->newest_departed = reference;
    return true;
}

void wh_departed_forget(wh_core *core) {
    uint64_t keep_from = core->departures;
    for (size_t at = 0; at < core->load_count; at++)
        if (core->loads[at].began < keep_from)
            keep_from = core->loads[at].began;
    while (core->oldest_departed != WH_NONE) {
        uint32_t reference = core->oldest_departed;
        wh_departed *oldest = wh_pool_at(&core->departed, reference);
        if (oldest->number > keep_from)
            return;
        core->oldest_departed = oldest->next;
        if (departed_find(core, oldest->id) == reference)
            wh_index_remove(&core->departed_index, reference);
        wh_pool_give(&core->departed, reference);
    }
    core->newest_departed = WH_NONE;
    /* Millions may have left during one load: nothing of that is needed until the next. */
    wh_pool_free(&core->departed);
    wh_index_free(&core->departed_index);
}

uint64_t wh_departed_number(const wh_core *core, wh_id id) {
    uint32_t at = departed_find(core, id);
    return at == WH_NONE ? 0 : ((wh_departed *)wh_pool_at(&core->departed, at))->number;
}

wh_open_load *wh_load_find(const wh_core *core, uint64_t number) {
    for (size_t at = 0; at < core->load_count; at++)
        if (core->loads[at].number == number)
            return &core->loads[at];
    return NULL;
}

bool wh_load_is_stale(const wh_core *core, wh_id id, uint64_t load) {
    const wh_open_load *began = wh_load_find(core, load);
    return began == NULL || wh_departed_number(core, id) > began->began;
}
