/*
 * The toucher populates what it is told to without changing it, lives through memory that goes away under its orders, and gives blocks
 * when there is no memory or no thread to be had:
 *
 *   make run-test_toucher
 *
 * It brings its own allocation functions (native/common/wh_memory.c stays out of the link), which fail on demand.
 */
#define _GNU_SOURCE
#include "wh_memory.h"
#include "wh_test.h"
#include "wh_toucher.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { PAGE = 4096, BLOCK = WH_TOUCHER_BLOCK, GONE_ROUNDS = 400, FLOOD = 1000 };

static bool memory_is_out;

void *wh_calloc(size_t count, size_t bytes) {
    return memory_is_out ? NULL : calloc(count, bytes);
}

void *wh_aligned(size_t bytes) {
    return memory_is_out ? NULL : aligned_alloc(bytes, bytes);
}

#ifdef MADV_POPULATE_WRITE
static uint8_t *map(size_t bytes) {
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
    return memory;
}

static bool is_populated(uint8_t *page) {
    unsigned char is_there = 0;
    REQUIRE(mincore(page, PAGE, &is_there) == 0);
    return is_there & 1;
}

/* Nothing tells when an order is done, or dropped behind many others: it is given again. A minute is what only a hang exceeds. */
static void touch_until(wh_toucher *toucher, uint8_t *from, size_t bytes, uint8_t *page) {
    for (int ms = 0; !is_populated(page); ms++) {
        REQUIRE(ms < 60000);
        wh_toucher_touch(toucher, from, bytes);
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* From the page of the first byte to that of the last one, in order; what was written stays. */
static void test_touches(wh_toucher *toucher) {
    size_t pages = 3 * BLOCK / PAGE;
    uint8_t *memory = map(pages * PAGE);
    memory[3 * PAGE] = 77;
    touch_until(toucher, memory + 2 * PAGE + 100, (pages - 4) * PAGE, memory + (pages - 2) * PAGE);
    for (size_t page = 0; page < pages; page++)
        REQUIRE(is_populated(memory + page * PAGE) == (page >= 2 && page <= pages - 2));
    REQUIRE(memory[3 * PAGE] == 77 && memory[2 * PAGE] == 0 && memory[(pages - 2) * PAGE] == 0);
    REQUIRE(munmap(memory, pages * PAGE) == 0);
}

/* Memory that was unmapped, locked away or moved meanwhile: the order does nothing, and the next one is served. */
static void test_memory_goes_away(wh_toucher *toucher) {
    for (int round = 0; round < GONE_ROUNDS; round++) {
        uint8_t *memory = map(2 * BLOCK);
        wh_toucher_touch(toucher, memory, 2 * BLOCK);
        if (round % 3 == 0)
            REQUIRE(mprotect(memory, 2 * BLOCK, PROT_NONE) == 0);
        if (round % 3 == 1) {
            memory[BLOCK] = 5;
            memory = mremap(memory, 2 * BLOCK, 4 * BLOCK, MREMAP_MAYMOVE);
            REQUIRE(memory != MAP_FAILED && memory[BLOCK] == 5 && memory[BLOCK + 1] == 0 && munmap(memory + 2 * BLOCK, 2 * BLOCK) == 0);
        }
        REQUIRE(munmap(memory, 2 * BLOCK) == 0);
    }
    uint8_t *memory = map(PAGE);
    touch_until(toucher, memory, PAGE, memory);
    REQUIRE(munmap(memory, PAGE) == 0);
}

/* Too many orders: some are dropped, none is mixed up with another. */
static void test_flood(wh_toucher *toucher) {
    uint8_t *memory = map(2 * FLOOD * PAGE), *last = map(PAGE);
    for (size_t at = 0; at < FLOOD; at++)
        wh_toucher_touch(toucher, memory + 2 * at * PAGE, PAGE);
    touch_until(toucher, last, PAGE, last);
    for (size_t at = 0; at < FLOOD; at++)
        REQUIRE(!is_populated(memory + (2 * at + 1) * PAGE));
    REQUIRE(munmap(memory, 2 * FLOOD * PAGE) == 0 && munmap(last, PAGE) == 0);
}

static bool is_supported(void) {
    uint8_t *memory = map(PAGE);
    bool supported = madvise(memory, PAGE, MADV_POPULATE_WRITE) == 0;
    REQUIRE(munmap(memory, PAGE) == 0);
    return supported;
}
#endif

/* Whole, aligned blocks of their own; a few wait once the first are taken, and are freed with the toucher. */
static void test_blocks(wh_toucher *toucher) {
    enum { TAKEN = 3 * WH_TOUCHER_BLOCKS };
    uint8_t *taken[TAKEN];
    for (int at = 0; at < TAKEN; at++) {
        taken[at] = wh_toucher_take(toucher);
        REQUIRE(taken[at] != NULL && (uintptr_t)taken[at] % BLOCK == 0);
        size_t waiting = toucher == NULL || at < WH_TOUCHER_BLOCKS_COLD ? 0 : WH_TOUCHER_BLOCKS;
        REQUIRE(wh_toucher_bytes(toucher) == waiting * BLOCK);
        memset(taken[at], at + 1, BLOCK);
    }
    for (int at = 0; at < TAKEN; at++) {
        for (size_t byte = 0; byte < BLOCK; byte += PAGE)
            REQUIRE(taken[at][byte] == at + 1);
        free(taken[at]);
    }
}

/* What waits is given while there is no memory, then nothing; it goes on when there is some again. */
static void test_no_memory(void) {
    wh_toucher *toucher = wh_toucher_new();
    test_blocks(toucher);
    memory_is_out = true;
    REQUIRE(wh_toucher_new() == NULL);
    for (int at = 0; at < WH_TOUCHER_BLOCKS; at++) {
        void *block = wh_toucher_take(toucher);
        REQUIRE(block != NULL);
        free(block);
    }
    REQUIRE(wh_toucher_take(toucher) == NULL && wh_toucher_bytes(toucher) == 0);
    memory_is_out = false;
    void *block = wh_toucher_take(toucher);
    REQUIRE(block != NULL && wh_toucher_bytes(toucher) == WH_TOUCHER_BLOCKS * BLOCK);
    free(block);
    wh_toucher_free(toucher);
}

#ifdef __linux__
static void *nothing(void *argument) {
    return argument;
}

/* A stack that no address space has room for: no thread starts, and its user touches the memory. */
static void test_no_thread(void) {
    pthread_attr_t usual, huge;
    pthread_t thread;
    REQUIRE(pthread_getattr_default_np(&usual) == 0 && pthread_attr_init(&huge) == 0);
    REQUIRE(pthread_attr_setstacksize(&huge, (size_t)1 << 56) == 0 && pthread_setattr_default_np(&huge) == 0);
    REQUIRE(pthread_create(&thread, NULL, nothing, NULL) != 0);
    wh_toucher *toucher = wh_toucher_new();
    test_blocks(toucher);
    REQUIRE(pthread_setattr_default_np(&usual) == 0);
    wh_toucher_free(toucher);
    (void)pthread_attr_destroy(&usual);
    (void)pthread_attr_destroy(&huge);
}
#endif

/* A toucher for one test: an order that is left over must not reach the memory of the next. */
static void with_new(void (*test)(wh_toucher *toucher)) {
    wh_toucher *toucher = wh_toucher_new();
    REQUIRE(toucher != NULL);
    test(toucher);
    wh_toucher_free(toucher);
}

int main(void) {
    wh_toucher_free(NULL);
    wh_toucher_touch(NULL, NULL, BLOCK);
    test_blocks(NULL);
    with_new(test_blocks);
#ifdef MADV_POPULATE_WRITE
    if (is_supported()) {
        with_new(test_touches);
        with_new(test_memory_goes_away);
        with_new(test_flood);
    }
#endif
    test_no_memory();
#ifdef __linux__
    test_no_thread();
#endif
    puts("test_toucher: ok");
    return 0;
}
