/*
 * wh_grow keeps what a table holds while it grows from malloc's blocks through reserved ranges, in place and from one to the next:
 *
 *   make run-test_memory
 *
 * mremap stands here as kernels before 6.17 have it: a call across two mappings is refused.
 */
#define _GNU_SOURCE
#include "wh_memory.h"
#include "wh_test.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { STRIDE = 4096, LARGEST = 300 << 20 };

#ifdef __linux__
/* Whether one line of /proc/self/maps holds the whole range. */
static bool is_one_mapping(uintptr_t first, uintptr_t end) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    bool one = false;
    REQUIRE(maps != NULL);
    while (!one && fgets(line, sizeof line, maps) != NULL) {
        unsigned long from, to;
        one = sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= first && end <= to;
    }
    fclose(maps);
    return one;
}

void *mremap(void *block, size_t held, size_t bytes, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    void *target = va_arg(rest, void *);
    va_end(rest);
    if (!is_one_mapping((uintptr_t)block, (uintptr_t)block + held)) {
        errno = EFAULT;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mremap, block, held, bytes, flags, target);
}
#endif

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
