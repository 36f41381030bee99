"""Draws docs/state-machine.md from the transition table.

`python -m tests.tidy.draw_states docs/state-machine.md` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wheeld.model.job import TERMINAL, TRANSITIONS, JobState

HEAD = """# The states of a job

Drawn from the transition table in `src/wheeld/model/job.py`; a test keeps the two alike. What the table does not have
is refused with a status, never with an exception.

| state | meaning | leaves it by |
|---|---|---|
"""

MEANING = {
    JobState.SCHEDULED: "waits for its time",
    JobState.PENDING: "its time has come, it waits for a worker; derived from the clock, becoming due needs no entry",
    JobState.RUNNING: "leased to a worker",
    JobState.RETRYING: "an attempt failed, it waits for the time of the next",
    JobState.SUCCEEDED: "acked",
    JobState.FAILED: "attempts spent, or the worker said not to retry: the dead letters",
    JobState.CANCELLED: "cancelled by a client, also while running: the lease is revoked and a late ack is refused",
    JobState.EXPIRED: "not started within its start timeout",
}


def draw() -> str:
    """The whole document."""
    rows = []
    for state in JobState:
        ways = sorted({entry for (before, entry) in TRANSITIONS if before == state})
        rows.append(f"| {state.name} | {MEANING[state]} | {', '.join(ways) or 'nothing: it is final'} |")
    lines = ["stateDiagram-v2"]
    for (before, entry), after in TRANSITIONS.items():
        source = "[*]" if before is None else before.name
        lines += [f"    {source} --> {state.name}: {entry}" for state in sorted(after)]
    lines += [f"    {state.name} --> [*]" for state in sorted(TERMINAL)]
    return HEAD + "\n".join(rows) + "\n\n```mermaid\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
