"""Large submits are decided in slices: none too large, nothing lost between them, and the loop gets its turns."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.unit.core.core_kit import submit_batch
from tests.unit.driver.bare_node import BareNode, run_bare
from wheeld.driver.slices import slices_of
from wheeld.model import limits
from wheeld.model.batch import SUBMIT_HEAD, SUBMIT_RESULT
from wheeld.model.spec import Spec


def items(batch: bytes) -> tuple[int, bytes]:
    return SUBMIT_HEAD.unpack_from(batch)[0], batch[SUBMIT_HEAD.size :]


@pytest.mark.parametrize(
    ("count", "size", "parts"),
    [
        (limits.SUBMITS_PER_TURN_MAX, 0, 1),
        (limits.SUBMITS_PER_TURN_MAX + 1, 0, 2),
        (limits.BATCH_JOBS_MAX, 100, limits.BATCH_JOBS_MAX // limits.SUBMITS_PER_TURN_MAX),
        (8, limits.PAYLOAD_BYTES_MAX, 4),
        (1, limits.PAYLOAD_BYTES_MAX, 1),
        (0, 0, 1),
    ],
)
def test_slices_hold_each_item_once_in_order_and_are_small(count: int, size: int, parts: int) -> None:
    payloads = [number.to_bytes(4, "big") + bytes(size) for number in range(count)]
    batch = submit_batch([Spec(b"main/mail", payload=payload) for payload in payloads])
    cut = list(slices_of(batch))
    counts, bodies = zip(*map(items, cut), strict=True)
    assert len(cut) == parts
    assert sum(counts) == count
    assert b"".join(bodies) == batch[SUBMIT_HEAD.size :]
    one = limits.PAYLOAD_BYTES_MAX + limits.KIB
    assert all(len(part) <= limits.SUBMIT_BYTES_PER_TURN_MAX + one for part in cut)
    assert all(number <= limits.SUBMITS_PER_TURN_MAX for number in counts)


def test_a_producers_batch_stays_whole() -> None:
    count = 2 * limits.SUBMITS_PER_TURN_MAX
    batch = bytearray(submit_batch([Spec(b"main/mail")] * count))
    SUBMIT_HEAD.pack_into(batch, 0, count, 0, 7, b"producer session", 1)
    assert list(slices_of(bytes(batch))) == [bytes(batch)]
    SUBMIT_HEAD.pack_into(batch, 0, count, 0, 0, b"producer session", 1)
    assert len(list(slices_of(bytes(batch)))) == 2, "without a number it is not deduplicated"


def test_the_loop_has_its_turn_between_two_slices() -> None:
    async def story(node: BareNode) -> None:
        turns: list[int] = []
        decided_in: list[int] = []
        decide, end_turn = node.driver.core.submit, node.loop.pass_us

        def submit(now_ms: int, batch: bytes) -> tuple[int, int, bytes]:
            decided_in.append(len(turns))
            return decide(now_ms, batch)

        def note_turn(elapsed_us: int) -> None:
            turns.append(elapsed_us)
            end_turn(elapsed_us)

        node.driver.core.submit = submit  # type: ignore[method-assign]
        node.loop.pass_us = note_turn  # type: ignore[method-assign]
        count = 5 * limits.SUBMITS_PER_TURN_MAX
        batch = submit_batch([Spec(b"bare/queue", schedule_ms=node.clock.wall_ms() + 60_000) for _ in range(count)])
        results = await node.driver.submit(batch)
        assert len(decided_in) == 5
        assert all(before < after for before, after in pairwise(decided_in))
        jobs = {results[at + 8 : at + 24] for at in range(0, len(results), SUBMIT_RESULT.size)}
        assert len(jobs) == count
        assert all([await node.driver.get(job) for job in jobs])

    run_bare(5, story)
