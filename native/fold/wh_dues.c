/* A list that is walked from end to end: 16 bytes a job are read in about a nanosecond. */
#include "wh_dues.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wh_block.h"

#define WH_ID 16
#define WH_NOTE 20
#define WH_SPEC_HEAD 56
#define WH_SPEC_VERSION 1
#define WH_FIRST_CAPACITY 1024u

static inline uint32_t u32_at(const uint8_t *at) { uint32_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint64_t u64_at(const uint8_t *at) { uint64_t v; memcpy(&v, at, sizeof v); return v; }

static int append(wh_dues *dues, wh_due due) {
    if (dues->count == dues->capacity) {
        size_t capacity = dues->capacity ? dues->capacity * 2 : WH_FIRST_CAPACITY;
        wh_due *items = realloc(dues->items, capacity * sizeof *items);
        if (items == NULL)
            return WH_DUES_NO_MEMORY;
        dues->items = items;
        dues->capacity = capacity;
    }
    dues->items[dues->count++] = due;
    return 0;
}

int wh_dues_add(wh_dues *dues, const uint8_t *key, const uint8_t *value, size_t length, const wh_row_filter *kept) {
    wh_block_walk walk;
    wh_block_row row;
    uint8_t id[WH_ID];
    uint64_t first_seq = dues->next_seq;
    int code = wh_block_open(&walk, key, value, length);
    if (code != 0)
        return code;
    while ((code = wh_block_next(&walk, &row)) > 0) {
        if (row.seq < dues->next_seq)
            continue;
        if (row.spec_len < WH_SPEC_HEAD || row.spec[0] != WH_SPEC_VERSION)
            return WH_BLOCK_MALFORMED;
        uint64_t due_ms = u64_at(row.spec + 8), offset_ms = due_ms - dues->base_ms;
        wh_block_id(key, row.seq, id);
        /* One that was due elsewhere when it came has a state record, or a row that says where. */
        bool is_kept = offset_ms < dues->width_ms && wh_row_is_between(kept, due_ms, id);
        if (is_kept && (code = append(dues, (wh_due){(uint32_t)offset_ms, WH_ROW_HEAD + row.spec_len, row.seq})) != 0)
            return code;
        dues->next_seq = row.seq + 1;
    }
    dues->blocks += dues->next_seq != first_seq;
    return code;
}

void wh_dues_id(const wh_dues *dues, const wh_due *due, uint8_t *id) { wh_block_id(dues->bucket, due->seq, id); }

uint64_t wh_dues_weight(const wh_due_query *query, const wh_due *due) { return query->by_count ? 1 : due->length; }

/* The sequence number from which on the list's ids are not below the id. */
static uint64_t seq_from(const wh_dues *dues, const uint8_t *id) {
    int order = memcmp(id, dues->bucket, sizeof dues->bucket);
    if (order != 0)
        return order < 0 ? 0 : UINT64_MAX;
    return wh_block_seq(id) + (id[14] != 0 || id[15] != 0);
}

static int is_in(const wh_ids *ids, const uint8_t *id) { return ids != NULL && wh_ids_has(ids, id); }

const wh_due *wh_dues_next(const wh_dues *dues, const wh_due_query *query, size_t *at, size_t end) {
    const wh_row_filter *places = &query->places;
    uint64_t after_seq = seq_from(dues, places->after_id), before_seq = seq_from(dues, places->before_id);
    uint8_t id[WH_ID];
    int any_left_out = query->left_out[0] != NULL || query->left_out[1] != NULL;
    if (end > dues->count)
        end = dues->count;
    for (size_t number = *at; number < end; number++) {
        const wh_due *due = &dues->items[number];
        uint64_t due_ms = dues->base_ms + due->offset_ms;
        if (due_ms < places->after_ms || (due_ms == places->after_ms && due->seq < after_seq) || due_ms > places->before_ms ||
            (due_ms == places->before_ms && due->seq >= before_seq))
            continue;
        if (any_left_out) {
            wh_dues_id(dues, due, id);
            if (is_in(query->left_out[0], id) || is_in(query->left_out[1], id))
                continue;
        }
        *at = number + 1;
        return due;
    }
    *at = end;
    return NULL;
}

size_t wh_dues_touched(const wh_dues *dues, const wh_due_query *query) {
    const wh_due *due;
    size_t at = 0, touched = 0, last = SIZE_MAX, jobs = dues->blocks ? (dues->count + dues->blocks - 1) / dues->blocks : 1;
    while ((due = wh_dues_next(dues, query, &at, dues->count)) != NULL) {
        size_t block = (size_t)(due - dues->items) / jobs;
        touched += block != last;
        last = block;
    }
    return touched;
}

static int compare_notes(const void *left, const void *right) { return memcmp(left, right, WH_ID); }

void wh_due_cut_begin(wh_due_cut *cut) { qsort(cut->notes, cut->count, WH_NOTE, compare_notes); }

static int fits(wh_due_cut *cut, uint64_t weight) {
    if (weight > cut->left && !cut->take_first)
        return 0;
    cut->left -= weight < cut->left ? weight : cut->left;
    cut->take_first = 0;
    return 1;
}

/* Takes the notes below `id`, or all that are left; 1: the next one does not fit. */
static int cut_notes(wh_due_cut *cut, const uint8_t *id) {
    for (; cut->at < cut->count; cut->at++) {
        const uint8_t *note = cut->notes + cut->at * WH_NOTE;
        if (id != NULL && memcmp(note, id, WH_ID) > 0)
            return 0;
        if (!fits(cut, u32_at(note + WH_ID)))
            return 1;
    }
    return 0;
}

int wh_dues_cut(const wh_dues *dues, const wh_due_query *query, wh_due_cut *cut, uint8_t *id) {
    const wh_due *due;
    size_t at = 0;
    while ((due = wh_dues_next(dues, query, &at, dues->count)) != NULL) {
        wh_dues_id(dues, due, id);
        if (cut_notes(cut, id)) {
            memcpy(id, cut->notes + cut->at * WH_NOTE, WH_ID);
            return 1;
        }
        /* One that has changed and is not left out stands in both. */
        if (cut->at != 0 && memcmp(cut->notes + (cut->at - 1) * WH_NOTE, id, WH_ID) == 0)
            continue;
        if (!fits(cut, wh_dues_weight(query, due)))
            return 1;
    }
    return 0;
}

int wh_due_cut_end(wh_due_cut *cut, uint8_t *id) {
    int is_cut = cut_notes(cut, NULL);
    if (is_cut)
        memcpy(id, cut->notes + cut->at * WH_NOTE, WH_ID);
    return is_cut;
}

int wh_dues_keep(const wh_dues *dues, const wh_due_query *query, wh_dues *kept) {
    const wh_due *due;
    size_t at = 0;
    *kept = *dues;
    kept->items = NULL;
    kept->count = kept->capacity = 0;
    while ((due = wh_dues_next(dues, query, &at, dues->count)) != NULL)
        if (append(kept, *due) != 0)
            return WH_DUES_NO_MEMORY;
    return 0;
}

void wh_dues_clear(wh_dues *dues) {
    free(dues->items);
    memset(dues, 0, sizeof *dues);
}
