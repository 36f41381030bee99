/* From the operations on JOBS to blocks: new rows are merged into the block they belong to, ended jobs are taken out of theirs. */
#include "wh_fold_pack.h"

#include "wh_fold_internal.h"

#define WH_AHEAD 12
#define WH_AHEAD_BYTES 256

static inline uint64_t op_seq(const wh_fold_op *op) { return (op->high & 0xFFFFu) << 48 | op->low >> 16; }

static inline uint64_t op_bucket(const wh_fold_op *op) { return op->high >> 16; }

static size_t skip_to(const wh_fold_table *list, size_t at, int kind) {
    while (at < list->count && list->ops[at].kind != kind)
        at++;
    return at;
}

/* Specs lie in the order in which they came, far apart for neighbours in a bucket: have those that follow brought near. */
static void prefetch(const wh_fold_table *list, size_t at) {
    if (at + WH_AHEAD < list->count) {
        const uint8_t *spec = list->ops[at + WH_AHEAD].value;
        for (size_t line = 0; spec != NULL && line < WH_AHEAD_BYTES; line += 64)
            __builtin_prefetch(spec + line);
    }
}

size_t wh_fold_next(const wh_fold *fold, int table, int kind, size_t at) { return skip_to(&fold->tables[table], at, kind); }

/* Whether the operation comes before the packer's end. */
static int is_within(const wh_fold_packer *packer, size_t at) {
    const wh_fold_table *list = &packer->fold->tables[WH_FOLD_JOBS];
    if (at >= list->count || op_bucket(&list->ops[at]) != packer->bucket)
        return 0;
    return packer->end_key == NULL || memcmp(list->ops[at].key, packer->end_key, WH_ID) < 0;
}

static int next_old(wh_fold_packer *packer) {
    if (packer->has_old) {
        int code = wh_block_next(&packer->walk, &packer->old);
        if (code < 0)
            return code;
        packer->has_old = code;
    }
    return 0;
}

int wh_fold_pack_begin(wh_fold_packer *packer, const wh_fold *fold, size_t at, const uint8_t *key, const uint8_t *value, size_t length,
                       const uint8_t *end_key, size_t block_bytes_max) {
    const wh_fold_table *list = &fold->tables[WH_FOLD_JOBS];
    *packer = (wh_fold_packer){.fold = fold, .end_key = end_key, .block_bytes_max = block_bytes_max};
    packer->at = skip_to(list, at, WH_FOLD_PUT);
    if (packer->at < list->count)
        packer->bucket = op_bucket(&list->ops[packer->at]);
    if (key == NULL)
        return 0;
    packer->key = key;
    packer->has_old = 1;
    int code = wh_block_open(&packer->walk, key, value, length);
    return code ? code : next_old(packer);
}

/* The row that comes next, from the old block or the new ones, which win over an old row of the same job. 0: none is left. */
static int peek(wh_fold_packer *packer, wh_block_row *row, int *is_new) {
    int more = is_within(packer, packer->at);
    const wh_fold_op *op = more ? &packer->fold->tables[WH_FOLD_JOBS].ops[packer->at] : NULL;
    *is_new = more && (!packer->has_old || op_seq(op) <= packer->old.seq);
    if (*is_new)
        *row = (wh_block_row){.spec = op->value, .spec_len = op->value_len, .seq = op_seq(op)};
    else if (packer->has_old)
        *row = packer->old;
    return *is_new || packer->has_old;
}

static int pass(wh_fold_packer *packer, const wh_block_row *row, int is_new) {
    if (is_new) {
        prefetch(&packer->fold->tables[WH_FOLD_JOBS], packer->at);
        packer->at = skip_to(&packer->fold->tables[WH_FOLD_JOBS], packer->at + 1, WH_FOLD_PUT);
    }
    if (packer->has_old && packer->old.seq == row->seq) {
        packer->added -= is_new;
        if (next_old(packer) < 0)
            return WH_BLOCK_MALFORMED;
    }
    packer->added += is_new;
    return 0;
}

ptrdiff_t wh_fold_pack_next(wh_fold_packer *packer, uint8_t *out, size_t capacity, uint8_t *key, int *changed) {
    wh_block_row row;
    int is_new;
    if (!peek(packer, &row, &is_new))
        return 0;
    *changed = packer->key == NULL;
    if (packer->key != NULL) {
        memcpy(key, packer->key, WH_ID);
    } else {
        wh_put_be64(key, packer->bucket << 16);
        wh_block_id(key, row.seq, key);
    }
    packer->key = NULL;
    uint64_t base_seq = wh_block_seq(key);
    size_t length = WH_BLOCK_HEAD;
    uint32_t rows = 0;
    do {
        size_t row_bytes = WH_BLOCK_ROW_HEAD + (size_t)row.spec_len;
        if (rows != 0 && (length + row_bytes > packer->block_bytes_max || row.seq - base_seq > UINT32_MAX || rows == WH_BLOCK_ROWS_MAX))
            break;
        if (length + row_bytes > capacity || row.seq - base_seq > UINT32_MAX)
            return WH_BLOCK_MALFORMED;
        length += wh_block_put_row(out + length, base_seq, row.seq, row.spec, row.spec_len);
        rows++;
        *changed |= is_new;
        if (pass(packer, &row, is_new) != 0)
            return WH_BLOCK_MALFORMED;
    } while (peek(packer, &row, &is_new));
    /* What is left of the old block goes into another one. */
    *changed |= packer->has_old;
    wh_block_put_head(out, rows);
    return (ptrdiff_t)length;
}

size_t wh_fold_pack_room(const wh_fold_packer *packer) {
    wh_fold_packer copy = *packer;
    wh_block_row row;
    int is_new;
    size_t first = peek(&copy, &row, &is_new) ? WH_BLOCK_HEAD + WH_BLOCK_ROW_HEAD + (size_t)row.spec_len : 0;
    return first > packer->block_bytes_max ? first : packer->block_bytes_max;
}

ptrdiff_t wh_fold_remove(const wh_fold *fold, size_t *at, const uint8_t *key, const uint8_t *value, size_t length, uint8_t *out, uint32_t *removed) {
    const wh_fold_table *list = &fold->tables[WH_FOLD_JOBS];
    wh_block_walk walk;
    wh_block_row row;
    uint64_t bucket = wh_be64(key) >> 16;
    size_t first = skip_to(list, *at, WH_FOLD_DELETE), next = first, used = WH_BLOCK_HEAD;
    uint32_t kept = 0;
    int code = wh_block_open(&walk, key, value, length);
    *removed = 0;
    if (code != 0)
        return code;
    while ((code = wh_block_next(&walk, &row)) > 0) {
        while (next < list->count && op_bucket(&list->ops[next]) == bucket && op_seq(&list->ops[next]) < row.seq)
            next = skip_to(list, next + 1, WH_FOLD_DELETE);
        if (next < list->count && op_bucket(&list->ops[next]) == bucket && op_seq(&list->ops[next]) == row.seq) {
            next = skip_to(list, next + 1, WH_FOLD_DELETE);
            ++*removed;
            continue;
        }
        used += wh_block_put_row(out + used, walk.base_seq, row.seq, row.spec, row.spec_len);
        kept++;
    }
    if (code < 0)
        return code;
    *at = next > first ? next : first + 1;
    wh_block_put_head(out, kept);
    return kept != 0 ? (ptrdiff_t)used : 0;
}
