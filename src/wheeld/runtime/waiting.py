"""How long this process's Python threads have waited for a CPU, as Linux counts it.

Owns the open descriptors of /proc/self/task/TID/schedstat. Invariant: the sum never decreases; where the kernel does
not count (or the platform is another) it stays 0, so that nothing is explained away.
"""

from __future__ import annotations

import contextlib
import os
import threading

READ_BYTES = 64
LOOK_EVERY = 256
"""Reads between two looks for threads that have come or gone."""


class CpuWaiting:
    """Waiting time of the threads that can hold the GIL: one that holds it and waits for a CPU holds up all others."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._total_ns = 0
        self._reads = 0

    def total_ns(self) -> int:
        """Nanoseconds since the first call, over all threads."""
        if self._reads % LOOK_EVERY == 0:
            self._look()
        self._reads += 1
        for thread, descriptor in self._open.items():
            try:
                waited = int(os.pread(descriptor, READ_BYTES, 0).split()[1])
            except (OSError, IndexError):
                continue  # the thread has ended; the next look forgets it
            self._total_ns += waited - self._last.get(thread, waited)
            self._last[thread] = waited
        return self._total_ns

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _look(self) -> None:
        alive = {thread.native_id for thread in threading.enumerate() if thread.native_id is not None}
        for thread in self._open.keys() - alive:
            os.close(self._open.pop(thread))
            self._last.pop(thread, None)
        for thread in alive - self._open.keys():
            with contextlib.suppress(OSError):
                self._open[thread] = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
