"""Starts the storekeeper process and starts it again when it dies.

Owns the child and its socket. Does not own requests (`client` sends those that are under way again). Invariants: the
child inherits the directory's lock; a child that found its store corrupt or its disk failing is not started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from wheeld.runtime.logs import get_logger
from wheeld.store.api import StoreFailed
from wheeld.store.directory import DataDirectory
from wheeld.store.environment import HISTORY_DAYS_DEFAULT, MAP_BYTES

FATAL_EXITS: Final = {
    3: "the store is damaged, or it and the journal contradict each other",
    4: "the disk failed or the writer broke",
}
BACKOFF_SECONDS_FIRST: Final = 0.05
BACKOFF_SECONDS_MAX: Final = 5.0
HEALTHY_SECONDS: Final = 10.0
EXIT_SECONDS_MAX: Final = 10.0
BUFFER_BYTES: Final = 4 * 1024 * 1024

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class KeeperOptions:
    """What a storekeeper is told. `history_bytes_max` 0: no cap."""

    history_days: int = HISTORY_DAYS_DEFAULT
    history_bytes_max: int = 0
    map_bytes: int = MAP_BYTES


class Supervisor:
    """Keeps one storekeeper running and lets `converse` talk to it.

    Start it on a thread that lives as long as the daemon: the child dies with the thread that made it.
    """

    def __init__(self, directory: DataDirectory, options: KeeperOptions, converse: Conversation) -> None:
        self._directory = directory
        self._options = options
        self._converse = converse
        self._stopping = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.restarts = 0

    async def run(self) -> None:
        """Run until `stop`. StoreFailed when the storekeeper says that it must not be started again."""
        backoff = BACKOFF_SECONDS_FIRST
        while not self._stopping.is_set():
            began = time.monotonic()
            exit_code = await self._run_child()
            if exit_code in FATAL_EXITS:
                raise StoreFailed(f"the storekeeper has given up: {FATAL_EXITS[exit_code]}; its log names the cause")
            if self._stopping.is_set():
                return
            self.restarts += 1
            was_healthy = time.monotonic() - began > HEALTHY_SECONDS
            backoff = BACKOFF_SECONDS_FIRST if was_healthy else min(2 * backoff, BACKOFF_SECONDS_MAX)
            get_logger("store").warning(
                "storekeeper_died", exit_code=exit_code, restart_in_seconds=backoff, restarts=self.restarts
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff)

    def stop(self) -> None:
        """Close the socket; the child ends by itself, and then `run` does."""
        self._stopping.set()
        if self._writer is not None:
            self._writer.close()

    async def _run_child(self) -> int:
        """One child from start to end; its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            child = self.child = self._spawn(theirs)
        reader, writer = await asyncio.open_connection(sock=ours, limit=BUFFER_BYTES)
        self._writer = writer
        if self._stopping.is_set():
            writer.close()
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._converse(reader, writer)
        finally:
            self._writer = None
            writer.close()
            exit_code = await asyncio.shield(asyncio.to_thread(_reap, child))
        return exit_code

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        lock = self._directory.lock
        inherited = [theirs.fileno()] + ([lock.fileno()] if lock is not None else [])
        options = self._options
        command = [
            sys.executable, "-P", "-m", "wheeld.store.keeper", str(self._directory.path),
            f"--socket-fd={theirs.fileno()}", f"--parent={os.getpid()}", f"--history-days={options.history_days}",
            f"--history-bytes-max={options.history_bytes_max}", f"--map-bytes={options.map_bytes}",
        ]  # fmt: skip
        return subprocess.Popen(command, pass_fds=inherited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _reap(child: subprocess.Popen[bytes]) -> int:
    """Wait for a child whose socket is closed; one that does not end (a stuck disk) is killed."""
    try:
        return child.wait(EXIT_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
