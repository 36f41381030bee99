"""What a timing wheel offers, whichever way it is made.

Owns the Protocol and its promises; the contract tests hold every implementation to them. Does not own time: a wheel
never reads a clock, `now_ms` is always an argument. Invariant: a timer expires at its own millisecond, once, in the
order (max(due, the wheel's time when armed), order of arming).
"""

from __future__ import annotations

from array import array
from typing import Protocol, TypeAlias

# Buffers of C unsigned int ("I") and unsigned long ("Q" or "L"); batches pass them without a copy.
KeyBuffer: TypeAlias = "array[int] | memoryview"
DueBuffer: TypeAlias = "array[int] | memoryview"


class Wheel(Protocol):
    """Timers under dense keys 0..reserved-1, at most one each; times are unsigned 64-bit milliseconds."""

    def reserve(self, keys: int) -> None:
        """Makes the keys 0..keys-1 valid. Never shrinks."""

    def arm_many(self, keys: KeyBuffer, dues_ms: DueBuffer) -> int:
        """Arms keys[i] for dues_ms[i], in order; replaces a timer that a key has. Returns how many were already due.

        IndexError: a key is not reserved (none is armed). ValueError: the lengths differ.
        """

    def cancel_many(self, keys: KeyBuffer) -> int:
        """Cancels the keys; returns how many had a timer. Unknown keys are no error."""

    def armed(self, key: int) -> bool:
        """Whether the key has a timer."""

    def advance(self, now_ms: int, limit: int) -> array[int]:
        """Moves time to `now_ms` and returns the keys that expire, in order, at most `limit`.

        When more is due the wheel's time stays at the first one left: call again. A `now_ms` before the wheel's
        time moves nothing, but timers armed late still expire.
        """

    def advance_done(self, now_ms: int) -> bool:
        """Whether nothing due at `now_ms` is left."""

    def next_wake_ms(self) -> int | None:
        """When to call `advance` next: never after the next expiry, perhaps before it; None when there is no timer."""

    def now_ms(self) -> int:
        """The wheel's time."""

    def __len__(self) -> int:
        """Timers armed."""

    def memory_bytes(self) -> int:
        """Bytes held, keys included."""

    def check(self) -> None:
        """Proves the invariants; AssertionError when one is broken. Slow."""
