"""Runs handlers: coroutines on the program's event loop, functions on a pool of threads.

Owns: which leases wait, which run, and their outcomes until they are given to the stream. Used on the event loop
only. Invariant: at most `concurrency` handlers run, and never two for one job in this process.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from wheeld.client.context import enter_context
from wheeld.client.handlers import Handler
from wheeld.client.payload import CONTEXT_PARAMETER, encode_result
from wheeld.worker.leases import HeldJob
from wheeld.worker.outcome import Nack, Outcome, Release, describe, failure, success
from wheeld.worker.stream import LeaseStream

_BEGUN_PER_TURN: Final = 64
_SWEEP_S: Final = 1.0


class Runner:
    """See the module."""

    def __init__(self, handlers: Mapping[str, Handler[..., Any]], concurrency: int, stream: LeaseStream) -> None:
        self._handlers, self._concurrency, self._stream = handlers, concurrency, stream
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="wheeld-handler")
        self._waiting: deque[HeldJob] = deque()
        self._running: dict[str, tuple[HeldJob, asyncio.Task[None]]] = {}
        self._parked: dict[str, HeldJob] = {}
        self._ended: list[tuple[HeldJob, Outcome]] = []
        self._turn_due = False
        self._sweep_due = False
        self._stopping = False

    def take(self, leases: list[HeldJob]) -> None:
        """Run these as soon as there is room."""
        if self._stopping:
            self._stream.settle([(held, Release()) for held in leases])
            return
        self._waiting.extend(leases)
        if not self._turn_due:
            self._turn()

    async def stop(self, grace_s: float) -> None:
        """Give back what has not begun; wait for what runs; after `grace_s`, cancel it and nack it."""
        self._stopping = True
        unbegun = [held for held in (*self._waiting, *self._parked.values()) if not held.revoked]
        self._waiting.clear()
        self._parked.clear()
        self._stream.settle([(held, Release()) for held in unbegun])
        if self._running and grace_s > 0:
            await asyncio.wait(self._tasks(), timeout=grace_s)
        self.cancel_all()
        while self._running:
            await asyncio.wait(self._tasks())
            self._sweep()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._flush()

    def cancel_all(self) -> None:
        """Stop what runs: coroutines end, threads are told and left behind."""
        for held, task in list(self._running.values()):
            held.cancel()
            task.cancel()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for _, task in self._running.values()]

    def _turn(self) -> None:
        """Settle what ended, together; begin what there is room for, some at a time, so that the loop gets to its other
        work and the stream's thread to the interpreter.
        """
        self._turn_due = False
        self._flush()
        begun = 0
        while self._waiting and len(self._running) < self._concurrency:
            if begun == _BEGUN_PER_TURN:
                self._ask_for_turn()
                break
            begun += self._begin(self._waiting.popleft())
        if begun and not self._sweep_due:
            self._sweep_due = True
            self._loop.call_later(_SWEEP_S, self._sweep)

    def _ask_for_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _begin(self, held: HeldJob) -> bool:
        if held.revoked:
            return False
        job_id = held.job_id
        if job_id in self._running:
            # The attempt before was taken back and has not ended yet: two at once must not be.
            self._parked[job_id] = held
            return False
        self._running[job_id] = held, self._loop.create_task(self._run(held), name=job_id)
        return True

    def _sweep(self) -> None:
        """A task that was cancelled before its first step ends without a word: its lease goes back. One
        that ended so after it has a defect of ours behind it, and must not hold up a shutdown.
        """
        self._sweep_due = False
        for held, task in list(self._running.values()):
            if task.done():
                self._finish(held, Nack("the attempt ended without an outcome") if held.begun else Release())
        if self._running and not self._stopping:
            self._sweep_due = True
            self._loop.call_later(_SWEEP_S, self._sweep)

    async def _run(self, held: HeldJob) -> None:
        held.begun = True
        try:
            handler = self._handlers.get(held.type)
            if handler is None:
                outcome: Outcome = self._unknown(held)
            else:
                args, kwargs = ((held.payload,), {}) if handler.raw else handler.arguments.decode(held.payload)
                if handler.arguments.wants_context:
                    kwargs[CONTEXT_PARAMETER] = held.context
                enter_context(held)
                if handler.is_async and handler.timeout_s is None:
                    # Not one coroutine more than needed lies between the task and the handler.
                    value = await handler.function(*args, **kwargs)
                else:
                    value = await self._call(handler, held, args, kwargs)
                outcome = success(
                    value if handler.raw and isinstance(value, bytes) else encode_result(value), held.job_id
                )
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
        del self._running[held.job_id]
        self._ended.append((held, outcome))
        if self._parked and (parked := self._parked.pop(held.job_id, None)) is not None:
            self._waiting.appendleft(parked)
        # All that ends in this turn of the loop goes out together.
        self._ask_for_turn()

    def _flush(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            self._stream.settle(ended)

    def _unknown(self, held: HeldJob) -> Nack:
        known = ", ".join(sorted(self._handlers)) or "none"
        return Nack(f"no handler for jobs of type {held.type!r} in this worker (it has: {known})")

    async def _call(
        self, handler: Handler[..., Any], held: HeldJob, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """A handler that is not simply awaited: a function, or one that has a time to keep to."""
        if not handler.is_async:
            return await self._call_in_thread(handler, held, args, kwargs)
        assert handler.timeout_s is not None
        return await self._call_in_time(handler, handler.timeout_s, args, kwargs)

    @staticmethod
    async def _call_in_time(
        handler: Handler[..., Any], timeout_s: float, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                return await handler.function(*args, **kwargs)
        except TimeoutError as error:
            if deadline.expired():
                raise TimeoutError(f"the attempt took longer than {timeout_s:g} s") from error
            raise

    async def _call_in_thread(
        self, handler: Handler[..., Any], held: HeldJob, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """A thread cannot be stopped: past its timeout it is told by `ctx.cancelled`, and its outcome still counts."""
        context = contextvars.copy_context()
        call = self._loop.run_in_executor(self._pool, lambda: context.run(handler.function, *args, **kwargs))
        if handler.timeout_s is None:
            return await call
        timer = self._loop.call_later(handler.timeout_s, held.cancel)
        try:
            return await call
        finally:
            timer.cancel()
