"""One node owns everything."""

from __future__ import annotations

from wheeld.coordination.api import Coordinator, ShardLease
from wheeld.coordination.local import LocalCoordinator


def test_the_only_node_owns_every_shard_by_one_epoch() -> None:
    coordinator: Coordinator = LocalCoordinator("n1", shards=3, epoch=7)
    assert coordinator.owned() == {shard: ShardLease(shard, 7) for shard in range(3)}
    assert [coordinator.owner_of(shard) for shard in (0, 2, 3)] == ["n1", "n1", None]
