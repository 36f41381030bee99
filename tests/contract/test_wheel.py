"""What `wheeld.wheel.api.Wheel` promises, held against every implementation."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import pytest

from wheeld.wheel.api import Wheel
from wheeld.wheel.native import NativeWheel
from wheeld.wheel.reference import ReferenceWheel

MAX_MS = 2**64 - 1
EDGES = [2**bits + delta for bits in (12, 22, 32, 42, 53) for delta in (-1, 0, 1)] + [MAX_MS - 1, MAX_MS]
MakeWheel = Callable[..., Wheel]


@pytest.fixture(params=[NativeWheel, ReferenceWheel], ids=["native", "reference"])
def make(request: pytest.FixtureRequest) -> MakeWheel:
    return request.param  # type: ignore[no-any-return]


def arm(wheel: Wheel, timers: Sequence[tuple[int, int]]) -> int:
    return wheel.arm_many(array("I", [key for key, _ in timers]), array("Q", [due for _, due in timers]))


def cancel(wheel: Wheel, *keys: int) -> int:
    return wheel.cancel_many(array("I", keys))


def test_expires_at_its_millisecond_and_not_before(make: MakeWheel) -> None:
    wheel = make(1000, keys=4)
    assert arm(wheel, [(3, 1007)]) == 0
    assert list(wheel.advance(1006, 10)) == []
    assert wheel.next_wake_ms() == 1007
    assert list(wheel.advance(1007, 10)) == [3]
    assert (len(wheel), wheel.next_wake_ms(), wheel.now_ms()) == (0, None, 1007)


@pytest.mark.parametrize("start", [0, 1, 4095, 2**32 - 1, 1_760_000_000_000])
def test_edges_of_every_level(make: MakeWheel, start: int) -> None:
    dues = [start + edge for edge in EDGES if start + edge <= MAX_MS]
    wheel = make(start, keys=len(dues))
    arm(wheel, list(enumerate(dues)))
    for key, due in enumerate(dues):
        assert list(wheel.advance(due - 1, 10)) == []
        wheel.check()
        assert list(wheel.advance(due, 10)) == [key]


def test_waking_when_told_loses_nothing_and_ends(make: MakeWheel) -> None:
    wheel = make(5, keys=len(EDGES))
    arm(wheel, list(enumerate(EDGES)))
    fired = []
    for _ in range(10 * len(EDGES)):
        wake_ms = wheel.next_wake_ms()
        if wake_ms is None:
            break
        fired += [(key, wake_ms) for key in wheel.advance(wake_ms, 10)]
    assert fired == list(enumerate(EDGES))


def test_same_millisecond_is_first_in_first_out_across_cascades(make: MakeWheel) -> None:
    due = 2**32 + 2**22 + 2**12 + 1
    stops = [0, 2**12, 2**22, 2**32, 2**32 + 2**22, due - 1]
    wheel = make(0, keys=len(stops))
    order = [4, 1, 3, 0, 5, 2]
    for key, stop in zip(order, stops, strict=True):
        wheel.advance(stop, 10)
        arm(wheel, [(key, due)])
    assert list(wheel.advance(MAX_MS, 10)) == order


def test_late_timers_expire_next_in_arming_order(make: MakeWheel) -> None:
    wheel = make(100, keys=4)
    assert arm(wheel, [(0, 101), (1, 100), (2, 3)]) == 2
    assert wheel.next_wake_ms() == 100
    assert not wheel.advance_done(100)
    assert list(wheel.advance(7, 10)) == [1, 2]
    assert (wheel.now_ms(), wheel.advance_done(100)) == (100, True)
    assert list(wheel.advance(101, 10)) == [0]


def test_a_limited_advance_stops_before_what_is_left(make: MakeWheel) -> None:
    wheel = make(0, keys=8)
    arm(wheel, [(0, 10), (1, 10), (2, 10), (3, 5000)])
    assert list(wheel.advance(9000, 2)) == [0, 1]
    assert (wheel.now_ms(), wheel.advance_done(9000), wheel.next_wake_ms()) == (10, False, 10)
    arm(wheel, [(4, 10), (5, 11)])
    assert list(wheel.advance(9000, 0)) == []
    assert list(wheel.advance(9000, 3)) == [2, 4, 5]
    assert (wheel.now_ms(), wheel.advance_done(9000)) == (5000, False)
    assert list(wheel.advance(9000, 1)) == [3]
    assert (wheel.now_ms(), wheel.advance_done(9000)) == (9000, True)


def test_rearming_replaces_and_cancel_disarms(make: MakeWheel) -> None:
    wheel = make(0, keys=4)
    arm(wheel, [(0, 50), (1, 60), (0, 70), (2, 80)])
    assert (len(wheel), cancel(wheel, 2, 2, 3, 4_000_000_000)) == (3, 1)
    assert [wheel.armed(key) for key in (0, 1, 2, 4_000_000_000)] == [True, True, False, False]
    assert wheel.next_wake_ms() == 60
    assert list(wheel.advance(100, 10)) == [1, 0]
    assert cancel(wheel, 0) == 0


def test_a_step_back_of_time_moves_nothing(make: MakeWheel) -> None:
    wheel = make(1000, keys=1)
    arm(wheel, [(0, 1001)])
    assert list(wheel.advance(0, 10)) == []
    assert wheel.now_ms() == 1000


def test_wrong_use_changes_nothing(make: MakeWheel) -> None:
    wheel = make(0, keys=2)
    with pytest.raises(IndexError):
        arm(wheel, [(0, 1), (2, 1)])
    with pytest.raises(ValueError, match="length"):
        wheel.arm_many(array("I", [0]), array("Q", [1, 2]))
    assert len(wheel) == 0
    wheel.reserve(3)
    wheel.reserve(1)
    arm(wheel, [(2, 1)])
    assert list(wheel.advance(1, 10)) == [2]
