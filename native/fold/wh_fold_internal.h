/* What the parts of the fold share: the arena, the job records and small readers. Nobody else includes this. */
#ifndef WH_FOLD_INTERNAL_H
#define WH_FOLD_INTERNAL_H

#include "wh_fold.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "entries are little endian and read in place");

#define WH_RECORD_VERSION 1
#define WH_ID 16

enum { WH_TO_BACKLOG = 1, WH_WAS_BACKLOG = 2 };
enum { WH_SCHEDULED = 1, WH_RETRYING = 4, WH_SUCCEEDED = 5, WH_FAILED = 6, WH_CANCELLED = 7, WH_EXPIRED = 8 };

/* What is known of a job's state row: nothing, all of it, all but the error (PATCH). */
enum { WH_STATE_UNKNOWN, WH_STATE_KNOWN, WH_STATE_PATCHED };
enum { WH_LEASE_UNTOUCHED, WH_LEASE_HELD, WH_LEASE_RENEWED, WH_LEASE_ENDED };

typedef struct wh_chunk {
    struct wh_chunk *next;
    size_t used, size;
    uint8_t bytes[];
} wh_chunk;

typedef struct {
    uint8_t id[WH_ID];
    const uint8_t *spec;
    const uint8_t *error;
    uint8_t *lease; /* HELD: the lease row; RENEWED: the patch */
    uint64_t due_ms;
    uint32_t spec_len, error_len, lease_len;
    uint16_t attempt;
    uint8_t fresh, gone, state, state_known, lease_is;
} wh_fold_job;

typedef struct {
    wh_fold_op *ops;
    size_t count, capacity;
} wh_fold_table;

struct wh_fold {
    uint64_t bucket_width_ms;
    uint32_t shard_count;
    wh_fold_shard *shards;
    wh_chunk *chunk; /* the newest; full ones behind it */
    size_t arena_bytes;
    wh_fold_job *jobs;
    uint32_t job_count, job_capacity;
    uint32_t *slots; /* job number + 1, 0: free */
    uint32_t slot_mask;
    wh_fold_table tables[WH_FOLD_TABLES];
    wh_fold_op *scratch;
    size_t scratch_capacity;
    uint64_t entries, watermark_ms, time_ms;
};

/* The head of the entry in hand and its body. */
typedef struct {
    const uint8_t *body;
    size_t length;
    uint64_t index, now_ms;
    uint32_t epoch;
    uint16_t shard;
    uint8_t kind, flags;
} wh_entry;

static inline uint16_t wh_u16(const uint8_t *at) { uint16_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint32_t wh_u32(const uint8_t *at) { uint32_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint64_t wh_u64(const uint8_t *at) { uint64_t v; memcpy(&v, at, sizeof v); return v; }
static inline void wh_put_u16(uint8_t *at, uint16_t v) { memcpy(at, &v, sizeof v); }
static inline void wh_put_u32(uint8_t *at, uint32_t v) { memcpy(at, &v, sizeof v); }
static inline void wh_put_u64(uint8_t *at, uint64_t v) { memcpy(at, &v, sizeof v); }
static inline uint64_t wh_be64(const uint8_t *at) { return __builtin_bswap64(wh_u64(at)); }
static inline void wh_put_be32(uint8_t *at, uint32_t v) { wh_put_u32(at, __builtin_bswap32(v)); }
static inline void wh_put_be64(uint8_t *at, uint64_t v) { wh_put_u64(at, __builtin_bswap64(v)); }
static inline uint32_t wh_id_bucket(const uint8_t *id) { return __builtin_bswap32(wh_u32(id + 2)); }
static inline uint64_t wh_id_seq(const uint8_t *id) { return wh_be64(id + 6); }

/* The bucket of a time. */
static inline uint32_t wh_bucket(const wh_fold *fold, uint64_t due_ms) { return (uint32_t)(due_ms / fold->bucket_width_ms); }

/* `size` bytes that live until the reset. NULL: no memory. */
uint8_t *wh_fold_alloc(wh_fold *fold, size_t size);

/* The job's record, made when the run has not touched it yet. NULL: no memory. */
wh_fold_job *wh_fold_find(wh_fold *fold, const uint8_t *id);

/* Notes an operation; key and value must live until the reset. 0 or WH_FOLD_NO_MEMORY. */
int wh_fold_note(wh_fold *fold, int table, int kind, int fresh, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len);

/* Folds one entry whose lengths fit its group. 0 or an error. */
int wh_fold_entry(wh_fold *fold, const wh_entry *entry);

#endif
