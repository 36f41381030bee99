/* wh_ids: a set of job ids. Owns its memory. Not thread safe. */
#ifndef WH_IDS_H
#define WH_IDS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t *slots; /* 16 bytes each; all zero: free */
    size_t mask, count;
    int has_zero; /* the id of zeros, which no slot can hold */
} wh_ids;

/* Adds an id of 16 bytes to a set that began as zeros. 0, or -1: no memory. */
int wh_ids_add(wh_ids *ids, const uint8_t *id);

/* Whether the set has the id. */
int wh_ids_has(const wh_ids *ids, const uint8_t *id);

/* Frees the set's memory. */
void wh_ids_clear(wh_ids *ids);

#endif
