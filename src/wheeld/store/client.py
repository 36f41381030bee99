"""The daemon's side of the storekeeper: requests out, answers in, across restarts of the process.

Owns the requests under way: they are idempotent, and a new storekeeper gets them again. Does not own the process
(`supervisor`). Invariants: at most STREAM_CREDIT frames of one stream wait for its consumer; every request ends in a
result or an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec

from wheeld.model.entry import unpack_outcome
from wheeld.store import api, frames, layout
from wheeld.store.api import Attempt, BacklogPage, KeyFound, Recovery, StoreError, StoreStats
from wheeld.store.directory import DataDirectory
from wheeld.store.frames import ANSWER_HEAD, ERROR, MORE, Failure, Op
from wheeld.store.supervisor import KeeperOptions, Supervisor

FAILURES: dict[int, type[StoreError]] = {
    Failure.FULL: api.StoreFull,
    Failure.CORRUPT: api.StoreFailed,
    Failure.BEHIND: api.StoreBehind,
    Failure.BAD_REQUEST: StoreError,
}


@dataclass(eq=False)
class Pending:
    """A request under way. A stream's frames go to `arrived`, one by one; others are collected until the last."""

    op: Op
    request_id: int
    frame: bytes = field(repr=False)
    is_stream: bool
    chunks: list[bytes] = field(default_factory=list, repr=False)
    arrived: asyncio.Queue[bytes | StoreError | None] = field(default_factory=asyncio.Queue, repr=False)
    finished: asyncio.Future[tuple[int, list[bytes]]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def fail(self, error: StoreError) -> None:
        """End with an exception."""
        if self.is_stream:
            self.arrived.put_nowait(error)
        elif not self.finished.done():
            self.finished.set_exception(error)


class StoreClient:
    """The `api.Store` that the driver uses. `on_failed` is called when the store can serve nothing more: the node
    must stop.
    """

    def __init__(self, directory: DataDirectory, options: KeeperOptions | None = None) -> None:
        self._supervisor = Supervisor(directory, options or KeeperOptions(), self._converse)
        self._pending: dict[int, Pending] = {}
        self._last_id = 0
        self._writer: asyncio.StreamWriter | None = None
        self._serving: asyncio.Future[None] | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._ended: StoreError | None = None
        self._position = 0
        self.on_position: Callable[[int], None] | None = None
        self.on_failed: Callable[[StoreError], None] | None = None

    @property
    def position(self) -> int:
        """The newest durable group that the store told of."""
        return self._position

    @property
    def restarts(self) -> int:
        """How often the storekeeper had to be started again."""
        return self._supervisor.restarts

    @property
    def pid(self) -> int | None:
        """The storekeeper's process id, for operators and tests."""
        return self._supervisor.child.pid if self._supervisor.child is not None else None

    async def start(self) -> None:
        """Start the storekeeper and wait until it serves."""
        self._serving = asyncio.get_running_loop().create_future()
        self._supervision = asyncio.create_task(self._supervise(), name="storekeeper")
        await self._serving

    async def stop(self) -> None:
        """End it; requests under way get StoreClosed."""
        self._end(api.StoreClosed("the store is being stopped"))
        self._supervisor.stop()
        if self._supervision is not None:
            await self._supervision

    async def checkpoint(self, up_to_group: int) -> int:
        """Fold everything up to a durable group; the position reached."""
        position, _ = await self._ask(Op.CHECKPOINT, up_to_group)
        return position

    async def recover(self, last_group: int) -> Recovery:
        """Fold the journal's tail and tell what a restart needs."""
        _, chunks = await self._ask(Op.RECOVER, last_group)
        found = msgspec.msgpack.decode(chunks[-1], type=Recovery)
        found.sessions = b"".join(chunks[:-1])
        return found

    def leases(self, min_position: int) -> AsyncIterator[bytes]:
        """All leased jobs."""
        return self._stream(Op.LEASES, min_position, b"")

    async def plan(
        self, after: tuple[int, bytes], until_ms: int, budget_bytes: int, min_position: int = 0
    ) -> tuple[int, bytes]:
        """The place up to which what `scan` gives from `after` on fits the budget; (until_ms, NO_ID) when all fits."""
        _, chunks = await self._ask(Op.PLAN, min_position, frames.PLAN_BODY.pack(*after, until_ms, budget_bytes))
        due_ms, job_id = frames.PLACE.unpack(chunks[-1])
        return due_ms, job_id

    def scan(self, after: tuple[int, bytes], before: tuple[int, bytes], min_position: int) -> AsyncIterator[bytes]:
        """All waiting jobs with after <= (due, id) < before that have no backlog row, in no order. After a restart of
        the storekeeper rows may repeat.
        """
        return self._stream(Op.SCAN, min_position, frames.RANGE_BODY.pack(*after, *before))

    async def backlog(self, queue: bytes, after_key: bytes, limit_bytes: int, min_position: int) -> BacklogPage:
        """A page of a queue's backlog behind `after_key` (b"": from the head)."""
        body = frames.BACKLOG_HEAD.pack(limit_bytes, len(queue)) + queue + after_key
        _, chunks = await self._ask(Op.BACKLOG, min_position, body)
        return BacklogPage(b"".join(chunks[:-1]), chunks[-1][1:], bool(chunks[-1][0]))

    async def read(self, ids: list[bytes], min_position: int) -> bytes:
        """Unfinished and failed jobs by id; ids that do not exist are left out."""
        _, chunks = await self._ask(Op.READ, min_position, b"".join(ids))
        return b"".join(chunks)

    async def keys(self, hashes: list[bytes], min_position: int) -> list[KeyFound | None]:
        """What is known of each idempotency key."""
        _, chunks = await self._ask(Op.KEYS, min_position, b"".join(hashes))
        records = layout.KEY_RECORD.iter_unpack(b"".join(chunks))
        return [KeyFound(*found) if version else None for version, *found in records]

    async def attempts(self, job_id: bytes, min_position: int = 0) -> list[Attempt]:
        """The job's history, newest days first; its first item tells how a finished job ended."""
        _, chunks = await self._ask(Op.ATTEMPTS, min_position, job_id)
        data, at, found = b"".join(chunks), 0, []
        while at < len(data):
            length, finish_ms = frames.ATTEMPT_HEAD.unpack_from(data, at)
            at += frames.ATTEMPT_HEAD.size + length
            found.append(Attempt(finish_ms, unpack_outcome(data[at - length : at])))
        return found

    async def stats(self) -> StoreStats:
        """Sizes, for metrics and for the door that refuses submits."""
        _, chunks = await self._ask(Op.STATS, 0)
        return msgspec.msgpack.decode(chunks[-1], type=StoreStats)

    def _open(self, op: Op, min_position: int, body: bytes, *, is_stream: bool) -> Pending:
        if self._ended is not None:
            raise self._ended
        self._last_id += 1
        pending = Pending(op, self._last_id, frames.request(op, self._last_id, min_position, body), is_stream)
        self._pending[pending.request_id] = pending
        self._write(pending.frame)
        return pending

    async def _ask(self, op: Op, min_position: int, body: bytes = b"") -> tuple[int, list[bytes]]:
        pending = self._open(op, min_position, body, is_stream=False)
        try:
            return await pending.finished
        finally:
            self._forget(pending)

    async def _stream(self, op: Op, min_position: int, body: bytes) -> AsyncIterator[bytes]:
        pending = self._open(op, min_position, body, is_stream=True)
        try:
            while (item := await pending.arrived.get()) is not None:
                if isinstance(item, StoreError):
                    raise item
                self._write(frames.request(Op.CREDIT, pending.request_id, 0))
                yield item
        finally:
            self._forget(pending)

    def _forget(self, pending: Pending) -> None:
        """The caller is done; a storekeeper that still works on it is told."""
        if self._pending.pop(pending.request_id, None) is not None:
            self._write(frames.request(Op.CANCEL, pending.request_id, 0))

    def _write(self, frame: bytes) -> None:
        if self._writer is not None:
            self._writer.write(frame)

    async def _supervise(self) -> None:
        try:
            await self._supervisor.run()
        except Exception as error:
            failure = error if isinstance(error, StoreError) else api.StoreFailed(f"the store was left: {error!r}")
            failure.__cause__ = None if failure is error else error
            self._end(failure)
            if self.on_failed is not None:
                self.on_failed(failure)

    def _end(self, error: StoreError) -> None:
        if self._ended is None:
            self._ended = error
        pending, self._pending = self._pending, {}
        for request in pending.values():
            request.fail(error)
        if self._serving is not None and not self._serving.done():
            self._serving.set_exception(error)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one storekeeper until its socket closes."""
        self._writer = writer
        try:
            for pending in self._pending.values():
                pending.chunks.clear()
                writer.write(pending.frame)
            while True:
                length, flags, request_id, position = ANSWER_HEAD.unpack(await reader.readexactly(ANSWER_HEAD.size))
                body = await reader.readexactly(length)
                self._advance_position(position)
                if self._serving is not None and not self._serving.done():
                    self._serving.set_result(None)
                if request_id in self._pending:
                    self._take(self._pending[request_id], flags, position, body)
        finally:
            self._writer = None

    def _advance_position(self, position: int) -> None:
        if position > self._position:
            self._position = position
            if self.on_position is not None:
                self.on_position(position)

    def _take(self, pending: Pending, flags: int, position: int, body: bytes) -> None:
        """One frame of an answer."""
        if flags & ERROR:
            del self._pending[pending.request_id]
            pending.fail(FAILURES.get(body[0], StoreError)(body[1:].decode(errors="replace")))
        elif pending.is_stream:
            if body:
                pending.arrived.put_nowait(body)
            if not flags & MORE:
                del self._pending[pending.request_id]
                pending.arrived.put_nowait(None)
        else:
            pending.chunks.append(body)
            if flags & MORE:
                self._write(frames.request(Op.CREDIT, pending.request_id, 0))
                return
            del self._pending[pending.request_id]
            if not pending.finished.done():
                pending.finished.set_result((position, pending.chunks))
