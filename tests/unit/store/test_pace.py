"""How much a commit folds."""

from __future__ import annotations

from wheeld.model import limits
from wheeld.store.pace import Pace


def test_jobs_that_lie_together_are_committed_in_small_steps() -> None:
    pace = Pace(limits.FOLD_BYTES_MAX)
    assert pace.fold_bytes == limits.FOLD_BYTES_MIN
    pace.learn(1)
    assert pace.fold_bytes == limits.FOLD_BYTES_MIN


def test_jobs_that_lie_far_apart_are_gathered_up_to_the_most() -> None:
    pace = Pace(limits.FOLD_BYTES_MAX)
    pace.learn(4320)
    assert limits.FOLD_BYTES_MIN < pace.fold_bytes == 4320 * limits.FOLD_BYTES_PER_PLACE < limits.FOLD_BYTES_MAX
    pace.learn(1_000_000)
    assert pace.fold_bytes == limits.FOLD_BYTES_MAX
    pace.learn(0)
    assert pace.fold_bytes == limits.FOLD_BYTES_MIN


def test_a_least_above_the_most_is_the_most() -> None:
    assert Pace(1).fold_bytes == 1
