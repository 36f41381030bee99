"""What was accepted and what became of it, at one byte a job: ten million of them fit a benchmark's client.

Owns: counts by sequence number, which a job's id carries and which jobs that were decided together take in a run
(decision 4).
Invariant: a job counts as done only when the daemon settled it; delivered again and done again are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from wheeld.model.ids import id_from_text, unpack_id
from wheeld.wire.pb.v1 import job_service_pb2

RESULT_BYTES = 30
"""A BatchCreateJobsResponse takes this for each job that was simply accepted: the id's text and three headers."""
DONE_MAX = 255


def seq_of(job_id: str) -> int:
    """The sequence number in an id's text."""
    packed = id_from_text(job_id)
    if packed is None:
        raise ValueError(f"not an id: {job_id}")
    return unpack_id(packed).seq


def seq_of_token(token: bytes) -> int:
    """The sequence number of a lease token's job."""
    return int.from_bytes(token[6:14], "big")


def accepted_runs(answer: bytes, jobs: int) -> list[range]:
    """The sequence numbers that an answer names, one run for each slice in which the daemon decided the batch; raises
    when a job of the batch was refused.
    """
    results = job_service_pb2.BatchCreateJobsResponse.FromString(answer).results
    if len(answer) != RESULT_BYTES * jobs:
        refused = [result.code for result in results if result.code]
        raise RuntimeError(f"an answer of {len(results)} results to {jobs} jobs, refused: {refused[:3]}")
    runs = _runs([result.job_id for result in results])
    ordered = sorted(runs, key=lambda run: run.start)
    if any(after.start < before.stop for before, after in pairwise(ordered)):
        raise RuntimeError(f"an answer names a job twice, between {results[0].job_id} and {results[-1].job_id}")
    return runs


def _runs(job_ids: list[str]) -> list[range]:
    """Halved until each part's numbers are a run: few ids are read, for a slice is hundreds of jobs."""
    run = range(seq_of(job_ids[0]), seq_of(job_ids[-1]) + 1)
    if len(run) == len(job_ids):
        return [run]
    middle = len(job_ids) // 2
    return _runs(job_ids[:middle]) + _runs(job_ids[middle:])


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._runs: list[range] = []
        self.accepted = 0
        self.delivered = 0
        self.early = 0

    def accept(self, run: range) -> None:
        """These were answered with yes."""
        self._runs.append(run)
        self.accepted += len(run)

    def settle(self, tokens: Iterable[bytes]) -> None:
        """The daemon settled these."""
        for token in tokens:
            seq = seq_of_token(token)
            if seq >= len(self._done):
                self._done.extend(bytes(max(seq + 1 - len(self._done), 1 << 20)))
            self._done[seq] = min(self._done[seq] + 1, DONE_MAX)

    def figures(self) -> dict[str, float | int | str]:
        """Lost: accepted and never done. Duplicated: done more than once. Foreign: done and not accepted."""
        done_once_or_more = len(self._done) - self._done.count(0)
        lost = duplicated = known = 0
        for run in self._runs:
            part = self._done[run.start : run.stop]
            done = len(part) - part.count(0)
            lost += len(run) - done
            known += done
            duplicated += sum(part) - done
        return {
            "accepted": self.accepted,
            "done": known,
            "lost": lost,
            "duplicated": duplicated,
            "foreign": done_once_or_more - known,
            "early": self.early,
            "delivered_again": self.delivered - known,
        }
