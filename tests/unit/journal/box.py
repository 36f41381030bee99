"""A journal in a box: appends and waits, with a disk that fails or loses power on request.

Owns nothing that the product uses. A crash is a write of which an arbitrary part of the 512-byte sectors arrived.
"""

from __future__ import annotations

import errno
import os
import queue
import random
from collections.abc import Sequence
from pathlib import Path

from wheeld.journal.files import SystemFiles
from wheeld.journal.format import BLOCK_BYTES
from wheeld.journal.journal import Journal
from wheeld.journal.reader import JournalReader

STORE = bytes(range(16))
SECTOR = 512
SEGMENT_BYTES = 16 * BLOCK_BYTES


class Box:
    """An open journal whose hooks feed a queue."""

    def __init__(self, directory: Path, *, segment_bytes: int = SEGMENT_BYTES, ops: SystemFiles | None = None) -> None:
        self.events: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self.space: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.directory = directory
        self.journal = Journal.open(
            directory,
            STORE,
            segment_bytes=segment_bytes,
            on_durable=self.events.put,
            on_failure=self.events.put,
            on_space_low=self.space.put,
            ops=ops,
        )

    def write(self, payload: bytes, time_ms: int = 1) -> int:
        """Append one group and wait until it is durable; raises what on_failure got."""
        number = self.journal.last_group + 1
        self.journal.append(number, payload, time_ms)
        self.wait(number)
        return number

    def wait(self, number: int) -> None:
        """Wait for the next event, which must be this group's."""
        event = self.events.get(timeout=60)
        if isinstance(event, BaseException):
            raise event
        assert event == number

    def close(self) -> None:
        self.journal.close()


def read_groups(directory: Path, up_to: int, after: int = 0) -> dict[int, bytes]:
    """The payloads behind group `after`, as a reader sees them."""
    with JournalReader(directory, STORE, after_group=after) as reader:
        return {group.number: bytes(group.payload) for group in reader.read(up_to)}


def build(directory: Path, payloads: Sequence[bytes], segment_bytes: int = SEGMENT_BYTES) -> Path:
    """A closed journal with these groups; returns its only or last begun segment."""
    box = Box(directory, segment_bytes=segment_bytes)
    for payload in payloads:
        box.write(payload)
    path = sorted(directory.glob("segment-*.journal"))
    current = box.journal._segments.current.path
    box.close()
    assert current in path
    return current


class FaultyFiles(SystemFiles):
    """Real files; each list holds what to raise for the next calls (None: go ahead). Remembers the writes."""

    def __init__(self) -> None:
        self.write_errors: list[int | None] = []
        self.allocate_full = False
        self.written: list[tuple[int, bytes]] = []

    def write_synced(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        self.written.append((offset, b"".join(parts)))
        error = self.write_errors.pop(0) if self.write_errors else None
        if error is not None:
            raise OSError(error, os.strerror(error))
        return super().write_synced(fd, parts, offset)

    def allocate(self, fd: int, size: int) -> None:
        if self.allocate_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().allocate(fd, size)


class PowerCutError(Exception):
    """The machine is off."""


class CrashingFiles(SystemFiles):
    """Loses power at the n-th change to the disk; what a write was doing then arrives in part, by sectors."""

    def __init__(self, chance: random.Random, changes_left: int) -> None:
        self._chance = chance
        self._changes_left = changes_left
        self.off = False

    def _change(self) -> bool:
        """Whether this change still happens whole."""
        if self.off:
            raise PowerCutError
        self._changes_left -= 1
        self.off = self._changes_left < 0
        return not self.off

    def write_synced(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        if self._change():
            return super().write_synced(fd, parts, offset)
        data = b"".join(bytes(part) for part in parts)
        kept_share = self._chance.choice([0.0, 0.5, 0.9, 1.0])
        for at in range(0, len(data), SECTOR):
            if self._chance.random() < kept_share:
                os.pwrite(fd, data[at : at + SECTOR], offset + at)
        raise PowerCutError

    def allocate(self, fd: int, size: int) -> None:
        if not self._change():
            raise PowerCutError
        super().allocate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        happens = self._change() or self._chance.random() < 0.5
        if happens:
            super().rename(source, target)
        if self.off:
            raise PowerCutError

    def unlink(self, path: Path) -> None:
        happens = self._change() or self._chance.random() < 0.5
        if happens:
            super().unlink(path)
        if self.off:
            raise PowerCutError


def wait_until_ready(box: Box) -> None:
    """Let the supply finish the next segment."""
    while not box.journal._segments.ready:
        os.sched_yield()


def segments_at_rest(box: Box) -> None:
    """Let the supply do all that there is to do: then no file is renamed or removed until somebody asks for more."""
    segments = box.journal._segments

    def busy() -> bool:
        with segments.changed:
            releasable = len(segments.used) > 1 and segments.used[1].first_group <= min(
                segments._released_up_to + 1, segments._begun_group
            )
            return (
                releasable
                or len(segments.ready) < segments.wanted
                or segments.count != len(list(box.directory.glob("segment-*.journal")))
            )

    while busy():
        os.sched_yield()
