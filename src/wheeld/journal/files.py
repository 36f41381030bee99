"""The file operations that the journal's writer makes, behind a Protocol so that tests can make each of them fail.

Owns no state. Invariant: an operation that returns has done all of what it says; anything less raises OSError.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from wheeld.journal import _journal
from wheeld.runtime.files import fsync_directory


class FileOps(Protocol):
    """What the writer does to the disk."""

    def open(self, path: Path, *, create: bool) -> int:
        """Open for reading and writing; with `create` the file must not exist."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def allocate(self, fd: int, size: int) -> None:
        """Reserve disk blocks for the whole file and set its size; ENOSPC when they do not exist."""

    def write_synced(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        """Write the parts one behind the other and make them durable; returns the nanoseconds that took."""

    def rename(self, source: Path, target: Path) -> None:
        """Rename within the journal's directory and make that durable."""

    def unlink(self, path: Path) -> None:
        """Remove a file of the journal's directory and make that durable."""


class SystemFiles:
    """The real operations."""

    def open(self, path: Path, *, create: bool) -> int:
        """See FileOps."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return os.open(path, flags, 0o600)

    def close(self, fd: int) -> None:
        """See FileOps."""
        os.close(fd)

    def allocate(self, fd: int, size: int) -> None:
        """See FileOps."""
        disk = os.fstatvfs(fd)
        if disk.f_bavail * disk.f_frsize < size:
            # The kernel would take what there is before it refuses, and leave nothing to the store meanwhile.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(fd, 0, size)

    def write_synced(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        """See FileOps."""
        return _journal.write_synced(fd, list(parts), offset)

    def rename(self, source: Path, target: Path) -> None:
        """See FileOps."""
        source.rename(target)
        fsync_directory(target.parent)

    def unlink(self, path: Path) -> None:
        """See FileOps."""
        path.unlink()
        fsync_directory(path.parent)
