"""A coordinator for one node: it owns all shards, by one epoch, for as long as it runs.

Owns nothing outside of memory. Invariant: ownership never changes; two nodes cannot meet because the data directory is
locked.
"""

from __future__ import annotations

from collections.abc import Mapping

from wheeld.coordination.api import ShardLease


class LocalCoordinator:
    """See Coordinator."""

    def __init__(self, node: str, shards: int, epoch: int = 1) -> None:
        self._node = node
        self._owned = {shard: ShardLease(shard, epoch) for shard in range(shards)}

    @property
    def node(self) -> str:
        """See Coordinator."""
        return self._node

    def owned(self) -> Mapping[int, ShardLease]:
        """See Coordinator."""
        return self._owned

    def owner_of(self, shard: int) -> str | None:
        """See Coordinator."""
        return self._node if shard in self._owned else None
