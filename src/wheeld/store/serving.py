"""The storekeeper's reading side: requests under way, a slice of each in turn.

Owns the snapshots of the requests it runs. Does not own socket or writer. Invariants: a request begins only when the
store has the position that it asks for; at most LONG_AT_ONCE walks pin pages at a time; frames of one answer stay
within its credit.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import lmdb

from wheeld.model import limits
from wheeld.store.environment import HistoryDays, MainStore
from wheeld.store.frames import ANSWER_HEAD, ERROR, LONG_OPS, MORE, STREAM_CREDIT, Failure, Op
from wheeld.store.requests import HANDLERS, Answer
from wheeld.store.snapshot import Snapshot

SLICE_SECONDS: Final = 0.005
CHUNK_BYTES: Final = 256 * limits.KIB
LONG_AT_ONCE: Final = 3
SHORT_AT_ONCE: Final = 8


@dataclass
class Task:
    """A request under way."""

    op: Op
    request_id: int
    min_position: int
    body: bytes = field(repr=False)
    credit: int = STREAM_CREDIT
    snapshot: Snapshot | None = None
    answer: Answer | None = None

    def close(self) -> None:
        """Let its pages go."""
        if self.answer is not None:
            self.answer.close()
        if self.snapshot is not None:
            self.snapshot.close()
        self.answer = self.snapshot = None


class Serving:
    """Runs tasks in slices and gives frames to `send`."""

    def __init__(self, store: MainStore, history: HistoryDays, send: Callable[[bytes, bytes], None]) -> None:
        self._store = store
        self._history = history
        self._send = send
        self._waiting: deque[Task] = deque()
        self._running: deque[Task] = deque()
        self.position = 0

    def add(self, task: Task) -> None:
        """Take a request in."""
        self._waiting.append(task)

    def give_credit(self, request_id: int) -> None:
        """The consumer has taken a frame."""
        for task in self._running:
            if task.request_id == request_id:
                task.credit += 1

    def cancel(self, request_id: int) -> None:
        """Nobody wants the answer any more."""
        for tasks in (self._waiting, self._running):
            for task in [task for task in tasks if task.request_id == request_id]:
                task.close()
                tasks.remove(task)

    def target(self) -> int:
        """The highest position that a waiting request asks for."""
        return max((task.min_position for task in self._waiting), default=0)

    def fail_waiting(self, failure: Failure, text: str) -> None:
        """The writer could not go on: what waits for it is told."""
        for task in [task for task in self._waiting if task.min_position > self.position]:
            self._waiting.remove(task)
            self._fail(task, failure, text)

    def begin(self) -> None:
        """Start the waiting requests whose position is reached, as far as the bounds allow."""
        long_running = sum(task.op in LONG_OPS for task in self._running)
        short_running = len(self._running) - long_running
        for task in list(self._waiting):
            is_long = task.op in LONG_OPS
            if task.min_position > self.position or (
                long_running >= LONG_AT_ONCE if is_long else short_running >= SHORT_AT_ONCE
            ):
                continue
            self._waiting.remove(task)
            task.snapshot = Snapshot(self._store)
            task.answer = HANDLERS[task.op](task.snapshot, self._history, task.body)
            self._running.append(task)
            long_running, short_running = long_running + is_long, short_running + (not is_long)

    def is_ready(self) -> bool:
        """Whether `step` has something to do."""
        return any(task.credit > 0 for task in self._running)

    def step(self) -> None:
        """One slice of the request whose turn it is; short ones take turns before long ones."""
        ready = [task for task in self._running if task.credit > 0]
        if not ready:
            return
        task = next((task for task in ready if task.op not in LONG_OPS), ready[0])
        self._running.remove(task)
        try:
            if not self._advance(task):
                self._running.append(task)
                return
        except (ValueError, struct.error) as error:
            self._fail(task, Failure.BAD_REQUEST, f"{task.op.name}: {error}")
        except lmdb.Error as error:
            # A damaged day of history must not end a storekeeper that serves everything else.
            if task.op is not Op.ATTEMPTS:
                raise
            self._fail(task, Failure.BAD_REQUEST, f"the history cannot be read: {error}")
        task.close()

    def _advance(self, task: Task) -> bool:
        """Work until the slice is over or a chunk is full; whether the answer is complete."""
        assert task.answer is not None
        assert task.snapshot is not None
        until = time.monotonic() + SLICE_SECONDS
        chunks: list[bytes] = []
        used = 0
        while used < CHUNK_BYTES and time.monotonic() < until:
            try:
                chunk = next(task.answer)
            except StopIteration as done:
                self._send_chunks(task, chunks)
                self._send(ANSWER_HEAD.pack(len(done.value), 0, task.request_id, task.snapshot.position), done.value)
                return True
            used += len(chunk)
            chunks.append(chunk)
        self._send_chunks(task, chunks)
        return False

    def _send_chunks(self, task: Task, chunks: list[bytes]) -> None:
        assert task.snapshot is not None
        body = b"".join(chunks)
        if body:
            task.credit -= 1
            self._send(ANSWER_HEAD.pack(len(body), MORE, task.request_id, task.snapshot.position), body)

    def _fail(self, task: Task, failure: Failure, text: str) -> None:
        body = bytes((failure,)) + text.encode()
        self._send(ANSWER_HEAD.pack(len(body), ERROR, task.request_id, self.position), body)
