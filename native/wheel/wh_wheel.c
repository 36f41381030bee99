/* The wheel's operations: arming, cancelling, moving time. Layout and invariants: wh_wheel.h, wh_wheel_internal.h. */
#include "wh_wheel_internal.h"

#include <stdlib.h>
#include <string.h>

wh_wheel *wh_wheel_new(uint64_t now) {
    wh_wheel *wheel = calloc(1, sizeof *wheel);
    if (wheel != NULL)
        wheel->now = now;
    return wheel;
}

void wh_wheel_free(wh_wheel *wheel) {
    if (wheel == NULL)
        return;
    wh_slab_free(&wheel->slab);
    free(wheel->sorted);
    free(wheel->stamps);
    free(wheel);
}

int wh_wheel_reserve(wh_wheel *wheel, uint32_t keys) {
    if (keys <= wheel->keys)
        return 0;
    if (keys > wheel->keys_allocated) {
        uint64_t wanted = (uint64_t)wheel->keys_allocated + wheel->keys_allocated / 4;
        if (wanted < keys)
            wanted = keys;
        if (wanted > UINT32_MAX)
            wanted = UINT32_MAX;
        uint32_t *stamps = wh_allocate((size_t)wanted * sizeof *stamps);
        if (stamps == NULL)
            return WH_WHEEL_NO_MEMORY;
        if (wheel->keys != 0)
            memcpy(stamps, wheel->stamps, wheel->keys * sizeof *stamps);
        free(wheel->stamps);
        wheel->stamps = stamps;
        wheel->keys_allocated = (uint32_t)wanted;
    }
    memset(wheel->stamps + wheel->keys, 0, (size_t)(keys - wheel->keys) * sizeof *wheel->stamps);
    wheel->keys = keys;
    return 0;
}

