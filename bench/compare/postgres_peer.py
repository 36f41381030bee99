"""PostgreSQL: COPY in, SELECT ... FOR UPDATE SKIP LOCKED out, the row deleted and committed as the ack.

Owns: how PostgreSQL is driven. The lease is the row lock of an open transaction: a worker that dies gives its jobs back
by itself. One statement locks, deletes and returns a batch; the commit (with its fsync) is the ack.
"""

from __future__ import annotations

import itertools
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import psycopg

from bench.compare.accounting import Receipts, now_us
from bench.compare.peer import Marks, Peer
from bench.compare.plan import Plan
from bench.compare.process import Server, find_binary, program_version, temporary_directory
from bench.daemon import free_port

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "2GB",
    "wal_buffers": "64MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "autovacuum_naptime": "1s",
    "max_connections": "50",
}
TABLE = "CREATE TABLE jobs (id bigint PRIMARY KEY, due_ms bigint NOT NULL, payload bytea NOT NULL)"
INDEX = "CREATE INDEX jobs_due ON jobs (due_ms)"
TAKE = """
DELETE FROM jobs WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM jobs WHERE due_ms <= %b ORDER BY due_ms LIMIT %b FOR UPDATE SKIP LOCKED
)) RETURNING id, payload
"""
INSERT = "INSERT INTO jobs (id, due_ms, payload) VALUES (%b, %b, %b)"
COPY = "COPY jobs (id, due_ms, payload) FROM STDIN (FORMAT BINARY)"
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TAIL = b"\xff\xff"
COPY_ROW = struct.Struct(">hiqiqi")


