/* The wheel's operations on single timers, and what is next; wh_wheel_advance.c moves time. Layout and invariants: wh_wheel.h, wh_wheel_internal.h. */
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
    wh_free_stamps(wheel->stamps, wheel->keys_allocated * sizeof *wheel->stamps);
    free(wheel);
}

/* Grown by a quarter while it is small, then by a sixteenth when half of that is left: in place, and with time to touch it ahead. */
static bool reserve_stamps(wh_wheel *wheel, uint32_t keys) {
    enum { LARGE = 1 << 17 };
    uint32_t held = wheel->keys_allocated;
    uint64_t wanted = (uint64_t)held + held / (held < LARGE ? 4 : 16);
    if ((uint64_t)keys + (held < LARGE ? 0 : held / 32) <= held)
        return true;
    if (wanted < keys)
        wanted = keys;
    if (wanted > UINT32_MAX)
        wanted = UINT32_MAX;
    uint32_t *stamps = wh_grow_stamps(wheel->slab.toucher, wheel->stamps, held * sizeof *stamps, (size_t)wanted * sizeof *stamps);
    if (stamps == NULL)
        return keys <= held;
    wheel->stamps = stamps;
    wheel->keys_allocated = (uint32_t)wanted;
    return true;
}

void wh_wheel_set_toucher(wh_wheel *wheel, wh_toucher *toucher) {
    wheel->slab.toucher = toucher;
}

int wh_wheel_reserve(wh_wheel *wheel, uint32_t keys) {
    if (keys <= wheel->keys)
        return 0;
    if (!reserve_stamps(wheel, keys))
        return WH_WHEEL_NO_MEMORY;
    memset(wheel->stamps + wheel->keys, 0, (size_t)(keys - wheel->keys) * sizeof *wheel->stamps);
    wheel->keys = keys;
    return 0;
}

/* Arms a valid key. */
static inline int arm(wh_wheel *wheel, uint32_t key, uint64_t due) {
    uint32_t old = wheel->stamps[key];
    int late = due <= wheel->now;
    wh_record record = {.due = late ? wheel->now : due, .key = key, .stamp = (old + 1) | 1};
    bool behind_pending = wheel->pending.head != NULL && record.due <= wheel->pending_last;
    bool placed = behind_pending ? wh_chain_append(&wheel->slab, &wheel->pending, record) : wh_place(wheel, record);
    if (!placed)
        return WH_WHEEL_NO_MEMORY;
    wheel->stamps[key] = record.stamp;
    wheel->records++;
    if (old & 1)
        wh_sweep_if_needed(wheel);
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
    wh_sweep_if_needed(wheel);
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

bool wh_trim(wh_wheel *wheel, uint32_t slot) {
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

uint64_t wh_wheel_next(const wh_wheel *wheel) {
    /* The caller sees no change: only records that can never expire go away, each looked at once. */
    wh_wheel *cleaned = (wh_wheel *)(uintptr_t)wheel;
    uint32_t slot;
    unsigned level;
    if (wheel->live == 0)
        return UINT64_MAX;
    if (wheel->pending.head != NULL)
        return wheel->now;
    while (wh_first_slot(wheel, &slot, &level))
        if (wh_trim(cleaned, slot))
            return wh_slot_start(slot, level, wheel->now);
    return UINT64_MAX;
}

uint64_t wh_wheel_earliest(const wh_wheel *wheel) {
    uint64_t bound = wh_wheel_next(wheel), earliest = UINT64_MAX;
    uint32_t slot;
    unsigned level;
    if (wheel->pending.head != NULL || bound == UINT64_MAX || !wh_first_slot(wheel, &slot, &level) || level == 0)
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
