/*
 * Dense storage: a pool hands out u32 references to items of one size, an index finds references by a 32-bit hash.
 *
 * The index is a chained hash that grows by one bucket per insertion (linear hashing), so that no insertion pays for a rehash of
 * millions. It stores hashes, never looks at items: the caller compares. Room is reserved first; what follows cannot fail.
 */
#ifndef WH_POOL_H
#define WH_POOL_H

#include "wh_toucher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WH_NONE UINT32_MAX

typedef struct {
    uint8_t *items; /* moves when the pool grows: keep references, not pointers */
    uint32_t item_bytes;
    uint32_t capacity;
    uint32_t high; /* references below have been handed out at least once */
    uint32_t free_head; /* a free item's first four bytes name the next one */
    uint32_t count;
    wh_toucher *toucher; /* touches what a large pool grows by; NULL: its user does */
} wh_pool;

typedef struct {
    uint32_t next;
    uint32_t hash;
} wh_node;

typedef struct {
    uint32_t *heads;
    wh_node *nodes; /* by reference */
    uint32_t buckets; /* between round and 2 * round */
    uint32_t round; /* a power of two */
    uint32_t heads_capacity;
    uint32_t nodes_capacity;
    uint32_t count;
    wh_toucher *toucher; /* as of a pool */
} wh_index;

/* Prepares an empty pool; allocates nothing. */
void wh_pool_init(wh_pool *pool, uint32_t item_bytes);

/* Frees the items' memory. */
void wh_pool_free(wh_pool *pool);

/* Makes room for `extra` more items. false: no memory, nothing changed. */
bool wh_pool_reserve(wh_pool *pool, uint32_t extra);

/* Takes a free reference (reserved before); its bytes are zero. */
uint32_t wh_pool_take(wh_pool *pool);

/* The reference that wh_pool_take would give out. */
uint32_t wh_pool_next(const wh_pool *pool);

/* Gives a reference back. */
void wh_pool_give(wh_pool *pool, uint32_t reference);

static inline void *wh_pool_at(const wh_pool *pool, uint32_t reference) {
    return pool->items + (size_t)reference * pool->item_bytes;
}

/* Prepares an empty index; allocates nothing. */
void wh_index_init(wh_index *index);

/* Frees the index's memory. */
void wh_index_free(wh_index *index);

/* Makes references 0..references-1 usable. false: no memory, nothing changed. */
bool wh_index_reserve(wh_index *index, uint32_t references);

/* Adds a reference that is not in the index and was reserved. */
void wh_index_add(wh_index *index, uint32_t reference, uint32_t hash);

/* Removes a reference that is in the index. */
void wh_index_remove(wh_index *index, uint32_t reference);

static inline uint32_t wh_index_bucket(const wh_index *index, uint32_t hash) {
    uint32_t bucket = hash & (2 * index->round - 1);
    return bucket < index->buckets ? bucket : bucket & (index->round - 1);
}

/* The first reference that may have the hash, WH_NONE when there is none; `wh_index_next` goes on. */
static inline uint32_t wh_index_first(const wh_index *index, uint32_t hash) {
    return index->heads == NULL ? WH_NONE : index->heads[wh_index_bucket(index, hash)];
}

/* Fetches what wh_index_first will read. */
static inline void wh_index_expect(const wh_index *index, uint32_t hash) {
    if (index->heads != NULL)
        __builtin_prefetch(&index->heads[wh_index_bucket(index, hash)], 1);
}

static inline uint32_t wh_index_next(const wh_index *index, uint32_t reference) {
    return index->nodes[reference].next;
}

#endif
