/* Allocation; see the header. */
#define _GNU_SOURCE /* mremap */
#include "wh_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { WH_HUGE_PAGE = 2 << 20, WH_HUGE_FROM = 4 << 20, WH_RANGE_FROM = 1 << 18 };

void *wh_malloc(size_t bytes) {
    return malloc(bytes);
}

void *wh_calloc(size_t count, size_t bytes) {
    return calloc(count, bytes);
}

void *wh_aligned(size_t bytes) {
    void *block = aligned_alloc(bytes, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (block != NULL && bytes >= WH_HUGE_PAGE)
        (void)madvise(block, bytes, MADV_HUGEPAGE);
#endif
    return block;
}

void *wh_realloc(void *block, size_t bytes) {
    void *grown = realloc(block, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (grown != NULL && bytes >= WH_HUGE_FROM) {
        uintptr_t first = ((uintptr_t)grown + WH_HUGE_PAGE - 1) & ~(uintptr_t)(WH_HUGE_PAGE - 1);
        uintptr_t end = ((uintptr_t)grown + bytes) & ~(uintptr_t)(WH_HUGE_PAGE - 1);
        if (first < end)
            (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
    }
#endif
    return grown;
}

#if defined(__linux__) && defined(MADV_HUGEPAGE)

enum { WH_RESERVE_FIRST = 64 << 20 };

static size_t whole_pages(size_t bytes) {
    return (bytes + WH_HUGE_PAGE - 1) & ~(size_t)(WH_HUGE_PAGE - 1);
}

/* Addresses that a block of this size has reserved; 0: it is small, and malloc's. */
static size_t reserved(size_t bytes) {
    if (bytes < WH_RANGE_FROM)
        return 0;
    size_t range = WH_RESERVE_FIRST;
    while (range < bytes)
        range *= 4;
    return range;
}

/* A range of addresses without memory, aligned to a huge page. */
static uint8_t *reserve(size_t range) {
    uint8_t *start = mmap(NULL, range + WH_HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t skip = (WH_HUGE_PAGE - ((uintptr_t)start & (WH_HUGE_PAGE - 1))) & (WH_HUGE_PAGE - 1);
    if (skip != 0)
        (void)munmap(start, skip);
    (void)munmap(start + skip + range, WH_HUGE_PAGE - skip);
    return start + skip;
}

/*
 * Moves pages one huge page at a time: kernels before 6.17 refuse (EFAULT) a call across two mappings, and a range that was moved to once is
 * two: what came keeps its offsets, so that what was made beside it never joins it. false: nothing changed.
 */
static bool move_pages(uint8_t *to, uint8_t *from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += WH_HUGE_PAGE) {
        if (mremap(from + at, WH_HUGE_PAGE, WH_HUGE_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + at) != MAP_FAILED)
            continue;
        if (at == 0)
            return false;
        /* The half that went cannot be brought back for sure; the failed call may have unmapped its target. */
        if (mmap(to + at, WH_HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            abort();
        memcpy(to + at, from + at, WH_HUGE_PAGE);
        (void)munmap(from + at, WH_HUGE_PAGE);
    }
    return true;
}

/* Brings what the old block holds to a new range with room for it. false: nothing changed. */
static bool move(uint8_t *to, void *block, size_t held) {
    size_t used = whole_pages(held);
    if (reserved(held) == 0) {
        if (held != 0)
            memcpy(to, block, held);
        free(block);
        return true;
    }
    if (!move_pages(to, block, used))
        return false;
    (void)munmap((uint8_t *)block + used, reserved(held) - used);
    return true;
}

void *wh_grow(void *block, size_t held, size_t bytes) {
    size_t range = reserved(bytes);
    if (range == 0)
        return realloc(block, bytes);
    if (range == reserved(held))
        return mprotect(block, whole_pages(bytes), PROT_READ | PROT_WRITE) == 0 ? block : NULL;
    uint8_t *start = reserve(range);
    if (start == NULL)
        return NULL;
    /* The first one fills with small pages, as the table grows: no table becomes large by a step that clears megabytes. */
    (void)madvise(start + WH_HUGE_PAGE, range - WH_HUGE_PAGE, MADV_HUGEPAGE);
    if (mprotect(start, whole_pages(bytes), PROT_READ | PROT_WRITE) == 0 && move(start, block, held))
        return start;
    (void)munmap(start, range);
    return NULL;
}

void wh_grown_free(void *block, size_t held) {
    if (reserved(held) == 0)
        free(block);
    else
        (void)munmap(block, reserved(held));
}

#else

void *wh_grow(void *block, size_t held, size_t bytes) {
    (void)held;
    return realloc(block, bytes);
}

void wh_grown_free(void *block, size_t held) {
    (void)held;
    free(block);
}

#endif
