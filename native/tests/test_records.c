/*
 * Random takes and gives of records, under AddressSanitizer and UBSan (which the records' memory tells what is given out):
 *
 *   make run-test_records, then build/native-test/bin/test_records [seed] for one run again
 *
 * Every record keeps what was written to it until it is given back, none overlaps another, and memory goes back when records do.
 */
#include "wh_memory.h"
#include "wh_records.h"
#include "wh_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MANY = 400000, STEPS = 2000000, LENGTH_MAX = 1200, KEPT = WH_IDLE_ARENAS_KEPT * WH_RECORD_ARENA };

static uint8_t *held[MANY];
static uint32_t lengths[MANY];

static void give(wh_records *records, uint32_t at) {
    uint8_t mark = (uint8_t)(at * 31 + 7);
    for (uint32_t byte = 0; byte < lengths[at]; byte++)
        REQUIRE(held[at][byte] == mark);
    wh_record_give(records, held[at], lengths[at]);
    held[at] = NULL;
}

static void take(wh_records *records, uint32_t at, uint32_t length) {
    wh_record_expect(records, length);
    held[at] = wh_record_take(records, length);
    lengths[at] = length;
    REQUIRE(held[at] != NULL && (uintptr_t)held[at] % 8 == 0);
    memset(held[at], (uint8_t)(at * 31 + 7), length);
}

int main(int count, char **arguments) {
    seed = count > 1 ? strtoull(arguments[1], NULL, 10) : (uint64_t)time(NULL);
    state = seed;
    wh_records records = {0};
    size_t most = 0;
    printf("test_records: seed %" PRIu64 "\n", seed);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t at = below(step < STEPS / 2 ? MANY : MANY / 8);
        if (held[at] != NULL)
            give(&records, at);
        else
            take(&records, at, 1 + below(below(8) ? 300 : LENGTH_MAX));
        most = records.bytes > most ? records.bytes : most;
    }
    REQUIRE(most > 2 * KEPT);
    for (uint32_t at = 0; at < MANY; at++)
        if (held[at] != NULL)
            give(&records, at);
    REQUIRE(records.bytes == KEPT);
    take(&records, 0, 1000); /* pages serve any class once they are empty */
    REQUIRE(records.bytes == KEPT);
    give(&records, 0);
    wh_records_free(&records);
    REQUIRE(records.bytes == 0);
    puts("test_records: ok");
    return 0;
}
