/* The fold's memory: arena, job map, operation lists; and the walk over a group's entries. */
#include "wh_fold_internal.h"

#define WH_HEAD 32
#define WH_CHUNK_BYTES ((size_t)4 << 20)
#define WH_FIRST_SLOTS 4096u

wh_fold *wh_fold_new(uint32_t shards, uint64_t bucket_width_ms) {
    wh_fold *fold = calloc(1, sizeof *fold);
    if (fold == NULL)
        return NULL;
    fold->bucket_width_ms = bucket_width_ms;
    fold->shard_count = shards;
    fold->shards = calloc(shards, sizeof *fold->shards);
    fold->slots = calloc(WH_FIRST_SLOTS, sizeof *fold->slots);
    fold->slot_mask = WH_FIRST_SLOTS - 1;
    if (fold->shards == NULL || fold->slots == NULL) {
        wh_fold_free(fold);
        return NULL;
    }
    return fold;
}

static void free_chunks(wh_fold *fold) {
    while (fold->chunk != NULL) {
        wh_chunk *next = fold->chunk->next;
        free(fold->chunk);
        fold->chunk = next;
    }
}

void wh_fold_free(wh_fold *fold) {
    if (fold == NULL)
        return;
    free_chunks(fold);
    for (int table = 0; table < WH_FOLD_TABLES; table++)
        free(fold->tables[table].ops);
    free(fold->scratch);
    free(fold->jobs);
    free(fold->slots);
    free(fold->shards);
    free(fold);
}

void wh_fold_reset(wh_fold *fold) {
    free_chunks(fold);
    fold->arena_bytes = 0;
    fold->job_count = 0;
    memset(fold->slots, 0, ((size_t)fold->slot_mask + 1) * sizeof *fold->slots);
    memset(fold->shards, 0, fold->shard_count * sizeof *fold->shards);
    for (int table = 0; table < WH_FOLD_TABLES; table++)
        fold->tables[table].count = 0;
    fold->entries = fold->watermark_ms = fold->time_ms = 0;
}

uint8_t *wh_fold_alloc(wh_fold *fold, size_t size) {
    wh_chunk *chunk = fold->chunk;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        size_t room = size > WH_CHUNK_BYTES ? size : WH_CHUNK_BYTES;
        chunk = malloc(sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        chunk->next = fold->chunk;
        chunk->used = 0;
        chunk->size = room;
        fold->chunk = chunk;
        fold->arena_bytes += room;
    }
    uint8_t *found = chunk->bytes + chunk->used;
    chunk->used += size;
    return found;
}

