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

/*
 * As realloc, for tables that grow to hundreds of megabytes and are touched at random: `held` is the size asked for last (0: no block).
 * A large block stands in a reserved range of addresses, on huge pages: it grows in place, or its pages move without being copied. Freed
 * with wh_grown_free only.
 */
void *wh_grow(void *block, size_t held, size_t bytes);
void wh_grown_free(void *block, size_t held);

/* A block aligned to its own size, a power of two; on huge pages when it is as large as one. */
void *wh_aligned(size_t bytes);

#endif
