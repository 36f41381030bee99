"""The storekeeper process: owns LMDB, folds the journal, serves reads. Started by `supervisor`, ends with its parent.

Owns the two threads: this one serves the socket, the other writes checkpoints. Invariants: it inherits the
directory's lock, so no other daemon starts while it lives; it dies with its parent or when the socket closes; nothing
is answered before it is committed.
"""

from __future__ import annotations

import argparse
import gc
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wheeld.journal.errors import JournalError
from wheeld.journal.reader import JournalReader
from wheeld.model import limits
from wheeld.model.errors import StartFailure
from wheeld.runtime._timer import set_parent_death_signal
from wheeld.store.baton import Baton
from wheeld.store.checkpoint import (
    Checkpointer,
    Group,
    GroupSource,
    JournalBehindError,
    StoreCorruptError,
    StoreFullError,
    read_position,
)
from wheeld.store.directory import DataDirectory, read_format
from wheeld.store.environment import HISTORY_DAYS_DEFAULT, MAP_BYTES, UNREADABLE, HistoryDays, MainStore
from wheeld.store.frames import ANSWER_HEAD, Failure, Op, split_requests
from wheeld.store.serving import Serving, Task

EXIT_CORRUPT: Final = 3
EXIT_DISK: Final = 4
OUT_BYTES_MAX: Final = 8 * limits.MIB
READ_BYTES: Final = 256 * limits.KIB
SWITCH_SECONDS: Final = 0.001
"""How long one thread may keep the other from the GIL, which LMDB gives up at every row."""


class JournalSource:
    """The journal's reader, kept open from one checkpoint to the next."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._reader: JournalReader | None = None

    def open(self, position: int) -> GroupSource:
        """Groups behind `position`."""
        if self._reader is None or self._reader.position != position:
            self.close()
            self._reader = JournalReader(self._directory.journal, self._directory.store_uuid, after_group=position)
        return _Reading(self._reader)

    def close(self) -> None:
        """Let the reader go; the next checkpoint opens a new one."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Reading:
    """A reader whose failures are the store's words."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader

    def read(self, up_to_group: int) -> Iterator[Group]:
        try:
            yield from self._reader.read(up_to_group)
        except JournalError as error:
            raise JournalBehindError(str(error)) from error


class Writer(threading.Thread):
    """The checkpoint thread. `request` sets its goal; `take_news` tells what came of it."""

    def __init__(
        self,
        checkpointer: Checkpointer,
        source: JournalSource,
        history: HistoryDays,
        slice_guard: Baton,
        days_kept: int,
        bytes_max: int,
    ) -> None:
        super().__init__(name="checkpoint", daemon=True)
        self._checkpointer = checkpointer
        self._source = source
        self._history = history
        self._guard = slice_guard
        self._days_kept, self._bytes_max = days_kept, bytes_max
        self._goal = 0
        self._wanted = threading.Condition()
        self._news: deque[tuple[int, Failure | None, str]] = deque()
        self._retained_hour = 0
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def request(self, goal: int) -> None:
        """Fold up to this group."""
        with self._wanted:
            if goal > self._goal:
                self._goal = goal
                self._wanted.notify()

    def take_news(self) -> list[tuple[int, Failure | None, str]]:
        """(position, failure, text) of the commits since the last call."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            pass
        return [self._news.popleft() for _ in range(len(self._news))]

    def run(self) -> None:
        try:
            while True:
                with self._wanted:
                    self._wanted.wait_for(lambda: self._goal > 0)
                    goal = self._goal
                self._tell(*self._advance(goal))
        except BaseException as error:
            # An error that is neither room nor contents (EIO above all): only a fresh process may look at the disk.
            traceback.print_exception(error)
            os._exit(EXIT_DISK)

    def _advance(self, goal: int) -> tuple[int, Failure | None, str]:
        failure, text, position = None, "", 0
        try:
            position = self._checkpointer.advance(goal)
            self._retain()
        except StoreFullError as error:
            failure, text = Failure.FULL, str(error)
        except JournalBehindError as error:
            failure, text = Failure.BEHIND, str(error)
        except StoreCorruptError as error:
            failure, text = Failure.CORRUPT, str(error)
        if failure is not None:
            self._source.close()
        with self._wanted:
            if failure is not None or position >= self._goal:
                self._goal = 0
        return position, failure, text

    def _tell(self, position: int, failure: Failure | None, text: str) -> None:
        self._news.append((position, failure, text))
        os.eventfd_write(self.wake_fd, 1)

    def _retain(self) -> None:
        """Once per hour of entry time, and after each start: remove the history days that are past their time."""
        now_ms = self._checkpointer.time_ms
        if now_ms // limits.HOUR_MS != self._retained_hour:
            self._retained_hour = now_ms // limits.HOUR_MS
            with self._guard:
                self._history.remove_old(now_ms // limits.DAY_MS, self._days_kept, self._bytes_max)


class Keeper:
    """The serving thread: socket in, slices, socket out."""

    def __init__(
        self, store: MainStore, history: HistoryDays, writer: Writer, connection: socket.socket, baton: Baton
    ) -> None:
        self._writer = writer
        self._connection = connection
        self._baton = baton
        self._in = bytearray()
        self._out: deque[memoryview] = deque()
        self._out_bytes = 0
        self._serving = Serving(store, history, self._send)
        with store.begin() as txn:
            self._serving.position = read_position(store, txn)

    def run(self) -> int:
        """Serve until the parent closes the socket, or the store is found corrupt. The exit code."""
        self._connection.setblocking(False)
        self._notify()
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._writer.wake_fd, selectors.EVENT_READ)
            while True:
                busy = self._out_bytes < OUT_BYTES_MAX and self._serving.is_ready()
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
                selector.modify(self._connection, interest)
                for key, mask in selector.select(0 if busy else None):
                    if key.fd == self._writer.wake_fd:
                        if self._hear_writer():
                            return EXIT_CORRUPT
                    elif mask & selectors.EVENT_READ and not self._receive():
                        return 0
                if self._out_bytes < OUT_BYTES_MAX:
                    with self._baton:
                        self._serving.begin()
                        self._serving.step()
                        self._serving.begin()
                if not self._flush():
                    return 0

    def _receive(self) -> bool:
        """Read requests; False when the parent is gone."""
        try:
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        self._in += data
        for op, request_id, min_position, body in split_requests(self._in):
            if op is Op.CREDIT:
                self._serving.give_credit(request_id)
            elif op is Op.CANCEL:
                self._serving.cancel(request_id)
            else:
                self._serving.add(Task(op, request_id, min_position, body))
        self._ask_writer()
        return bool(data)

    def _ask_writer(self) -> None:
        target = self._serving.target()
        if target > self._serving.position:
            self._writer.request(target)

    def _hear_writer(self) -> bool:
        """Pass the writer's news on; whether the store is corrupt."""
        for position, failure, text in self._writer.take_news():
            if failure is None:
                self._serving.position = max(self._serving.position, position)
                self._notify()
            else:
                print(f"storekeeper: {failure.name}: {text}", file=sys.stderr, flush=True)  # noqa: T201
                self._serving.fail_waiting(failure, text)
            if failure is Failure.CORRUPT:
                self._connection.setblocking(True)
                self._flush()
                return True
        self._ask_writer()
        return False

    def _notify(self) -> None:
        self._send(ANSWER_HEAD.pack(0, 0, 0, self._serving.position), b"")

    def _send(self, head: bytes, body: bytes) -> None:
        self._out.append(memoryview(head + body if len(body) < 4096 else head))
        if len(body) >= 4096:
            self._out.append(memoryview(body))
        self._out_bytes += len(head) + len(body)

    def _flush(self) -> bool:
        """Write what the socket takes; False when the parent is gone."""
        while self._out:
            try:
                sent = self._connection.send(self._out[0])
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            self._out_bytes -= sent
            if sent == len(self._out[0]):
                self._out.popleft()
            else:
                self._out[0] = self._out[0][sent:]
        return True


