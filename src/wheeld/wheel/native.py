"""The wheel of the daemon: a thin façade over the C wheel.

Owns the shape of the Python API only; the algorithm and its invariants stand in native/wheel/wh_wheel.h. Batches run
without the GIL. Invariant: one thread at a time; a second one gets RuntimeError.
"""

from __future__ import annotations

from array import array

from wheeld.wheel._wheel import RawWheel
from wheeld.wheel.api import DueBuffer, KeyBuffer


class NativeWheel:
    """`Wheel` in C: O(1) arm and cancel, about 20 bytes a timer."""

    __slots__ = ("_raw",)

    def __init__(self, now_ms: int, keys: int = 0) -> None:
        self._raw = RawWheel(now_ms)
        self._raw.reserve(keys)

    def reserve(self, keys: int) -> None:
        self._raw.reserve(keys)

    def arm_many(self, keys: KeyBuffer, dues_ms: DueBuffer) -> int:
        return self._raw.arm_many(keys, dues_ms)

    def cancel_many(self, keys: KeyBuffer) -> int:
        return self._raw.cancel_many(keys)

    def armed(self, key: int) -> bool:
        return self._raw.armed(key)

    def advance(self, now_ms: int, limit: int) -> array[int]:
        expired = array("I", bytes(4 * min(limit, len(self._raw))))
        del expired[self._raw.advance_into(now_ms, expired) :]
        return expired

    def advance_done(self, now_ms: int) -> bool:
        return self._raw.advance_done(now_ms)

    def next_wake_ms(self) -> int | None:
        return self._raw.next_ms()

    def now_ms(self) -> int:
        return self._raw.now_ms()

    def __len__(self) -> int:
        return len(self._raw)

    def memory_bytes(self) -> int:
        return self._raw.memory_bytes()

    def check(self) -> None:
        broken = self._raw.check()
        if broken:
            raise AssertionError(f"the wheel breaks rule {broken} of wh_wheel_check")
