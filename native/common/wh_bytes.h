/* Fixed-width integers in byte buffers, little and big endian, without alignment demands. */
#ifndef WH_BYTES_H
#define WH_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WH_LE16(value) (value)
#define WH_LE32(value) (value)
#define WH_LE64(value) (value)
#define WH_BE64(value) __builtin_bswap64(value)
#else
#define WH_LE16(value) __builtin_bswap16(value)
#define WH_LE32(value) __builtin_bswap32(value)
#define WH_LE64(value) __builtin_bswap64(value)
#define WH_BE64(value) (value)
#endif

static inline uint16_t wh_get16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return WH_LE16(value);
}

static inline uint32_t wh_get32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return WH_LE32(value);
}

static inline uint64_t wh_get64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return WH_LE64(value);
}

static inline uint64_t wh_get64_be(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return WH_BE64(value);
}

static inline void wh_put16(uint8_t *at, uint16_t value) {
    value = WH_LE16(value);
    memcpy(at, &value, sizeof value);
}

static inline void wh_put32(uint8_t *at, uint32_t value) {
    value = WH_LE32(value);
    memcpy(at, &value, sizeof value);
}

static inline void wh_put64(uint8_t *at, uint64_t value) {
    value = WH_LE64(value);
    memcpy(at, &value, sizeof value);
}

static inline void wh_put64_be(uint8_t *at, uint64_t value) {
    value = WH_BE64(value);
    memcpy(at, &value, sizeof value);
}

/* Copies that allow a null source of length 0. */
static inline uint8_t *wh_append(uint8_t *at, const void *from, size_t length) {
    if (length)
        memcpy(at, from, length);
    return at + length;
}

#endif
