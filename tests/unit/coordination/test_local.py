"""One node owns everything, by an epoch that no store has seen."""

from __future__ import annotations

import pytest

from wheeld.coordination.api import Coordinator
from wheeld.coordination.local import LocalCoordinator
from wheeld.driver.recovery import epoch_of
from wheeld.store.api import StoreFailed


@pytest.mark.parametrize(("seen", "epoch"), [([0, 0, 0], 1), ([4, 7, 5], 8)])
def test_the_only_node_owns_every_shard_by_one_new_epoch(seen: list[int], epoch: int) -> None:
    coordinator: Coordinator = LocalCoordinator()
    owned = coordinator.acquire(seen)
    assert owned == dict.fromkeys(range(3), epoch)
    assert epoch_of(owned, seen) == epoch


@pytest.mark.parametrize(
    "owned", [{}, {0: 8, 1: 8}, {0: 8, 1: 8, 2: 9}, {0: 7, 1: 7, 2: 7}], ids=["none", "some", "two epochs", "seen"]
)
def test_a_node_that_cannot_serve_what_it_was_given_does_not_start(owned: dict[int, int]) -> None:
    with pytest.raises(StoreFailed, match="epoch"):
        epoch_of(owned, [4, 7, 5])
