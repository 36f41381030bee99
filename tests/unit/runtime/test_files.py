"""Durable small files and the directory lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wheeld.runtime.files import DirectoryLock, DirectoryLockedError, atomic_write


def test_atomic_write_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "meta"
    atomic_write(path, b"a long first content")
    atomic_write(path, b"short", mode=0o640)
    assert path.read_bytes() == b"short"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["meta"]  # noqa: PTH208


def test_atomic_write_that_fails_leaves_the_old_content_and_no_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "meta"
    atomic_write(path, b"old")

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("wheeld.runtime.files.os.fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["meta"]


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    with DirectoryLock.acquire(tmp_path), pytest.raises(DirectoryLockedError, match=f"process {os.getpid()}") as caught:
        DirectoryLock.acquire(tmp_path)
    assert caught.value.holder_pid == os.getpid()
    lock = DirectoryLock.acquire(tmp_path)
    lock.release()
    lock.release()
    assert lock.fileno() == -1


def test_a_child_that_inherits_the_lock_keeps_the_directory(tmp_path: Path) -> None:
    lock = DirectoryLock.acquire(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()]
    )
    try:
        lock.release()
        with pytest.raises(DirectoryLockedError):
            DirectoryLock.acquire(tmp_path)
    finally:
        child.communicate()
    DirectoryLock.acquire(tmp_path).release()


def test_what_a_killed_holder_left_behind_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storekeeper that the kernel is about to end has the lock for a moment longer than its daemon."""
    holder = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom wheeld.runtime.files import DirectoryLock\n"
        f"lock = DirectoryLock.acquire(Path({str(tmp_path)!r}))\n"
        "subprocess.Popen([sys.executable, '-c', 'input()'], pass_fds=[lock.fileno()])\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE) as process:
        assert process.wait() == 0
        monkeypatch.setattr("wheeld.model.limits.LOCK_ORPHAN_MS_MAX", 0)
        with pytest.raises(DirectoryLockedError):
            DirectoryLock.acquire(tmp_path)
        monkeypatch.setattr("wheeld.model.limits.LOCK_ORPHAN_MS_MAX", 60_000)
        assert process.stdin is not None
        threading.Timer(0.1, process.stdin.close).start()
        DirectoryLock.acquire(tmp_path).release()
