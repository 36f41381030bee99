"""Small durable files and the lock of a data directory.

Owns the descriptor of a DirectoryLock. Invariant: what a function here says is done survives a power failure.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Final, Self

from wheeld.model import limits

LOCK_NAME: Final = "lock"


def fsync_directory(path: Path) -> None:
    """Make creations, renames and removals in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def atomic_write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file's content, durably: readers and a crash see the old content or the new one, never a mixture."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


class DirectoryLockedError(Exception):
    """Another process owns the data directory."""

    def __init__(self, path: Path, holder_pid: int | None) -> None:
        self.path = path
        self.holder_pid = holder_pid
        holder = f"process {holder_pid}, or a child of it," if holder_pid else "another process"
        super().__init__(f"{path} is in use: {holder} holds its lock. Stop it first, or name another data directory.")


def _lives(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class DirectoryLock:
    """Exclusive right to a data directory, shared with the children that inherit its descriptor.

    The lock belongs to the open file description: it ends when this process *and* every child that holds the descriptor
    have closed it. It is therefore never unlocked by hand, which would take it from the children as well.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    @classmethod
    def acquire(cls, directory: Path) -> DirectoryLock:
        """Take the lock of an existing directory, or raise DirectoryLockedError: at once when its holder lives, after
        a moment when only children of a killed one are left.
        """
        give_up_s = time.monotonic() + limits.LOCK_ORPHAN_MS_MAX / 1000
        while True:
            try:
                return cls._take(directory)
            except DirectoryLockedError as error:
                holder = error.holder_pid
                if holder is None or _lives(holder) or time.monotonic() > give_up_s:
                    raise
            time.sleep(limits.LOCK_LOOK_MS / 1000)

    @classmethod
    def _take(cls, directory: Path) -> DirectoryLock:
        path = directory / LOCK_NAME
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            text = os.pread(fd, 32, 0).strip()
            os.close(fd)
            raise DirectoryLockedError(directory, int(text) if text.isdigit() else None) from None
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, directory)

    def fileno(self) -> int:
        """The descriptor to pass to a child (`pass_fds`); -1 when released."""
        return self._fd

    def release(self) -> None:
        """Give this process's share of the lock back; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
