/* Recent idempotency keys, oldest first, and the batches of producer sessions, least recently used first. */
#include "wh_core_internal.h"

static inline wh_key *key_at(const wh_core *core, uint32_t reference) {
    return wh_pool_at(&core->keys, reference);
}

static inline wh_producer *producer_at(const wh_core *core, uint32_t reference) {
    return wh_pool_at(&core->producers, reference);
}

uint32_t wh_key_find(const wh_core *core, const uint8_t *hash) {
    uint32_t at = wh_index_first(&core->key_index, wh_get32(hash));
    while (at != WH_NONE && memcmp(key_at(core, at)->hash, hash, 16) != 0)
        at = wh_index_next(&core->key_index, at);
    return at;
}

bool wh_keys_reserve(wh_core *core, uint32_t extra) {
    return wh_pool_reserve(&core->keys, extra) && wh_index_reserve(&core->key_index, core->keys.capacity);
}

static void unlink_key(wh_core *core, uint32_t reference) {
    wh_key *key = key_at(core, reference);
    if (key->previous == WH_NONE)
        core->oldest_key = key->next;
    else
        key_at(core, key->previous)->next = key->next;
    if (key->next == WH_NONE)
        core->newest_key = key->previous;
    else
        key_at(core, key->next)->previous = key->previous;
}

static void link_key(wh_core *core, uint32_t reference) {
    wh_key *key = key_at(core, reference);
    key->previous = core->newest_key;
    key->next = WH_NONE;
    if (core->newest_key == WH_NONE)
        core->oldest_key = reference;
    else
        key_at(core, core->newest_key)->next = reference;
    core->newest_key = reference;
}

void wh_key_set(wh_core *core, uint32_t reference, const uint8_t *hash, wh_id id, uint64_t content, uint64_t create_ms, uint64_t group) {
    if (reference == WH_NONE) {
        reference = wh_pool_take(&core->keys);
        memcpy(key_at(core, reference)->hash, hash, 16);
        wh_index_add(&core->key_index, reference, wh_get32(hash));
    } else {
        unlink_key(core, reference);
    }
    wh_key *key = key_at(core, reference);
    key->id = id;
    key->content = content;
    key->create_ms = create_ms;
    key->group = group;
    link_key(core, reference);
}

void wh_keys_forget(wh_core *core) {
    while (core->keys.count > core->recent_keys_max) {
        uint32_t oldest = core->oldest_key;
        if (key_at(core, oldest)->group > core->checkpointed_group)
            return;
        unlink_key(core, oldest);
        wh_index_remove(&core->key_index, oldest);
        wh_pool_give(&core->keys, oldest);
        core->keys_complete = false;
    }
}

static uint32_t producer_hash(const wh_core *core, const uint8_t *session) {
    uint8_t hash[16];
    wh_siphash128(core->uuid, session, 16, hash);
    return wh_get32(hash);
}

static void unlink_producer(wh_core *core, uint32_t reference) {
    wh_producer *producer = producer_at(core, reference);
    if (producer->previous == WH_NONE)
        core->oldest_producer = producer->next;
    else
        producer_at(core, producer->previous)->next = producer->next;
    if (producer->next == WH_NONE)
        core->newest_producer = producer->previous;
    else
        producer_at(core, producer->next)->previous = producer->previous;
}

static void link_producer(wh_core *core, uint32_t reference) {
    wh_producer *producer = producer_at(core, reference);
    producer->previous = core->newest_producer;
    producer->next = WH_NONE;
    if (core->newest_producer == WH_NONE)
        core->oldest_producer = reference;
    else
        producer_at(core, core->newest_producer)->next = reference;
    core->newest_producer = reference;
}

static void forget_oldest_producer(wh_core *core) {
    uint32_t oldest = core->oldest_producer;
    unlink_producer(core, oldest);
    free(producer_at(core, oldest)->batches);
    wh_index_remove(&core->producer_index, oldest);
    wh_pool_give(&core->producers, oldest);
}

wh_producer *wh_producer_get(wh_core *core, const uint8_t *session) {
    uint32_t hash = producer_hash(core, session), at = wh_index_first(&core->producer_index, hash);
    while (at != WH_NONE && memcmp(producer_at(core, at)->session, session, 16) != 0)
        at = wh_index_next(&core->producer_index, at);
    if (at != WH_NONE) {
        unlink_producer(core, at);
        link_producer(core, at);
        return producer_at(core, at);
    }
    if (!wh_pool_reserve(&core->producers, 1) || !wh_index_reserve(&core->producer_index, core->producers.capacity)) {
        core->broken = true;
        return NULL;
    }
    at = wh_pool_take(&core->producers);
    memcpy(producer_at(core, at)->session, session, 16);
    wh_index_add(&core->producer_index, at, hash);
    link_producer(core, at);
    if (core->producers.count > WH_PRODUCERS_REMEMBERED_MAX)
        forget_oldest_producer(core);
    return producer_at(core, at);
}

const wh_producer_batch *wh_producer_find(const wh_producer *producer, uint64_t number) {
    for (uint32_t at = 0; at < producer->batch_count; at++)
        if (producer->batches[at].number == number)
            return &producer->batches[at];
    return NULL;
}

static bool out_of_window(const wh_producer *producer, uint64_t number) {
    return producer->highest >= WH_PRODUCER_BATCHES_REMEMBERED && number <= producer->highest - WH_PRODUCER_BATCHES_REMEMBERED;
}

bool wh_producer_add(wh_producer *producer, const wh_producer_batch *batch) {
    if (batch->number > producer->highest)
        producer->highest = batch->number;
    uint32_t kept = 0;
    for (uint32_t at = 0; at < producer->batch_count; at++)
        if (!out_of_window(producer, producer->batches[at].number) && producer->batches[at].number != batch->number)
            producer->batches[kept++] = producer->batches[at];
    producer->batch_count = kept;
    if (out_of_window(producer, batch->number))
        return true;
    if (kept == producer->batch_capacity) {
        uint32_t capacity = kept ? kept * 2 : 2;
        wh_producer_batch *batches = wh_realloc(producer->batches, capacity * sizeof *batches);
        if (batches == NULL)
            return false;
        producer->batches = batches;
        producer->batch_capacity = capacity;
    }
    producer->batches[producer->batch_count++] = *batch;
    return true;
}

void wh_producers_free(wh_core *core) {
    for (uint32_t at = core->oldest_producer; at != WH_NONE; at = producer_at(core, at)->next)
        free(producer_at(core, at)->batches);
}
