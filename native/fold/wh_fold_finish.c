/*
 * From what is known of each job to sorted operations, one per key.
 *
 * Lists of ids are sorted byte by byte, by the few bytes in which they differ; others by a stable merge sort that takes runs as
 * it finds them. Of several operations on one key the last one counts; a last delete is dropped when the store cannot have the row.
 */
#include "wh_fold_internal.h"

#define WH_SCHEDULE_AT 8
#define WH_PASSES_MAX 8

static int compare_tails(const wh_fold_op *left, const wh_fold_op *right) {
    size_t shorter = left->key_len < right->key_len ? left->key_len : right->key_len;
    int order = shorter > 16 ? memcmp(left->key + 16, right->key + 16, shorter - 16) : 0;
    return order ? order : (int)left->key_len - (int)right->key_len;
}

static inline int compare(const wh_fold_op *left, const wh_fold_op *right) {
    if (left->high != right->high)
        return left->high < right->high ? -1 : 1;
    if (left->low != right->low)
        return left->low < right->low ? -1 : 1;
    return compare_tails(left, right);
}

/* The end of the ascending run that begins at `at`. */
static size_t run_end(const wh_fold_op *ops, size_t at, size_t count) {
    size_t end = at + 1;
    while (end < count && compare(&ops[end - 1], &ops[end]) <= 0)
        end++;
    return end;
}

static void merge(const wh_fold_op *from, wh_fold_op *to, size_t left, size_t middle, size_t end) {
    size_t right = middle, out = left;
    while (left < middle && right < end)
        to[out++] = compare(&from[left], &from[right]) <= 0 ? from[left++] : from[right++];
    memcpy(&to[out], &from[left], (middle - left) * sizeof *to);
    out += middle - left;
    memcpy(&to[out], &from[right], (end - right) * sizeof *to);
}

/* One pass of merges of neighbouring runs from `from` into `to`; returns how many runs there are now. */
static size_t merge_pass(const wh_fold_op *from, wh_fold_op *to, size_t count) {
    size_t runs = 0;
    for (size_t at = 0; at < count; runs++) {
        size_t middle = run_end(from, at, count);
        size_t end = middle < count ? run_end(from, middle, count) : count;
        merge(from, to, at, middle, end);
        at = end;
    }
    return runs;
}

/* Makes the scratch list, which has room for `list`, the list, and the other way round. */
static void swap_scratch(wh_fold *fold, wh_fold_table *list) {
    wh_fold_op *ops = list->ops;
    size_t capacity = list->capacity;
    list->ops = fold->scratch;
    list->capacity = fold->scratch_capacity;
    fold->scratch = ops;
    fold->scratch_capacity = capacity;
}

/* Stable: puts the operations in the order of one byte of their first 16, counted from the last one. */
static void sort_by_byte(const wh_fold_op *from, wh_fold_op *to, size_t count, int byte) {
    size_t starts[257] = {0};
    int shift = byte % 8 * 8;
    for (size_t at = 0; at < count; at++)
        starts[1 + ((byte < 8 ? from[at].low : from[at].high) >> shift & 255)]++;
    for (int value = 0; value < 256; value++)
        starts[value + 1] += starts[value];
    for (size_t at = 0; at < count; at++)
        to[starts[(byte < 8 ? from[at].low : from[at].high) >> shift & 255]++] = from[at];
}

/* Sorts keys of at most 16 bytes that differ in few of them; whether it did. */
static int sort_by_bytes(wh_fold *fold, wh_fold_table *list) {
    uint64_t high = 0, low = 0;
    int passes = 0, is_low_sorted = 1;
    for (size_t at = 0; at < list->count; at++) {
        const wh_fold_op *op = &list->ops[at];
        if (op->key_len != WH_ID)
            return 0;
        high |= op->high ^ list->ops[0].high;
        low |= op->low ^ list->ops[0].low;
        is_low_sorted &= at == 0 || op[-1].low <= op->low;
    }
    if (is_low_sorted)
        low = 0;
    for (int byte = 0; byte < 16; byte++)
        passes += ((byte < 8 ? low : high) >> byte % 8 * 8 & 255) != 0;
    if (passes > WH_PASSES_MAX)
        return 0;
    for (int byte = 0; byte < 16; byte++) {
        if (((byte < 8 ? low : high) >> byte % 8 * 8 & 255) == 0)
            continue;
        sort_by_byte(list->ops, fold->scratch, list->count, byte);
        swap_scratch(fold, list);
    }
    return 1;
}