def main(arguments: list[str] | None = None) -> int:
    """The process's entry point."""
    parser = argparse.ArgumentParser(prog="wheeld-storekeeper")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--socket-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--history-days", type=int, default=HISTORY_DAYS_DEFAULT)
    parser.add_argument("--history-bytes-max", type=int, default=0)
    parser.add_argument("--map-bytes", type=int, default=MAP_BYTES)
    options = parser.parse_args(arguments)
    set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != options.parent:
        return 0
    # A service manager signals the whole group; the parent drains first and then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    directory = DataDirectory(options.directory, read_format(options.directory))
    try:
        return keep(directory, options)
    except (StartFailure, *UNREADABLE) as failure:
        print(f"storekeeper: {failure}", file=sys.stderr)  # noqa: T201
        return EXIT_CORRUPT


def keep(directory: DataDirectory, options: argparse.Namespace) -> int:
    """Open the store and serve it. The exit code."""
    store = MainStore(directory, map_bytes=options.map_bytes)
    history = HistoryDays(directory.history)
    baton = Baton()
    source = JournalSource(directory)
    writer = Writer(
        Checkpointer(store, history, source.open, baton),
        source,
        history,
        baton,
        options.history_days,
        options.history_bytes_max,
    )
    keeper = Keeper(store, history, writer, socket.socket(fileno=options.socket_fd), baton)
    gc.freeze()
    sys.setswitchinterval(SWITCH_SECONDS)
    writer.start()
    return keeper.run()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The checkpoint thread may be inside LMDB: an uncommitted transaction simply never was.
    os._exit(code)
