"""A producer that keeps a daemon as busy as it will be, and obeys when the daemon says that it is too much.

Owns: the calls in flight and the count of refusals. Invariant: a refused batch is sent again after the delay that the
daemon named, until it is accepted or the flood ends; nothing but back-pressure is forgiven.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

import grpc.aio

from bench.ledger import RESULT_BYTES, Ledger, accepted_runs
from wheeld.bench.load import RawCall, connect
from wheeld.client.failures import failure_of

BACK_PRESSURE = frozenset({"STORE_BUSY", "STORE_FULL"})
CHANNELS = 2


class Flood:
    """See the module."""

    def __init__(self, address: str, batch: int, in_flight: int, ledger: Ledger | None = None) -> None:
        self._address, self._batch, self._in_flight, self._ledger = address, batch, in_flight, ledger
        self._channels = [connect(address) for _ in range(CHANNELS)]
        self._calls: list[RawCall] = [
            channel.unary_unary("/wheeld.v1.JobService/BatchCreateJobs") for channel in self._channels
        ]
        self.accepted = 0
        self.refusals: Counter[str] = Counter()
        self.first_refusal_s: float | None = None
        """When the daemon first said that it was too much, from the start of `send`."""
        self.refused_s = 0.0
        """Time that senders waited because they were told to, summed over all that are in flight."""
        self.slowest_s = 0.0
        """The longest call that was answered with yes."""
        self.marks: list[tuple[float, int]] = []
        self._began = 0.0

    async def send(self, batches: Sequence[bytes], rounds: int, *, stop: Callable[[], bool] = lambda: False) -> float:
        """Send `rounds` messages, cycling over `batches`, or until `stop` says so; the seconds that it took."""
        counter = iter(range(rounds))
        began = self._began = time.monotonic()

        async def one(number: int) -> None:
            call = self._calls[number % CHANNELS]
            for position in counter:
                if stop() or not await self._send(call, batches[position % len(batches)], stop):
                    return
                self.marks.append((time.monotonic() - began, self.accepted))

        async with asyncio.TaskGroup() as group:
            for number in range(self._in_flight):
                group.create_task(one(number))
        return time.monotonic() - began

    async def _send(self, call: RawCall, message: bytes, stop: Callable[[], bool]) -> bool:
        """Until accepted; False when the flood ended before."""
        while True:
            sent = time.monotonic()
            try:
                answer = await call(message)
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error, self._address)
                if failure.error.kind.reason not in BACK_PRESSURE:
                    raise failure.error from None
                self.refusals[failure.error.kind.reason] += 1
                self.refused_s += failure.delay_s
                if self.first_refusal_s is None:
                    self.first_refusal_s = time.monotonic() - self._began
                if stop():
                    return False
                await asyncio.sleep(failure.delay_s)
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - sent)
            if self._ledger is not None or len(answer) != RESULT_BYTES * self._batch:
                for run in accepted_runs(answer, self._batch):
                    if self._ledger is not None:
                        self._ledger.accept(run)
            self.accepted += self._batch
            return True

    def figures(self) -> dict[str, float | int | str]:
        """What the daemon refused, and how long a batch took at worst."""
        counts: dict[str, float | int | str] = {f"refused_{name}": number for name, number in self.refusals.items()}
        return {**counts, "refused_wait_s": round(self.refused_s, 1), "slowest_batch_s": round(self.slowest_s, 3)}

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()
