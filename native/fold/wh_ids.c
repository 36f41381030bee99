/* Open addressing with linear probing, at most three quarters full. */
#include "wh_ids.h"

#include <stdlib.h>
#include <string.h>

#define WH_ID 16
#define WH_FIRST_SLOTS 1024u

static const uint8_t none[WH_ID];

static size_t hash(const uint8_t *id) {
    uint64_t high, low;
    memcpy(&high, id, sizeof high);
    memcpy(&low, id + 8, sizeof low);
    uint64_t mixed = (high ^ low * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    return (size_t)(mixed >> 32 ^ mixed << 32);
}

/* The slot that holds the id, or the free one where it belongs. */
static uint8_t *slot_of(const wh_ids *ids, const uint8_t *id) {
    size_t at = hash(id) & ids->mask;
    while (memcmp(ids->slots + at * WH_ID, id, WH_ID) != 0 && memcmp(ids->slots + at * WH_ID, none, WH_ID) != 0)
        at = (at + 1) & ids->mask;
    return ids->slots + at * WH_ID;
}

static int grow(wh_ids *ids) {
    size_t old = ids->slots == NULL ? 0 : ids->mask + 1, slots = old ? old * 2 : WH_FIRST_SLOTS;
    wh_ids larger = {.slots = calloc(slots, WH_ID), .mask = slots - 1, .count = ids->count, .has_zero = ids->has_zero};
    if (larger.slots == NULL)
        return -1;
    for (size_t at = 0; at < old; at++)
        if (memcmp(ids->slots + at * WH_ID, none, WH_ID) != 0)
            memcpy(slot_of(&larger, ids->slots + at * WH_ID), ids->slots + at * WH_ID, WH_ID);
    free(ids->slots);
    *ids = larger;
    return 0;
}

int wh_ids_add(wh_ids *ids, const uint8_t *id) {
    if ((ids->slots == NULL || ids->count >= (ids->mask + 1) / 4 * 3) && grow(ids) != 0)
        return -1;
    if (wh_ids_has(ids, id))
        return 0;
    if (memcmp(id, none, WH_ID) == 0)
        ids->has_zero = 1;
    else
        memcpy(slot_of(ids, id), id, WH_ID);
    ids->count++;
    return 0;
}

int wh_ids_has(const wh_ids *ids, const uint8_t *id) {
    if (ids->slots == NULL)
        return 0;
    if (memcmp(id, none, WH_ID) == 0)
        return ids->has_zero;
    return memcmp(slot_of(ids, id), id, WH_ID) == 0;
}

void wh_ids_clear(wh_ids *ids) {
    free(ids->slots);
    memset(ids, 0, sizeof *ids);
}
