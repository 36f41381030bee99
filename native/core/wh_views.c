/* What can be seen of the core: positions, queues, counters, its digest. */
#include "wh_core_internal.h"

enum { WH_PLACE_ARMED = 1, WH_PLACE_READY = 2, WH_PLACE_LEASED = 3, WH_PLACE_DELIVERED = 4 };

void wh_core_horizon(const wh_core *core, uint64_t *due_ms, uint8_t *id) {
    *due_ms = core->horizon_due_ms;
    wh_put_id(id, core->horizon_id);
}

uint64_t wh_core_watermark_ms(const wh_core *core) {
    return core->watermark_ms;
}

bool wh_core_broken(const wh_core *core) {
    return core->broken;
}

size_t wh_core_queue_count(const wh_core *core) {
    return core->met_count;
}

/* The more urgent of `best` (NULL: none) and the level's first entry whose job still waits. */
static const wh_ready *better(const wh_core *core, const wh_level *level, const wh_ready *best) {
    for (size_t at = level->head; at < level->length; at++) {
        if (!wh_ready_live(core, &level->run[at]))
            continue;
        if (best == NULL || wh_ready_before(&level->run[at], best))
            best = &level->run[at];
        break;
    }
    for (size_t at = 0; at < level->heap_length; at++)
        if ((best == NULL || wh_ready_before(&level->heap[at], best)) && wh_ready_live(core, &level->heap[at]))
            best = &level->heap[at];
    return best;
}

void wh_core_queue_view(const wh_core *core, size_t at, wh_queue_view *view) {
    const wh_queue *queue = core->queues[core->met[at]];
    const wh_ready *oldest = NULL;
    for (int level = 0; level < WH_LEVELS_COUNT; level++)
        oldest = better(core, &queue->levels[level], oldest);
    *view = (wh_queue_view){
        .path = queue->path,
        .path_len = queue->path_len,
        .paused = queue->paused,
        .backlog = queue->backlog,
        .ready = queue->ready,
        .running = queue->running,
        .spills = queue->spills,
        .streams = queue->stream_count,
        .oldest_due_ms = oldest ? wh_job_at(core, oldest->job)->due_ms : 0,
        .release_skew = queue->release_skew,
        .receive_skew = queue->receive_skew,
    };
    for (size_t number = 0; number < queue->stream_count; number++) {
        int64_t left = queue->streams[number]->max_jobs - (int64_t)queue->streams[number]->session->lease_count;
        view->credit += left > 0 ? (uint64_t)left : 0;
    }
}

void wh_core_counters(const wh_core *core, wh_counters *counters) {
    *counters = core->counters;
    counters->resident_jobs = core->jobs.count;
    counters->resident_bytes = core->resident_bytes;
    counters->leases = core->leases.count;
    counters->armed = wh_wheel_count(core->wheel);
    counters->streams = core->streams.count;
    counters->open_group_bytes = core->open.length;
    for (uint32_t at = 0; at < core->met_count; at++)
        counters->ready += core->queues[core->met[at]]->ready;
}

static uint64_t digest_job(const wh_core *core, const wh_job *job) {
    static const uint8_t zero_key[16];
    uint8_t data[60], hash[16];
    const wh_lease *lease = wh_job_lease(core, job);
    wh_put_id(data, job->id);
    wh_put64(data + 16, job->due_ms);
    wh_put16(data + 24, job->attempt);
    if (lease != NULL)
        data[26] = lease->delivered ? WH_PLACE_DELIVERED : WH_PLACE_LEASED;
    else
        data[26] = job->flags & WH_JOB_READY ? WH_PLACE_READY : WH_PLACE_ARMED;
    data[27] = (job->flags & WH_JOB_BACKLOG) != 0;
    wh_put64(data + 28, lease ? lease->fencing : 0);
    wh_put64(data + 36, wh_spec_size(job->spec));
    memcpy(data + 44, lease ? wh_session_at(core, lease->session)->name : zero_key, 16);
    wh_siphash128(zero_key, data, sizeof data, hash);
    return wh_get64(hash);
}

uint64_t wh_core_state_hash(const wh_core *core) {
    static const uint8_t zero_key[16];
    uint8_t whole[88], hash[16];
    uint64_t indexes = 0;
    for (uint32_t shard = 0; shard < core->shards; shard++)
        indexes += core->index[shard];
    const uint64_t head[] = {core->seq, core->shard, core->fencing, core->group, core->watermark_ms, core->horizon_due_ms};
    for (size_t at = 0; at < 6; at++)
        wh_put64(whole + at * 8, head[at]);
    wh_put_id(whole + 48, core->horizon_id);
    wh_put64(whole + 64, core->resident_bytes);
    wh_put64(whole + 72, core->leases.count);
    wh_put64(whole + 80, indexes);
    wh_siphash128(zero_key, whole, sizeof whole, hash);
    uint64_t total = wh_get64(hash);
    for (uint32_t at = 0; at < core->jobs.high; at++)
        if (wh_job_at(core, at)->spec != NULL)
            total += digest_job(core, wh_job_at(core, at));
    return total;
}

static size_t index_bytes(const wh_index *index) {
    return (size_t)index->nodes_capacity * sizeof *index->nodes + (size_t)index->heads_capacity * sizeof *index->heads;
}

static size_t pool_bytes(const wh_pool *pool) {
    return (size_t)pool->capacity * pool->item_bytes;
}

size_t wh_core_memory_bytes(const wh_core *core, size_t *records) {
    size_t total = sizeof *core + core->open.capacity + wh_group_shelf_bytes(core->shelf) + core->scratch.capacity;
    total += pool_bytes(&core->jobs) + index_bytes(&core->job_index) + pool_bytes(&core->leases) + index_bytes(&core->lease_index);
    total += pool_bytes(&core->keys) + index_bytes(&core->key_index) + pool_bytes(&core->producers) + index_bytes(&core->producer_index);
    total += pool_bytes(&core->departed) + index_bytes(&core->departed_index);
    total += core->settled_capacity * sizeof *core->settled + index_bytes(&core->settled_index);
    total += core->records.bytes - core->record_bytes + wh_toucher_bytes(core->toucher);
    total += wh_wheel_bytes(core->wheel) + wh_wheel_bytes(core->lease_wheel);
    for (uint32_t at = 0; at < core->queue_count; at++) {
        total += sizeof(wh_queue);
        for (int level = 0; level < WH_LEVELS_COUNT; level++)
            total += (core->queues[at]->levels[level].capacity + core->queues[at]->levels[level].heap_capacity) * sizeof(wh_ready);
    }
    *records = core->record_bytes;
    return total;
}
