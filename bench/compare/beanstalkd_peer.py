"""beanstalkd: put with a delay in whole seconds, reserve, delete, all pipelined on one connection.

Owns: how beanstalkd is driven. It serves one command after another in one thread with one fsync for each write, so
that more connections add nothing; what a client can save is the round trip, and pipelining saves it. A delay is rounded
up to its whole seconds: rounded down, jobs would come early.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import greenstalk

from bench.compare.accounting import ON_TIME_US, Receipts, now_us
from bench.compare.peer import NUMBER_BYTES, Marks, Peer
from bench.compare.process import Server, find_binary, program_version, temporary_directory
from bench.daemon import free_port

TTR_S = 120
READ_BYTES = 1 << 18


class Wire:
    """A connection whose commands are written in bulk and whose answers are read one by one."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()
        self._at = 0

    def send(self, commands: Iterable[bytes]) -> None:
        """Write them all."""
        self._socket.sendall(b"".join(commands))

    def line(self) -> bytes:
        """The next answer's first line."""
        while (end := self._read.find(b"\r\n", self._at)) < 0:
            self._more()
        line = bytes(self._read[self._at : end])
        self._at = end + 2
        return line

    def body(self, size: int) -> bytes:
        """The body that follows a line."""
        while len(self._read) < self._at + size + 2:
            self._more()
        body = bytes(self._read[self._at : self._at + size])
        self._at += size + 2
        return body

    def _more(self) -> None:
        del self._read[: self._at]
        self._at = 0
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise RuntimeError("beanstalkd closed the connection")
        self._read += data

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()


