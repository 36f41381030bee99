"""What the store knew, as the core wants to be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wheeld.core.api import Restored
from wheeld.store.api import Recovery, StoreFailed


def epoch_of(owned: Mapping[int, int], seen_epochs: Sequence[int]) -> int:
    """The epoch by which this node serves. The core has one for all shards, above every earlier one, so that fencing
    tokens never come twice."""
    epochs = {owned.get(shard, 0) for shard in range(len(seen_epochs))}
    epoch = max(epochs, default=1)
    if len(epochs) > 1 or epoch <= max(seen_epochs, default=0):
        wanted = f"all {len(seen_epochs)} by one epoch above {max(seen_epochs, default=0)}"
        raise StoreFailed(f"shards were given by the epochs {sorted(epochs)}; this node serves {wanted}, or none")
    return epoch


def restored_from(recovery: Recovery, last_group: int, epoch: int) -> Restored:
    """The counters for a new life of this node."""
    if recovery.position != last_group:
        raise StoreFailed(f"the store folded up to group {recovery.position}, the journal ends at {last_group}")
    return Restored(
        group=last_group,
        next_seq=recovery.next_seq,
        index=recovery.index,
        epoch=epoch,
        watermark_ms=recovery.watermark_ms,
        paused_queues=[path for path, paused in recovery.queues.items() if paused],
        backlog_queues=recovery.backlog_queues,
        has_keys=recovery.has_keys,
        producers=recovery.sessions,
    )
