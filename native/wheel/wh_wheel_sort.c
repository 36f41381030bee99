/*
 * The sorted run: a level 1 slot with many timers, taken apart at once into one array in order of due time.
 *
 * A counting sort by the millisecond, stable, so that first-in-first-out holds. The array is a third of what chains would take, it is
 * written and read in places that the processor's caches hold, and the drain knows the timers ahead of it without following pointers.
 */
#include "wh_wheel_internal.h"

#include <stdlib.h>
#include <string.h>

/* Fetches the records of a chunk whose header is in the cache. */
static inline void prefetch_records(const wh_chunk *chunk) {
    for (unsigned at = 4; chunk != NULL && at < chunk->end; at += 4)
        __builtin_prefetch(&chunk->records[at]);
}

size_t wh_sortable(const wh_chain *chain) {
    size_t count = 0;
    for (const wh_chunk *chunk = chain->head; chunk != NULL && count <= WH_SORT_MOST; chunk = chunk->next)
        count += (size_t)chunk->end - chunk->begin;
    return count < WH_SORT_FROM || count > WH_SORT_MOST ? 0 : count;
}

static bool reserve_sorted(wh_wheel *wheel, size_t count) {
    size_t wanted = WH_SORT_FROM;
    if (count <= wheel->sorted_allocated)
        return true;
    while (wanted < count)
        wanted *= 2;
    wh_entry *sorted = wh_allocate(wanted * sizeof *sorted);
    if (sorted == NULL)
        return false;
    free(wheel->sorted);
    wheel->sorted = sorted;
    wheel->sorted_allocated = wanted;
    return true;
}

/* Turns the count of each slot into where its first entry goes, and marks the slots that have one. */
static void lay_out(wh_wheel *wheel) {
    uint32_t first = 0;
    wheel->summary[0] = 0;
    for (uint32_t word = 0; word < WH_NEAR_SLOTS / 64; word++) {
        uint64_t bits = 0;
        for (uint32_t bit = 0; bit < 64; bit++) {
            uint32_t count = wheel->sorted_end[word * 64 + bit];
            wheel->sorted_end[word * 64 + bit] = first;
            first += count;
            bits |= (uint64_t)(count != 0) << bit;
        }
        wheel->words[word] = bits;
        wheel->summary[0] |= (uint64_t)(bits != 0) << word;
    }
}

bool wh_sort(wh_wheel *wheel, wh_chain *chain, size_t count) {
    if (!reserve_sorted(wheel, count))
        return false;
    memset(wheel->sorted_end, 0, sizeof wheel->sorted_end);
    for (const wh_chunk *chunk = chain->head; chunk != NULL; chunk = chunk->next) {
        prefetch_records(chunk->next);
        for (unsigned at = chunk->begin; at < chunk->end; at++)
            wheel->sorted_end[chunk->records[at].due % WH_NEAR_SLOTS]++;
    }
    lay_out(wheel);
    while (chain->head != NULL) {
        const wh_chunk *chunk = chain->head;
        for (unsigned at = chunk->begin; at < chunk->end; at++) {
            const wh_record *record = &chunk->records[at];
            wheel->sorted[wheel->sorted_end[record->due % WH_NEAR_SLOTS]++] = (wh_entry){record->key, record->stamp};
        }
        wh_chain_pop(&wheel->slab, chain);
    }
    wheel->near_chains = false;
    wheel->sorted_at = 0;
    wheel->sorted_count = (uint32_t)count;
    return true;
}

void wh_sort_free(wh_wheel *wheel) {
    free(wheel->sorted);
    wheel->sorted = NULL;
    wheel->sorted_allocated = 0;
}
