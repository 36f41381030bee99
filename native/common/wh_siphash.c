/* SipHash-2-4, 128-bit variant, after Aumasson and Bernstein's description. */
#include "wh_hash.h"

#include "wh_bytes.h"

typedef struct {
    uint64_t v0, v1, v2, v3;
} sip_state;

static inline uint64_t rotate(uint64_t value, unsigned bits) {
    return value << bits | value >> (64 - bits);
}

static inline void sip_round(sip_state *s) {
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(sip_state *s, uint64_t word) {
    s->v3 ^= word;
    sip_round(s);
    sip_round(s);
    s->v0 ^= word;
}

static inline uint64_t sip_finish(sip_state *s) {
    for (int at = 0; at < 4; at++)
        sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

void wh_siphash128(const uint8_t key[16], const uint8_t *data, size_t length, uint8_t out[16]) {
    uint64_t k0 = wh_get64(key), k1 = wh_get64(key + 8);
    sip_state s = {
        .v0 = k0 ^ UINT64_C(0x736F6D6570736575),
        .v1 = k1 ^ UINT64_C(0x646F72616E646F6D) ^ 0xEE,
        .v2 = k0 ^ UINT64_C(0x6C7967656E657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t whole = length & ~(size_t)7;
    uint64_t last = (uint64_t)(length & 0xFF) << 56;
    for (size_t at = 0; at < whole; at += 8)
        sip_word(&s, wh_get64(data + at));
    for (size_t at = whole; at < length; at++)
        last |= (uint64_t)data[at] << (8 * (at - whole));
    sip_word(&s, last);
    s.v2 ^= 0xEE;
    wh_put64(out, sip_finish(&s));
    s.v1 ^= 0xDD;
    wh_put64(out + 8, sip_finish(&s));
}
