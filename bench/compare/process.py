"""A peer's server process: started on loopback in a temporary directory, waited for, ended.

Owns: the process and its directory. Invariant: `remove` ends the process and deletes the directory, whatever happened
before; a server whose client dies unseen gets SIGTERM from the kernel.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.parent import end_with_parent

START_S_MAX = 30
STOP_S_MAX = 20


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
        self._command, self._user = command, user
        self._log = directory / f"{log}.log"
        self._process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as out:
            return subprocess.Popen(
                self._command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                preexec_fn=end_with_parent(signal.SIGTERM),  # noqa: PLW1509 - no thread of ours runs when a server starts
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The server's first process."""
        return self._process.pid

    def crash(self) -> None:
        """kill -9, children too: none may go on with the files."""
        for pid in family(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def relaunch(self) -> None:
        """The same command on the same files."""
        self._process = self._launch()

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


def family(pid: int) -> list[int]:
    """The process and all that descend from it, the eldest first."""
    found, at = [pid], 0
    while at < len(found):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{found[at]}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
        at += 1
    return found


def memory_bytes(pid: int) -> int:
    """Anonymous and shared memory of the process and its descendants, each page once. Pages of mapped files are left
    out: they are the kernel's cache, for every system.
    """
    found = 0
    for member in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    found += int(line.split()[1]) * 1024
    return found


def disk_bytes(folder: Path, without: str = "") -> int:
    """Blocks that the files below the folder take; `without` names a folder that is left out."""
    return sum(
        path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and without not in path.parts
    )


def program_version(name: str, option: str) -> str:
    """The first words that the program says of itself."""
    said = subprocess.run([find_binary(name) or name, option], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])


def find_binary(name: str, *more: Path) -> str | None:
    """The program's path: on PATH (with the sbin folders, where Debian puts servers) or in one of `more`."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", *map(str, more)])
    return shutil.which(name, path=path)
