/* CRC-32C (Castagnoli), the checksum of journal groups and segment headers.
 *
 * Owns nothing. A checksum of a concatenation is the checksum of the second part seeded with that of the first:
 * crc(a + b, s) == crc(b, crc(a, s)).
 */
#ifndef WH_CRC32C_H
#define WH_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Checksum of `size` bytes, continuing from `seed` (0 to begin); uses SSE4.2 where the processor has it. */
uint32_t wh_crc32c(const void *data, size_t size, uint32_t seed);

/* The same by table, on every processor: the fallback, and the oracle of the tests. */
uint32_t wh_crc32c_portable(const void *data, size_t size, uint32_t seed);

/* Not zero when wh_crc32c uses the processor's instruction. */
int wh_crc32c_is_hardware(void);

#endif
