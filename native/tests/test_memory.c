/*
 * wh_grow keeps what a table holds while it grows from malloc's blocks through reserved ranges, in place and from one to the next:
 *
 *   make run-test_memory
 */
#include "wh_memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { STRIDE = 4096, LARGEST = 300 << 20 };

#define REQUIRE(condition)                                                              \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);             \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

int main(void) {
    static const size_t sizes[] = {100, 1 << 20, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 33 << 20, 64 << 20, (64 << 20) + 1, 200 << 20, LARGEST};
    uint8_t *block = NULL;
    size_t held = 0, moved = 0;
    for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
        uint8_t *grown = wh_grow(block, held, sizes[at]);
        REQUIRE(grown != NULL);
        moved += block != NULL && grown != block;
        for (size_t place = 0; place < held; place += STRIDE)
            REQUIRE(grown[place] == (uint8_t)(place / STRIDE * 7 + 1));
        for (size_t place = 0; place < sizes[at]; place += STRIDE)
            grown[place] = (uint8_t)(place / STRIDE * 7 + 1);
        block = grown;
        held = sizes[at];
    }
    REQUIRE(moved >= 2);
    wh_grown_free(block, held);
    wh_grown_free(wh_grow(NULL, 0, LARGEST), LARGEST);
    wh_grown_free(NULL, 0);
    puts("test_memory: ok");
    return 0;
}
