/* XXH64, seed 0 (the xxHash specification, Y. Collet): tells a repeated batch from another one under the same number. */
#ifndef WH_XXH64_H
#define WH_XXH64_H

#include <stddef.h>
#include <stdint.h>

/* The hash of `length` bytes. */
uint64_t wh_xxh64(const uint8_t *data, size_t length);

#endif
