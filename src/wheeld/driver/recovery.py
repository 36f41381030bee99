"""What the store knew, as the core wants to be told."""

from __future__ import annotations

from wheeld.core.api import Restored
from wheeld.store.api import Recovery, StoreFailed


def restored_from(recovery: Recovery, last_group: int) -> Restored:
    """The counters for a new life of this node. Its epoch is above every earlier one, so that fencing tokens never
    come twice."""
    if recovery.position != last_group:
        raise StoreFailed(f"the store folded up to group {recovery.position}, the journal ends at {last_group}")
    return Restored(
        group=last_group,
        next_seq=recovery.next_seq,
        index=recovery.index,
        epoch=max(recovery.epoch, default=0) + 1,
        watermark_ms=recovery.watermark_ms,
        paused_queues=[path for path, paused in recovery.queues.items() if paused],
        backlog_queues=recovery.backlog_queues,
        has_keys=recovery.has_keys,
        producers=recovery.sessions,
    )
