"""What clients and workers write down about themselves, one JSON array a line, and how it is read back.

Owns the form of a line. Invariant: a line is handed to the kernel in one write before the act that it announces goes
on, so that kill -9 of the writer loses nothing of it; a last line without an end is ignored.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTENT = "intent"
"""time_us, batch, [[number, due_ms], ...]: about to be submitted."""
ACCEPTED = "accepted"
"""time_us, batch, [job_id, ...]: answered; "" for a refused item."""
CONNECT = "connect"
"""time_us, session, [held token, ...]: about to open a lease stream."""
GOT = "got"
"""time_us, session, [[job_id, token, attempt, fencing, due_ms, expire_ms, redelivery, number], ...]"""
SETTLE = "settle"
"""time_us, session, [[operation, token], ...]: about to be sent."""
SETTLED = "settled"
"""time_us, session, [[operation, token, code, already_settled], ...]"""
REVOKED = "revoked"
"""time_us, session, [[token, code], ...]"""
CRASH = "crash"
"""time_us, victim: written by the harness."""
STATE = "state"
"""time_us, job_id, state: what GetJob said at the end, for jobs whose end no worker has seen."""

ACK, NACK, RELEASE = "ack", "nack", "release"


def now_us() -> int:
    """Wall clock, microseconds."""
    return time.time_ns() // 1000


class Recorder:
    """Appends lines to one file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, *fields: Any, time_us: int = 0) -> None:
        """One line; `time_us` 0 means now."""
        line = json.dumps([kind, time_us or now_us(), *fields], separators=(",", ":")) + "\n"
        os.write(self._file, line.encode())


def read(path: Path) -> Iterator[list[Any]]:
    """The whole lines of a file, as one look at it finds them: its writer may be in the middle of the next one."""
    # One read, then the cut at the last end of a line. Reading line by line meets the end of the file twice when the
    # writer goes on in between, and takes the second half of a line for a line.
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    for line in whole.splitlines():
        yield json.loads(line)


def read_all(folder: Path) -> list[list[Any]]:
    """The lines of all `*.jsonl` files of a folder, in order of time (a file's own order where times are equal)."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in read(path)]
    return sorted(lines, key=lambda line: line[1])
