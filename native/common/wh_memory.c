/* Allocation; see the header. */
#define _DEFAULT_SOURCE
#include "wh_memory.h"

#include <stdint.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum { WH_HUGE_PAGE = 2 << 20, WH_HUGE_FROM = 4 << 20 };

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
