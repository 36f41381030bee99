# cython: language_level=3
# The C timing wheel; what each function promises stands in native/wheel/wh_wheel.h.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "wh_wheel.h" nogil:
    ctypedef struct wh_wheel:
        pass

    int WH_WHEEL_NO_MEMORY
    int WH_WHEEL_BAD_KEY

    wh_wheel *wh_wheel_new(uint64_t now)
    void wh_wheel_free(wh_wheel *wheel)
    int wh_wheel_reserve(wh_wheel *wheel, uint32_t keys)
    int wh_wheel_arm(wh_wheel *wheel, uint32_t key, uint64_t due)
    int wh_wheel_arm_many(wh_wheel *wheel, const uint32_t *keys, const uint64_t *dues, size_t count, size_t *late)
    int wh_wheel_cancel(wh_wheel *wheel, uint32_t key)
    size_t wh_wheel_cancel_many(wh_wheel *wheel, const uint32_t *keys, size_t count)
    int wh_wheel_armed(const wh_wheel *wheel, uint32_t key)
    size_t wh_wheel_advance(wh_wheel *wheel, uint64_t now, uint32_t *keys_out, size_t capacity)
    int wh_wheel_advance_done(const wh_wheel *wheel, uint64_t now)
    uint64_t wh_wheel_next(const wh_wheel *wheel)
    uint64_t wh_wheel_now(const wh_wheel *wheel)
    size_t wh_wheel_count(const wh_wheel *wheel)
    size_t wh_wheel_bytes(const wh_wheel *wheel)
    int wh_wheel_check(const wh_wheel *wheel)
