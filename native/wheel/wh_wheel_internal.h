/* Shared by the files of the wheel: its layout, slot arithmetic, the append path. Nobody else includes this. */
#ifndef WH_WHEEL_INTERNAL_H
#define WH_WHEEL_INTERNAL_H

#include "wh_wheel.h"

#include <stdbool.h>

enum {
    WH_LEVELS = 6,
    WH_NEAR_SLOTS = 4096, /* level 0 */
    WH_SLOTS = WH_NEAR_SLOTS + 3 * 1024 + 2 * 2048,
    WH_WORDS = WH_SLOTS / 64,
    WH_CLASSES = 3,
    WH_PREFETCH = 16,         /* records ahead of which a stamp is fetched */
    WH_CHUNKS_AHEAD = 32,     /* occupied slots ahead of the drain whose chunk is fetched */
    WH_STAMPS_AHEAD = 12,     /* and whose stamps are: past the chunks by a memory access */
    WH_SORTED_PREFETCH = 32,  /* entries of the sorted run ahead of which a stamp is fetched */
    WH_SORT_FROM = 512,       /* records of a level 1 slot that is sorted rather than cascaded */
    WH_SORT_MOST = 65536,     /* so that no call takes long */
    WH_DEAD_TOLERATED = 4096, /* below this many dead records a sweep is not worth its cost */
    WH_SWEEP_COST = 128,      /* records one call may look at */
};

typedef struct {
    uint64_t due; /* effective: never before the wheel's time at arming */
    uint32_t key;
    uint32_t stamp; /* live when equal to stamps[key] */
} wh_record;

/* What the sorted run keeps of a record: its slot says when it is due. */
typedef struct {
    uint32_t key;
    uint32_t stamp;
} wh_entry;

/* A run of records. In a chain every chunk holds at least one record: 0 <= begin < end <= capacity. */
typedef struct wh_chunk {
    struct wh_chunk *next;
    uint16_t begin;
    uint16_t end;
    uint16_t capacity;
    uint16_t size_class;
    wh_record records[];
} wh_chunk;

/* Chunk sizes never fall along a chain and double up only at the largest, so sparse slots stay small. */
typedef struct {
    wh_chunk *head; /* NULL: empty */
    wh_chunk *tail;
} wh_chain;

typedef struct wh_arena {
    struct wh_arena *next;
    size_t bytes;
} wh_arena;

typedef struct {
    wh_arena *arenas; /* newest first; chunks are cut from the newest */
    wh_chunk *free_chunks[WH_CLASSES];
    char *cut;
    char *cut_end;
    size_t arena_bytes;
    size_t used_bytes; /* in chains */
    wh_toucher *toucher; /* NULL: memory is touched by its user */
} wh_slab;

struct wh_wheel {
    uint64_t now;
    size_t live;
    size_t records; /* live and dead */
    uint32_t *stamps; /* odd: armed; changes at every arm, cancel and expiry */
    uint32_t keys;
    uint32_t keys_allocated;
    uint64_t summary[WH_LEVELS]; /* bit i: word i of the level is not zero */
    uint64_t words[WH_WORDS];    /* bit per slot: its chain is not empty */
    wh_slab slab;
    /* Rest of a slot whose cascade ran out of memory or work. Not empty: nothing may expire, and arms due within `pending_last`
       queue up behind it so that order holds. */
    wh_chain pending;
    uint64_t pending_last;
    wh_chunk *sweep_previous; /* chunk of sweep_slot before the next one to sweep; NULL: its head is next */
    uint32_t sweep_slot;
    /* Sorted run of level 0: entries sorted_at .. sorted_count are left, those of a slot end at sorted_end[slot] and come before its chain. */
    wh_entry *sorted;
    size_t sorted_allocated;
    uint32_t sorted_at;
    uint32_t sorted_count;
    uint32_t sorted_end[WH_NEAR_SLOTS];
    bool near_chains; /* level 0 may have chains beside the run */
    wh_chain slots[WH_SLOTS];
};

