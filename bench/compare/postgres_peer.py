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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import psycopg

from bench.compare.accounting import Receipts, now_us
from bench.compare.peer import Marks, Peer
from bench.compare.plan import Plan
from bench.compare.process import Server, find_binary, program_version, temporary_directory
from bench.daemon import free_port

POLL_S = 0.001
CONNECTIONS = 4
"""That submit in bulk, each its own transaction per batch, as wheeld's own submitter has 4 batches in flight."""
WORKER_CONNECTIONS = 2
"""Of the one worker process: while one commits, the other fetches."""
SINGLE_CONNECTIONS = 8
"""That share the window of single inserts: their commits share fsyncs."""

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
        "submit": f"binary COPY, prepared beforehand, a transaction per batch, {CONNECTIONS} connections",
        "lease_ack": "DELETE of a batch chosen FOR UPDATE SKIP LOCKED, RETURNING (the lease is the row lock), COMMIT "
        f"as the ack; one process, {WORKER_CONNECTIONS} connections",
        "skew": f"the same statement, polled every 1 ms unless a full batch was due; {WORKER_CONNECTIONS} connections",
        "burst": f"the same statement, polled every 1 ms unless a full batch was due; {WORKER_CONNECTIONS} connections",
        "single": "psycopg, prepared INSERT, autocommit",
        "in_flight": f"prepared INSERTs in pipeline mode, a transaction each, {SINGLE_CONNECTIONS} connections that "
        "share the window and so their commits' fsyncs",
    }

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._server: Server | None = None
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
        self._server.wait_until(self._answers)
        self._connections = [self._connect() for _ in range(max(CONNECTIONS, SINGLE_CONNECTIONS))]
        self._connections[0].execute(TABLE)
        self._connections[0].execute(INDEX)

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

        together(copy_some, self._connections[:CONNECTIONS])
        return marks

    def stored(self) -> int:
        row = self._connections[0].execute("SELECT count(*) FROM jobs").fetchone()
        assert row is not None
        return row[0]

    def consume(self, receipts: Receipts, count: int, patience_s: float) -> None:
        lock = threading.Lock()
        last = time.monotonic()

        def take_some(connection: psycopg.Connection[tuple[int, bytes]]) -> None:
            nonlocal last
            cursor = connection.cursor(binary=True)
            while len(receipts.numbers) < count and time.monotonic() - last < patience_s:
                with connection.transaction():
                    rows = cursor.execute(TAKE, (now_us() // 1000, self.plan.batch)).fetchall()
                    at = now_us()
                if rows:
                    with lock:
                        receipts.add([row[0] for row in rows], at)
                        receipts.acked_us = now_us()
                        last = time.monotonic()
                if len(rows) < self.plan.batch:
                    time.sleep(POLL_S)

        together(take_some, self._connections[:WORKER_CONNECTIONS])

    def send_singles(self, count: int, due_ms: int) -> list[int]:
        latencies, cursor = [], self._connections[0].cursor(binary=True)
        for number in range(count):
            began = time.perf_counter_ns()
            cursor.execute(INSERT, (number, due_ms, self.payload(number)))
            latencies.append((time.perf_counter_ns() - began) // 1000)
        return latencies

    def send_in_flight(self, count: int, due_ms: int) -> None:
        numbers, lock, share = iter(range(count)), threading.Lock(), self.plan.window // SINGLE_CONNECTIONS

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

        together(insert_some, self._connections[:SINGLE_CONNECTIONS])


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
