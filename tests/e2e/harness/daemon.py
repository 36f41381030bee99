"""A daemon as a process: started, probed, frozen, killed.

Owns the process and its log; not its data directory. Invariant: what was started here is ended here (`close`), its
storekeeper with it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wheeld.runtime._timer import set_parent_death_signal

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
"""As long as only something that hangs takes, on a machine that is slow and stands still for seconds at a time."""
PROBE_S = 0.02
PORT_MIN = 15_000
LOG_LINES_SHOWN = 60
CORE = ("--core", os.environ["WHEELD_E2E_CORE"]) if "WHEELD_E2E_CORE" in os.environ else ()
"""The state machine under test: WHEELD_E2E_CORE=reference takes the readable one."""


def free_port() -> int:
    """A port of the loopback that nobody listened on a moment ago.

    Below those that the kernel gives to connections: while a daemon is down, nobody's connection takes its port, and no
    client that tries it again and again comes to be connected to itself.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.SystemRandom().randrange(PORT_MIN, lowest) if lowest > PORT_MIN else 0))
            except OSError:
                continue
            return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
    """Probe until the condition holds; the seconds that it took. AssertionError names `what` otherwise."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > patience_s:
            raise AssertionError(f"not within {patience_s:g} s: {what}")
        time.sleep(PROBE_S)
    return time.monotonic() - began


def text_of_process(path: str) -> str:
    """A file of /proc; "" when its process or thread has ended, which it may do at any moment."""
    try:
        return Path("/proc", path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    facts = text_of_process(f"{pid}/stat").rpartition(")")[2].split()
    return bool(facts) and facts[0] not in "ZX"


def environment() -> dict[str, str]:
    """This process's, without what would configure a daemon."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WHEELD_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def die_with_parent() -> None:
    """In a new child: a test run that is killed leaves no process behind."""
    set_parent_death_signal(signal.SIGKILL)


class Daemon:
    """`wheeld serve` on a directory. `options`: further flags."""

    def __init__(self, directory: Path, *options: str, log: Path | None = None) -> None:
        self.directory = directory
        self.options = options
        self.port = free_port()
        self.log = log or directory.with_name(directory.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Of the gRPC API."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The serving process."""
        assert self.process is not None, "the daemon was not started"
        return self.process.pid

    def command(self) -> list[str]:
        """The command line."""
        serve = [sys.executable, "-m", "wheeld", "serve", "--data-dir", str(self.directory), "--listen", self.address]
        return [*serve, "--http-listen", "off", *CORE, *self.options]

    def spawn(self) -> None:
        """Start, without waiting for anything."""
        with self.log.open("ab") as log:
            log.write(f"--- {' '.join(self.command())}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                self.command(),
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one call of prctl, which takes no lock
            )

    def start(self, patience_s: float = PATIENCE_S) -> float:
        """Start and wait until it serves; the seconds from exec to the first answer."""
        self.spawn()
        return self.wait_serving(patience_s)

    def wait_serving(self, patience_s: float = PATIENCE_S) -> float:
        """Probe its health until it serves."""
        assert self.process is not None
        process = self.process
        began = time.monotonic()
        while not self.is_serving():
            code = process.poll()
            assert code is None, f"the daemon ended with code {code} instead of serving:\n{self.log_tail()}"
            assert time.monotonic() - began < patience_s, (
                f"the daemon does not serve after {patience_s} s:\n{self.log_tail()}"
            )
            time.sleep(PROBE_S)
        return time.monotonic() - began

    def is_running(self) -> bool:
        """Whether the process exists."""
        return self.process is not None and self.process.poll() is None

    def is_serving(self) -> bool:
        """What the standard health service says; one that hangs does not serve, one that is slow does."""
        with grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def run_to_exit(self, patience_s: float = PATIENCE_S) -> tuple[int, str]:
        """For a start that must fail: the exit code, and all that was printed in this start."""
        before = self.log.stat().st_size if self.log.exists() else 0
        self.spawn()
        assert self.process is not None
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.close()
            raise AssertionError(f"the daemon did not exit within {patience_s} s:\n{self.log_tail()}") from None
        return code, self.log.read_bytes()[before:].decode()

    def keeper_pid(self) -> int:
        """The storekeeper: the serving process's child, whichever thread made it."""
        pid = 0

        def is_found() -> bool:
            nonlocal pid
            pid = self.find_keeper()
            return pid > 0

        wait_until(is_found, "the daemon has a storekeeper")
        return pid

    def find_keeper(self) -> int:
        """As `keeper_pid`; 0 while none is seen. Threads and children may end while it looks."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for child in text_of_process(f"{task}/children").split():
                if "wheeld.store.keeper" in text_of_process(f"{child}/cmdline"):
                    return int(child)
        return 0

    def kill(self) -> None:
        """kill -9, and wait for the end of the serving process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, patience_s: float = PATIENCE_S) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon does not end {patience_s} s after SIGTERM:\n{self.log_tail()}") from None

    def close(self) -> None:
        """End whatever of it still runs."""
        if self.process is not None and self.is_running():
            keeper = self.find_keeper()
            self.process.send_signal(signal.SIGCONT)
            self.kill()
            if keeper:
                wait_until(lambda: not is_alive(keeper), "the storekeeper of a killed daemon is gone")

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def verify(directory: Path) -> subprocess.CompletedProcess[str]:
    """`wheeld store verify DIR`."""
    command = [sys.executable, "-m", "wheeld", "store", "verify", str(directory)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