static const uint8_t wh_level_shift[WH_LEVELS] = {0, 12, 22, 32, 42, 53};
static const uint8_t wh_level_bits[WH_LEVELS] = {12, 10, 10, 10, 11, 11};
static const uint16_t wh_level_base[WH_LEVELS] = {0, 4096, 5120, 6144, 7168, 9216};
static const uint8_t wh_level_of_bit[64] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                /* 0-11 */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1,                      /* 12-21 */
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2,                      /* 22-31 */
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3,                      /* 32-41 */
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,                   /* 42-52 */
    5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,                   /* 53-63 */
};

/* The slot of a due time (due >= now). */
static inline uint32_t wh_slot_of(uint64_t due, uint64_t now) {
    uint64_t difference = (due ^ now) | 1;
    unsigned level = wh_level_of_bit[63 - __builtin_clzll(difference)];
    uint64_t mask = (UINT64_C(1) << wh_level_bits[level]) - 1;
    return wh_level_base[level] + (uint32_t)((due >> wh_level_shift[level]) & mask);
}

static inline unsigned wh_level_of_slot(uint32_t slot) {
    unsigned level = WH_LEVELS - 1;
    while (slot < wh_level_base[level])
        level--;
    return level;
}

/* The last tick of the level's block around `now`: now with every bit of the level and below set. */
static inline uint64_t wh_block_last(uint64_t now, unsigned level) {
    unsigned top = wh_level_shift[level] + wh_level_bits[level];
    return top == 64 ? UINT64_MAX : now | ((UINT64_C(1) << top) - 1);
}

/* The first tick of a slot, seen from `now`. */
static inline uint64_t wh_slot_start(uint32_t slot, unsigned level, uint64_t now) {
    uint64_t block = wh_block_last(now, level) - (wh_block_last(0, level));
    return block | ((uint64_t)(slot - wh_level_base[level]) << wh_level_shift[level]);
}

static inline void wh_mark_slot(wh_wheel *wheel, uint32_t slot) {
    unsigned level = wh_level_of_slot(slot);
    wheel->words[slot >> 6] |= UINT64_C(1) << (slot & 63);
    wheel->summary[level] |= UINT64_C(1) << ((slot >> 6) - (wh_level_base[level] >> 6));
}

static inline void wh_clear_slot(wh_wheel *wheel, uint32_t slot) {
    wheel->words[slot >> 6] &= ~(UINT64_C(1) << (slot & 63));
    if (wheel->words[slot >> 6] == 0) {
        unsigned level = wh_level_of_slot(slot);
        wheel->summary[level] &= ~(UINT64_C(1) << ((slot >> 6) - (wh_level_base[level] >> 6)));
    }
}

static inline bool wh_is_live(const wh_wheel *wheel, const wh_record *record) {
    return wheel->stamps[record->key] == record->stamp;
}

static inline void wh_prefetch_stamps(const wh_wheel *wheel, const wh_chunk *chunk) {
    for (unsigned at = chunk->begin; at < chunk->end && at < chunk->begin + (unsigned)WH_PREFETCH; at++)
        __builtin_prefetch(&wheel->stamps[chunk->records[at].key], 1);
}

/* true: entries of the sorted run are left in this slot. */
static inline bool wh_sorted_in(const wh_wheel *wheel, uint32_t slot) {
    if (wheel->sorted_at == wheel->sorted_count || slot >= WH_NEAR_SLOTS || wheel->sorted_at >= wheel->sorted_end[slot])
        return false;
    return slot == 0 || wheel->sorted_end[slot - 1] < wheel->sorted_end[slot];
}

/* How many records a level 1 slot holds; 0: too few or too many to be sorted. */
size_t wh_sortable(const wh_chain *chain);

