"""Redis: a sorted set scored by due time, variadic ZADD in, a Lua script that pops up to a batch of due members.

Owns: how Redis is driven. Two systems: `redis` pops (a crashed worker loses its batch, there is no ack), `redis-leased`
moves what it pops to a second set, scored by the lease's end, and takes it out there on ack, which is the least that a
queue needs to lose nothing. The reaper of expired leases is left out: in Redis' favour.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

import redis
from redis.connection import AbstractConnection

from bench.compare.accounting import Receipts, now_us
from bench.compare.peer import NUMBER_BYTES, Marks, Peer
from bench.compare.process import Server, find_binary, program_version, temporary_directory
from bench.daemon import free_port

ACKS_IN_FLIGHT = 4
LEASE_MS = 120_000
SETTLE_POLL_S = 0.05

# ZREMRANGEBYRANK rather than ZREM: the lowest n by rank are the n just read, and the append-only file gets one short
# command instead of n members.
POP = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #due > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #due - 1) end
return due
"""
LEASE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #due > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #due - 1)
  local scored = {}
  for position, member in ipairs(due) do
    scored[2 * position - 1] = ARGV[3]
    scored[2 * position] = member
  end
  redis.call('ZADD', KEYS[2], unpack(scored))
end
return due
"""


class RedisPeer(Peer):
    """Pop without a lease."""

    name = "redis"
    durability = "appendonly yes, appendfsync always: answered after the fsync"
    how: ClassVar[dict[str, str]] = {
        "submit": "variadic ZADD of a batch, packed beforehand, 4 batches pipelined on one connection",
        "lease_ack": "POP ONLY, no lease and no ack: Lua ZRANGEBYSCORE + ZREMRANGEBYRANK, 8 calls pipelined",
        "skew": "the same script, polled every 1 ms while nothing is due; no lease, no ack",
        "burst": "the same script, polled every 1 ms while nothing is due; no lease, no ack",
        "single": "redis-py with hiredis, one ZADD per call",
        "pending": "as in submit; disk after BGREWRITEAOF; restart: the append-only file is read",
        "in_flight": "pipelines of 256 ZADDs of one member each, not a transaction, two of them half overlapped",
    }
    tuning: ClassVar[Mapping[str, float | str]] = {"batches_in_flight": 4, "pops_in_flight": 8, "poll_ms": 1.0}
    appendfsync = "always"
    keys = (b"due",)
    script = POP

    @classmethod
    def missing(cls) -> str | None:
        return None if find_binary("redis-server") else "redis-server is not installed: apt-get install redis-server"

    @classmethod
    def version(cls) -> str:
        return f"{program_version('redis-server', '--version')}, redis-py {redis.__version__}"

    def start(self) -> None:
        port = free_port()
        self._port = port
        self._server = start_redis(port, self.appendfsync)
        self._connect()

    def _connect(self) -> None:
        self._client = redis.Redis("127.0.0.1", self._port, single_connection_client=True, socket_timeout=60)
        self.server.wait_until(lambda: answers(self._client))
        self._sha = self._client.script_load(self.script)

    def reconnect(self) -> None:
        self.server.relaunch()
        self._connect()

    def settle(self) -> None:
        self._client.bgrewriteaof()
        while True:
            state = self._client.info("persistence")
            if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
                return
            time.sleep(SETTLE_POLL_S)

    def stop(self) -> None:
        if self._server is not None:
            self._server.remove(signal.SIGKILL)

    @property
    def _wire(self) -> AbstractConnection:
        wire = self._client.connection
        assert wire is not None
        return wire

    def prepare(self, dues_ms: Sequence[int], first: int = 0) -> list[list[bytes]]:
        batches, step = [], self.plan.batch
        for begin in range(0, len(dues_ms), step):
            words: list[bytes] = []
            for number, due_ms in enumerate(dues_ms[begin : begin + step], first + begin):
                words += (b"%d" % due_ms, self.payload(number))
            batches.append([b"".join(self._wire.pack_command(b"ZADD", b"due", *words))])
        return batches

    def send(self, prepared: list[list[bytes]]) -> Marks:
        began, marks, answered = time.monotonic(), Marks(), 0
        for sent, packed in enumerate(prepared):
            if sent - len(marks) == self.chosen["batches_in_flight"]:
                answered += int(self._wire.read_response())
                marks.append((time.monotonic() - began, answered))
            self._wire.send_packed_command(packed)
        while len(marks) < len(prepared):
            answered += int(self._wire.read_response())
            marks.append((time.monotonic() - began, answered))
        return marks

    def stored(self) -> int:
        return int(self._client.zcard("due"))

    def consume(self, receipts: Receipts, patience_s: float) -> None:
        open_calls, full, last = 0, False, time.monotonic()
        most, poll_s = int(self.chosen["pops_in_flight"]), float(self.chosen["poll_ms"]) / 1000
        while receipts.left and time.monotonic() - last < patience_s:
            while open_calls < (most if full else 1):
                self._call()
                open_calls += 1
            members, at = self._wire.read_response(), now_us()
            open_calls -= 1
            full = len(members) == self.plan.batch
            if members:
                receipts.add([int.from_bytes(member[:NUMBER_BYTES], "big") for member in members], at)
                self._ack(members)
                last = time.monotonic()
            if not full and not open_calls:
                time.sleep(poll_s)
        for _ in range(open_calls):
            members = self._wire.read_response()
            receipts.add([int.from_bytes(member[:NUMBER_BYTES], "big") for member in members], now_us())
        self._finish_acks()
        receipts.acked_us = now_us()

    def _call(self) -> None:
        now_ms = now_us() // 1000
        self._wire.send_packed_command(
            self._wire.pack_command(
                b"EVALSHA", self._sha, len(self.keys), *self.keys, now_ms, self.plan.batch, now_ms + LEASE_MS
            )
        )

    def _ack(self, members: Sequence[bytes]) -> None:
        """A pop has none."""

    def _finish_acks(self) -> None:
        """A pop has none."""

    def send_singles(self, count: int, due_ms: int) -> list[int]:
        latencies = []
        for number in range(count):
            began = time.perf_counter_ns()
            self._client.zadd("due", {self.payload(number): due_ms})
            latencies.append((time.perf_counter_ns() - began) // 1000)
        return latencies

    def send_in_flight(self, count: int, due_ms: int) -> None:
        half, open_answers = self.plan.window // 2, 0
        numbers = iter(range(count))
        while group := list(itertools.islice(numbers, half)):
            commands = [(b"ZADD", b"due", due_ms, self.payload(number)) for number in group]
            self._wire.send_packed_command(self._wire.pack_commands(commands))
            for _ in range(open_answers):
                self._wire.read_response()
            open_answers = len(group)
        for _ in range(open_answers):
            self._wire.read_response()


class LeasedRedisPeer(RedisPeer):
    """Pop into a set of leases, ack out of it, on a second connection."""

    name = "redis-leased"
    how: ClassVar[dict[str, str]] = {
        **RedisPeer.how,
        "lease_ack": "Lua ZRANGEBYSCORE + ZREMRANGEBYRANK + ZADD to the leases; ack = variadic ZREM, pipelined",
        "skew": "the same script, polled every 1 ms while nothing is due; acks pipelined on a second connection",
        "burst": "the same script, polled every 1 ms while nothing is due; acks pipelined on a second connection",
    }
    keys = (b"due", b"leased")
    script = LEASE

    def _connect(self) -> None:
        super()._connect()
        self._acks = redis.Redis("127.0.0.1", self._port, single_connection_client=True, socket_timeout=60)
        self._acks.ping()
        self._open_acks = 0
        self._acked = 0

    def _ack(self, members: Sequence[bytes]) -> None:
        wire = self._acks.connection
        assert wire is not None
        if self._open_acks == ACKS_IN_FLIGHT:
            self._acked += int(wire.read_response())
            self._open_acks -= 1
        wire.send_packed_command(wire.pack_command(b"ZREM", b"leased", *members))
        self._open_acks += 1

    def _finish_acks(self) -> None:
        wire = self._acks.connection
        assert wire is not None
        while self._open_acks:
            self._acked += int(wire.read_response())
            self._open_acks -= 1


class EverysecRedisPeer(RedisPeer):
    """What most run: up to a second of jobs is lost with the machine."""

    name = "redis-everysec"
    durability = "appendonly yes, appendfsync everysec: answered BEFORE the fsync"
    appendfsync = "everysec"


def start_redis(port: int, appendfsync: str = "always") -> Server:
    """redis-server with an append-only file, without snapshots and rewrites of its own, which would only slow it."""
    directory = temporary_directory("redis")
    command = [find_binary("redis-server") or "redis-server", "--bind", "127.0.0.1", "--port", str(port)]
    command += ["--dir", str(directory), "--appendonly", "yes", "--appendfsync", appendfsync, "--save", ""]
    command += ["--auto-aof-rewrite-percentage", "0", "--daemonize", "no"]
    return Server(command, directory)


def answers(client: redis.Redis) -> bool:
    """Whether the server takes commands."""
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False
