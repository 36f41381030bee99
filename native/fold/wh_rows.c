/* Job rows from the store's records; the layouts of the records stand in docs/storage-format.md. */
#include "wh_rows.h"

#include <string.h>

#define WH_SPEC_HEAD 56
#define WH_STATE_HEAD 16
#define WH_LEASE_HEAD 56
enum { WH_SCHEDULED = 1, WH_RUNNING = 3, WH_FAILED = 6 };

static inline uint32_t u32_at(const uint8_t *at) { uint32_t v; memcpy(&v, at, sizeof v); return v; }
static inline uint64_t u64_at(const uint8_t *at) { uint64_t v; memcpy(&v, at, sizeof v); return v; }

static int are_whole(const wh_row_parts *parts) {
    if (parts->spec_len < WH_SPEC_HEAD || parts->spec[0] != 1)
        return 0;
    if (parts->state != NULL && (parts->state_len < WH_STATE_HEAD || parts->state[0] != 1 || parts->state_len != WH_STATE_HEAD + u32_at(parts->state + 4)))
        return 0;
    return parts->lease == NULL || (parts->lease_len >= WH_LEASE_HEAD && parts->lease[0] == 1 && parts->lease_len == (size_t)WH_LEASE_HEAD + parts->lease[1]);
}

static uint64_t due_of(const wh_row_parts *parts) {
    if (parts->lease != NULL)
        return u64_at(parts->lease + 16);
    return parts->state != NULL ? u64_at(parts->state + 8) : u64_at(parts->spec + 8);
}

size_t wh_row_room(const wh_row_parts *parts) {
    return WH_ROW_HEAD + parts->spec_len + (parts->state ? parts->state_len : 0) + (parts->lease ? parts->lease_len : 0);
}

int wh_row_is_between(const wh_row_filter *filter, uint64_t due_ms, const uint8_t *id) {
    if (due_ms < filter->after_ms || due_ms > filter->before_ms)
        return 0;
    if (due_ms == filter->after_ms && memcmp(id, filter->after_id, 16) < 0)
        return 0;
    return due_ms != filter->before_ms || memcmp(id, filter->before_id, 16) < 0;
}

static int is_wanted(const wh_row_parts *parts, const wh_row_filter *filter) {
    if (filter->waiting_only && (parts->lease != NULL || (parts->state != NULL && parts->state[1] == WH_FAILED)))
        return 0;
    uint64_t due_ms = due_of(parts);
    if (!wh_row_is_between(filter, due_ms, parts->id))
        return 0;
    return !filter->home_only || due_ms / filter->bucket_width_ms == __builtin_bswap32(u32_at(parts->id + 2));
}

ptrdiff_t wh_row_pack(const wh_row_parts *parts, const wh_row_filter *filter, uint8_t flags, uint8_t *out) {
    if (!are_whole(parts))
        return WH_ROWS_BAD_RECORD;
    if (!is_wanted(parts, filter))
        return 0;
    uint64_t due_ms = due_of(parts);
    size_t worker_len = parts->lease ? parts->lease[1] : 0;
    uint16_t error_len = parts->state ? (uint16_t)u32_at(parts->state + 4) : 0;
    uint32_t spec_len = (uint32_t)parts->spec_len;
    uint32_t length = (uint32_t)(WH_ROW_HEAD + worker_len + error_len + spec_len);
    memset(out, 0, WH_ROW_HEAD);
    memcpy(out, &length, 4);
    memcpy(out + 4, parts->id, 16);
    memcpy(out + 20, &due_ms, 8);
    if (parts->lease != NULL) {
        memcpy(out + 28, parts->lease + 8, 8);
        memcpy(out + 36, parts->lease + 2, 2);
        memcpy(out + 40, parts->lease + 4, 4);
        memcpy(out + 44, parts->lease + 32, 24);
        memcpy(out + WH_ROW_HEAD, parts->lease + WH_LEASE_HEAD, worker_len);
        flags |= WH_ROW_LEASED;
    } else if (parts->state != NULL) {
        memcpy(out + 36, parts->state + 2, 2);
    }
    out[38] = parts->lease ? WH_RUNNING : parts->state ? parts->state[1] : WH_SCHEDULED;
    out[39] = flags;
    out[68] = (uint8_t)worker_len;
    memcpy(out + 70, &error_len, 2);
    memcpy(out + 72, &spec_len, 4);
    if (error_len != 0)
        memcpy(out + WH_ROW_HEAD + worker_len, parts->state + WH_STATE_HEAD, error_len);
    memcpy(out + WH_ROW_HEAD + worker_len + error_len, parts->spec, spec_len);
    return (ptrdiff_t)length;
}

int wh_rows_measure(const uint8_t *rows, size_t length, uint64_t base_ms, uint64_t *lengths, size_t count) {
    for (size_t at = 0; at < length;) {
        if (length - at < WH_ROW_HEAD)
            return WH_ROWS_BAD_RECORD;
        uint32_t size = u32_at(rows + at);
        if (size < WH_ROW_HEAD || size > length - at)
            return WH_ROWS_BAD_RECORD;
        uint64_t offset = u64_at(rows + at + 20) - base_ms;
        if (offset < count)
            lengths[offset] += size;
        at += size;
    }
    return 0;
}

ptrdiff_t wh_rows_next(const uint8_t *row, size_t left, uint64_t *due_ms) {
    if (left < WH_ROW_HEAD)
        return WH_ROWS_BAD_RECORD;
    uint32_t size = u32_at(row), spec_len = u32_at(row + 72);
    size_t spec_at = (size_t)WH_ROW_HEAD + row[68] + (row[70] | row[71] << 8);
    if (size > left || spec_len < WH_SPEC_HEAD || spec_at + spec_len != size || row[spec_at + 3] > spec_len - WH_SPEC_HEAD)
        return WH_ROWS_BAD_RECORD;
    *due_ms = u64_at(row + 20);
    return (ptrdiff_t)size;
}

size_t wh_row_key(const uint8_t *row, uint8_t *key) {
    const uint8_t *spec = row + WH_ROW_HEAD + row[68] + (row[70] | row[71] << 8);
    uint8_t *at = key + spec[3];
    uint64_t due_ms = __builtin_bswap64(u64_at(row + 20));
    memcpy(key, spec + WH_SPEC_HEAD, spec[3]);
    *at++ = 0;
    *at++ = (uint8_t)(9 - spec[2]);
    memcpy(at, &due_ms, sizeof due_ms);
    memcpy(at + 8, row + 4, 16);
    return (size_t)(at + 24 - key);
}
