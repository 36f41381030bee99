/* The wheel's only source of memory besides the handle itself; a file of its own so that a test can link a failing one. */
#if defined(__linux__)
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#endif

#include "wh_memory.h"
#include "wh_wheel_internal.h"

#include <stdlib.h>

enum { HUGE_PAGE_BYTES = 2 * 1024 * 1024 };

void *wh_allocate(size_t bytes) {
    size_t alignment = bytes < HUGE_PAGE_BYTES ? 64 : HUGE_PAGE_BYTES;
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#if defined(MADV_HUGEPAGE)
    if (memory != NULL && alignment == HUGE_PAGE_BYTES)
        (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void *wh_allocate_arena(wh_toucher *toucher) {
    return wh_toucher_take(toucher);
}

uint32_t *wh_grow_stamps(wh_toucher *toucher, uint32_t *stamps, size_t held, size_t bytes) {
    uint8_t *grown = wh_grow(stamps, held, bytes);
    if (grown != NULL && bytes > WH_TOUCHER_BLOCK)
        wh_toucher_touch(toucher, grown + held, bytes - held);
    return (uint32_t *)(void *)grown;
}

void wh_free_stamps(uint32_t *stamps, size_t held) {
    wh_grown_free(stamps, held);
}
