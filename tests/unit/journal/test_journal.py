"""The journal as its owner sees it: order, bounds, recycling, and disks that fail."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.journal.box import SEGMENT_BYTES, STORE, Box, FaultyFiles, read_groups, wait_until_ready
from wheeld.journal import journal as journal_module
from wheeld.journal.errors import (
    JournalBacklogError,
    JournalClosedError,
    JournalCorruptError,
    JournalFailedError,
    JournalGapError,
)
from wheeld.journal.format import BLOCK_BYTES, FIRST_GROUP_OFFSET, group_bytes_max
from wheeld.journal.reader import JournalReader
from wheeld.model import limits


def test_groups_become_durable_in_order_and_are_there_after_a_restart(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal")
    assert box.journal.last_group == 0
    for number in range(1, 30):
        box.journal.append(number, b"%d" % number * 40, time_ms=1000 + number)
    for number in range(1, 30):
        box.wait(number)
    assert box.journal.queued_bytes == 0
    assert box.journal.sync_ms_recent(0.5) <= box.journal.sync_ms_recent(1.0)
    assert box.journal.sync_ms_recent(0.5) > 0
    box.close()
    box = Box(tmp_path / "journal")
    assert box.journal.last_group == 29
    box.write(b"after")
    with JournalReader(tmp_path / "journal", STORE, after_group=28) as reader:
        groups = [(group.number, group.time_ms, bytes(group.payload)) for group in reader.read(30)]
    assert groups == [(29, 1029, b"29" * 40), (30, 1, b"after")]
    box.close()


def test_close_writes_what_is_queued_and_may_be_repeated(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal")
    for number in range(1, 11):
        box.journal.append(number, bytes(100), 1)
    box.close()
    box.close()
    assert box.journal.last_group == 10
    with pytest.raises(JournalClosedError):
        box.journal.append(11, b"", 1)


def test_misuse_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(tmp_path / "journal")
    with pytest.raises(ValueError, match="cannot follow"):
        box.journal.append(2, b"", 1)
    with pytest.raises(ValueError, match="does not fit"):
        box.journal.append(1, bytes(group_bytes_max(SEGMENT_BYTES) + 1), 1)
    with pytest.raises(ValueError, match="not durable"):
        box.journal.release(1)
    monkeypatch.setattr(limits, "JOURNAL_QUEUED_BYTES_MAX", 99)
    with pytest.raises(JournalBacklogError):
        box.journal.append(1, bytes(100), 1)
    box.write(bytes(99))
    box.close()
    with pytest.raises(ValueError, match="multiple of 4096"):
        Box(tmp_path / "journal", segment_bytes=SEGMENT_BYTES - 512)


def test_a_reader_follows_through_recycled_segments(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal")
    reader = JournalReader(tmp_path / "journal", STORE)
    kept = []
    for number in range(1, 120):
        box.write(b"%d" % number * (number * 77 % 9000))
        if number % 7 == 0:
            kept += list(reader.read(number))
            assert reader.position == number
            box.journal.release(number)
    kept += list(reader.read(119))
    assert [bytes(group.payload) for group in kept] == [
        b"%d" % number * (number * 77 % 9000) for number in range(1, 120)
    ]
    assert list(reader.read(119)) == []
    with pytest.raises(JournalGapError, match="does not hold group 1 any more"):
        read_groups(tmp_path / "journal", 119)
    reader.close()
    box.close()


def test_a_reader_takes_groups_larger_than_its_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wheeld.journal.reader.WINDOW_BYTES", 1024)
    payloads = [os.urandom(size) for size in (10, 5000, 959, 960, 961, 60_000, 0)]
    box = Box(tmp_path / "journal")
    for payload in payloads:
        box.write(payload)
    assert list(read_groups(tmp_path / "journal", len(payloads)).values()) == payloads
    box.close()


def test_a_reader_in_another_process_follows_the_writer(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal", segment_bytes=8 * SEGMENT_BYTES)
    program = (
        "import sys\nfrom pathlib import Path\nfrom wheeld.journal._journal import crc32c\n"
        "from wheeld.journal.reader import JournalReader\n"
        f"reader, crc = JournalReader(Path({str(tmp_path / 'journal')!r}), {STORE!r}), 0\n"
        "for line in sys.stdin:\n"
        "    for group in reader.read(int(line)):\n        crc = crc32c(group.payload, crc)\n"
        "    print(reader.position, crc, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    crc = 0
    for number in range(1, 61):
        payload = os.urandom(number * 1200)
        crc = journal_module_crc(payload, crc)
        box.write(payload)
        if number % 3 == 0:
            child.stdin.write(f"{number}\n")
            child.stdin.flush()
            assert child.stdout.readline().split() == [str(number), str(crc)]
            box.journal.release(number)
    child.stdin.close()
    assert child.wait() == 0
    child.stdout.close()
    box.close()


def journal_module_crc(payload: bytes, seed: int) -> int:
    from wheeld.journal._journal import crc32c

    return crc32c(payload, seed)


def test_a_reader_refuses_damage_and_positions_that_do_not_exist(tmp_path: Path) -> None:
    box = Box(tmp_path / "journal")
    for _ in range(3):
        box.write(bytes(100))
    box.close()
    with pytest.raises(JournalGapError, match="no group 4 on the way to group 10"):
        read_groups(tmp_path / "journal", 10, after=9)
    path = tmp_path / "journal" / "segment-0000000000000001.journal"
    data = bytearray(path.read_bytes())
    data[FIRST_GROUP_OFFSET + BLOCK_BYTES + 70] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalCorruptError, match="expected group 2, found a group with a wrong checksum"):
        read_groups(tmp_path / "journal", 3)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_ends_the_journal_and_is_not_tried_again(tmp_path: Path, error: int) -> None:
    files = FaultyFiles()
    box = Box(tmp_path / "journal", ops=files)
    wait_until_ready(box)
    box.write(b"good")
    before = len(files.written)
    files.write_errors = [error]
    for number in (2, 3, 4):
        box.journal.append(number, b"bad", 1)
    with pytest.raises(JournalFailedError) as caught:
        box.wait(2)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == error
    box.close()
    assert len(files.written) == before + 1
    assert box.events.empty(), "on_failure is called once"
    assert box.journal.last_group == 1
    for refused in (lambda: box.journal.append(5, b"", 1), lambda: box.journal.release(1)):
        with pytest.raises(JournalFailedError):
            refused()


def test_a_failed_sync_while_a_segment_is_made_ready_ends_the_journal(tmp_path: Path) -> None:
    files = FaultyFiles()
    files.write_errors = [None, None, errno.EIO]  # zeroes and header of the first segment, then the next one's zeroes
    box = Box(tmp_path / "journal", ops=files)
    with pytest.raises(JournalFailedError, match="Input/output error"):
        box.wait(1)
    box.close()


def test_a_hook_that_raises_ends_the_journal(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def refuse(_: int) -> None:
        raise RuntimeError("the loop is closed")

    journal = journal_module.Journal.open(
        tmp_path / "journal", STORE, segment_bytes=SEGMENT_BYTES, on_durable=refuse, on_failure=failures.append
    )
    journal.append(1, b"", 1)
    journal.close()
    assert [str(failure.__cause__) for failure in failures] == ["the loop is closed"]


def test_the_kernel_cutting_a_write_short_is_a_failure(tmp_path: Path) -> None:
    """A file size limit makes the kernel write a part and refuse the rest; the limit is per process."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.unit.journal.box import Box\nimport resource\n"
        f"box = Box(Path({str(tmp_path / 'journal')!r}))\nbox.write(b'good')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "try:\n    box.write(b'x' * 10_000)\n"
        "except Exception as error:\n    print(type(error).__name__, error)\nbox.close()\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "JournalFailedError" in done.stdout
    assert "File too large" in done.stdout
    box = Box(tmp_path / "journal")
    assert box.journal.last_group == 1
    box.close()
