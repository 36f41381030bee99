/*
 * The sweeper: gives back the memory of cancelled timers a little at a time.
 *
 * It walks all chains in a circle, one chunk per step, squeezes the dead records out and moves the rest forward into the room
 * of the chunk before. A full circle drops every record that was dead when it began, and it runs only while a third of
 * all records are dead, so three records looked at drop one dead on average. Order within a chain never changes.
 */
#include "wh_wheel_internal.h"

#include <string.h>

/* Squeezes the dead out of one chunk; returns how many were dropped. */
static unsigned squeeze(const wh_wheel *wheel, wh_chunk *chunk) {
    unsigned kept = 0, end = chunk->end, begin = chunk->begin;
    for (unsigned at = begin; at < end; at++)
        __builtin_prefetch(&wheel->stamps[chunk->records[at].key]);
    for (unsigned at = begin; at < end; at++) {
        wh_record record = chunk->records[at];
        if (wh_is_live(wheel, &record))
            chunk->records[kept++] = record;
    }
    chunk->begin = 0;
    chunk->end = (uint16_t)kept;
    return end - begin - kept;
}

/* Moves as many records as fit from the front of `chunk` to the end of `previous`. */
static void move_forward(wh_chunk *previous, wh_chunk *chunk) {
    unsigned room = previous->capacity - previous->end;
    unsigned moved = room < chunk->end ? room : chunk->end;
    if (moved == 0)
        return;
    memcpy(&previous->records[previous->end], chunk->records, moved * sizeof(wh_record));
    previous->end = (uint16_t)(previous->end + moved);
    chunk->end = (uint16_t)(chunk->end - moved);
    memmove(chunk->records, &chunk->records[moved], chunk->end * sizeof(wh_record));
}

/* Goes to the next occupied slot, round the end; returns the cost of looking. */
static unsigned next_slot(wh_wheel *wheel) {
    uint32_t start = wheel->sweep_slot + 1 < WH_SLOTS ? wheel->sweep_slot + 1 : 0;
    wheel->sweep_previous = NULL;
    for (uint32_t step = 0; step <= WH_WORDS; step++) {
        uint32_t word = ((start >> 6) + step) % WH_WORDS;
        uint64_t bits = wheel->words[word];
        if (step == 0)
            bits &= UINT64_MAX << (start & 63);
        if (bits != 0) {
            wheel->sweep_slot = word * 64 + (uint32_t)__builtin_ctzll(bits);
            return 1 + step / 4;
        }
    }
    return WH_SWEEP_COST;
}

/* Sweeps the chunk after sweep_previous; returns its cost, 0 at the end of the chain. */
static unsigned sweep_chunk(wh_wheel *wheel) {
    wh_chain *chain = &wheel->slots[wheel->sweep_slot];
    wh_chunk *previous = wheel->sweep_previous;
    wh_chunk *chunk = previous == NULL ? chain->head : previous->next;
    if (chunk == NULL)
        return 0;
    unsigned cost = 4u + chunk->end - chunk->begin;
    wheel->records -= squeeze(wheel, chunk);
    if (previous != NULL)
        move_forward(previous, chunk);
    if (chunk->end != 0) {
        wheel->sweep_previous = chunk;
        return cost;
    }
    if (previous == NULL) {
        wh_chain_pop(&wheel->slab, chain);
        if (chain->head == NULL && !wh_sorted_in(wheel, wheel->sweep_slot))
            wh_clear_slot(wheel, wheel->sweep_slot);
        return cost;
    }
    previous->next = chunk->next;
    if (chain->tail == chunk)
        chain->tail = previous;
    wh_slab_release(&wheel->slab, chunk);
    return cost;
}

void wh_sweep(wh_wheel *wheel) {
    unsigned cost = 0;
    while (cost < WH_SWEEP_COST) {
        unsigned step = sweep_chunk(wheel);
        cost += step != 0 ? step : next_slot(wheel);
    }
}
