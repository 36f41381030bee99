"""A bucket that is loaded in passes, as the storekeeper sees it: processor time of plan and scan by job that they give.

Between two passes a hundred jobs come into the same bucket, due behind all others, so that each pass reads a store that
has moved on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bench.micro.test_fold import NOW_MS, Journal, submits
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.limits import BUCKET_WIDTH_MS
from wheeld.model.spec import Spec
from wheeld.store import scan
from wheeld.store.checkpoint import Checkpointer
from wheeld.store.directory import open_or_create
from wheeld.store.environment import HistoryDays, MainStore
from wheeld.store.snapshot import Snapshot

PASSES = 40
COMING = 100
BUCKET_MS = NOW_MS // BUCKET_WIDTH_MS * BUCKET_WIDTH_MS

SHAPES: dict[str, tuple[int, int, Callable[[random.Random, int], int]]] = {
    "4 KiB, as they come over 2.5 s": (40_000, 4096, lambda _, seq: seq % 500 + seq // 500 * 100 % 2000),
    "4 KiB, any time in the bucket": (40_000, 4096, lambda rng, _: rng.randrange(500_000)),
    "128 B, one millisecond": (400_000, 128, lambda _rng, _seq: 1000),
    "128 B, as they come": (400_000, 128, lambda _, seq: seq),
    "128 B, any time in the bucket": (400_000, 128, lambda rng, _: rng.randrange(500_000)),
}


def made(count: int, payload: int, due: Callable[[random.Random, int], int]) -> list[tuple[bytes, int, bytes]]:
    """Ids, due times and specs on one shard; the last ones are due behind all others."""
    rng, found = random.Random(1), []
    for seq in range(count + COMING * PASSES):
        due_ms = BUCKET_MS + (due(rng, seq) if seq < count else BUCKET_WIDTH_MS - 1)
        spec = Spec(b"main/mail", payload=bytes(payload), schedule_ms=due_ms, create_ms=NOW_MS).pack()
        found.append((pack_id(0, due_ms // BUCKET_WIDTH_MS, seq), due_ms, spec))
    return found


def run(steps: Generator[Any, None, Any]) -> Any:
    """A generator's value."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


@pytest.mark.parametrize("shape", list(SHAPES))
def test_passes_over_a_bucket(benchmark: Any, tmp_path: Path, shape: str) -> None:
    count = SHAPES[shape][0]
    found = made(*SHAPES[shape])
    groups = submits(found[:count])
    first = len(groups)
    for number in range(PASSES):
        groups += submits(found[count + COMING * number : count + COMING * (number + 1)])
    directory = open_or_create(tmp_path / "data", 1)
    store, history = MainStore(directory), HistoryDays(directory.history)
    checkpointer = Checkpointer(store, history, Journal(groups).open, nullcontext())
    while checkpointer.advance(first) < first:
        pass
    budget = sum(len(spec) + 76 for _, _, spec in found) // PASSES
    took, given = [], 0

    def drain() -> None:
        nonlocal given
        place = BUCKET_MS, NO_ID
        while place[0] < BUCKET_MS + BUCKET_WIDTH_MS - 1:
            checkpointer.advance(min(first + len(took), len(groups)))
            snapshot = Snapshot(store)
            began = time.process_time()
            cut = run(scan.plan(snapshot, place, BUCKET_MS + BUCKET_WIDTH_MS, budget))
            given += sum(len(rows) for rows in scan.scan(snapshot, place, cut))
            took.append(time.process_time() - began)
            snapshot.close()
            place = cut

    benchmark.pedantic(drain, rounds=1)
    assert given >= sum(len(spec) + 76 for _, _, spec in found[:count])
    benchmark.extra_info["passes"] = len(took)
    benchmark.extra_info["first_pass_ms"] = round(took[0] * 1e3, 1)
    benchmark.extra_info["later_pass_ms"] = round(sum(took[1:]) / len(took[1:]) * 1e3, 1)
    benchmark.extra_info["us_per_job"] = round(sum(took) / count * 1e6, 2)
    print(f"\n{shape}: {benchmark.extra_info}")
    store.close()
    history.close()
    directory.close()
