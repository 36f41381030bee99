"""A worker process on the raw lease stream: writes down what it gets, then settles it. `python -m
tests.e2e.harness.worker`

Owns its session and its record. Not the SDK on purpose. Invariants: a receipt is written before its settle is sent, a
settle before it is sent; what was not answered is held across a reconnect and said again.

It misbehaves in measure: some jobs are acked late, some nacked at their first attempt, some never settled at their
first attempt, and a reconnect forgets some that were not begun.
"""

from __future__ import annotations

import argparse
import heapq
import os
import queue
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc

from tests.e2e.checker.records import ACK, CONNECT, GOT, NACK, REVOKED, SETTLE, SETTLED, Recorder, now_us
from tests.e2e.harness.producer import CHANNEL_OPTIONS
from wheeld.wire.pb.v1 import worker_service_pb2 as pb
from wheeld.wire.pb.v1 import worker_service_pb2_grpc

RECONNECT_S = 0.05
OPERATIONS = {pb.SETTLE_OPERATION_ACK: ACK, pb.SETTLE_OPERATION_NACK: NACK}


class Worker:
    """See the module. The main thread reads, one settles when it is time, gRPC's own sends."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._rng = random.Random(arguments.seed)
        self._recorder = Recorder(arguments.record)
        self._session = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Condition()
        self._held: dict[bytes, str | None] = {}
        """Token -> the settle that was sent for it, None while none was."""
        self._due: list[tuple[float, bytes, str]] = []
        self._outgoing: queue.SimpleQueue[pb.StreamLeasesRequest | None] = queue.SimpleQueue()
        self._up = False
        self.stop = threading.Event()

    def run(self) -> None:
        """Serve, and come back whenever the stream ends."""
        threading.Thread(target=self._settle_when_due, daemon=True).start()
        while not self.stop.is_set():
            try:
                self._serve_once()
            except grpc.RpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.UNKNOWN,
                    grpc.StatusCode.CANCELLED,
                ):
                    raise
            with self._lock:
                self._up = False
            self._outgoing.put(None)
            self.stop.wait(RECONNECT_S)

    def _serve_once(self) -> None:
        self._outgoing = queue.SimpleQueue()
        with self._lock:
            for token in [token for token, operation in self._held.items() if operation is None]:
                if self._rng.random() < self._arguments.forget:
                    del self._held[token]
            held = list(self._held)
        opening = pb.Open(
            worker_id=self._session, session_id=self._session, queues=[self._arguments.queue],
            max_outstanding_jobs=self._arguments.credit, held_lease_tokens=held,
        )  # fmt: skip
        opening.lease_duration.FromMilliseconds(self._arguments.lease_ms)
        self._recorder.write(CONNECT, self._session, [token.hex() for token in held])
        with grpc.insecure_channel(self._arguments.address, CHANNEL_OPTIONS) as channel:
            stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
            requests = self._requests(self._outgoing, pb.StreamLeasesRequest(open=opening))
            for response in stub.StreamLeases(requests):
                kind = response.WhichOneof("message")
                if kind == "leases":
                    self._take(response.leases)
                elif kind == "settled":
                    self._on_settled(response.settled)
                elif kind == "revoked":
                    self._on_revoked(response.revoked)
                elif kind == "opened":
                    self._say_again()
                elif kind == "ping":
                    self._outgoing.put(pb.StreamLeasesRequest(pong=pb.Pong()))

    @staticmethod
    def _requests(outgoing: queue.SimpleQueue, first: pb.StreamLeasesRequest) -> Iterator[pb.StreamLeasesRequest]:
        yield first
        while (message := outgoing.get()) is not None:
            yield message

    def _take(self, frame: pb.LeaseFrame) -> None:
        receive_us, now_s = now_us(), time.monotonic()
        rows = [
            [lease.job_id, lease.lease_token.hex(), lease.attempt, lease.fencing_token, lease.schedule_time_ms,
             lease.lease_expire_time_ms, lease.redelivery, int(lease.payload)]
            for lease in frame.leases
        ]  # fmt: skip
        self._recorder.write(GOT, self._session, rows, time_us=receive_us)
        with self._lock:
            for lease in frame.leases:
                self._held[lease.lease_token] = None
                lot = self._rng.random()
                if lease.attempt == 1 and lot < self._arguments.silent:
                    continue
                operation = NACK if lease.attempt == 1 and lot < self._arguments.silent + self._arguments.nack else ACK
                delay_s = 0.0 if self._rng.random() < 0.8 else self._rng.uniform(0.0, self._arguments.slow_ms / 1000)
                heapq.heappush(self._due, (now_s + delay_s, lease.lease_token, operation))
            self._lock.notify()

    def _settle_when_due(self) -> None:
        while True:
            with self._lock:
                while not self._up or not self._due or self._due[0][0] > time.monotonic():
                    self._lock.wait(self._due[0][0] - time.monotonic() if self._up and self._due else None)
                ready = []
                while self._due and self._due[0][0] <= time.monotonic():
                    _, token, operation = heapq.heappop(self._due)
                    if token in self._held:
                        self._held[token] = operation
                        ready.append((operation, token))
                self._send(ready)

    def _say_again(self) -> None:
        """The stream is open: first what was not answered on the one before."""
        with self._lock:
            self._send([(operation, token) for token, operation in self._held.items() if operation is not None])
            self._up = True
            self._lock.notify()

    def _send(self, items: list[tuple[str, bytes]]) -> None:
        if not items:
            return
        self._recorder.write(SETTLE, self._session, [[operation, token.hex()] for operation, token in items])
        settle = pb.Settle()
        for operation, token in items:
            if operation == ACK:
                settle.acks.add(lease_token=token)
            else:
                settle.nacks.add(lease_token=token, error_message="asked to fail")
        self._outgoing.put(pb.StreamLeasesRequest(settle=settle))

    def _on_settled(self, settled: pb.Settled) -> None:
        rows = [
            [OPERATIONS[item.operation], item.lease_token.hex(), item.code, item.already_settled]
            for item in settled.items
        ]
        self._recorder.write(SETTLED, self._session, rows)
        self._forget([item.lease_token for item in settled.items])

    def _on_revoked(self, revoked: pb.Revoked) -> None:
        self._recorder.write(
            REVOKED, self._session, [[lease.lease_token.hex(), lease.code] for lease in revoked.leases]
        )
        with self._lock:
            # A settle under way keeps its token: it is said again until it is answered, which shows how a late one is
            # refused.
            gone = [lease.lease_token for lease in revoked.leases if self._held.get(lease.lease_token) is None]
        self._forget(gone)

    def _forget(self, tokens: list[bytes]) -> None:
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--queue", default="default")
    parser.add_argument("--credit", type=int, default=500)
    parser.add_argument("--lease-ms", type=int, default=2000)
    parser.add_argument("--nack", type=float, default=0.02, help="share of first attempts that are nacked")
    parser.add_argument("--silent", type=float, default=0.01, help="share of first attempts that are never settled")
    parser.add_argument(
        "--forget", type=float, default=0.2, help="share of unsettled leases that a reconnect does not name"
    )
    parser.add_argument("--slow-ms", type=float, default=50, help="longest work")
    parser.add_argument("--seed", type=int, default=1)
    worker = Worker(parser.parse_args())

    def leave(*_: object) -> None:
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    worker.run()


if __name__ == "__main__":
    main()
