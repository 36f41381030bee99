"""The native wheel does exactly what the reference does, for any sequence of operations."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wheeld.wheel.native import NativeWheel
from wheeld.wheel.reference import ReferenceWheel

MAX_MS = 2**64 - 1
KEYS = 40
LEVEL_EDGES = (1, 2**6, 2**12, 2**22, 2**32, 2**42, 2**53, 2**63)

starts = st.sampled_from([0, 4095, 2**32 - 2, 1_760_000_000_000, 2**53 - 1, MAX_MS - 10_000]) | st.integers(0, MAX_MS)
keys = st.integers(0, KEYS - 1)
# A step away from now: small, round an edge of a level, or anything.
steps = (
    st.integers(0, 70)
    | st.builds(lambda edge, delta: edge + delta, st.sampled_from(LEVEL_EDGES), st.integers(-1, 1))
    | st.integers(0, 2**13)
    | st.integers(0, MAX_MS)
)
# Steps of time stay short most of the way, or every run would end at the last millisecond at once.
short_steps = st.integers(0, 70) | st.integers(0, 2**13) | st.sampled_from([2**12, 2**22, 2**32])


class WheelMachine(RuleBasedStateMachine):
    """Both wheels, one script."""

    @initialize(start_ms=starts)
    def begin(self, start_ms: int) -> None:
        self.native = NativeWheel(start_ms, KEYS)
        self.reference = ReferenceWheel(start_ms, KEYS)

    def target(self, step_ms: int, *, aligned: bool = False) -> int:
        target_ms = self.reference.now_ms() + step_ms
        return min(target_ms | 4095 if aligned else target_ms, MAX_MS)

    @rule(timers=st.lists(st.tuples(keys, steps, st.booleans()), max_size=12))
    def arm(self, timers: list[tuple[int, int, bool]]) -> None:
        armed = array("I", [key for key, _, _ in timers])
        dues = array("Q", [self.target(step, aligned=aligned) for _, step, aligned in timers])
        assert self.native.arm_many(armed, dues) == self.reference.arm_many(armed, dues)

    @rule(timers=st.lists(st.tuples(keys, st.integers(0, 5000)), max_size=4))
    def arm_late(self, timers: list[tuple[int, int]]) -> None:
        armed = array("I", [key for key, _ in timers])
        dues = array("Q", [max(0, self.reference.now_ms() - back) for _, back in timers])
        assert self.native.arm_many(armed, dues) == self.reference.arm_many(armed, dues) == len(timers)

    @rule(cancelled=st.lists(st.integers(0, KEYS + 1), max_size=12))
    def cancel(self, cancelled: list[int]) -> None:
        batch = array("I", cancelled)
        assert self.native.cancel_many(batch) == self.reference.cancel_many(batch)

    @rule(step_ms=short_steps, limit=st.integers(0, 5) | st.just(KEYS))
    def advance(self, step_ms: int, limit: int) -> None:
        self.advance_both(self.target(step_ms), limit)

    @rule(step_ms=steps)
    def jump(self, step_ms: int) -> None:
        self.advance_both(self.target(step_ms), KEYS)

    @rule(back_ms=st.integers(1, 2**20))
    def step_back(self, back_ms: int) -> None:
        self.advance_both(max(0, self.reference.now_ms() - back_ms), KEYS)

    @rule()
    def wake(self) -> None:
        wake_ms, next_due_ms = self.native.next_wake_ms(), self.reference.next_wake_ms()
        if wake_ms is None or next_due_ms is None:
            assert wake_ms == next_due_ms
            return
        assert self.reference.now_ms() <= wake_ms <= next_due_ms
        if (next_due_ms ^ self.reference.now_ms()) < 4096:
            assert wake_ms == next_due_ms
        self.advance_both(wake_ms, KEYS)

    def advance_both(self, now_ms: int, limit: int) -> None:
        assert self.native.advance(now_ms, limit) == self.reference.advance(now_ms, limit)
        assert self.native.advance_done(now_ms) == self.reference.advance_done(now_ms)

    @invariant()
    def same(self) -> None:
        if hasattr(self, "native"):
            assert (len(self.native), self.native.now_ms()) == (len(self.reference), self.reference.now_ms())
            self.native.check()


TestWheelMachine = WheelMachine.TestCase


@given(
    start_ms=st.sampled_from([0, 1_760_000_000_000]),
    horizon_ms=st.sampled_from([1, 5_000, 3_600_000, 2**40]),
    seed=st.integers(0, 2**32),
    cancelled_share=st.sampled_from([0, 3, 9]),
)
def test_storms_of_cancel_and_rearm_keep_order(start_ms: int, horizon_ms: int, seed: int, cancelled_share: int) -> None:
    """Enough dead records that the sweeper runs, then everything that lives comes out as the reference says."""
    many = 3000
    native, reference = NativeWheel(start_ms, many), ReferenceWheel(start_ms, many)
    state = seed
    for _ in range(5):
        armed, dues, cancelled = array("I", range(many)), array("Q"), array("I")
        for key in range(many):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            dues.append(start_ms + 1 + (state >> 20) % horizon_ms)
            if (state >> 8) % 10 < cancelled_share:
                cancelled.append(key)
        for wheel in (native, reference):
            wheel.arm_many(armed, dues)
            wheel.cancel_many(cancelled)
        native.check()
    assert native.advance(start_ms + horizon_ms, many) == reference.advance(start_ms + horizon_ms, many)
    assert len(native) == 0
