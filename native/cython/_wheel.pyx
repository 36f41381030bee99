# cython: language_level=3
"""The thin Cython door to the C timing wheel: buffers in, numbers out, the GIL released.

Owns one C wheel and turns its codes into exceptions (`_raise_code`, the only place). Does not own any policy: no clock, no
queue, no meaning of keys. Invariant: one thread at a time is inside the C wheel; a second one gets RuntimeError, not a race.
"""
from libc.stdint cimport uint32_t, uint64_t

from c_wheel cimport (
    WH_WHEEL_BAD_KEY, wh_wheel, wh_wheel_advance, wh_wheel_advance_done, wh_wheel_arm_many, wh_wheel_armed, wh_wheel_bytes,
    wh_wheel_cancel_many, wh_wheel_check, wh_wheel_count, wh_wheel_free, wh_wheel_new, wh_wheel_next, wh_wheel_now,
    wh_wheel_reserve,
)


cdef int _raise_code(int code) except -1:
    if code >= 0:
        return 0
    if code == WH_WHEEL_BAD_KEY:
        raise IndexError("a key is not reserved")
    raise MemoryError("the wheel could not grow")


cdef class RawWheel:
    """One C wheel; times are unsigned 64-bit milliseconds."""

    cdef wh_wheel *_wheel
    cdef bint _busy

    def __cinit__(self, uint64_t now_ms):
        self._wheel = wh_wheel_new(now_ms)
        if self._wheel == NULL:
            raise MemoryError("the wheel could not be made")

    def __dealloc__(self):
        wh_wheel_free(self._wheel)

    # The flag is read and written with the GIL held, so it needs no atomics.
    cdef int _enter(self) except -1:
        if self._busy:
            raise RuntimeError("the wheel is in use by another thread")
        self._busy = True
        return 0

    def reserve(self, uint32_t keys):
        """Makes keys 0..keys-1 valid."""
        self._enter()
        cdef int code = wh_wheel_reserve(self._wheel, keys)
        self._busy = False
        _raise_code(code)

    def arm_many(self, const uint32_t[::1] keys, const uint64_t[::1] dues_ms):
        """Arms keys[i] for dues_ms[i]; returns how many were already due."""
        cdef size_t late = 0
        cdef int code = 0
        if keys.shape[0] != dues_ms.shape[0]:
            raise ValueError("keys and dues differ in length")
        if keys.shape[0] == 0:
            return 0
        self._enter()
        with nogil:
            code = wh_wheel_arm_many(self._wheel, &keys[0], &dues_ms[0], <size_t>keys.shape[0], &late)
        self._busy = False
        _raise_code(code)
        return late

    def cancel_many(self, const uint32_t[::1] keys):
        """Cancels the keys; returns how many were armed."""
        cdef size_t cancelled = 0
        if keys.shape[0] == 0:
            return 0
        self._enter()
        with nogil:
            cancelled = wh_wheel_cancel_many(self._wheel, &keys[0], <size_t>keys.shape[0])
        self._busy = False
        return cancelled

    def advance_into(self, uint64_t now_ms, uint32_t[::1] keys_out):
        """Moves time to now_ms, writes expired keys into the buffer, returns how many."""
        cdef size_t written = 0
        cdef uint32_t *out = &keys_out[0] if keys_out.shape[0] else NULL
        self._enter()
        with nogil:
            written = wh_wheel_advance(self._wheel, now_ms, out, <size_t>keys_out.shape[0])
        self._busy = False
        return written

    def advance_done(self, uint64_t now_ms):
        """True when nothing due at now_ms is left."""
        self._enter()
        cdef int done = wh_wheel_advance_done(self._wheel, now_ms)
        self._busy = False
        return bool(done)

    def armed(self, uint32_t key):
        """True when the key has a timer."""
        self._enter()
        cdef int armed = wh_wheel_armed(self._wheel, key)
        self._busy = False
        return bool(armed)

    def next_ms(self):
        """A lower bound of the next expiry, None when the wheel is empty."""
        self._enter()
        cdef uint64_t next_due = wh_wheel_next(self._wheel)
        cdef size_t live = wh_wheel_count(self._wheel)
        self._busy = False
        return next_due if live else None

    def now_ms(self):
        """The wheel's time."""
        return wh_wheel_now(self._wheel)

    def __len__(self):
        return <Py_ssize_t>wh_wheel_count(self._wheel)

    def memory_bytes(self):
        """Bytes allocated."""
        return wh_wheel_bytes(self._wheel)

    def check(self):
        """Number of the first broken invariant, 0 when sound."""
        cdef int code = 0
        self._enter()
        with nogil:
            code = wh_wheel_check(self._wheel)
        self._busy = False
        return code
