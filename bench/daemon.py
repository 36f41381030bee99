"""A daemon of the benchmark's own: started, looked at, killed. Owns the process and its directory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc.aio

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

    async def start(self) -> float:
        """Start and wait until it answers; returns the seconds from exec to the first answer."""
        log = (self.directory / "daemon.log").open("ab")
        command = [sys.executable, "-m", "wheeld", "serve", "--data-dir", str(self.directory / "data")]
        command += ["--listen", self.address, "--http-listen", self.http, *self._options]
        began = time.monotonic()
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while time.monotonic() - began < START_S_MAX:
            if self._process.poll() is not None:
                break
            if await self._answers():
                return time.monotonic() - began
            await asyncio.sleep(0.01)
        raise RuntimeError(f"the daemon did not start:\n{(self.directory / 'daemon.log').read_text(encoding='utf-8')}")

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


def read_status(pid: int, name: str) -> int:
    """A memory figure from /proc, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no {name}")
