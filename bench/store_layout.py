"""Which key layout the store should have: real SUBMIT entries through the native fold into LMDB, syncs included.

`python -m bench.store_layout` prints one table row for each variant: the span of the due times, the number of shards,
and how jobs without a key are spread over them. "rotated": one shard for each commit, the next one for the next.
"random": any shard for any job. The figures of docs/decisions/0001-key-layout.md come from a run of this program.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from bench.micro.test_fold import NOW_MS, Journal
from wheeld.model import entry as e
from wheeld.model.entry import EntryKind
from wheeld.model.ids import pack_id
from wheeld.model.limits import BUCKET_WIDTH_MS, DAY_MS, HOUR_MS
from wheeld.model.spec import Spec
from wheeld.store.checkpoint import Checkpointer, read_jobs
from wheeld.store.directory import open_or_create
from wheeld.store.environment import HistoryDays, MainStore

SPANS = {"1 hour": HOUR_MS, "1 day": DAY_MS, "30 days": 30 * DAY_MS}
VARIANTS = [("one", 1), ("rotated", 16), ("random", 16), ("rotated", 64), ("random", 64)]
GROUP_ROWS = 1000
SPEC_BYTES = 170


def groups(rows: int, rows_per_commit: int, span_ms: int, shards: int, placement: str) -> list[bytes]:
    """SUBMIT entries of SPEC_BYTES each, with due times uniform over the span."""
    rng = random.Random(7)
    payload = bytes(SPEC_BYTES - 56 - 9)
    next_seq = [0] * shards
    made, entries = [], []
    for number in range(rows):
        shard = rng.randrange(shards) if placement == "random" else number // rows_per_commit % shards
        due_ms = NOW_MS + rng.randrange(span_ms)
        spec = Spec(b"main/mail", payload=payload, schedule_ms=due_ms, create_ms=NOW_MS).pack()
        job_id = pack_id(shard, due_ms // BUCKET_WIDTH_MS, next_seq[shard])
        next_seq[shard] += 1
        body = e.SUBMIT_BODY.pack(job_id, bytes(16), 0, due_ms) + spec
        entries.append(e.pack_entry(EntryKind.SUBMIT, 0, shard, 1, next_seq[shard], NOW_MS, body))
        if len(entries) == GROUP_ROWS:
            made.append(b"".join(entries))
            entries = []
    return made


def measure(
    folder: Path, rows: int, rows_per_commit: int, span_ms: int, shards: int, placement: str
) -> tuple[float, float, float]:
    """Rows a second from the first fold to the last sync, rows for each second of processor time, bytes of the file for
    each row.
    """
    payloads = groups(rows, rows_per_commit, span_ms, shards, placement)
    directory = open_or_create(folder, shards)
    store, history = MainStore(directory), HistoryDays(directory.history)
    checkpointer = Checkpointer(store, history, Journal(payloads).open, nullcontext())
    began, began_cpu = time.perf_counter(), time.process_time()
    for target in range(rows_per_commit // GROUP_ROWS, len(payloads) + 1, rows_per_commit // GROUP_ROWS):
        checkpointer.advance(target)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    with store.begin() as txn:
        assert read_jobs(store, txn) == rows
    bytes_used = store.bytes_used()
    store.close()
    directory.close()
    return rows / seconds, rows / cpu_seconds, bytes_used / rows


def main() -> None:
    """Measure every variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows-per-commit", type=int, default=100_000)
    parser.add_argument("--span", choices=SPANS, help="only this one")
    parser.add_argument("--folder", type=Path, help="where the stores are made (default: the temporary folder)")
    options = parser.parse_args()
    print(f"{options.rows} rows of {SPEC_BYTES} bytes, commits of {options.rows_per_commit}\n")
    print("| due within | shards | placement | rows/s | rows/CPU s | bytes/row |\n|---|---|---|---|---|---|")
    for name in [options.span] if options.span else SPANS:
        span_ms = SPANS[name]
        for placement, shards in VARIANTS:
            folder = Path(tempfile.mkdtemp(prefix="wheeld-layout-", dir=options.folder))
            try:
                rate, cpu_rate, size = measure(
                    folder / "data", options.rows, options.rows_per_commit, span_ms, shards, placement
                )
            finally:
                shutil.rmtree(folder)
            print(f"| {name} | {shards} | {placement} | {rate:,.0f} | {cpu_rate:,.0f} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
