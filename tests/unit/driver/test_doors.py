"""The doors of a node whose store stands still, and of one whose clients send more than it can hold."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.driver.bare_node import BareNode, Outbox, run_bare
from wheeld.model import errors, limits
from wheeld.model.errors import Refused
from wheeld.model.spec import Spec

QUEUE, SESSION = b"bare/queue", b"session of a lot"


def jobs(node: BareNode, count: int) -> list[Spec]:
    return [Spec(QUEUE, schedule_ms=node.clock.wall_ms(), payload=bytes(1000)) for _ in range(count)]


async def refusal(node: BareNode, count: int) -> int:
    """The code by which a submit is refused, 0 when it is taken."""
    try:
        await node.submit(jobs(node, count))
    except Refused as refused:
        return refused.kind.code
    return errors.OK


def test_a_store_that_stands_still_stops_submits_then_grants_never_acks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RETAINED_BYTES_SUBMIT_MAX", 30_000)
    monkeypatch.setattr(limits, "RETAINED_BYTES_GRANT_MAX", 31_000)

    async def story(node: BareNode) -> None:
        leases: list[tuple[bytes, int]] = []
        outbox = Outbox(lambda job_id, fencing, due_ms: leases.append((job_id, fencing)))
        opened = await node.driver.open_stream(SESSION, b"w", [QUEUE], 8, 1 << 30, 60_000, b"", outbox)
        while not (code := await refusal(node, 4)):
            pass
        assert code == errors.STORE_BUSY
        assert len(leases) == 8, "grants go on past the first bound"
        while node.driver.groups.retained_bytes < limits.RETAINED_BYTES_GRANT_MAX:
            # What workers settle is taken past both bounds.
            assert await node.ack(SESSION, [leases.pop(0)]) == [errors.OK]
            await asyncio.sleep(0.1)
        taken = len(leases)
        node.driver.set_credit(opened.number, 100, 1 << 30)
        await asyncio.sleep(0.1)
        assert len(leases) == taken, "no grants past the second bound"
        assert await node.ack(SESSION, leases) == [errors.OK] * taken
        leases.clear()
        # The store moves on: what it has folded is let go, and whoever waits is served without another event.
        node.driver.checkpoints.on_position(await node.client.checkpoint(node.driver.groups.durable))
        await asyncio.sleep(0.1)
        assert leases, "grants go on"
        assert await refusal(node, 1) == errors.OK
        assert node.journal.released == node.driver.checkpoints._released > 0

    run_bare(3, story)