/* Puts a record where (due, now) says. false: no memory, nothing changed. */
static inline bool place(wh_wheel *wheel, wh_record record) {
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

static inline void sweep_if_needed(wh_wheel *wheel) {
    if (wheel->records - wheel->live > wheel->live / 2 + WH_DEAD_TOLERATED + (wheel->sorted_count - wheel->sorted_at))
        wh_sweep(wheel);
}

/* Arms a valid key. */
static inline int arm(wh_wheel *wheel, uint32_t key, uint64_t due) {
    uint32_t old = wheel->stamps[key];
    int late = due <= wheel->now;
    wh_record record = {.due = late ? wheel->now : due, .key = key, .stamp = (old + 1) | 1};
    bool behind_pending = wheel->pending.head != NULL && record.due <= wheel->pending_last;
    bool placed = behind_pending ? wh_chain_append(&wheel->slab, &wheel->pending, record) : place(wheel, record);
    if (!placed)
        return WH_WHEEL_NO_MEMORY;
    wheel->stamps[key] = record.stamp;
    wheel->records++;
    if (old & 1)
        sweep_if_needed(wheel);
    else
        wheel->live++;
    return late;
}

int wh_wheel_arm(wh_wheel *wheel, uint32_t key, uint64_t due) {
    return key < wheel->keys ? arm(wheel, key, due) : WH_WHEEL_BAD_KEY;
}

int wh_wheel_arm_many(wh_wheel *wheel, const uint32_t *keys, const uint64_t *dues, size_t count, size_t *late) {
    for (size_t at = 0; at < count; at++)
        if (keys[at] >= wheel->keys)
            return WH_WHEEL_BAD_KEY;
    for (size_t at = 0; at < count; at++) {
        if (at + WH_PREFETCH < count)
            __builtin_prefetch(&wheel->stamps[keys[at + WH_PREFETCH]], 1);
        int code = arm(wheel, keys[at], dues[at]);
        if (code < 0)
            return code;
        *late += (size_t)code;
    }
    return 0;
}

void wh_wheel_expect(const wh_wheel *wheel, uint32_t key) {
    if (key < wheel->keys)
        __builtin_prefetch(&wheel->stamps[key], 1);
}

int wh_wheel_cancel(wh_wheel *wheel, uint32_t key) {
    if (key >= wheel->keys || !(wheel->stamps[key] & 1))
        return 0;
    wheel->stamps[key]++;
    wheel->live--;
    sweep_if_needed(wheel);
    return 1;
}

size_t wh_wheel_cancel_many(wh_wheel *wheel, const uint32_t *keys, size_t count) {
    size_t cancelled = 0;
    for (size_t at = 0; at < count; at++) {
        if (at + WH_PREFETCH < count && keys[at + WH_PREFETCH] < wheel->keys)
            __builtin_prefetch(&wheel->stamps[keys[at + WH_PREFETCH]], 1);
        cancelled += (size_t)wh_wheel_cancel(wheel, keys[at]);
    }
    return cancelled;
}

int wh_wheel_armed(const wh_wheel *wheel, uint32_t key) {
    return key < wheel->keys && (wheel->stamps[key] & 1);
}

/* Finds the first occupied slot. All slots of a level come before all of the next: false when there is none. */
static inline bool first_slot(const wh_wheel *wheel, uint32_t *slot, unsigned *level) {
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

/* Fetches the end of the chain that a record will be appended to: first where it is, later what lies there. */
static inline void prefetch_chain(const wh_wheel *wheel, const wh_record *record) {
    __builtin_prefetch(&wheel->slots[wh_slot_of(record->due, wheel->now)], 1);
}

static inline void prefetch_tail(const wh_wheel *wheel, const wh_record *record) {
    const wh_chunk *tail = wheel->slots[wh_slot_of(record->due, wheel->now)].tail;
    if (tail != NULL)
        __builtin_prefetch(tail, 1);
}

/* Moves the records of one pending chunk down. false: no memory. Dead ones are left out only where `sift`: that costs a look at each stamp. */
static bool cascade_chunk(wh_wheel *wheel, wh_chunk *chunk, bool sift) {
    for (; chunk->begin < chunk->end; chunk->begin++) {
        const wh_record *record = &chunk->records[chunk->begin];
        if (chunk->begin + WH_PREFETCH < chunk->end) {
            prefetch_chain(wheel, record + WH_PREFETCH);
            if (sift)
                __builtin_prefetch(&wheel->stamps[record[WH_PREFETCH].key]);
        }
        if (chunk->begin + WH_PREFETCH / 2 < chunk->end)
            prefetch_tail(wheel, record + WH_PREFETCH / 2);
        if (sift && !wh_is_live(wheel, record))
            wheel->records--;
        else if (!place(wheel, *record))
            return false;
    }
    return true;
}

/* Moves the pending chain down to the slots its records now belong to. false: no memory or no work left, the rest stays pending. */
static bool cascade(wh_wheel *wheel, size_t *work) {
    wh_chain *chain = &wheel->pending;
    while (chain->head != NULL) {
        wh_chunk *chunk = chain->head;
        bool sift = wheel->records - wheel->live > wheel->records / 4;
        size_t cost = (size_t)chunk->end - chunk->begin;
        if (*work == 0)
            return false;
        *work -= cost < *work ? cost : *work;
        if (chunk->next != NULL)
            __builtin_prefetch(chunk->next);
        if (sift)
            wh_prefetch_stamps(wheel, chunk);
        if (!cascade_chunk(wheel, chunk, sift))
            return false;
        wh_chain_pop(&wheel->slab, chain);
    }
    return true;
}

/* What one advance may still do. */
typedef struct {
    uint32_t *keys_out;
    size_t capacity, written, work, granted;
} wh_advance;

/* Hands out the live entries that the sorted run has for a slot. As drain(). */
static bool drain_sorted(wh_wheel *wheel, uint32_t slot, wh_advance *call) {
    const wh_entry *sorted = wheel->sorted;
    uint32_t at = wheel->sorted_at, end = wheel->sorted_end[slot];
    size_t at_out = call->written;
    if (end - at > call->work)
        end = at + (uint32_t)call->work;
    for (; at < end; at++) {
        uint32_t ahead = at + WH_SORTED_PREFETCH < wheel->sorted_count ? at + WH_SORTED_PREFETCH : at;
        __builtin_prefetch(&wheel->stamps[sorted[ahead].key], 1);
        if (wheel->stamps[sorted[at].key] != sorted[at].stamp)
            continue;
        if (at_out == call->capacity)
            break;
        wheel->stamps[sorted[at].key]++;
        call->keys_out[at_out++] = sorted[at].key;
    }
    wheel->records -= at - wheel->sorted_at;
    wheel->live -= at_out - call->written;
    call->work -= at - wheel->sorted_at;
    call->written = at_out;
    wheel->sorted_at = at;
    return at == wheel->sorted_end[slot];
}

/* Hands out the live records of a level 0 slot. false: the output is full and a live one is left, or no work is left. */
static bool drain(wh_wheel *wheel, uint32_t slot, wh_advance *call) {
    wh_chain *chain = &wheel->slots[slot];
    if (wh_sorted_in(wheel, slot) && !drain_sorted(wheel, slot, call))
        return false;
    size_t at_out = call->written;
    wh_sweep_forget(wheel, slot);
    while (chain->head != NULL) {
        wh_chunk *chunk = chain->head;
        unsigned at = chunk->begin, end = chunk->end;
        if (call->work == 0)
            return false;
        if (chunk->next != NULL)
            __builtin_prefetch(chunk->next);
        wh_prefetch_stamps(wheel, chunk);
        for (; at < end; at++) {
            const wh_record *record = &chunk->records[at];
            if (at + WH_PREFETCH < end)
                __builtin_prefetch(&wheel->stamps[record[WH_PREFETCH].key], 1);
            if (!wh_is_live(wheel, record))
                continue;
            if (at_out == call->capacity)
                break;
            wheel->stamps[record->key]++;
            call->keys_out[at_out++] = record->key;
        }
        size_t looked_at = at - chunk->begin;
        wheel->records -= looked_at;
        wheel->live -= at_out - call->written;
        call->work -= looked_at < call->work ? looked_at : call->work;
        call->written = at_out;
        chunk->begin = (uint16_t)at;
        if (at < end)
            return false;
        wh_chain_pop(&wheel->slab, chain);
    }
    wh_clear_slot(wheel, slot);
    return true;
}

/* Drops the dead records at the front of a slot; false when that empties it. */
static bool trim(wh_wheel *wheel, uint32_t slot) {
    wh_chain *chain = &wheel->slots[slot];
    for (; wh_sorted_in(wheel, slot); wheel->sorted_at++) {
        const wh_entry *entry = &wheel->sorted[wheel->sorted_at];
        if (wheel->stamps[entry->key] == entry->stamp)
            return true;
        wheel->records--;
    }
    wh_sweep_forget(wheel, slot);
    while (chain->head != NULL) {
        wh_chunk *chunk = chain->head;
        for (; chunk->begin < chunk->end; chunk->begin++) {
            if (wh_is_live(wheel, &chunk->records[chunk->begin]))
                return true;
            wheel->records--;
        }
        wh_chain_pop(&wheel->slab, chain);
    }
    wh_clear_slot(wheel, slot);
    return false;
}

/* Once no timer lives: drops the dead and returns the arenas of a burst. */
static void shrink(wh_wheel *wheel) {
    uint32_t slot;
    unsigned level;
    while (first_slot(wheel, &slot, &level))
        (void)trim(wheel, slot);
    wh_sort_free(wheel);
    if (wheel->slab.arenas != NULL)
        wh_slab_shrink(&wheel->slab);
}

/* Walks the occupied slots of level 0 ahead of the drain. Where slots hold a few records each, all their lines are misses: they are
   fetched one by one as the drain goes on, for a burst of them would find no room in the processor's queue and be lost. */
typedef struct {
    uint64_t bits; /* slots of `word` not walked over yet */
    uint32_t word, words;
    uint32_t lead; /* slots walked over and not drained yet */
} wh_scout;

static wh_scout scout_from(const wh_wheel *wheel, uint32_t slot, uint64_t now) {
    uint64_t reach = now - (wheel->now & ~(uint64_t)4095);
    wh_scout scout = {.word = slot >> 6, .words = reach > 4095 ? 64 : (uint32_t)(reach >> 6) + 1};
    scout.bits = wheel->words[scout.word] & (UINT64_MAX << (slot & 63));
    return scout;
}

/* Gives the head of the next slot ahead (NULL: it has sorted entries only). false: there is none that is due. */
static inline bool scout_on(const wh_wheel *wheel, wh_scout *scout, const wh_chunk **head) {
    while (scout->bits == 0) {
        if (scout->word + 1 >= scout->words)
            return false;
        scout->bits = wheel->words[++scout->word];
    }
    uint32_t slot = scout->word * 64 + (uint32_t)__builtin_ctzll(scout->bits);
    scout->bits &= scout->bits - 1;
    scout->lead++;
    *head = wheel->slots[slot].head;
    return true;
}

typedef struct {
    wh_scout chunks, stamps;
} wh_ahead;

/* Before a slot of level 0 is drained: fetches chunks far ahead of it, and the stamps that nearer ones name. */
static inline void look_ahead(const wh_wheel *wheel, wh_ahead *ahead) {
    const wh_chunk *chunk;
    while (ahead->chunks.lead < WH_CHUNKS_AHEAD && scout_on(wheel, &ahead->chunks, &chunk))
        __builtin_prefetch(chunk);
    while (ahead->stamps.lead < WH_STAMPS_AHEAD && scout_on(wheel, &ahead->stamps, &chunk)) {
        if (chunk == NULL)
            continue;
        wh_prefetch_stamps(wheel, chunk);
        if (chunk->next != NULL)
            __builtin_prefetch(chunk->next);
    }
    ahead->chunks.lead--;
    ahead->stamps.lead--;
}

/* Fetches the stamps that the drain of the sorted run begins with. */
static void prefetch_sorted(const wh_wheel *wheel) {
    uint32_t left = wheel->sorted_count - wheel->sorted_at;
    for (uint32_t at = 0; at < left && at < WH_SORTED_PREFETCH; at++)
        __builtin_prefetch(&wheel->stamps[wheel->sorted[wheel->sorted_at + at].key], 1);
}

/* Drains and cascades up to `now`. false: stopped before, with something left. */
static bool run(wh_wheel *wheel, uint64_t now, wh_advance *call) {
    uint32_t slot;
    unsigned level;
    bool scouting = false;
    wh_ahead ahead = {0};
    if (!cascade(wheel, &call->work))
        return false;
    while (first_slot(wheel, &slot, &level)) {
        uint64_t start = wh_slot_start(slot, level, wheel->now);
        if (start > now && start != wheel->now)
            break;
        size_t sortable = level == 1 ? wh_sortable(&wheel->slots[slot]) : 0;
        if (sortable > call->work && sortable <= call->granted) { /* the next call can sort it, this one could only cascade it */
            call->work = 0;
            return false;
        }
        wheel->now = start;
        if (level == 0) {
            bool scout = wheel->near_chains || wheel->sorted_at == wheel->sorted_count;
            if (scout && !scouting)
                ahead.chunks = ahead.stamps = scout_from(wheel, slot, now);
            if (scout)
                look_ahead(wheel, &ahead);
            scouting = scout;
            if (!drain(wheel, slot, call))
                return false;
            continue;
        }
        wh_sweep_forget(wheel, slot);
        scouting = false;
        if (sortable != 0 && sortable <= call->work && wh_sort(wheel, &wheel->slots[slot], sortable)) {
            wh_clear_slot(wheel, slot);
            call->work -= sortable;
            prefetch_sorted(wheel);
            continue;
        }
        wheel->pending = wheel->slots[slot];
        wheel->pending_last = start | ((UINT64_C(1) << wh_level_shift[level]) - 1);
        wheel->slots[slot] = (wh_chain){NULL, NULL};
        wh_clear_slot(wheel, slot);
        if (!cascade(wheel, &call->work))
            return false;
    }
    return true;
}

size_t wh_wheel_advance_some(wh_wheel *wheel, uint64_t now, uint32_t *keys_out, size_t capacity, size_t *work) {
    wh_advance call = {.keys_out = keys_out, .capacity = capacity, .work = *work, .granted = *work};
    bool done = run(wheel, now, &call);
    *work = call.work;
    if (!done)
        return call.written;
    if (now > wheel->now)
        wheel->now = now;
    if (wheel->live == 0)
        shrink(wheel);
    else
        sweep_if_needed(wheel);
    return call.written;
}

size_t wh_wheel_advance(wh_wheel *wheel, uint64_t now, uint32_t *keys_out, size_t capacity) {
    size_t work = SIZE_MAX;
    return wh_wheel_advance_some(wheel, now, keys_out, capacity, &work);
}

int wh_wheel_advance_done(const wh_wheel *wheel, uint64_t now) {
    return wheel->pending.head == NULL && wheel->now >= now && wheel->slots[wheel->now & 4095].head == NULL &&
           !wh_sorted_in(wheel, wheel->now & 4095);
}

uint64_t wh_wheel_next(const wh_wheel *wheel) {
    /* The caller sees no change: only records that can never expire go away, each looked at once. */
    wh_wheel *cleaned = (wh_wheel *)(uintptr_t)wheel;
    uint32_t slot;
    unsigned level;
    if (wheel->live == 0)
        return UINT64_MAX;
    if (wheel->pending.head != NULL)
        return wheel->now;
    while (first_slot(wheel, &slot, &level))
        if (trim(cleaned, slot))
            return wh_slot_start(slot, level, wheel->now);
    return UINT64_MAX;
}

uint64_t wh_wheel_earliest(const wh_wheel *wheel) {
    uint64_t bound = wh_wheel_next(wheel), earliest = UINT64_MAX;
    uint32_t slot;
    unsigned level;
    if (wheel->pending.head != NULL || bound == UINT64_MAX || !first_slot(wheel, &slot, &level) || level == 0)
        return bound;
    for (const wh_chunk *chunk = wheel->slots[slot].head; chunk != NULL; chunk = chunk->next)
        for (unsigned at = chunk->begin; at < chunk->end; at++)
            if (chunk->records[at].due < earliest && wh_is_live(wheel, &chunk->records[at]))
                earliest = chunk->records[at].due;
    return earliest;
}

uint64_t wh_wheel_now(const wh_wheel *wheel) {
    return wheel->now;
}

size_t wh_wheel_count(const wh_wheel *wheel) {
    return wheel->live;
}

size_t wh_wheel_bytes(const wh_wheel *wheel) {
    return sizeof *wheel + wheel->slab.arena_bytes + (size_t)wheel->keys_allocated * sizeof *wheel->stamps +
           wheel->sorted_allocated * sizeof *wheel->sorted;
}
