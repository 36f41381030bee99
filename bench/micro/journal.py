"""The journal by size of group, on a real disk: `python -m bench.micro.journal --folder DIR`.

Owns: the groups and the clock. One group at a time, as the journal's writer works: its rate is what one sync after
another allows, and ns for each entry is that over the entries of a group. Invariant: real fdatasync on a file system
that is named with the figures; the folder is empty again afterwards. Sizes alternate, so that a slow minute of the disk
hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from wheeld.bench.judge import machine, percentile
from wheeld.journal.files import SystemFiles
from wheeld.journal.journal import Journal
from wheeld.model import entry as e
from wheeld.model.entry import EntryKind
from wheeld.model.ids import pack_id
from wheeld.model.limits import BUCKET_WIDTH_MS
from wheeld.model.spec import Spec

RESULTS = Path(__file__).parents[1] / "results" / "local" / "journal.json"
KIB = 1024
SIZES_KIB = (4, 8, 16, 32, 64, 128, 256, 512)
NOW_MS = 1_800_000_000_000
DURABLE_S_MAX = 60
TURN_GROUPS = 50
"""Of one size before the next has its turn."""


class TimedFiles(SystemFiles):
    """Notes how long each write with its sync took."""

    def __init__(self) -> None:
        self.took_ns: list[int] = []

    def write_synced(self, fd: int, parts: list[bytes], offset: int) -> int:
        took = super().write_synced(fd, parts, offset)
        self.took_ns.append(took)
        return took


def group_of(size: int) -> tuple[bytes, int]:
    """(payload, entries): SUBMIT entries of jobs with 128 bytes, as many as fit `size`; one at least."""
    spec = Spec(b"main/mail", b"send", bytes(128), schedule_ms=NOW_MS, create_ms=NOW_MS).pack()
    made: list[bytes] = []
    filled = 0
    while not made or filled + len(made[0]) <= size:
        job_id = pack_id(0, NOW_MS // BUCKET_WIDTH_MS, len(made))
        body = e.SUBMIT_BODY.pack(job_id, bytes(16), 0, NOW_MS) + spec
        made.append(e.pack_entry(EntryKind.SUBMIT, 0, 0, 1, len(made), NOW_MS, body))
        filled += len(made[-1])
    return b"".join(made), len(made)


def file_system(folder: Path) -> str:
    """Type and device of the file system that the folder lies on."""
    said = subprocess.run(["df", "--output=fstype,source", str(folder)], capture_output=True, text=True, check=True)
    return " ".join(said.stdout.splitlines()[-1].split())


def measure(folder: Path, sizes_kib: list[int], groups: int) -> list[dict[str, Any]]:
    """`groups` groups of each size, a few of each in turn."""
    durable = threading.Event()
    failures: list[BaseException] = []

    def failed(failure: BaseException) -> None:
        failures.append(failure)
        durable.set()

    files = TimedFiles()
    journal = Journal.open(folder, bytes(16), on_durable=lambda _: durable.set(), on_failure=failed, ops=files)
    prepared = {size: group_of(size * KIB) for size in sizes_kib}
    waited: dict[int, list[int]] = {size: [] for size in sizes_kib}
    synced: dict[int, list[int]] = {size: [] for size in sizes_kib}
    number = 0
    try:
        for first in range(0, groups, TURN_GROUPS):
            for size, (payload, _) in prepared.items():
                for _ in range(min(TURN_GROUPS, groups - first)):
                    number += 1
                    durable.clear()
                    began = time.perf_counter_ns()
                    journal.append(number, payload, NOW_MS)
                    if not durable.wait(DURABLE_S_MAX) or failures:
                        raise RuntimeError(f"group {number} did not become durable: {failures}")
                    waited[size].append(time.perf_counter_ns() - began)
                    synced[size].append(files.took_ns[-1])
                journal.release(journal.last_group)
    finally:
        journal.close()
    return [figures(size, *prepared[size], waited[size], sorted(synced[size])) for size in sizes_kib]


def figures(size: int, payload: bytes, entries: int, waited_ns: list[int], synced_ns: list[int]) -> dict[str, Any]:
    """A row."""
    seconds = sum(waited_ns) / 1e9
    return {
        "group_kib": size,
        "entries": entries,
        "groups": len(waited_ns),
        "syncs_per_s": round(len(waited_ns) / seconds),
        "ns_per_entry": round(seconds * 1e9 / len(waited_ns) / entries),
        "mb_per_s": round(len(payload) * len(waited_ns) / seconds / 1e6, 1),
        **{
            f"sync_{name}_ms": round(percentile(synced_ns, share) / 1e6, 3)
            for name, share in {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}.items()
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " ---: |" * len(rows[0])]
    return "\n".join([*lines, *("| " + " | ".join(f"{value:,}" for value in row.values()) + " |" for row in rows)])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES_KIB)), help="of a group, KiB")
    parser.add_argument("--groups", type=int, default=2_000, help="of each size; p99.9 wants some thousands")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="wheeld-journal-") as inside:
        where, load = file_system(Path(inside)), os.getloadavg()[0]
        rows = measure(Path(inside) / "journal", [int(size) for size in options.sizes.split(",")], options.groups)
    facts = {"machine": machine(), "load_before": load, "file_system": where, "durability": "fdatasync of each group"}
    print(f"File system: {where}; load average before: {load:.2f}.\n\n{table(rows)}\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({**facts, "sizes": rows}, indent=1), encoding="utf-8")
    print(f"written: {options.json}")


if __name__ == "__main__":
    sys.exit(main())
