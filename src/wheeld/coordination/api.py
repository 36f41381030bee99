"""The Coordinator protocol: what a node asks of whoever hands out shards.

Owns the words. Invariant of every implementation: an epoch, once given out for a shard, is never given to another
owner, and an owner that loses a shard hears of it before another one gets it or its writes are refused by the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class ShardLease(NamedTuple):
    """A node's right to a shard. Every entry of the shard carries the epoch."""

    shard: int
    epoch: int


class Coordinator(Protocol):
    """Asked at start; may report losses while the node runs."""

    @property
    def node(self) -> str:
        """This node's name."""

    def owned(self) -> Mapping[int, ShardLease]:
        """The shards that this node owns now."""

    def owner_of(self, shard: int) -> str | None:
        """The node that owns a shard, or None when nobody does."""
