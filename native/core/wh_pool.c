/* Pools and indexes; see the header. */
#include "wh_pool.h"

#include "wh_memory.h"

#include <stdlib.h>
#include <string.h>

enum { WH_POOL_FIRST = 64, WH_POOL_LARGE = 1 << 17, WH_EARLY_SHARE = 32, WH_BUCKETS_FIRST = 16 };

void wh_pool_init(wh_pool *pool, uint32_t item_bytes) {
    *pool = (wh_pool){.item_bytes = item_bytes, .free_head = WH_NONE};
}

void wh_pool_free(wh_pool *pool) {
    wh_toucher *toucher = pool->toucher;
    wh_grown_free(pool->items, (size_t)pool->capacity * pool->item_bytes);
    wh_pool_init(pool, pool->item_bytes);
    pool->toucher = toucher;
}

/* Grown by half while it is small, then by a sixteenth, since that copies nothing; at least to `wanted`; the limit keeps WH_NONE out of the references. */
static uint32_t grown(uint32_t capacity, uint64_t wanted) {
    uint64_t next = (uint64_t)capacity + capacity / (capacity < WH_POOL_LARGE ? 2 : 16) + WH_POOL_FIRST;
    if (next < wanted)
        next = wanted;
    if (next > WH_NONE - 1)
        next = WH_NONE - 1;
    return next < wanted ? 0 : (uint32_t)next;
}

/* A large table grows when a part of its last step is left, so that there is time to touch what it grows by. */
static bool is_roomy(const wh_toucher *toucher, uint32_t capacity, uint64_t wanted) {
    uint32_t early = toucher != NULL && capacity >= WH_POOL_LARGE ? capacity / WH_EARLY_SHARE : 0;
    return wanted + early <= capacity;
}

/* As wh_grow; what is new of a large block is touched ahead. */
static void *grow_touched(wh_toucher *toucher, void *block, size_t held, size_t bytes) {
    uint8_t *grown = wh_grow(block, held, bytes);
    if (grown != NULL && bytes > WH_TOUCHER_BLOCK)
        wh_toucher_touch(toucher, grown + held, bytes - held);
    return grown;
}

bool wh_pool_reserve(wh_pool *pool, uint32_t extra) {
    uint64_t wanted = (uint64_t)pool->count + extra;
    if (is_roomy(pool->toucher, pool->capacity, wanted))
        return true;
    uint32_t capacity = grown(pool->capacity, wanted);
    size_t held = (size_t)pool->capacity * pool->item_bytes;
    uint8_t *items = capacity ? grow_touched(pool->toucher, pool->items, held, (size_t)capacity * pool->item_bytes) : NULL;
    if (items == NULL)
        return wanted <= pool->capacity;
    pool->items = items;
    pool->capacity = capacity;
    return true;
}

uint32_t wh_pool_take(wh_pool *pool) {
    uint32_t reference = pool->free_head;
    if (reference == WH_NONE)
        reference = pool->high++;
    else
        memcpy(&pool->free_head, wh_pool_at(pool, reference), sizeof pool->free_head);
    if (pool->free_head != WH_NONE) /* the next one to be taken: free items lie anywhere */
        __builtin_prefetch(wh_pool_at(pool, pool->free_head), 1);
    memset(wh_pool_at(pool, reference), 0, pool->item_bytes);
    pool->count++;
    return reference;
}

uint32_t wh_pool_next(const wh_pool *pool) {
    return pool->free_head == WH_NONE ? pool->high : pool->free_head;
}

void wh_pool_give(wh_pool *pool, uint32_t reference) {
    memset(wh_pool_at(pool, reference), 0, pool->item_bytes);
    memcpy(wh_pool_at(pool, reference), &pool->free_head, sizeof pool->free_head);
    pool->free_head = reference;
    pool->count--;
}

void wh_index_init(wh_index *index) {
    *index = (wh_index){0};
}

void wh_index_free(wh_index *index) {
    wh_grown_free(index->heads, index->heads_capacity * sizeof *index->heads);
    wh_grown_free(index->nodes, index->nodes_capacity * sizeof *index->nodes);
    *index = (wh_index){.toucher = index->toucher};
}

/* Makes room for heads; as many as references, so that the load can stay at one. */
static bool reserve_heads(wh_index *index, uint32_t wanted) {
    if (wanted <= index->heads_capacity)
        return true;
    uint32_t *heads = grow_touched(index->toucher, index->heads, index->heads_capacity * sizeof *heads, (size_t)wanted * sizeof *heads);
    if (heads == NULL)
        return false;
    index->heads = heads;
    index->heads_capacity = wanted;
    if (index->buckets == 0) {
        index->buckets = index->round = WH_BUCKETS_FIRST;
        memset(heads, 0xFF, WH_BUCKETS_FIRST * sizeof *heads);
    }
    return true;
}

bool wh_index_reserve(wh_index *index, uint32_t references) {
    if (is_roomy(index->toucher, index->nodes_capacity, references))
        return true;
    uint32_t capacity = grown(index->nodes_capacity, references);
    if (capacity == 0 || !reserve_heads(index, capacity))
        return references <= index->nodes_capacity;
    wh_node *nodes = grow_touched(index->toucher, index->nodes, index->nodes_capacity * sizeof *nodes, (size_t)capacity * sizeof *nodes);
    if (nodes == NULL)
        return references <= index->nodes_capacity;
    index->nodes = nodes;
    index->nodes_capacity = capacity;
    return true;
}

/* Adds one bucket and moves to it what belongs there. */
static void split(wh_index *index) {
    enum { AHEAD = 8 };
    uint32_t from = index->buckets - index->round, to = index->buckets, mask = 2 * index->round - 1;
    /* The next splits are known: fetch their nodes, which lie anywhere. */
    if (from + AHEAD < index->round && index->heads[from + AHEAD] != WH_NONE)
        __builtin_prefetch(&index->nodes[index->heads[from + AHEAD]], 1);
    uint32_t reference = index->heads[from], stay = WH_NONE, move = WH_NONE;
    while (reference != WH_NONE) {
        wh_node *node = &index->nodes[reference];
        uint32_t next = node->next, *chain = (node->hash & mask) == to ? &move : &stay;
        node->next = *chain;
        *chain = reference;
        reference = next;
    }
    index->heads[from] = stay;
    index->heads[to] = move;
    if (++index->buckets == 2 * index->round)
        index->round = index->buckets;
}

void wh_index_add(wh_index *index, uint32_t reference, uint32_t hash) {
    if (index->count >= index->buckets && index->buckets < index->heads_capacity)
        split(index);
    uint32_t *head = &index->heads[wh_index_bucket(index, hash)];
    index->nodes[reference] = (wh_node){.next = *head, .hash = hash};
    *head = reference;
    index->count++;
}

void wh_index_remove(wh_index *index, uint32_t reference) {
    uint32_t *link = &index->heads[wh_index_bucket(index, index->nodes[reference].hash)];
    while (*link != reference)
        link = &index->nodes[*link].next;
    *link = index->nodes[reference].next;
    index->count--;
}
