/*
 * wh_block: a block of the `jobs` table, which holds the specs of jobs of one shard and bucket (docs/storage-format.md).
 *
 * Key: an id that is not above the block's first one. Value: u8 version, u8 0, u16 rows, then for each row u32 distance of its
 * sequence number from the key's, u32 spec length, spec. Owns nothing; reads only within the given lengths.
 *
 * Invariant: every walk checks what it passes, so that bytes which contradict themselves give WH_BLOCK_MALFORMED.
 */
#ifndef WH_BLOCK_H
#define WH_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#define WH_BLOCK_MALFORMED (-1)
#define WH_BLOCK_VERSION 1
#define WH_BLOCK_HEAD 4u
#define WH_BLOCK_ROW_HEAD 8u
#define WH_BLOCK_ROWS_MAX 65535u

/* One row in place: `head` is its first byte in the block. */
typedef struct {
    const uint8_t *head, *spec;
    uint64_t seq;
    uint32_t spec_len;
} wh_block_row;

/* A walk over the rows of a block. */
typedef struct {
    const uint8_t *at, *end;
    uint64_t base_seq, last_seq;
    uint32_t left, begun;
} wh_block_walk;

/* The sequence number in an id. */
uint64_t wh_block_seq(const uint8_t *id);

/* Begins a walk over the block under the 16-byte `key`. 0 or WH_BLOCK_MALFORMED. */
int wh_block_open(wh_block_walk *walk, const uint8_t *key, const uint8_t *value, size_t length);

/* The next row: 1, or 0 behind the last one, or WH_BLOCK_MALFORMED. */
int wh_block_next(wh_block_walk *walk, wh_block_row *row);

/* Writes the id of a row with the sequence number `seq` in the block under `key`. */
void wh_block_id(const uint8_t *key, uint64_t seq, uint8_t *id);

/* Walks the whole block: its number of rows and, in `last_id`, the id of the last one; or WH_BLOCK_MALFORMED. */
int wh_block_check(const uint8_t *key, const uint8_t *value, size_t length, uint8_t *last_id);

/* Finds the job `id`, whose shard and bucket are the key's: 1, or 0 when the block does not hold it, or WH_BLOCK_MALFORMED. */
int wh_block_find(const uint8_t *key, const uint8_t *value, size_t length, const uint8_t *id, wh_block_row *row);

/* Writes the head of a block of `rows` rows. */
void wh_block_put_head(uint8_t *out, uint32_t rows);

/* Writes a row and returns its length. */
size_t wh_block_put_row(uint8_t *out, uint64_t base_seq, uint64_t seq, const uint8_t *spec, uint32_t spec_len);

#endif