class PostgresPeer(Peer):
    """One table, an index on the due time."""

    name = "postgres"
    durability = "fsync on, synchronous_commit on, full_page_writes on: answered after the WAL's fsync"
    how: ClassVar[dict[str, str]] = {
        "submit": "binary COPY, prepared beforehand, a transaction per batch, 8 connections",
        "lease_ack": "DELETE of a batch chosen FOR UPDATE SKIP LOCKED, RETURNING (the lease is the row lock), COMMIT "
        "as the ack; one process, 2 connections",
        "skew": "the same statement, polled every 1 ms unless a full batch was due; 2 connections",
        "burst": "the same statement, polled every 1 ms unless a full batch was due; 2 connections",
        "pending": "as in submit; memory with shared buffers, disk without the WAL and after CHECKPOINT",
        "single": "psycopg, prepared INSERT, autocommit",
        "in_flight": "prepared INSERTs in pipeline mode, a transaction each, 16 connections that "
        "share the window and so their commits' fsyncs",
    }

    tuning: ClassVar[Mapping[str, float | str]] = {
        "submit_connections": 8,
        "worker_connections": 2,
        "single_connections": 16,
        "poll_ms": 1.0,
    }
    journal_folder = "pg_wal"

    def __init__(self, plan: Plan, chosen: Mapping[str, float | str] | None = None) -> None:
        super().__init__(plan, chosen)
        self._connections: list[psycopg.Connection[tuple[int, bytes]]] = []

    @classmethod
    def missing(cls) -> str | None:
        found = postgres_binary("postgres") and postgres_binary("initdb")
        return None if found else "postgres is not installed: apt-get install postgresql"

    @classmethod
    def version(cls) -> str:
        return (
            f"{program_version(postgres_binary('postgres') or 'postgres', '--version')}, psycopg {psycopg.__version__}"
        )

    def start(self) -> None:
        user = "postgres" if os.getuid() == 0 else None
        directory, port = temporary_directory("postgres", user), free_port()
        data = directory / "data"
        initdb = [postgres_binary("initdb") or "initdb", "-D", str(data), "--no-locale", "-E", "UTF8", "-A", "trust"]
        initdb += ["-U", "bench", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, group=user, cwd=directory)
        command = [postgres_binary("postgres") or "postgres", "-D", str(data), "-p", str(port)]
        command += [f"--{name}={value}" for name, value in SETTINGS.items()]
        self._server = Server(command, directory, user=user)
        self._address = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
        self._open()
        self._connections[0].execute(TABLE)
        self._connections[0].execute(INDEX)

    def _open(self) -> None:
        self.server.wait_until(self._answers)
        most = max(int(self.chosen[name]) for name in self.chosen if name.endswith("connections"))
        self._connections = [self._connect() for _ in range(most)]

    def reconnect(self) -> None:
        self.server.relaunch()
        self._open()

    def settle(self) -> None:
        self._connections[0].execute("CHECKPOINT")

    def _share(self, name: str) -> list[psycopg.Connection[tuple[int, bytes]]]:
        """The connections that a workload has."""
        return self._connections[: int(self.chosen[name])]

    def _connect(self) -> psycopg.Connection[tuple[int, bytes]]:
        connection = psycopg.connect(self._address, autocommit=True)
        connection.prepare_threshold = 0
        return connection

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        for connection in self._connections:
            connection.close()
        if self._server is not None:
            self._server.remove(signal.SIGQUIT)

    def prepare(self, dues_ms: Sequence[int], first: int = 0) -> list[tuple[int, bytes]]:
        batches, step, size = [], self.plan.batch, self.plan.payload_bytes
        for begin in range(0, len(dues_ms), step):
            rows = [
                COPY_ROW.pack(3, 8, number, 8, due_ms, size) + self.payload(number)
                for number, due_ms in enumerate(dues_ms[begin : begin + step], first + begin)
            ]
            batches.append((len(rows), COPY_HEAD + b"".join(rows) + COPY_TAIL))
        return batches

    def send(self, prepared: list[tuple[int, bytes]]) -> Marks:
        batches, lock = iter(prepared), threading.Lock()
        began, marks, answered = time.monotonic(), Marks(), 0

        def copy_some(connection: psycopg.Connection[tuple[int, bytes]]) -> None:
            nonlocal answered
            while True:
                with lock:
                    batch = next(batches, None)
                if batch is None:
                    return
                with connection.cursor() as cursor, cursor.copy(COPY) as copy:
                    copy.write(batch[1])
                with lock:
                    answered += batch[0]
                    marks.append((time.monotonic() - began, answered))

        together(copy_some, self._share("submit_connections"))
        return marks

    def stored(self) -> int:
        row = self._connections[0].execute("SELECT count(*) FROM jobs").fetchone()
        assert row is not None
        return row[0]

    def consume(self, receipts: Receipts, patience_s: float) -> None:
        lock, poll_s = threading.Lock(), float(self.chosen["poll_ms"]) / 1000
        last = time.monotonic()

        def take_some(connection: psycopg.Connection[tuple[int, bytes]]) -> None:
            nonlocal last
            cursor = connection.cursor(binary=True)
            while receipts.left and time.monotonic() - last < patience_s:
                with connection.transaction():
                    rows = cursor.execute(TAKE, (now_us() // 1000, self.plan.batch)).fetchall()
                    at = now_us()
                if rows:
                    with lock:
                        receipts.add([row[0] for row in rows], at)
                        receipts.acked_us = now_us()
                        last = time.monotonic()
                if len(rows) < self.plan.batch:
                    time.sleep(poll_s)

        together(take_some, self._share("worker_connections"))

    def send_singles(self, count: int, due_ms: int) -> list[int]:
        latencies, cursor = [], self._connections[0].cursor(binary=True)
        for number in range(count):
            began = time.perf_counter_ns()
            cursor.execute(INSERT, (number, due_ms, self.payload(number)))
            latencies.append((time.perf_counter_ns() - began) // 1000)
        return latencies

    def send_in_flight(self, count: int, due_ms: int) -> None:
        connections = self._share("single_connections")
        numbers, lock, share = iter(range(count)), threading.Lock(), self.plan.window // len(connections)

        def insert_some(connection: psycopg.Connection[tuple[int, bytes]]) -> None:
            cursor = connection.cursor(binary=True)
            while True:
                with lock:
                    group = list(itertools.islice(numbers, share))
                if not group:
                    return
                with connection.pipeline() as pipeline:
                    for number in group:
                        cursor.execute(INSERT, (number, due_ms, self.payload(number)))
                        pipeline.sync()

        together(insert_some, connections)


def together(
    work: Callable[[psycopg.Connection[tuple[int, bytes]]], None],
    connections: Sequence[psycopg.Connection[tuple[int, bytes]]],
) -> None:
    """One thread for each connection; the first failure is raised."""
    failures: list[Exception] = []

    def guarded(connection: psycopg.Connection[tuple[int, bytes]]) -> None:
        try:
            work(connection)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def postgres_binary(name: str) -> str | None:
    """Debian keeps the server's programs out of PATH, in a folder per version; the newest wins."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    return find_binary(name, *folders)
