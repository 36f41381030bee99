"""The supply of segments: made ahead, recycled, removed, and all of it beside the groups; and disks that are full."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.journal.box import (
    SEGMENT_BYTES,
    Box,
    FaultyFiles,
    read_groups,
    segments_at_rest,
    wait_until_ready,
)
from wheeld.journal.errors import JournalFailedError
from wheeld.journal.files import SystemFiles
from wheeld.journal.format import BLOCK_BYTES, group_bytes_max
from wheeld.model import limits


def test_released_segments_are_recycled_and_files_stay_few(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal")
    inodes = set()
    for _ in range(200):
        box.journal.release(max(0, box.journal.last_group - 3))
        box.write(os.urandom(25_000))
        segments_at_rest(box)
        inodes |= {path.stat().st_ino for path in (tmp_path / "journal").glob("segment-*.journal")}
    assert box.journal.segments <= limits.READY_SEGMENTS_MAX + 4
    assert len(inodes) <= limits.READY_SEGMENTS_MAX + 4, "segments must be recycled rather than made"
    box.close()
    box = Box(tmp_path / "journal")
    assert box.journal.last_group == 200
    box.close()


def test_many_segments_released_at_once_are_removed(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal")
    for _ in range(40):
        box.write(bytes(25_000))
    assert box.journal.segments >= 20
    box.journal.release(40)
    segments_at_rest(box)
    assert box.journal.segments <= limits.READY_SEGMENTS_MAX + 2
    box.close()


class WatchedFiles(SystemFiles):
    """Notes which thread does what; what is not a group's write waits until the gate is open."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def _note(self, what: str) -> None:
        thread = threading.current_thread().name
        self.done.append((thread, what))
        if thread == "wheeld-segments":
            self.gate.wait()

    def allocate(self, fd: int, size: int) -> None:
        self._note("allocate")
        super().allocate(fd, size)

    def write_synced(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        self._note("write" if any(map(any, parts)) else "zeroes")
        return super().write_synced(fd, parts, offset)

    def rename(self, source: Path, target: Path) -> None:
        self._note("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._note("unlink")
        super().unlink(path)


def test_the_thread_that_syncs_groups_does_nothing_else_to_the_disk(tmp_path: Path) -> None:
    files = WatchedFiles()
    box = Box(tmp_path / "journal", ops=files)
    for _ in range(3 * limits.READY_SEGMENTS_MAX):
        box.write(os.urandom(group_bytes_max(SEGMENT_BYTES)))  # a segment each, more than are kept
    box.journal.release(box.journal.last_group)
    segments_at_rest(box)
    box.write(b"in a recycled segment")
    box.close()
    done = set(files.done)
    assert {what for thread, what in done if thread == "wheeld-journal"} == {"write"}
    assert {what for thread, what in done if thread == "wheeld-segments"} == {"allocate", "zeroes", "rename", "unlink"}


def test_groups_do_not_wait_for_a_segment_that_is_made_or_removed_beside(tmp_path: Path) -> None:
    files = WatchedFiles()
    box = Box(tmp_path / "journal", ops=files)
    segments_at_rest(box)
    for _ in range(5):
        box.write(os.urandom(group_bytes_max(SEGMENT_BYTES)))
    segments_at_rest(box)
    ready = len(box.journal._segments.ready)
    assert ready >= 2, "a busy journal has more than one made ahead"
    files.gate.clear()
    for _ in range(ready):
        box.journal.release(box.journal.last_group)
        box.write(os.urandom(group_bytes_max(SEGMENT_BYTES)))
    box.journal.append(box.journal.last_group + 1, os.urandom(group_bytes_max(SEGMENT_BYTES)), 1)
    assert box.events.empty(), "the next group needs a segment, and none is left"
    files.gate.set()
    box.wait(6 + ready)
    box.close()


def test_a_full_disk_is_told_a_segment_ahead_and_releases_let_groups_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wheeld.journal.supply.SPACE_RETRY_S", 0.01)
    files = FaultyFiles()
    files.allocate_full = False
    box = Box(tmp_path / "journal", ops=files)
    wait_until_ready(box)
    files.allocate_full = True
    fitting = SEGMENT_BYTES // BLOCK_BYTES - 1  # groups of one block in a segment, its header apart
    for _ in range(fitting + 1):
        box.write(bytes(4000))
    assert box.space.get(timeout=60) is True, "told when the second segment was begun, not when it is full"
    assert box.journal.free_space_low
    for _ in range(fitting - 1):
        box.write(bytes(4000))
    last = box.journal.last_group
    box.journal.append(last + 1, b"waits", 1)
    while not box.journal.stalled:
        os.sched_yield()
    assert box.events.empty()
    box.journal.release(last)
    box.wait(last + 1)
    assert box.space.get(timeout=60) is False
    assert not box.journal.stalled
    box.close()
    assert read_groups(tmp_path / "journal", last + 1, after=last) == {last + 1: b"waits"}


def test_groups_go_on_by_themselves_once_the_disk_has_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wheeld.journal.supply.SPACE_RETRY_S", 0.01)
    files = FaultyFiles()
    box = Box(tmp_path / "journal", ops=files)
    wait_until_ready(box)
    files.allocate_full = True
    for _ in range(2):
        box.write(bytes(group_bytes_max(SEGMENT_BYTES)))
    box.journal.append(3, b"waits", 1)
    while not box.journal.stalled:
        os.sched_yield()
    files.allocate_full = False
    box.wait(3)
    assert not box.journal.stalled
    box.close()
    assert not (tmp_path / "journal" / "segment.new").exists()


class UnrenamableFiles(SystemFiles):
    """The directory has no room for a new name, a few times."""

    def __init__(self) -> None:
        self.refusals = 2

    def rename(self, source: Path, target: Path) -> None:
        if threading.current_thread().name == "wheeld-segments" and self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().rename(source, target)


def test_a_segment_that_finds_no_room_for_its_name_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wheeld.journal.supply.SPACE_RETRY_S", 0.01)
    files = UnrenamableFiles()
    box = Box(tmp_path / "journal", ops=files)
    for _ in range(3):
        box.write(bytes(group_bytes_max(SEGMENT_BYTES)))
    assert not files.refusals
    box.close()


def test_a_file_that_the_disk_cannot_hold_takes_nothing_of_it(tmp_path: Path) -> None:
    files = SystemFiles()
    fd = files.open(tmp_path / "file", create=True)
    with pytest.raises(OSError, match="No space left"):
        files.allocate(fd, 1 << 50)
    assert os.fstat(fd).st_blocks == 0
    files.close(fd)


def test_closing_while_groups_wait_for_space_says_that_they_are_lost(tmp_path: Path) -> None:
    files = FaultyFiles()
    box = Box(tmp_path / "journal", ops=files)
    wait_until_ready(box)
    files.allocate_full = True
    for _ in range(2):
        box.write(bytes(group_bytes_max(SEGMENT_BYTES)))
    box.journal.append(3, b"waits", 1)
    box.close()
    with pytest.raises(JournalFailedError, match="waited for disk space"):
        box.wait(3)
    Box(tmp_path / "journal").close()


class UnclosableFiles(SystemFiles):
    """The last segment's descriptor goes away, and the disk complains about it."""

    def close(self, fd: int) -> None:
        super().close(fd)
        if threading.current_thread().name == "wheeld-journal":
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_closing_ends_both_threads_whatever_the_disk_says(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal", ops=UnclosableFiles())
    closing = threading.Thread(target=box.close, daemon=True)
    closing.start()
    closing.join(timeout=60)
    assert not closing.is_alive()
