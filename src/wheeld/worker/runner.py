"""Runs handlers: coroutines on the program's event loop, functions on a pool of threads.

Owns: which leases wait, which run, and their outcomes until they are given to the stream. Used on the event loop
only. Invariant: at most `concurrency` handlers run, and never two for one job in this process.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from wheeld.client.context import enter_context
from wheeld.client.handlers import Handler
from wheeld.client.payload import CONTEXT_PARAMETER, encode_result
from wheeld.worker.leases import HeldJob
from wheeld.worker.outcome import Nack, Outcome, Release, describe, failure, success
from wheeld.worker.stream import LeaseStream

_log: Final = logging.getLogger("wheeld.worker")


class Runner:
    """See the module."""

    def __init__(self, handlers: Mapping[str, Handler[..., Any]], concurrency: int, stream: LeaseStream) -> None:
        self._handlers, self._concurrency, self._stream = handlers, concurrency, stream
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="wheeld-handler")
        self._waiting: deque[HeldJob] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._contexts: dict[str, HeldJob] = {}
        self._parked: dict[str, HeldJob] = {}
        self._ended: list[tuple[HeldJob, Outcome]] = []
        self._stopping = False

    def take(self, leases: list[HeldJob]) -> None:
        """Run these as soon as there is room."""
        if self._stopping:
            self._stream.settle([(held, Release()) for held in leases])
            return
        self._waiting.extend(leases)
        self._fill()

    async def stop(self, grace_s: float) -> None:
        """Give back what has not begun; wait for what runs; after `grace_s`, cancel it and nack it."""
        self._stopping = True
        unbegun = [held for held in (*self._waiting, *self._parked.values()) if not held.revoked]
        self._waiting.clear()
        self._parked.clear()
        self._stream.settle([(held, Release()) for held in unbegun])
        if self._running and grace_s > 0:
            await asyncio.wait(self._running.values(), timeout=grace_s)
        self.cancel_all()
        while self._running:
            await asyncio.wait(self._running.values())
            # The callbacks of tasks that ended unbegun run in the next turn.
            await asyncio.sleep(0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._flush()

    def cancel_all(self) -> None:
        """Stop what runs: coroutines end, threads are told and left behind."""
        for job_id, task in list(self._running.items()):
            self._contexts[job_id].context.cancelled.set()
            task.cancel()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._concurrency:
            held = self._waiting.popleft()
            if held.revoked:
                continue
            job_id = held.context.job_id
            if job_id in self._running:
                # The attempt before was taken back and has not ended yet: two at once must not be.
                self._parked[job_id] = held
                continue
            self._contexts[job_id] = held
            task = self._running[job_id] = self._loop.create_task(self._run(held), name=f"job {job_id}")
            task.add_done_callback(functools.partial(self._on_done, held))

    def _on_done(self, held: HeldJob, task: asyncio.Task[None]) -> None:
        # Only a task that was cancelled before its first step ends without having settled its lease.
        if task.cancelled():
            self._finish(held, Release())

    async def _run(self, held: HeldJob) -> None:
        try:
            outcome = await self._attempt(held)
        except asyncio.CancelledError as error:
            outcome = Nack("the worker was stopped before the job ended" if self._stopping else describe(error))
        except Exception as error:
            outcome = failure(error)
        except BaseException as error:
            # SystemExit of a library ends an attempt, not the worker; the interrupt of a user ends both.
            outcome = failure(error)
            if isinstance(error, KeyboardInterrupt):
                self._finish(held, outcome)
                raise
        self._finish(held, outcome)

    def _finish(self, held: HeldJob, outcome: Outcome) -> None:
        job_id = held.context.job_id
        del self._running[job_id], self._contexts[job_id]
        if not self._ended:
            # All that ends in this turn of the loop goes out together.
            self._loop.call_soon(self._flush)
        self._ended.append((held, outcome))
        if (parked := self._parked.pop(job_id, None)) is not None:
            self._waiting.appendleft(parked)
        self._fill()

    def _flush(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            self._stream.settle(ended)

    async def _attempt(self, held: HeldJob) -> Outcome:
        handler = self._handlers.get(held.context.type)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            return Nack(f"no handler for jobs of type {held.context.type!r} in this worker (it has: {known})")
        args, kwargs = ([held.payload], {}) if handler.raw else handler.arguments.decode(held.payload)
        if handler.arguments.wants_context:
            kwargs[CONTEXT_PARAMETER] = held.context
        enter_context(held.context)
        if handler.is_async:
            value = await self._call_async(handler, args, kwargs)
        else:
            value = await self._call_in_thread(handler, held, args, kwargs)
        return success(value if handler.raw and isinstance(value, bytes) else encode_result(value), held.context.job_id)

    @staticmethod
    async def _call_async(handler: Handler[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        if handler.timeout_s is None:
            return await handler.function(*args, **kwargs)
        deadline = asyncio.timeout(handler.timeout_s)
        try:
            async with deadline:
                return await handler.function(*args, **kwargs)
        except TimeoutError as error:
            if deadline.expired():
                raise TimeoutError(f"the attempt took longer than {handler.timeout_s:g} s") from error
            raise

    async def _call_in_thread(
        self, handler: Handler[..., Any], held: HeldJob, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """A thread cannot be stopped: past its timeout it is told by `ctx.cancelled`, and its outcome still counts."""
        context = contextvars.copy_context()
        call = self._loop.run_in_executor(self._pool, lambda: context.run(handler.function, *args, **kwargs))
        if handler.timeout_s is None:
            return await call
        timer = self._loop.call_later(handler.timeout_s, held.context.cancelled.set)
        try:
            return await call
        finally:
            timer.cancel()
