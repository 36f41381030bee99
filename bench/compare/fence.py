"""What a comparison must leave behind: nothing.

Owns: the folder that every server of a run keeps its files in, and every process that descends from the run. Invariant:
when the `with` block ends, for whatever reason short of kill -9 of this process itself, no process and no file of it is
left. A server whose client was killed becomes a child of this process (the kernel's child subreaper) and is ended here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from bench.compare.process import family

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
"""A storekeeper whose daemon was killed ends by itself once it has noticed."""
POLL_S = 0.01


@contextlib.contextmanager
def fenced() -> Iterator[Path]:
    """The folder to use; both are gone afterwards."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    before = signal.signal(signal.SIGTERM, _leave)
    folder = Path(tempfile.mkdtemp(prefix="wheeld-compare-run-"))
    folder.chmod(0o711)  # PostgreSQL's own user must get through
    try:
        yield folder
    finally:
        # A second Ctrl-C must not stop the cleaning up.
        kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        end_descendants(0)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGINT, kept[signal.SIGINT])
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def end_descendants(grace_s: float = GRACE_S) -> list[int]:
    """Wait for every process that descends from this one, then kill what is left; returns the pids that had to be."""
    deadline, killed = time.monotonic() + grace_s, list[int]()
    while found := family(os.getpid())[1:]:
        if time.monotonic() >= deadline:
            killed += [pid for pid in found if pid not in killed]
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(POLL_S)
    return killed
