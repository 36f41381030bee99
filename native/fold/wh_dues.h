/*
 * wh_dues: when each job of one shard and bucket is due as it was submitted, and how long its row is; 16 bytes a job. Owns its memory,
 * reads blocks only within their lengths. Not thread safe.
 *
 * Invariant: ascending by id. A block's jobs below `next_seq` were looked at before and are passed over.
 */
#ifndef WH_DUES_H
#define WH_DUES_H

#include <stddef.h>
#include <stdint.h>

#include "wh_ids.h"
#include "wh_rows.h"

#define WH_DUES_NO_MEMORY (-2)

typedef struct {
    uint32_t offset_ms, length;
    uint64_t seq;
} wh_due;

typedef struct {
    uint8_t bucket[6]; /* shard and bucket, as the ids begin */
    uint64_t base_ms, width_ms, next_seq;
    wh_due *items;
    size_t count, capacity, blocks;
} wh_dues;

/* Which jobs are asked for: those within the filter's places that are in none of the sets; a set may be NULL. */
typedef struct {
    wh_row_filter places;
    const wh_ids *left_out[2];
    int by_count; /* a job weighs 1 instead of the bytes of its row */
} wh_due_query;

/* A cut under way: weights are taken in ascending order of ids until one does not fit. */
typedef struct {
    uint8_t *notes; /* {16-byte id, u32 length} of jobs that stand in no list */
    size_t count, at;
    uint64_t left;
    int take_first; /* the first of all fits, whatever it weighs */
} wh_due_cut;

/* Adds the jobs of the block from next_seq on that lie within `kept`. 0, WH_BLOCK_MALFORMED or WH_DUES_NO_MEMORY. */
int wh_dues_add(wh_dues *dues, const uint8_t *key, const uint8_t *value, size_t length, const wh_row_filter *kept);

/* The next job from number *at to before `end` that the query asks for, and *at behind it; or NULL. */
const wh_due *wh_dues_next(const wh_dues *dues, const wh_due_query *query, size_t *at, size_t end);

/* Writes the id of one of the jobs. */
void wh_dues_id(const wh_dues *dues, const wh_due *due, uint8_t *id);

/* The weight of a job. */
uint64_t wh_dues_weight(const wh_due_query *query, const wh_due *due);

/* About how many of the blocks hold jobs that the query asks for, as if each held as many jobs. */
size_t wh_dues_touched(const wh_dues *dues, const wh_due_query *query);

/* Begins a cut: sorts the notes. */
void wh_due_cut_begin(wh_due_cut *cut);

/* Goes on with the list of the next shard. 1: `id` is the first that does not fit; 0: all fit. */
int wh_dues_cut(const wh_dues *dues, const wh_due_query *query, wh_due_cut *cut, uint8_t *id);

/* The same for the notes that are left. */
int wh_due_cut_end(wh_due_cut *cut, uint8_t *id);

/* Fills `kept`, which began as zeros, with the jobs that the query asks for. 0 or WH_DUES_NO_MEMORY. */
int wh_dues_keep(const wh_dues *dues, const wh_due_query *query, wh_dues *kept);

/* Frees the list's memory. */
void wh_dues_clear(wh_dues *dues);

#endif
