/* What the C tests share: the check that ends a run, and random numbers that a seed repeats. */
#ifndef WH_TEST_H
#define WH_TEST_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed, state;

#define REQUIRE(condition)                                                                                    \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%s:%d: %s (seed %" PRIu64 ")\n", __FILE__, __LINE__, #condition, seed);          \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

static inline uint64_t draw(void) { /* splitmix64 */
    uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t below(uint64_t limit) {
    return draw() % limit;
}

#endif