class BeanstalkdPeer(Peer):
    """The default tube of a server with a binlog."""

    name = "beanstalkd"
    durability = "binlog, -f 0: fsync before each answer to a put or delete"
    how: ClassVar[dict[str, str]] = {
        "submit": "puts pipelined in batches on one connection, the next batch sent before the last one's answers",
        "lease_ack": "100 reserves pipelined with the deletes of the 100 before, one connection",
        "pending": "as in submit; restart: the binlog is read; on time: within 1.05 s, as delays are whole seconds",
        "skew": "a blocking reserve, then the same pipeline; delay in whole seconds, its granularity, rounded up",
        "burst": "a blocking reserve, then the same pipeline; delay in whole seconds, its granularity, rounded up",
        "single": "greenstalk, one put per call",
        "in_flight": "puts of one job each pipelined on one connection, the whole window unanswered",
    }

    tuning: ClassVar[Mapping[str, float | str]] = {"reserves": 100, "binlog_file_kib": 10_240}
    for_pending: ClassVar[Mapping[str, float | str]] = {"binlog_file_kib": 64}  # preallocated: 10 MiB would hide a job
    on_time_us = 1_000_000 + ON_TIME_US
    sync_every_ms = 0

    @classmethod
    def missing(cls) -> str | None:
        return None if find_binary("beanstalkd") else "beanstalkd is not installed: apt-get install beanstalkd"

    @classmethod
    def version(cls) -> str:
        return program_version("beanstalkd", "-v")

    def start(self) -> None:
        directory, port = temporary_directory("beanstalkd"), free_port()
        (directory / "binlog").mkdir()
        command = [find_binary("beanstalkd") or "beanstalkd", "-l", "127.0.0.1", "-p", str(port)]
        file_bytes = int(self.chosen["binlog_file_kib"]) << 10
        command += ["-b", str(directory / "binlog"), "-f", str(self.sync_every_ms), "-s", str(file_bytes)]
        self._port = port
        self._server = Server(command, directory)
        self._open()

    def _open(self) -> None:
        self.server.wait_until(self._answers)
        self._wire = Wire(self._port)

    def reconnect(self) -> None:
        self.server.relaunch()
        self._open()

    def settle(self) -> None:
        """It does nothing behind its answers."""

    def _answers(self) -> bool:
        try:
            Wire(self._port).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._server is not None:
            self._server.remove()

    def prepare(self, dues_ms: Sequence[int], first: int = 0) -> list[list[tuple[int, bytes]]]:
        jobs = [(due_ms, self.payload(number)) for number, due_ms in enumerate(dues_ms, first)]
        return [jobs[begin : begin + self.plan.batch] for begin in range(0, len(jobs), self.plan.batch)]

    def send(self, prepared: list[list[tuple[int, bytes]]]) -> Marks:
        began, marks, answered, waiting = time.monotonic(), Marks(), 0, 0
        for batch in prepared:
            now_ms = now_us() // 1000
            self._wire.send([put(due_ms - now_ms, payload) for due_ms, payload in batch])
            answered += self._inserted(waiting)
            waiting = len(batch)
            marks.append((time.monotonic() - began, answered))
        answered += self._inserted(waiting)
        marks.append((time.monotonic() - began, answered))
        return marks

    def _inserted(self, count: int) -> int:
        for _ in range(count):
            line = self._wire.line()
            if not line.startswith(b"INSERTED"):
                raise RuntimeError(f"a put was refused: {line!r}")
        return count

    def stored(self) -> int:
        with greenstalk.Client(("127.0.0.1", self._port)) as client:
            stats = client.stats()
        return int(stats["current-jobs-delayed"]) + int(stats["current-jobs-ready"])

    def consume(self, receipts: Receipts, patience_s: float) -> None:
        held: list[bytes] = []
        last, most = time.monotonic(), int(self.chosen["reserves"])
        while (receipts.left or held) and time.monotonic() - last < patience_s:
            reserves = min(most, receipts.left)
            self._wire.send([b"reserve-with-timeout 0\r\n"] * reserves + [b"delete %b\r\n" % job for job in held])
            deletes, held = len(held), self._reserved(reserves, receipts)
            for _ in range(deletes):
                if self._wire.line() != b"DELETED":
                    raise RuntimeError("a reserved job could not be deleted")
                receipts.acked_us = now_us()
            if not held and receipts.left:
                self._wire.send([b"reserve-with-timeout 1\r\n"])
                held = self._reserved(1, receipts)
            if held or deletes:
                last = time.monotonic()

    def _reserved(self, answers: int, receipts: Receipts) -> list[bytes]:
        """The ids of the jobs among the next answers."""
        held = []
        for _ in range(answers):
            words = self._wire.line().split()
            if words[0] == b"RESERVED":
                body = self._wire.body(int(words[2]))
                receipts.add([int.from_bytes(body[:NUMBER_BYTES], "big")], now_us())
                held.append(words[1])
        return held

    def send_singles(self, count: int, due_ms: int) -> list[int]:
        latencies = []
        with greenstalk.Client(("127.0.0.1", self._port), encoding=None) as client:
            for number in range(count):
                began = time.perf_counter_ns()
                client.put(self.payload(number), delay=whole_seconds(due_ms - now_us() // 1000), ttr=TTR_S)
                latencies.append((time.perf_counter_ns() - began) // 1000)
        return latencies

    def send_in_flight(self, count: int, due_ms: int) -> None:
        sent = 0
        for answered in range(count):
            if sent < count and sent - answered <= self.plan.window // 2:
                now_ms, upto = now_us() // 1000, min(answered + self.plan.window, count)
                self._wire.send([put(due_ms - now_ms, self.payload(number)) for number in range(sent, upto)])
                sent = upto
            self._inserted(1)


class RelaxedBeanstalkdPeer(BeanstalkdPeer):
    """Its default: up to 50 ms of puts and deletes are lost with the machine."""

    name = "beanstalkd-50ms"
    durability = "binlog, -f 50, its default: answered BEFORE the fsync"
    sync_every_ms = 50


def whole_seconds(delay_ms: int) -> int:
    """A delay in beanstalkd's unit, never shorter than asked for."""
    return max(-(-delay_ms // 1000), 0)


def put(delay_ms: int, payload: bytes) -> bytes:
    """The command."""
    return b"put 0 %d %d %d\r\n%b\r\n" % (whole_seconds(delay_ms), TTR_S, len(payload), payload)
