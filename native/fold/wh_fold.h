/*
 * wh_fold: folds the entries of journal groups into the fewest sorted puts and deletes that bring the store up to date.
 *
 * Owns copies of all bytes it refers to (an arena), one record per job touched since the last reset, and the operations that
 * result. Knows entry layouts (model/entry.py) and table layouts (docs/storage-format.md); never sees LMDB. Not thread safe.
 *
 * Invariant: applying the operations of each table to the store as it was before the first group gives the store as it is
 * after the last one; a job that came and went in between leaves nothing but its history rows.
 */
#ifndef WH_FOLD_H
#define WH_FOLD_H

#include <stddef.h>
#include <stdint.h>

#define WH_FOLD_NO_MEMORY (-1)
#define WH_FOLD_MALFORMED (-2)    /* lengths or fields of an entry contradict each other */
#define WH_FOLD_UNKNOWN_KIND (-3) /* an entry of a kind that this version does not know */
#define WH_FOLD_BAD_SHARD (-4)    /* a shard beyond the store's number of shards */
#define WH_FOLD_JOB_ENDED (-5)    /* an entry for a job that the same run of entries has ended or not begun */

enum {
    WH_FOLD_JOBS,
    WH_FOLD_STATE,
    WH_FOLD_LEASES,
    WH_FOLD_MOVED,
    WH_FOLD_BACKLOG,
    WH_FOLD_KEYS,
    WH_FOLD_SESSIONS,
    WH_FOLD_DEAD,
    WH_FOLD_QUEUES,
    WH_FOLD_HISTORY, /* keys begin with u32 day, big endian, which is not part of the stored key */
    WH_FOLD_TABLES
};

enum { WH_FOLD_PUT = 1, WH_FOLD_DELETE = 2, WH_FOLD_PATCH = 3 };

/* One operation on one key. `high` and `low` are the key's first 16 bytes as numbers, so that most comparisons touch no memory. */
typedef struct {
    uint64_t high, low;
    const uint8_t *key;
    const uint8_t *value;
    uint32_t value_len;
    uint16_t key_len;
    uint8_t kind;
    uint8_t fresh; /* the job was submitted in this run: the store has no row of it */
} wh_fold_op;

/* What the entries said of a shard. */
typedef struct {
    uint64_t next_seq;
    uint64_t index;
    uint32_t epoch;
    uint32_t touched;
} wh_fold_shard;

typedef struct wh_fold wh_fold;

/* Makes an empty fold for a store of `shards` shards and buckets of `bucket_width_ms`. NULL: no memory. */
wh_fold *wh_fold_new(uint32_t shards, uint64_t bucket_width_ms);

/* Frees the fold; NULL is allowed. */
void wh_fold_free(wh_fold *fold);

/* Forgets all entries and keeps the memory for the next run. */
void wh_fold_reset(wh_fold *fold);

/*
 * Folds one group's payload. 0, or an error; then *error_at is the offset of the entry at fault and the fold is good for
 * nothing but a reset.
 */
int wh_fold_apply(wh_fold *fold, const uint8_t *payload, size_t length, size_t *error_at);

/* Turns what was folded into sorted operations, one per key. Once per run, after the last apply. 0 or WH_FOLD_NO_MEMORY. */
int wh_fold_finish(wh_fold *fold);

/* The table's sorted operations after wh_fold_finish; they live until the reset. */
const wh_fold_op *wh_fold_ops(const wh_fold *fold, int table, size_t *count);

/* The shard's numbers; `touched` is zero when no entry named it. */
const wh_fold_shard *wh_fold_shard_at(const wh_fold *fold, uint32_t shard);

/* Bytes in use since the reset, roughly. */
size_t wh_fold_bytes(const wh_fold *fold);

/* Entries folded since the reset. */
uint64_t wh_fold_entries(const wh_fold *fold);

/* The highest watermark that a CLOSE entry set, 0: none. */
uint64_t wh_fold_watermark(const wh_fold *fold);

/* The highest time in any entry's head. */
uint64_t wh_fold_time(const wh_fold *fold);

#endif
