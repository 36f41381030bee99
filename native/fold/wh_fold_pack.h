/*
 * wh_fold_pack: the blocks that a finished fold's operations on JOBS make of the store's blocks. Reads the fold and the given
 * blocks, owns nothing; all of it must live while a packer is used.
 *
 * Invariant: the blocks of a packer hold the rows of the old block and the new rows before `end_key`, each once, ascending; only
 * a block of one row is longer than `block_bytes_max`.
 */
#ifndef WH_FOLD_PACK_H
#define WH_FOLD_PACK_H

#include "wh_block.h"
#include "wh_fold.h"

typedef struct {
    const wh_fold *fold;
    const uint8_t *key, *end_key; /* the old block's key until it is used; where the next block begins, or NULL */
    wh_block_walk walk;
    wh_block_row old;
    uint64_t bucket; /* shard and bucket: the first 48 bits of the ids */
    size_t at, block_bytes_max;
    int64_t added; /* rows that the store did not have */
    int has_old;
} wh_fold_packer;

/*
 * Begins with the first PUT from number `at` on. `key` and `value`: the block with the highest key that is not above that id,
 * of the same shard and bucket, or NULL; `end_key`: the block behind it, if it is of the same shard and bucket. 0 or
 * WH_BLOCK_MALFORMED.
 */
int wh_fold_pack_begin(wh_fold_packer *packer, const wh_fold *fold, size_t at, const uint8_t *key, const uint8_t *value, size_t length,
                       const uint8_t *end_key, size_t block_bytes_max);

/* Bytes that the next block may take. */
size_t wh_fold_pack_room(const wh_fold_packer *packer);

/*
 * Writes the next block and its key: its length, 0 when none is left, or WH_BLOCK_MALFORMED. `changed` is zero for the old
 * block as the store has it.
 */
ptrdiff_t wh_fold_pack_next(wh_fold_packer *packer, uint8_t *out, size_t capacity, uint8_t *key, int *changed);

/*
 * Takes the rows out of the block that DELETE operations from number *at on name, and moves *at behind those, at least one. `out`
 * has room for `length` bytes. The new length, 0 when no row is left, or WH_BLOCK_MALFORMED.
 */
ptrdiff_t wh_fold_remove(const wh_fold *fold, size_t *at, const uint8_t *key, const uint8_t *value, size_t length, uint8_t *out, uint32_t *removed);

/* The number of the next operation of the kind on JOBS from number `at` on, or the number of operations. */
size_t wh_fold_next(const wh_fold *fold, int table, int kind, size_t at);

#endif
