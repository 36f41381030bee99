/* Proof of the wheel's invariants by plain looping; shares no shortcut with the code it checks. */
#include "wh_wheel_internal.h"

typedef struct {
    size_t records;
    size_t live;
    size_t used_bytes;
} tally;

/* Checks one chain; `slot` is where each record must belong, or -1 for the pending chain. */
static int check_chain(const wh_wheel *wheel, const wh_chain *chain, int64_t slot, tally *total) {
    const wh_chunk *last = NULL;
    for (const wh_chunk *chunk = chain->head; chunk != NULL; last = chunk, chunk = chunk->next) {
        if (chunk->begin >= chunk->end || chunk->end > chunk->capacity)
            return 1;
        if (last != NULL && (chunk->size_class < last->size_class ||
                             (chunk->size_class == last->size_class && chunk->size_class != WH_CLASSES - 1)))
            return 2;
        for (unsigned at = chunk->begin; at < chunk->end; at++) {
            const wh_record *record = &chunk->records[at];
            if (record->due < wheel->now || record->key >= wheel->keys || !(record->stamp & 1))
                return 3;
            if (slot >= 0 ? wh_slot_of(record->due, wheel->now) != slot : record->due > wheel->pending_last)
                return 4;
            total->records++;
            total->live += wheel->stamps[record->key] == record->stamp;
        }
        total->used_bytes += sizeof(wh_chunk) + chunk->capacity * sizeof(wh_record);
    }
    return chain->tail == last ? 0 : 5;
}

/* Checks the sorted run: slot ends never fall, the last is the end, and no entry left lies before the wheel's time. */
static int check_sorted(const wh_wheel *wheel, tally *total) {
    if (wheel->sorted_at == wheel->sorted_count)
        return 0;
    uint32_t slot = (uint32_t)(wheel->now % WH_NEAR_SLOTS);
    uint32_t before = slot == 0 ? 0 : wheel->sorted_end[slot - 1];
    if (wheel->sorted_count > wheel->sorted_allocated || wheel->sorted_at < before)
        return 10;
    for (; slot < WH_NEAR_SLOTS; before = wheel->sorted_end[slot++])
        if (wheel->sorted_end[slot] < before)
            return 11;
    if (before != wheel->sorted_count)
        return 12;
    for (uint32_t at = wheel->sorted_at; at < wheel->sorted_count; at++) {
        const wh_entry *entry = &wheel->sorted[at];
        if (entry->key >= wheel->keys || !(entry->stamp & 1))
            return 13;
        total->records++;
        total->live += wheel->stamps[entry->key] == entry->stamp;
    }
    return 0;
}

int wh_wheel_check(const wh_wheel *wheel) {
    tally total = {0, 0, 0};
    size_t armed = 0;
    int code = check_chain(wheel, &wheel->pending, -1, &total);
    if (code == 0)
        code = check_sorted(wheel, &total);
    for (uint32_t slot = 0; slot < WH_SLOTS && code == 0; slot++) {
        bool marked = wheel->words[slot / 64] >> (slot % 64) & 1;
        if (marked != (wheel->slots[slot].head != NULL || wh_sorted_in(wheel, slot)))
            return 6;
        code = check_chain(wheel, &wheel->slots[slot], slot, &total);
    }
    if (code != 0)
        return code;
    for (unsigned level = 0; level < WH_LEVELS; level++)
        for (unsigned word = 0; word < (1u << wh_level_bits[level]) / 64; word++) {
            bool marked = wheel->summary[level] >> word & 1;
            if (marked != (wheel->words[wh_level_base[level] / 64 + word] != 0))
                return 7;
        }
    for (uint32_t key = 0; key < wheel->keys; key++)
        armed += wheel->stamps[key] & 1;
    if (total.records != wheel->records || total.live != wheel->live || armed != wheel->live)
        return 8;
    return total.used_bytes == wheel->slab.used_bytes ? 0 : 9;
}