static int sort(wh_fold *fold, wh_fold_table *list) {
    if (list->count < 2 || run_end(list->ops, 0, list->count) == list->count)
        return 0;
    if (fold->scratch_capacity < list->count) {
        wh_fold_op *scratch = realloc(fold->scratch, list->count * sizeof *scratch);
        if (scratch == NULL)
            return WH_FOLD_NO_MEMORY;
        fold->scratch = scratch;
        fold->scratch_capacity = list->count;
    }
    if (sort_by_bytes(fold, list))
        return 0;
    for (size_t runs = 2; runs > 1;) {
        runs = merge_pass(list->ops, fold->scratch, list->count);
        swap_scratch(fold, list);
    }
    return 0;
}

/* Leaves the last operation of each key. */
static void collapse(wh_fold_table *list) {
    size_t kept = 0;
    for (size_t at = 0; at < list->count; at++) {
        if (at + 1 < list->count && compare(&list->ops[at], &list->ops[at + 1]) == 0)
            continue;
        if (list->ops[at].kind == WH_FOLD_DELETE && list->ops[at].fresh)
            continue;
        list->ops[kept++] = list->ops[at];
    }
    list->count = kept;
}

static int emit_state_put(wh_fold *fold, const wh_fold_job *job) {
    uint8_t *value = wh_fold_alloc(fold, 16 + job->error_len);
    if (value == NULL)
        return WH_FOLD_NO_MEMORY;
    value[0] = WH_RECORD_VERSION;
    value[1] = job->state;
    wh_put_u16(value + 2, job->attempt);
    wh_put_u32(value + 4, job->error_len);
    wh_put_u64(value + 8, job->due_ms);
    if (job->error_len != 0)
        memcpy(value + 16, job->error, job->error_len);
    return wh_fold_note(fold, WH_FOLD_STATE, WH_FOLD_PUT, job->fresh, job->id, WH_ID, value, 16 + job->error_len);
}

/* The patch: u16 attempt, 6 zero, u64 due_ms. */
static int emit_state_patch(wh_fold *fold, const wh_fold_job *job) {
    uint8_t *value = wh_fold_alloc(fold, 16);
    if (value == NULL)
        return WH_FOLD_NO_MEMORY;
    memset(value, 0, 16);
    wh_put_u16(value, job->attempt);
    wh_put_u64(value + 8, job->due_ms);
    return wh_fold_note(fold, WH_FOLD_STATE, WH_FOLD_PATCH, 0, job->id, WH_ID, value, 16);
}

static int emit_state(wh_fold *fold, const wh_fold_job *job) {
    if (job->gone)
        return job->fresh ? 0 : wh_fold_note(fold, WH_FOLD_STATE, WH_FOLD_DELETE, 0, job->id, WH_ID, NULL, 0);
    if (job->state_known == WH_STATE_UNKNOWN)
        return 0;
    if (job->state_known == WH_STATE_PATCHED)
        return emit_state_patch(fold, job);
    int as_submitted = job->fresh && job->attempt == 0 && job->error_len == 0 && job->due_ms == wh_u64(job->spec + WH_SCHEDULE_AT);
    return as_submitted ? 0 : emit_state_put(fold, job);
}

static int emit_lease(wh_fold *fold, const wh_fold_job *job) {
    switch (job->lease_is) {
    case WH_LEASE_HELD:
        return wh_fold_note(fold, WH_FOLD_LEASES, WH_FOLD_PUT, job->fresh, job->id, WH_ID, job->lease, job->lease_len);
    case WH_LEASE_RENEWED:
        return wh_fold_note(fold, WH_FOLD_LEASES, WH_FOLD_PATCH, 0, job->id, WH_ID, job->lease, job->lease_len);
    case WH_LEASE_ENDED:
        return job->fresh ? 0 : wh_fold_note(fold, WH_FOLD_LEASES, WH_FOLD_DELETE, 0, job->id, WH_ID, NULL, 0);
    default: return 0;
    }
}

static int emit_job(wh_fold *fold, const wh_fold_job *job) {
    int code = 0;
    if (job->fresh && !job->gone)
        code = wh_fold_note(fold, WH_FOLD_JOBS, WH_FOLD_PUT, 1, job->id, WH_ID, job->spec, job->spec_len);
    else if (!job->fresh && job->gone)
        code = wh_fold_note(fold, WH_FOLD_JOBS, WH_FOLD_DELETE, 0, job->id, WH_ID, NULL, 0);
    if (code == 0)
        code = emit_state(fold, job);
    return code ? code : emit_lease(fold, job);
}

int wh_fold_finish(wh_fold *fold) {
    for (uint32_t number = 0; number < fold->job_count; number++) {
        int code = emit_job(fold, &fold->jobs[number]);
        if (code != 0)
            return code;
    }
    for (int table = 0; table < WH_FOLD_TABLES; table++) {
        if (sort(fold, &fold->tables[table]) != 0)
            return WH_FOLD_NO_MEMORY;
        collapse(&fold->tables[table]);
    }
    return 0;
}
