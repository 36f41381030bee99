/* Moving the wheel's time: slots are drained, coarse ones taken apart, in as much work as the caller grants. What holds between two
   calls: wh_wheel.h, wh_wheel_internal.h. */
#include "wh_wheel_internal.h"

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
        else if (!wh_place(wheel, *record))
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

/* Once no timer lives: drops the dead and returns the arenas of a burst. */
static void shrink(wh_wheel *wheel) {
    uint32_t slot;
    unsigned level;
    while (wh_first_slot(wheel, &slot, &level))
        (void)wh_trim(wheel, slot);
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
    while (wh_first_slot(wheel, &slot, &level)) {
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
        wh_sweep_if_needed(wheel);
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