/* Sorts the `count` records of a level 1 slot into the run, while level 0 is empty. false: no memory, nothing changed. */
bool wh_sort(wh_wheel *wheel, wh_chain *chain, size_t count);

/* Gives the empty run's memory back. */
void wh_sort_free(wh_wheel *wheel);

/* Memory aligned to a cache line, on huge pages when it is large: timers are touched at random, so every small page costs a TLB
   miss. Freed with free(); NULL: no memory. */
void *wh_allocate(size_t bytes);

/* An arena of WH_TOUCHER_BLOCK bytes, as wh_allocate. */
void *wh_allocate_arena(wh_toucher *toucher);

/* The stamps' memory, grown from `held` bytes (0: none) without a copy of what is large; NULL: no memory, nothing changed. */
uint32_t *wh_grow_stamps(wh_toucher *toucher, uint32_t *stamps, size_t held, size_t bytes);
void wh_free_stamps(uint32_t *stamps, size_t held);

/* Appends an empty chunk to the chain (one that the next append fills at once). false: no memory. */
bool wh_chain_grow(wh_slab *slab, wh_chain *chain);

/* Frees the head of a chain of which no record is wanted any more. */
void wh_chain_pop(wh_slab *slab, wh_chain *chain);

/* Gives a chunk back to the slab. */
void wh_slab_release(wh_slab *slab, wh_chunk *chunk);

/* Gives all arenas but the oldest back to the system; only when no chunk is in use. */
void wh_slab_shrink(wh_slab *slab);

/* Frees every arena. */
void wh_slab_free(wh_slab *slab);

/* Drops dead records, about WH_SWEEP_COST looked at, going on where the last call stopped. */
void wh_sweep(wh_wheel *wheel);

/* Tells the sweeper that chunks at the head of this slot go away. */
static inline void wh_sweep_forget(wh_wheel *wheel, uint32_t slot) {
    if (wheel->sweep_slot == slot)
        wheel->sweep_previous = NULL;
}

/* Appends a record to the chain. false: no memory. */
static inline bool wh_chain_append(wh_slab *slab, wh_chain *chain, wh_record record) {
    wh_chunk *tail = chain->tail;
    if (tail == NULL || tail->end == tail->capacity) {
        if (!wh_chain_grow(slab, chain))
            return false;
        tail = chain->tail;
    }
    tail->records[tail->end++] = record;
    return true;
}

/* Puts a record where (due, now) says. false: no memory, nothing changed. */
static inline bool wh_place(wh_wheel *wheel, wh_record record) {
    uint32_t slot = wh_slot_of(record.due, wheel->now);
    wh_chain *chain = &wheel->slots[slot];
    bool was_empty = chain->head == NULL;
    if (!wh_chain_append(&wheel->slab, chain, record))
        return false;
    if (was_empty) {
        wh_mark_slot(wheel, slot);
        wheel->near_chains |= slot < WH_NEAR_SLOTS;
    }
    return true;
}

static inline void wh_sweep_if_needed(wh_wheel *wheel) {
    if (wheel->records - wheel->live > wheel->live / 2 + WH_DEAD_TOLERATED + (wheel->sorted_count - wheel->sorted_at))
        wh_sweep(wheel);
}

/* Finds the first occupied slot. All slots of a level come before all of the next: false when there is none. */
static inline bool wh_first_slot(const wh_wheel *wheel, uint32_t *slot, unsigned *level) {
    for (unsigned at = 0; at < WH_LEVELS; at++) {
        if (wheel->summary[at] == 0)
            continue;
        uint32_t word = (wh_level_base[at] >> 6) + (uint32_t)__builtin_ctzll(wheel->summary[at]);
        *slot = word * 64 + (uint32_t)__builtin_ctzll(wheel->words[word]);
        *level = at;
        return true;
    }
    return false;
}

/* Drops the dead records at the front of a slot; false when that empties it. */
bool wh_trim(wh_wheel *wheel, uint32_t slot);

#endif
