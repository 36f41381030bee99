"""The data directory: its format file, its lock, and where each part lies in it.

Owns DIR/format and the folders' names; does not own what lies in the folders. Invariant: a directory that this
version does not understand is refused before anything in it is touched.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from wheeld.model import limits
from wheeld.model.errors import StartFailure
from wheeld.runtime.files import DirectoryLock, DirectoryLockedError, atomic_write

FORMAT_VERSION: Final = 2
"""1: one row for each job; 2: blocks of jobs (docs/decisions/0005-jobs-in-blocks.md)."""
FORMAT_NAME: Final = "format"
FORMAT_BYTES_MAX: Final = 4 * limits.KIB


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that hold for a data directory from its creation to its end."""

    format_version: int
    store_uuid: str
    shards: int
    bucket_width_ms: int
    created: str


@dataclass(frozen=True)
class DataDirectory:
    """An open data directory. Whoever holds it holds its lock (`lock` is None only for offline readers)."""

    path: Path
    format: Format
    lock: DirectoryLock | None = None

    @property
    def store_uuid(self) -> bytes:
        """16 bytes that journal and store carry, so that parts of two directories cannot be mixed."""
        return bytes.fromhex(self.format.store_uuid)

    @property
    def journal(self) -> Path:
        """The journal's folder."""
        return self.path / "journal"

    @property
    def store(self) -> Path:
        """The main environment's folder."""
        return self.path / "store"

    @property
    def history(self) -> Path:
        """The folder of the history days."""
        return self.path / "history"

    def close(self) -> None:
        """Give this process's share of the lock back."""
        if self.lock is not None:
            self.lock.release()


def open_or_create(
    directory: str | os.PathLike[str],
    shards: int = limits.SHARDS_DEFAULT,
    bucket_width_ms: int = limits.BUCKET_WIDTH_MS,
) -> DataDirectory:
    """Lock the directory and read its format; a new one gets the given facts (an old one keeps its own). StartFailure
    says why not.
    """
    path = Path(directory)
    if not 1 <= shards <= limits.SHARDS_MAX:
        raise StartFailure(f"{shards} shards are asked for", f"Choose between 1 and {limits.SHARDS_MAX}.")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DirectoryLock.acquire(path)
    except DirectoryLockedError as error:
        raise StartFailure(str(error), "One daemon at a time can use a data directory.") from None
    except OSError as error:
        raise StartFailure(
            f"The data directory {path} cannot be opened: {error}", "Check its path and its owner."
        ) from None
    try:
        if not (path / FORMAT_NAME).exists():
            _create(path, shards, bucket_width_ms)
        found = DataDirectory(path, read_format(path), lock)
        for folder in (found.journal, found.store, found.history):
            folder.mkdir(mode=0o700, exist_ok=True)
    except BaseException:
        lock.release()
        raise
    return found


def read_format(path: Path) -> Format:
    """The format file's facts, or StartFailure."""
    file = path / FORMAT_NAME
    restore = "Restore the file from a backup of this directory; its parts cannot be read without it."
    try:
        found = msgspec.json.decode(file.read_bytes()[:FORMAT_BYTES_MAX], type=Format)
        uuid = bytes.fromhex(found.store_uuid)
    except FileNotFoundError:
        raise StartFailure(f"{path} holds no wheeld store", "Name a directory that wheeld has created.") from None
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise StartFailure(f"{file} cannot be read: {error}", restore) from None
    if found.format_version != FORMAT_VERSION:
        raise StartFailure(
            f"{path} has format version {found.format_version}, this wheeld reads version {FORMAT_VERSION}",
            "Use the wheeld version that wrote it, or name an empty directory; nothing was changed.",
        )
    if len(uuid) != 16 or not 1 <= found.shards <= limits.SHARDS_MAX or found.bucket_width_ms < 1:
        raise StartFailure(f"{file} is damaged: {found}", restore)
    return found


def _create(path: Path, shards: int, bucket_width_ms: int) -> None:
    left = [name for name in ("journal", "store", "history") if (path / name).is_dir() and any((path / name).iterdir())]
    if left:
        raise StartFailure(
            f"{path} has {', '.join(left)} but no {FORMAT_NAME} file",
            "Restore that file from a backup, or name an empty directory.",
        )
    facts = Format(
        format_version=FORMAT_VERSION,
        store_uuid=secrets.token_hex(16),
        shards=shards,
        bucket_width_ms=bucket_width_ms,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    atomic_write(path / FORMAT_NAME, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
