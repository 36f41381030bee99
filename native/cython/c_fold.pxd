# cython: language_level=3
# The C fold, blocks of jobs and the row writer; what each function promises stands in native/fold/*.h.
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "wh_fold.h" nogil:
    ctypedef struct wh_fold:
        pass
    ctypedef struct wh_fold_op:
        const uint8_t *key
        const uint8_t *value
        uint32_t value_len
        uint16_t key_len
        uint8_t kind
    ctypedef struct wh_fold_shard:
        uint64_t next_seq
        uint64_t index
        uint32_t epoch
        uint32_t touched

    int WH_FOLD_NO_MEMORY, WH_FOLD_UNKNOWN_KIND, WH_FOLD_BAD_SHARD, WH_FOLD_JOB_ENDED
    int WH_FOLD_TABLES

    wh_fold *wh_fold_new(uint32_t shards, uint64_t bucket_width_ms)
    void wh_fold_free(wh_fold *fold)
    void wh_fold_reset(wh_fold *fold)
    int wh_fold_apply(wh_fold *fold, const uint8_t *payload, size_t length, size_t *error_at)
    int wh_fold_finish(wh_fold *fold)
    const wh_fold_op *wh_fold_ops(const wh_fold *fold, int table, size_t *count)
    const wh_fold_shard *wh_fold_shard_at(const wh_fold *fold, uint32_t shard)
    size_t wh_fold_bytes(const wh_fold *fold)
    uint64_t wh_fold_entries(const wh_fold *fold)
    uint64_t wh_fold_watermark(const wh_fold *fold)
    uint64_t wh_fold_time(const wh_fold *fold)

cdef extern from "wh_block.h" nogil:
    ctypedef struct wh_block_row:
        const uint8_t *spec
        uint64_t seq
        uint32_t spec_len
    ctypedef struct wh_block_walk:
        pass

    uint64_t wh_block_seq(const uint8_t *id)
    int wh_block_open(wh_block_walk *walk, const uint8_t *key, const uint8_t *value, size_t length)
    int wh_block_next(wh_block_walk *walk, wh_block_row *row)
    void wh_block_id(const uint8_t *key, uint64_t seq, uint8_t *id)
    int wh_block_check(const uint8_t *key, const uint8_t *value, size_t length, uint8_t *last_id)

cdef extern from "wh_fold_pack.h" nogil:
    ctypedef struct wh_fold_packer:
        size_t at
        int64_t added
        int has_old

    int wh_fold_pack_begin(wh_fold_packer *packer, const wh_fold *fold, size_t at, const uint8_t *key, const uint8_t *value,
                           size_t length, const uint8_t *end_key, size_t block_bytes_max)
    size_t wh_fold_pack_room(const wh_fold_packer *packer)
    ptrdiff_t wh_fold_pack_next(wh_fold_packer *packer, uint8_t *out, size_t capacity, uint8_t *key, int *changed)
    ptrdiff_t wh_fold_remove(const wh_fold *fold, size_t *at, const uint8_t *key, const uint8_t *value, size_t length, uint8_t *out,
                             uint32_t *removed)
    size_t wh_fold_next(const wh_fold *fold, int table, int kind, size_t at)

cdef extern from "wh_ids.h" nogil:
    ctypedef struct wh_ids:
        size_t count

    int wh_ids_add(wh_ids *ids, const uint8_t *id)
    int wh_ids_has(const wh_ids *ids, const uint8_t *id)
    void wh_ids_clear(wh_ids *ids)

cdef extern from "wh_rows.h" nogil:
    enum:
        WH_ROW_BACKLOG
        WH_ROW_KEY_MAX
    ctypedef struct wh_row_filter:
        uint64_t after_ms
        uint64_t before_ms
        const uint8_t *after_id
        const uint8_t *before_id
        uint64_t bucket_width_ms
        int waiting_only
        int home_only
    ctypedef struct wh_row_parts:
        const uint8_t *id
        const uint8_t *spec
        const uint8_t *state
        const uint8_t *lease
        size_t spec_len
        size_t state_len
        size_t lease_len

    size_t wh_row_room(const wh_row_parts *parts)
    ptrdiff_t wh_row_pack(const wh_row_parts *parts, const wh_row_filter *filter, uint8_t flags, uint8_t *out)
    int wh_rows_measure(const uint8_t *rows, size_t length, uint64_t base_ms, uint64_t *lengths, size_t count)
    ptrdiff_t wh_rows_next(const uint8_t *row, size_t left, uint64_t *due_ms)
    size_t wh_row_key(const uint8_t *row, uint8_t *key)

cdef extern from "wh_dues.h" nogil:
    int WH_DUES_NO_MEMORY
    ctypedef struct wh_due:
        uint32_t offset_ms
        uint64_t seq
    ctypedef struct wh_dues:
        uint8_t bucket[6]
        uint64_t base_ms
        uint64_t width_ms
        uint64_t next_seq
        size_t count
        size_t blocks
    ctypedef struct wh_due_query:
        wh_row_filter places
        const wh_ids *left_out[2]
        int by_count
    ctypedef struct wh_due_cut:
        uint8_t *notes
        size_t count
        uint64_t left
        int take_first

    int wh_dues_add(wh_dues *dues, const uint8_t *key, const uint8_t *value, size_t length, const wh_row_filter *kept)
    const wh_due *wh_dues_next(const wh_dues *dues, const wh_due_query *query, size_t *at, size_t end)
    void wh_dues_id(const wh_dues *dues, const wh_due *due, uint8_t *id)
    uint64_t wh_dues_weight(const wh_due_query *query, const wh_due *due)
    size_t wh_dues_touched(const wh_dues *dues, const wh_due_query *query)
    void wh_due_cut_begin(wh_due_cut *cut)
    int wh_dues_cut(const wh_dues *dues, const wh_due_query *query, wh_due_cut *cut, uint8_t *id)
    int wh_due_cut_end(wh_due_cut *cut, uint8_t *id)
    int wh_dues_keep(const wh_dues *dues, const wh_due_query *query, wh_dues *kept)
    void wh_dues_clear(wh_dues *dues)
