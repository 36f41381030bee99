"""The right to work, passed between the storekeeper's two threads.

py-lmdb takes and drops the GIL on every put, so a busy second thread would hold the writer up at each row. Whoever
does rows holds the baton for one slice; nobody holds it while waiting for a disk or a socket. Invariant: first come,
first served.
"""

from __future__ import annotations

import threading


class Baton:
    """A fair lock for two threads: who lets go cannot take it again before one that waits."""

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._next = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._held.acquire()

    def __exit__(self, *_: object) -> None:
        self._held.release()
