"""The Coordinator protocol: what a node asks of whoever hands out shards.

Owns the words. Invariant of every implementation: an epoch, once given out for a shard, is never given to another
owner, nor to the same one twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Coordinator(Protocol):
    """Asked once at start, after the store has been read."""

    def acquire(self, seen_epochs: Sequence[int]) -> Mapping[int, int]:
        """Take what this node is to serve: shard -> epoch. `seen_epochs` has the highest one that the store knows of
        each shard; those given lie above. Every entry of the shard, and every fencing token, carries its epoch."""
