/* Making, restoring and freeing a core; see the header. */
#include "wh_core_internal.h"

/* What grows with the resident jobs is touched ahead; the rest is small, or grows with what a worker does. */
static void set_toucher(wh_core *core) {
    core->jobs.toucher = core->job_index.toucher = core->toucher;
    core->leases.toucher = core->lease_index.toucher = core->toucher;
    core->records.toucher = core->toucher;
    if (core->wheel != NULL)
        wh_wheel_set_toucher(core->wheel, core->toucher);
    if (core->lease_wheel != NULL)
        wh_wheel_set_toucher(core->lease_wheel, core->toucher);
}

static void init_tables(wh_core *core) {
    wh_pool_init(&core->jobs, sizeof(wh_job));
    wh_pool_init(&core->leases, sizeof(wh_lease));
    wh_pool_init(&core->sessions, sizeof(wh_session *));
    wh_pool_init(&core->streams, sizeof(wh_stream *));
    wh_pool_init(&core->keys, sizeof(wh_key));
    wh_pool_init(&core->producers, sizeof(wh_producer));
    wh_pool_init(&core->departed, sizeof(wh_departed));
    core->oldest_key = core->newest_key = WH_NONE;
    core->oldest_producer = core->newest_producer = WH_NONE;
    core->oldest_departed = core->newest_departed = WH_NONE;
    core->last_queue = WH_NONE;
}

wh_core *wh_core_new(const wh_core_options *options) {
    if (options->shards == 0 || options->shards > WH_SHARDS_MAX || options->bucket_width_ms == 0)
        return NULL;
    wh_core *core = wh_calloc(1, sizeof *core);
    if (core == NULL)
        return NULL;
    memcpy(core->uuid, options->store_uuid, sizeof core->uuid);
    core->shards = options->shards;
    core->bucket_width_ms = options->bucket_width_ms;
    core->resident_bytes_max = options->resident_bytes_max;
    core->recent_keys_max = options->recent_keys_max;
    core->departed_max = options->departed_max;
    core->epoch = (uint32_t)options->epoch;
    core->seq = options->next_seq;
    core->fencing = options->epoch << 40;
    core->group = options->group + 1;
    core->checkpointed_group = options->group;
    core->watermark_ms = options->watermark_ms;
    core->keys_complete = !options->has_keys;
    init_tables(core);
    core->index = wh_calloc(options->shards, sizeof *core->index);
    core->shelf = wh_group_shelf_new();
    core->expired = wh_malloc(WH_EXPIRIES_PER_TICK_MAX * sizeof *core->expired);
    core->wheel = wh_wheel_new(options->now_ms);
    core->lease_wheel = wh_wheel_new(options->boot_ms);
    core->toucher = wh_toucher_new();
    set_toucher(core);
    bool whole = core->index != NULL && core->shelf != NULL && core->expired != NULL;
    if (!whole || core->wheel == NULL || core->lease_wheel == NULL || core->toucher == NULL) {
        wh_core_free(core);
        return NULL;
    }
    if (options->index != NULL)
        memcpy(core->index, options->index, options->shards * sizeof *core->index);
    return core;
}

static void free_streams(wh_core *core) {
    for (wh_stream *stream = core->first_stream, *next; stream != NULL; stream = next) {
        next = stream->next;
        for (wh_frame *frame = stream->first_frame, *after; frame != NULL; frame = after) {
            after = frame->next;
            wh_frame_free(frame);
        }
        free(stream->queues);
        free(stream->revoked);
        free(stream);
    }
}

static void free_sessions(wh_core *core) {
    for (uint32_t bucket = 0; bucket < core->session_index.buckets; bucket++)
        for (uint32_t at = core->session_index.heads[bucket]; at != WH_NONE; at = wh_index_next(&core->session_index, at))
            free(wh_session_at(core, at));
}

static void free_tables(wh_core *core) {
    wh_pool *pools[] = {&core->jobs, &core->leases, &core->sessions, &core->streams, &core->keys, &core->producers, &core->departed};
    wh_index *indexes[] = {&core->job_index, &core->lease_index, &core->session_index, &core->stream_index, &core->queue_index,
                           &core->key_index, &core->producer_index, &core->settled_index, &core->departed_index};
    for (size_t at = 0; at < sizeof pools / sizeof *pools; at++)
        wh_pool_free(pools[at]);
    for (size_t at = 0; at < sizeof indexes / sizeof *indexes; at++)
        wh_index_free(indexes[at]);
}

void wh_core_free(wh_core *core) {
    if (core == NULL)
        return;
    for (uint32_t at = 0; at < core->jobs.high; at++) {
        uint8_t *spec = wh_job_at(core, at)->spec;
        if (spec != NULL)
            wh_record_give(&core->records, spec, wh_spec_size(spec));
    }
    wh_records_free(&core->records);
    for (uint32_t at = 0; at < core->queue_count; at++)
        wh_queue_free(core->queues[at]);
    free_streams(core);
    free_sessions(core);
    wh_producers_free(core);
    free_tables(core);
    wh_wheel_free(core->wheel);
    wh_wheel_free(core->lease_wheel);
    wh_toucher_free(core->toucher);
    free(core->index);
    free(core->expired);
    free(core->queues);
    free(core->met);
    free(core->settled);
    free(core->loads);
    wh_group_shelf_drop(core->shelf, &core->open);
    free(core->scratch.data);
    free(core);
}

int wh_core_restore_queue(wh_core *core, const uint8_t *path, size_t length, bool paused, bool backlog) {
    if (length > WH_PATH_BYTES_MAX)
        return WH_CORE_MALFORMED;
    uint32_t reference = wh_queue_intern(core, path, length);
    if (reference == WH_NONE)
        return WH_CORE_NO_MEMORY;
    wh_queue *queue = wh_queue_meet(core, reference);
    queue->paused |= paused;
    queue->backlog |= backlog;
    return 0;
}

int wh_core_restore_producers(wh_core *core, const uint8_t *bodies, size_t length) {
    if (length % WH_PRODUCER_BODY)
        return WH_CORE_MALFORMED;
    for (size_t at = 0; at < length; at += WH_PRODUCER_BODY) {
        const uint8_t *body = bodies + at;
        wh_producer_batch batch = {.number = wh_get64(body + 16), .content = wh_get64(body + 24), .base_ms = wh_get64(body + 32),
                                   .first_seq = wh_get64(body + 40), .count = wh_get32(body + 48), .shard = wh_get16(body + 52)};
        wh_producer *producer = wh_producer_get(core, body);
        if (batch.shard >= core->shards)
            return WH_CORE_MALFORMED;
        if (producer == NULL || !wh_producer_add(producer, &batch))
            return WH_CORE_NO_MEMORY;
    }
    return 0;
}

int wh_core_start(wh_core *core, uint64_t now_ms) {
    for (uint32_t shard = 0; shard < core->shards; shard++)
        if (wh_stage(core, WH_ENTRY_EPOCH, 0, shard, now_ms, 0) == NULL)
            return WH_CORE_NO_MEMORY;
    return 0;
}
