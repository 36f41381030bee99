"""A peer's server process: started on loopback in a temporary directory, waited for, ended.

Owns: the process and its directory. Invariant: `remove` ends the process and deletes the directory, whatever happened
before; a server whose client dies unseen gets SIGTERM from the kernel.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

START_S_MAX = 30
STOP_S_MAX = 20
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def temporary_directory(name: str, owner: str | None = None) -> Path:
    """A new directory on the file system of all the others; `owner` is for servers that refuse to run as root."""
    path = Path(tempfile.mkdtemp(prefix=f"wheeld-compare-{name}-"))
    if owner is not None:
        entry = pwd.getpwnam(owner)
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


class Server:
    """A child process with a log."""

    def __init__(
        self, command: Sequence[str], directory: Path, *, user: str | None = None, log: str = "server"
    ) -> None:
        self.directory = directory
        self._log = directory / f"{log}.log"
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - servers start before any thread
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Until the server answers; raises with its log when it ends or takes too long."""
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline and self._process.poll() is None:
            if answers():
                return
            time.sleep(0.01)
        raise RuntimeError(f"{self._process.args!r} did not start:\n{self._log.read_text(errors='replace')[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask, wait, kill."""
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def remove(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process and delete the directory."""
        self.stop(how)
        shutil.rmtree(self.directory, ignore_errors=True)


def program_version(name: str, option: str) -> str:
    """The first words that the program says of itself."""
    said = subprocess.run([find_binary(name) or name, option], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])


def find_binary(name: str, *more: Path) -> str | None:
    """The program's path: on PATH (with the sbin folders, where Debian puts servers) or in one of `more`."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", *map(str, more)])
    return shutil.which(name, path=path)
