"""A daemon of the benchmark's own: started, looked at, killed.

Owns the process and its directory. Invariants: neither outlives a benchmark that returns, breaks, or is interrupted by
Ctrl-C or SIGTERM; the process does not outlive one that is killed, either. The daemon finds its modules compiled from
its second start on, as those of an installed package are.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import grpc.aio

from bench.parent import end_with_parent
from wheeld.store.directory import DataDirectory, read_format
from wheeld.store.environment import MainStore
from wheeld.store.layout import Table
from wheeld.store.snapshot import Snapshot
from wheeld.wire.pb.v1 import admin_service_pb2

START_S_MAX = 60


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    """`wheeld serve` on a directory that lives as long as this object."""

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="wheeld-bench-"))
        self.address = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))

    async def start(self, *, http: bool = True) -> float:
        """Start and wait until it answers; returns the seconds from exec to the first answer. The HTTP side comes after
        that; `http` waits for it, too.
        """
        log = (self.directory / "daemon.log").open("ab")
        command = [sys.executable, "-m", "wheeld", "serve", "--data-dir", str(self.directory / "data")]
        command += ["--listen", self.address, "--http-listen", self.http, *self._options]
        began = time.monotonic()
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(self.directory / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - two system calls, and no lock
        )
        while time.monotonic() - began < START_S_MAX:
            if self._process.poll() is not None:
                break
            if self._listens(self.address) and await self._answers():
                took = time.monotonic() - began
                while http and not await asyncio.to_thread(self._ready):
                    await asyncio.sleep(0.005)
                return took
            await asyncio.sleep(0.005)
        raise RuntimeError(f"the daemon did not start:\n{(self.directory / 'daemon.log').read_text(encoding='utf-8')}")

    def _ready(self) -> bool:
        """Whether /readyz says so."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.http}/readyz", timeout=5):
            return True
        return False

    def _listens(self, address: str) -> bool:
        """Cheaper to ask than a channel: what the client burns here, the daemon that starts does not have."""
        host, _, port = address.partition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    async def _answers(self) -> bool:
        async with grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary(
                "/wheeld.v1.AdminService/GetServerInfo",
                response_deserializer=admin_service_pb2.GetServerInfoResponse.FromString,
            )
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call(b"", timeout=1)
                return True
        return False

    @property
    def pid(self) -> int:
        """The serving process."""
        assert self._process is not None
        return self._process.pid

    def resident_bytes(self) -> int:
        """Resident memory of the serving process, without the storekeeper."""
        return read_status(self.pid, "VmRSS")

    def keeper_resident_bytes(self) -> int:
        """Anonymous memory of its children (LMDB's file pages are the kernel's to drop)."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return sum(read_status(int(child), "RssAnon") for child in children)

    def disk_bytes(self) -> int:
        """Bytes that the store takes on disk (blocks, not the sparse size), history included, journal apart."""
        found = 0
        for folder in ("store", "history"):
            found += sum(
                path.stat().st_blocks * 512 for path in (self.directory / "data" / folder).rglob("*") if path.is_file()
            )
        return found

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM and wait."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def remove(self) -> None:
        """End whatever runs and delete the directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.remove)

    def stored_jobs(self) -> int:
        """Unfinished and failed jobs in the store of a stopped daemon, by the store's own count."""
        assert self._process is not None
        assert self._process.poll() is not None
        data = self.directory / "data"
        store = MainStore(DataDirectory(data, read_format(data)), readonly=True)
        snapshot = Snapshot(store)
        try:
            return snapshot.entries(Table.JOBS)
        finally:
            snapshot.close()
            store.close()


def read_status(pid: int, name: str) -> int:
    """A memory figure from /proc, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no {name}")
