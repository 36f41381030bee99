/* Allocation of the core's tables, in functions of their own so that a test can make them fail. Freed with free(). */
#ifndef WH_MEMORY_H
#define WH_MEMORY_H

#include <stddef.h>

/* As malloc. */
void *wh_malloc(size_t bytes);

/* As calloc. */
void *wh_calloc(size_t count, size_t bytes);

/* As realloc; large blocks ask for huge pages, since tables are touched at random and every small page costs a TLB miss. */
void *wh_realloc(void *block, size_t bytes);

/* A block aligned to its own size, a power of two; on huge pages when it is as large as one. */
void *wh_aligned(size_t bytes);

#endif