static uint32_t hash_id(const uint8_t *id) {
    uint64_t mixed = (wh_u64(id) ^ wh_u64(id + 8) * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    return (uint32_t)(mixed >> 32);
}

static int grow_slots(wh_fold *fold) {
    uint32_t mask = fold->slot_mask * 2 + 1;
    uint32_t *slots = calloc((size_t)mask + 1, sizeof *slots);
    if (slots == NULL)
        return WH_FOLD_NO_MEMORY;
    for (uint32_t number = 0; number < fold->job_count; number++) {
        uint32_t slot = hash_id(fold->jobs[number].id) & mask;
        while (slots[slot] != 0)
            slot = (slot + 1) & mask;
        slots[slot] = number + 1;
    }
    free(fold->slots);
    fold->slots = slots;
    fold->slot_mask = mask;
    return 0;
}

static int grow_jobs(wh_fold *fold) {
    uint32_t capacity = fold->job_capacity ? fold->job_capacity * 2 : 1024;
    wh_fold_job *jobs = realloc(fold->jobs, capacity * sizeof *jobs);
    if (jobs == NULL)
        return WH_FOLD_NO_MEMORY;
    fold->jobs = jobs;
    fold->job_capacity = capacity;
    return 0;
}

wh_fold_job *wh_fold_find(wh_fold *fold, const uint8_t *id) {
    uint32_t slot = hash_id(id) & fold->slot_mask;
    for (; fold->slots[slot] != 0; slot = (slot + 1) & fold->slot_mask)
        if (memcmp(fold->jobs[fold->slots[slot] - 1].id, id, WH_ID) == 0)
            return &fold->jobs[fold->slots[slot] - 1];
    if (fold->job_count == fold->job_capacity && grow_jobs(fold) != 0)
        return NULL;
    wh_fold_job *job = &fold->jobs[fold->job_count++];
    memset(job, 0, sizeof *job);
    memcpy(job->id, id, WH_ID);
    fold->slots[slot] = fold->job_count;
    if (fold->job_count > fold->slot_mask / 2 && grow_slots(fold) != 0)
        return NULL;
    return job;
}

int wh_fold_note(wh_fold *fold, int table, int kind, int fresh, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len) {
    wh_fold_table *list = &fold->tables[table];
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 256;
        wh_fold_op *ops = realloc(list->ops, capacity * sizeof *ops);
        if (ops == NULL)
            return WH_FOLD_NO_MEMORY;
        list->ops = ops;
        list->capacity = capacity;
    }
    uint8_t first[16] = {0};
    memcpy(first, key, key_len < sizeof first ? key_len : sizeof first);
    list->ops[list->count++] = (wh_fold_op){
        .high = wh_be64(first), .low = wh_be64(first + 8), .key = key, .value = value, .value_len = (uint32_t)value_len,
        .key_len = (uint16_t)key_len, .kind = (uint8_t)kind, .fresh = (uint8_t)fresh,
    };
    return 0;
}

int wh_fold_apply(wh_fold *fold, const uint8_t *payload, size_t length, size_t *error_at) {
    *error_at = 0;
    uint8_t *copy = wh_fold_alloc(fold, length ? length : 1);
    if (copy == NULL)
        return WH_FOLD_NO_MEMORY;
    memcpy(copy, payload, length);
    for (size_t at = 0; at < length;) {
        *error_at = at;
        if (length - at < WH_HEAD)
            return WH_FOLD_MALFORMED;
        const uint8_t *head = copy + at;
        size_t size = wh_u32(head);
        if (size < WH_HEAD || size > length - at)
            return WH_FOLD_MALFORMED;
        wh_entry entry = {
            .body = head + WH_HEAD, .length = size - WH_HEAD, .kind = head[4], .flags = head[5], .shard = wh_u16(head + 6),
            .epoch = wh_u32(head + 8), .index = wh_u64(head + 16), .now_ms = wh_u64(head + 24),
        };
        if (entry.shard >= fold->shard_count)
            return WH_FOLD_BAD_SHARD;
        int code = wh_fold_entry(fold, &entry);
        if (code != 0)
            return code;
        wh_fold_shard *shard = &fold->shards[entry.shard];
        shard->touched = 1;
        if (entry.index > shard->index)
            shard->index = entry.index;
        if (entry.epoch > shard->epoch)
            shard->epoch = entry.epoch;
        if (entry.now_ms > fold->time_ms)
            fold->time_ms = entry.now_ms;
        fold->entries++;
        at += size;
    }
    return 0;
}

const wh_fold_op *wh_fold_ops(const wh_fold *fold, int table, size_t *count) {
    *count = fold->tables[table].count;
    return fold->tables[table].ops;
}

const wh_fold_shard *wh_fold_shard_at(const wh_fold *fold, uint32_t shard) { return &fold->shards[shard]; }

size_t wh_fold_bytes(const wh_fold *fold) {
    size_t bytes = fold->arena_bytes + (size_t)fold->job_count * (sizeof(wh_fold_job) + 8);
    for (int table = 0; table < WH_FOLD_TABLES; table++)
        bytes += fold->tables[table].count * sizeof(wh_fold_op);
    return bytes;
}

uint64_t wh_fold_entries(const wh_fold *fold) { return fold->entries; }

uint64_t wh_fold_watermark(const wh_fold *fold) { return fold->watermark_ms; }

uint64_t wh_fold_time(const wh_fold *fold) { return fold->time_ms; }
