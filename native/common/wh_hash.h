/* Fixed hash functions; the Python twins are wheeld.model.siphash and wheeld.model.retry. */
#ifndef WH_HASH_H
#define WH_HASH_H

#include <stddef.h>
#include <stdint.h>

/* The finaliser of splitmix64. */
static inline uint64_t wh_mix64(uint64_t value) {
    value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

/* SipHash-2-4 with 128 bits of output: `out` gets 16 bytes of hash of `data` under the 16-byte key. */
void wh_siphash128(const uint8_t key[16], const uint8_t *data, size_t length, uint8_t out[16]);

#endif
