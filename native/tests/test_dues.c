/*
 * A list of due times that finds no memory loses no job, and a cut counts a job once that is noted as well:
 *
 *   make run-test_dues
 *
 * What else it does stands in tests/property/test_passes.py.
 */
#include "wh_block.h"
#include "wh_dues.h"
#include "wh_test.h"

#include <string.h>

enum { SPEC = 56, JOBS = 3, FAR_TOO_MANY_LOG2 = 50 };

/* A failed allocation is what is tested. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}

/* The job of number 0 is noted as well: the cut lies behind it, or a pass that begins with it would never end. */
static void test_cut(const wh_dues *dues, wh_row_filter all) {
    uint8_t note[20] = {[16] = WH_ROW_HEAD + SPEC}, id[16];
    wh_due_query query = {.places = all};
    wh_due_cut cut = {.notes = note, .count = 1, .left = 1, .take_first = 1};
    wh_due_cut_begin(&cut);
    REQUIRE(wh_dues_cut(dues, &query, &cut, id) == 1 && wh_block_seq(id) == 1);
}

int main(void) {
    static const uint8_t key[16], lowest[16];
    const wh_row_filter all = {.after_id = lowest, .before_ms = 1000, .before_id = lowest};
    wh_dues dues = {.width_ms = 1000};
    uint8_t spec[SPEC] = {1}, block[WH_BLOCK_HEAD + JOBS * (WH_BLOCK_ROW_HEAD + SPEC)];
    size_t length = WH_BLOCK_HEAD;
    wh_block_put_head(block, JOBS);
    for (uint8_t seq = 0; seq < JOBS; seq++) {
        spec[8] = seq;
        length += wh_block_put_row(block + length, 0, seq, spec, SPEC);
    }
    dues.count = dues.capacity = (size_t)1 << FAR_TOO_MANY_LOG2;
    REQUIRE(wh_dues_add(&dues, key, block, length, &all) == WH_DUES_NO_MEMORY);
    dues.count = dues.capacity = 0;
    REQUIRE(wh_dues_add(&dues, key, block, length, &all) == 0 && dues.count == JOBS);
    for (uint8_t seq = 0; seq < JOBS; seq++)
        REQUIRE(dues.items[seq].seq == seq && dues.items[seq].offset_ms == seq);
    REQUIRE(wh_dues_add(&dues, key, block, length, &all) == 0 && dues.count == JOBS && dues.next_seq == JOBS);
    test_cut(&dues, all);
    wh_dues_clear(&dues);
    puts("test_dues: ok");
    return 0;
}
