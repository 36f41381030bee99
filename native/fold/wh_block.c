/* Reading and writing blocks of jobs. */
#include "wh_block.h"

#include <string.h>

static inline uint32_t u32_at(const uint8_t *at) { uint32_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint16_t u16_at(const uint8_t *at) { uint16_t v; memcpy(&v, at, sizeof v); return v; }

uint64_t wh_block_seq(const uint8_t *id) {
    uint64_t seq;
    memcpy(&seq, id + 6, sizeof seq);
    return __builtin_bswap64(seq);
}

int wh_block_open(wh_block_walk *walk, const uint8_t *key, const uint8_t *value, size_t length) {
    if (length < WH_BLOCK_HEAD || value[0] != WH_BLOCK_VERSION || value[1] != 0 || key[14] != 0 || key[15] != 0)
        return WH_BLOCK_MALFORMED;
    walk->left = u16_at(value + 2);
    walk->at = value + WH_BLOCK_HEAD;
    walk->end = value + length;
    walk->base_seq = walk->last_seq = wh_block_seq(key);
    walk->begun = 0;
    return walk->left != 0 ? 0 : WH_BLOCK_MALFORMED;
}

int wh_block_next(wh_block_walk *walk, wh_block_row *row) {
    if (walk->left == 0)
        return walk->at == walk->end ? 0 : WH_BLOCK_MALFORMED;
    if ((size_t)(walk->end - walk->at) < WH_BLOCK_ROW_HEAD)
        return WH_BLOCK_MALFORMED;
    row->head = walk->at;
    row->seq = walk->base_seq + u32_at(walk->at);
    row->spec_len = u32_at(walk->at + 4);
    row->spec = walk->at + WH_BLOCK_ROW_HEAD;
    if (row->spec_len > (size_t)(walk->end - row->spec) || row->seq < walk->base_seq || (walk->begun && row->seq <= walk->last_seq))
        return WH_BLOCK_MALFORMED;
    walk->at = row->spec + row->spec_len;
    walk->last_seq = row->seq;
    walk->begun = 1;
    walk->left--;
    return 1;
}

void wh_block_id(const uint8_t *key, uint64_t seq, uint8_t *id) {
    seq = __builtin_bswap64(seq);
    memcpy(id, key, 6);
    memcpy(id + 6, &seq, sizeof seq);
    id[14] = id[15] = 0;
}

int wh_block_check(const uint8_t *key, const uint8_t *value, size_t length, uint8_t *last_id) {
    wh_block_walk walk;
    wh_block_row row;
    int code = wh_block_open(&walk, key, value, length), rows = 0;
    if (code != 0)
        return code;
    for (; (code = wh_block_next(&walk, &row)) > 0; rows++)
        ;
    wh_block_id(key, walk.last_seq, last_id);
    return code < 0 ? code : rows;
}

int wh_block_find(const uint8_t *key, const uint8_t *value, size_t length, const uint8_t *id, wh_block_row *row) {
    wh_block_walk walk;
    int code = wh_block_open(&walk, key, value, length);
    if (code != 0)
        return code;
    uint64_t wanted = wh_block_seq(id);
    while ((code = wh_block_next(&walk, row)) > 0)
        if (row->seq >= wanted)
            return row->seq == wanted && id[14] == 0 && id[15] == 0;
    return code;
}

void wh_block_put_head(uint8_t *out, uint32_t rows) {
    uint16_t count = (uint16_t)rows;
    out[0] = WH_BLOCK_VERSION;
    out[1] = 0;
    memcpy(out + 2, &count, sizeof count);
}

size_t wh_block_put_row(uint8_t *out, uint64_t base_seq, uint64_t seq, const uint8_t *spec, uint32_t spec_len) {
    uint32_t distance = (uint32_t)(seq - base_seq);
    memcpy(out, &distance, sizeof distance);
    memcpy(out + 4, &spec_len, sizeof spec_len);
    memcpy(out + WH_BLOCK_ROW_HEAD, spec, spec_len);
    return WH_BLOCK_ROW_HEAD + spec_len;
}
