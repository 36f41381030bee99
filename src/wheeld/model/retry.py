"""When a failed attempt is tried again. Pure integer arithmetic: the native core computes the same numbers."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def mix64(value: int) -> int:
    """The finaliser of splitmix64: a fixed, well-mixed function of 64 bits."""
    value &= _MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


def backoff_ms(*, initial_ms: int, max_ms: int, percent: int, jitter_percent: int, attempt: int, seq: int) -> int:
    """Delay after the failed attempt number `attempt` (1 is the first), in ms.

    `initial * (percent/100)^(attempt-1)`, at most `max_ms`; then up to `jitter_percent` is taken off, by a fixed
    function of
    (seq, attempt), so that a thousand jobs that failed together do not come back together and a replay gives the same
    times.
    """
    delay = min(initial_ms, max_ms)
    for _ in range(min(attempt - 1, 64)):
        if delay >= max_ms:
            break
        delay = min(max_ms, delay * percent // 100)
    fraction = mix64(seq * 0x9E3779B97F4A7C15 + attempt) & 0xFFFF
    return delay - delay * jitter_percent * fraction // (100 * 65536)
