"""Which of LMDB's errors mean that the disk is full, and which that it is broken."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import lmdb
import pytest

from wheeld.model.limits import DISK_FULL_BYTES
from wheeld.store.checkpoint import is_full


def failure(kind: type[lmdb.Error], code: int) -> lmdb.Error:
    """As py-lmdb raises it."""
    error = kind(f"mdb_txn_commit: {os.strerror(code)}")
    error.code = code
    return error


@pytest.mark.parametrize(("free_bytes", "full"), [(0, True), (DISK_FULL_BYTES - 4096, True), (DISK_FULL_BYTES, False)])
def test_a_short_write_is_a_full_disk_only_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, full: bool
) -> None:
    found = SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096)
    monkeypatch.setattr("wheeld.store.checkpoint.os.statvfs", lambda _place: found)
    assert is_full(failure(lmdb.Error, errno.EIO), tmp_path) is full
    assert is_full(failure(lmdb.DiskError, errno.ENOSPC), tmp_path)
    assert not is_full(failure(lmdb.PanicError, 0), tmp_path)
    assert is_full(OSError(errno.EDQUOT, "quota"), tmp_path) and not is_full(OSError(errno.EIO, "disk"), tmp_path)
