/* wh_rows: writes job rows (model/rows.py) from the store's records. Owns nothing; reads only within the given lengths. */
#ifndef WH_ROWS_H
#define WH_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define WH_ROWS_BAD_RECORD (-1) /* a record of an unknown version, or one that is cut */
#define WH_ROW_HEAD 76
#define WH_ROW_KEY_MAX 512 /* more than the longest key of the backlog */

enum { WH_ROW_BACKLOG = 1, WH_ROW_LEASED = 2 };

/* Which rows are wanted: after <= (due, id) < before. */
typedef struct {
    uint64_t after_ms, before_ms;
    const uint8_t *after_id, *before_id; /* 16 bytes each */
    uint64_t bucket_width_ms;
    int waiting_only; /* leave out leased and failed jobs */
    int home_only;    /* leave out jobs whose due time lies in another bucket than their id's */
} wh_row_filter;

/* One job's records; state and lease may be NULL. */
typedef struct {
    const uint8_t *id, *spec, *state, *lease;
    size_t spec_len, state_len, lease_len;
} wh_row_parts;

/* Whether the place of a job, (due, id), lies between the filter's. */
int wh_row_is_between(const wh_row_filter *filter, uint64_t due_ms, const uint8_t *id);

/* The most bytes that wh_row_pack may write for these parts. */
size_t wh_row_room(const wh_row_parts *parts);

/* Writes the row with `flags` (LEASED is added by itself) to `out`. Its length, 0: not wanted, or WH_ROWS_BAD_RECORD. */
ptrdiff_t wh_row_pack(const wh_row_parts *parts, const wh_row_filter *filter, uint8_t flags, uint8_t *out);

/* The length of the row at `row`, of which `left` bytes are at hand, and when it is due; or WH_ROWS_BAD_RECORD. */
ptrdiff_t wh_rows_next(const uint8_t *row, size_t left, uint64_t *due_ms);

/* Writes the key under which the backlog holds the job of a whole row; its length, below WH_ROW_KEY_MAX. */
size_t wh_row_key(const uint8_t *row, uint8_t *key);

/* Adds each row's length to lengths[due - base_ms] where that is below `count`. 0 or WH_ROWS_BAD_RECORD. */
int wh_rows_measure(const uint8_t *rows, size_t length, uint64_t base_ms, uint64_t *lengths, size_t count);

#endif
