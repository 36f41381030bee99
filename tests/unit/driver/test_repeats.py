"""Settles of forgotten leases while the history cannot be read."""

from __future__ import annotations

import pytest

from wheeld.driver.jobs import no_room
from wheeld.driver.repeats import answer_repeats
from wheeld.model import batch as packed
from wheeld.model import errors
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.job import JobState

JOBS = [bytes([number]) * 16 for number in range(1, 4)]
BATCH = packed.SETTLE_BATCH_HEAD.pack(len(JOBS), 0) + b"".join(
    packed.SETTLE_HEAD.pack(packed.OP_ACK, 0, 0, 0, packed.NO_DELAY, 0, 7, job_id, 0) for job_id in JOBS
)
UNKNOWN = packed.SETTLE_RESULT.pack(packed.OP_ACK, errors.TOKEN_UNKNOWN, 0, 0, 0, 0) * len(JOBS)


def ended(job_id: bytes) -> list[tuple[int, Outcome]]:
    state = (JobState.SUCCEEDED, 4, EntryKind.ACK)
    outcome = Outcome(job_id, 7, 1, 0, 1, 1, 1, *state, b"n/q", b"t", b"w", b"", b"", b"")
    return [(1, outcome)]


async def test_a_full_disk_is_the_answer_to_the_item_that_it_concerns() -> None:
    async def attempts(job_id: bytes) -> list[tuple[int, Outcome]]:
        if job_id == JOBS[1]:
            raise no_room(job_id)
        return ended(job_id) if job_id == JOBS[0] else []

    results = await answer_repeats(BATCH, UNKNOWN, attempts)
    codes = [results[at + 1] for at in range(0, len(results), packed.SETTLE_RESULT.size)]
    assert codes == [errors.OK, errors.STORE_FULL, errors.TOKEN_UNKNOWN]
    assert errors.REGISTRY[codes[1]].retry


async def test_a_defect_is_not_an_answer() -> None:
    async def attempts(job_id: bytes) -> list[tuple[int, Outcome]]:
        raise KeyError(job_id)

    with pytest.raises(KeyError):
        await answer_repeats(BATCH, UNKNOWN, attempts)
