/* Spec records: what must hold before one is trusted, and the backoff that it asks for. */
#include "wh_core_internal.h"

enum { WH_BACKOFF_STEPS_MAX = 64 };

bool wh_spec_valid(const uint8_t *spec, size_t length) {
    if (length < WH_SPEC_HEAD || length > UINT32_MAX || spec[0] != WH_SPEC_VERSION)
        return false;
    if (wh_get32(spec + WH_SPEC_PAYLOAD_LEN_AT) > length || wh_spec_size(spec) != length)
        return false;
    /* Sums of times must stay within 64 bits, places within the levels, delays above zero. */
    return spec[WH_SPEC_PRIORITY_AT] <= WH_PRIORITY_MAX && spec[WH_SPEC_JITTER_AT] <= 100 &&
           wh_get64(spec + WH_SPEC_EXPIRE_AT) <= INT64_MAX / 2;
}

uint64_t wh_backoff_ms(const uint8_t *spec, uint16_t attempt, uint64_t seq) {
    uint64_t delay = wh_get32(spec + WH_SPEC_INITIAL_AT), max = wh_get32(spec + WH_SPEC_MAX_AT);
    uint64_t percent = wh_get16(spec + WH_SPEC_PERCENT_AT), jitter = spec[WH_SPEC_JITTER_AT];
    if (delay > max)
        delay = max;
    int steps = attempt ? attempt - 1 : 0;
    if (steps > WH_BACKOFF_STEPS_MAX)
        steps = WH_BACKOFF_STEPS_MAX;
    for (int at = 0; at < steps && delay < max; at++) {
        delay = delay * percent / 100;
        if (delay > max)
            delay = max;
    }
    uint64_t fraction = wh_mix64(seq * UINT64_C(0x9E3779B97F4A7C15) + attempt) & 0xFFFF;
    return delay - delay * jitter * fraction / (100 * 65536);
}
