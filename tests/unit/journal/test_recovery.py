"""Every way in which the end of a journal can be torn, and every way in which what lies before it can be damaged."""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.unit.journal.box import SEGMENT_BYTES, STORE, Box, FaultyFiles, build, read_groups
from wheeld.journal import _journal
from wheeld.journal.errors import JournalCorruptError, JournalForeignError
from wheeld.journal.format import BLOCK_BYTES, FIRST_GROUP_OFFSET, SEGMENT_HEADER_BYTES, SegmentHeader
from wheeld.journal.recovery import Scan, scan_journal
from wheeld.journal.verify import verify_journal

GROUP_BYTES = 2 * BLOCK_BYTES  # on disk; larger than a page, so that no page holds all of a group
PAYLOADS = [random.Random(number).randbytes(GROUP_BYTES - 64) for number in range(1, 6)]


def offset_of(number: int) -> int:
    return FIRST_GROUP_OFFSET + (number - 1) * GROUP_BYTES


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    return build(tmp_path / "journal", PAYLOADS, SEGMENT_BYTES)


def scan_with(segment: Path, data: bytes | bytearray) -> Scan:
    segment.write_bytes(data)
    return scan_journal(segment.parent, STORE)


def scan_flipped(segment: Path, bit: int) -> Scan:
    """Scan with one bit of the segment flipped, then flip it back."""
    with segment.open("r+b", buffering=0) as file:
        good = os.pread(file.fileno(), 1, bit // 8)
        os.pwrite(file.fileno(), bytes([good[0] ^ 1 << bit % 8]), bit // 8)
        try:
            return scan_journal(segment.parent, STORE)
        finally:
            os.pwrite(file.fileno(), good, bit // 8)


def continues_with(segment: Path, last: int) -> None:
    """Open after the damage, write two groups of another length, and find everything again after another start."""
    box = Box(segment.parent, segment_bytes=SEGMENT_BYTES)
    assert box.journal.last_group == last
    assert segment.stat().st_size == SEGMENT_BYTES, "a segment must not grow later"
    box.write(b"another try")
    box.write(b"and its follower")
    box.close()
    box = Box(segment.parent, segment_bytes=SEGMENT_BYTES)
    assert box.journal.last_group == last + 2
    box.close()
    found = read_groups(segment.parent, last + 2)
    assert found == dict(enumerate([*PAYLOADS[:last], b"another try", b"and its follower"], start=1))
    assert verify_journal(segment.parent).problems == []


def test_the_journal_cut_at_every_byte_of_its_last_group(segment: Path) -> None:
    """What a crash leaves of a write that did not end: the file has its length, the rest was never written."""
    whole = segment.read_bytes()
    start = offset_of(5)
    for cut in reversed(range(start, start + GROUP_BYTES)):
        os.truncate(segment, cut)
        os.truncate(segment, len(whole))
        scan = scan_journal(segment.parent, STORE)
        assert (scan.last_group, scan.tail_offset) == (4, start), cut
    assert scan_with(segment, whole[: start + GROUP_BYTES].ljust(len(whole), b"\0")).last_group == 5


@pytest.mark.parametrize("missing", [1, BLOCK_BYTES, GROUP_BYTES])
def test_a_shorter_file_is_damage(segment: Path, missing: int) -> None:
    """Segments have their length before they are used: a shorter one was cut by hand, and may lack what was
    acknowledged.
    """
    whole = segment.read_bytes()
    with pytest.raises(JournalCorruptError, match=f"has {len(whole) - missing} bytes"):
        scan_with(segment, whole[:-missing])


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 65, 511, 512, 513, 4096, GROUP_BYTES - 1])
def test_a_cut_journal_goes_on_where_the_last_whole_group_ends(segment: Path, kept: int) -> None:
    whole = segment.read_bytes()
    segment.write_bytes(whole[: offset_of(5) + kept].ljust(len(whole), b"\0"))
    continues_with(segment, 4)


@pytest.mark.parametrize("stale", [False, True], ids=["zero", "stale"])
@pytest.mark.parametrize("page_bytes", [512, 4096])
def test_a_lost_page(segment: Path, page_bytes: int, stale: bool) -> None:
    """In the last group it is a torn tail; anywhere before, damage."""
    whole = segment.read_bytes()
    # What a recycled segment held before: whole groups of this store with lower numbers.
    header, _ = _journal.encode_header(PAYLOADS[0], 1, 0, 1, STORE)
    before = bytes(FIRST_GROUP_OFFSET) + (header + PAYLOADS[0]) * 5
    for start in range(0, offset_of(6), page_bytes):
        end = start + page_bytes
        lost = bytearray(whole)
        lost[start:end] = before[start:end] if stale else bytes(end - start)
        damaged = next((at for at in range(start, end) if lost[at] != whole[at]), None)
        if damaged is None:
            continue  # the stale page equals the new one
        if damaged >= offset_of(5):
            assert scan_with(segment, lost).last_group == 4, start
            continue
        with pytest.raises(JournalCorruptError) as caught:
            scan_with(segment, lost)
        if damaged >= FIRST_GROUP_OFFSET:
            assert caught.value.expected_group == (damaged - FIRST_GROUP_OFFSET) // GROUP_BYTES + 1
            assert caught.value.offset == offset_of(caught.value.expected_group)


def blocks_of(data: bytes, what: str, chance: random.Random) -> list[bytes]:
    """For each block of a segment, what stands there when the write of it was lost."""
    if what == "zero":
        return [bytes(BLOCK_BYTES)] * (len(data) // BLOCK_BYTES)
    if what == "torn":  # one half of the block arrived
        return [
            data[at : at + 2048] + bytes(2048) if chance.random() < 0.5 else bytes(2048) + data[at + 2048 : at + 4096]
            for at in range(0, len(data), BLOCK_BYTES)
        ]
    # Stale: the same place of a recycled segment, where every block begins a whole group of a lower number.
    payload = chance.randbytes(BLOCK_BYTES - 64)
    old = SegmentHeader(STORE, 1, 1, 0, len(data)).encode()
    for number in range(1, len(data) // BLOCK_BYTES):
        old += _journal.encode_header(payload, number, 0, 1, STORE)[0] + payload
    return [old[at : at + BLOCK_BYTES] for at in range(0, len(old), BLOCK_BYTES)]


@pytest.mark.parametrize("what", ["zero", "torn", "stale"])
def test_no_lost_block_before_the_last_group_passes_for_a_torn_tail(
    tmp_path: Path, rng: random.Random, what: str
) -> None:
    """Groups of one to four blocks, some of them filled to the last byte; every block of several segments."""
    first = build(tmp_path / "journal", [rng.randbytes(BLOCK_BYTES - 64)] * 20)  # two segments to be recycled
    box = Box(first.parent)
    box.journal.release(20)
    starts: dict[int, tuple[Path, int]] = {}
    for number in range(21, 45):
        full = rng.randint(1, 4) * BLOCK_BYTES - 64
        box.write(rng.randbytes(full - rng.choice([0, 1, 2000, 4031])))
        starts[number] = (box.journal._segments.current.path, box.journal._writer._offset)
    box.close()
    begun = scan_journal(first.parent, STORE).begun
    assert len(begun) >= 4
    last_path, last_end = starts[44]
    border_path, border = starts[43]
    last_start = border if border_path == last_path else FIRST_GROUP_OFFSET
    ends = {path: max(end for at, end in starts.values() if at == path) for path, _ in starts.values()}
    checked = 0
    for path in [found.path for found in begun if found.path in ends]:
        whole = path.read_bytes()
        for index, lost in enumerate(blocks_of(whole[: ends[path]], what, rng)):
            at = index * BLOCK_BYTES
            if lost == whole[at : at + BLOCK_BYTES]:
                continue  # the half that was lost held padding
            path.write_bytes(whole[:at] + lost + whole[at + BLOCK_BYTES :])
            if path == last_path and (at >= last_start or (at == 0 and last_start == FIRST_GROUP_OFFSET)):
                assert scan_journal(first.parent, STORE).last_group == (43 if at else 44), at
            else:
                with pytest.raises(JournalCorruptError):
                    scan_journal(first.parent, STORE)
                checked += 1
        path.write_bytes(whole)
    assert checked > 20
    assert scan_journal(first.parent, STORE).last_group == 44
    assert last_end == ends[last_path]


def test_a_flipped_bit_before_the_last_group_is_damage(segment: Path, rng: random.Random) -> None:
    headers = [offset_of(number) * 8 + bit for number in (1, 3, 4) for bit in range(64 * 8)]
    payloads = [rng.randrange(FIRST_GROUP_OFFSET * 8, offset_of(5) * 8) for _ in range(300)]
    for bit in headers + payloads:
        with pytest.raises(JournalCorruptError) as caught:
            scan_flipped(segment, bit)
        assert caught.value.expected_group == (bit // 8 - FIRST_GROUP_OFFSET) // GROUP_BYTES + 1


def test_a_flipped_bit_in_the_last_group_is_a_torn_tail(segment: Path, rng: random.Random) -> None:
    start = offset_of(5) * 8
    for bit in [*range(start, start + 64 * 8), *(start + rng.randrange(GROUP_BYTES * 8) for _ in range(300))]:
        assert scan_flipped(segment, bit).last_group == 4


def test_the_error_says_where_what_and_what_to_do(segment: Path) -> None:
    lost = bytearray(segment.read_bytes())
    lost[offset_of(2) + 100] ^= 1
    segment.write_bytes(lost)
    with pytest.raises(JournalCorruptError) as caught:
        Box(segment.parent)
    text = str(caught.value)
    assert f"{segment} at byte {offset_of(2)}: expected group 2, found a group with a wrong checksum" in text
    assert f"while group 3 stands in {segment.name} at byte {offset_of(3)}" in text
    assert f"`wheeld store verify {segment.parent.parent}`" in text
    assert segment.read_bytes() == lost, "a refused journal must stay as it was"
    assert verify_journal(segment.parent).problems == [text]


def test_a_retry_of_a_torn_group_hides_no_damage_and_revives_no_leftover(segment: Path) -> None:
    """The long first try of group 5 lost its head; short tries follow over its leftovers."""
    lost = bytearray(segment.read_bytes())
    lost[offset_of(5) : offset_of(5) + 512] = bytes(512)
    segment.write_bytes(lost)
    continues_with(segment, 4)


def test_leftovers_that_are_whole_groups_with_old_numbers_are_not_damage(segment: Path) -> None:
    data = bytearray(segment.read_bytes())
    header, _ = _journal.encode_header(PAYLOADS[2], 3, 0, 1, STORE)
    data[offset_of(6) : offset_of(7)] = header + PAYLOADS[2]
    assert scan_with(segment, data).last_group == 5


def test_a_group_behind_another_predecessor_is_not_taken(segment: Path) -> None:
    data = bytearray(segment.read_bytes())
    header, _ = _journal.encode_header(PAYLOADS[4], 5, 12345, 1, STORE)
    data[offset_of(5) : offset_of(6)] = header + PAYLOADS[4]
    scan = scan_with(segment, data)
    assert (scan.last_group, scan.tail_found) == (4, "a group behind another predecessor")


def test_a_whole_group_of_a_newer_version_refuses_to_start(segment: Path) -> None:
    data = bytearray(segment.read_bytes())
    header = bytearray(data[offset_of(5) : offset_of(5) + 64])
    header[4] = 2
    header[8:12] = bytes(4)
    header[8:12] = _journal.crc32c(PAYLOADS[4], _journal.crc32c(bytes(header))).to_bytes(4, "little")
    data[offset_of(5) : offset_of(5) + 64] = header
    with pytest.raises(JournalForeignError, match="newer format version"):
        scan_with(segment, data)


def test_a_start_makes_durable_what_may_stand_in_the_page_cache_only(segment: Path) -> None:
    """A process killed between write and sync leaves a whole group that the next power cut would take away."""
    data = bytearray(segment.read_bytes())
    data[offset_of(6) : offset_of(6) + BLOCK_BYTES] = b"t" * BLOCK_BYTES
    segment.write_bytes(data)
    files = FaultyFiles()
    Box(segment.parent, segment_bytes=SEGMENT_BYTES, ops=files).close()
    assert (0, bytes(data[:SEGMENT_HEADER_BYTES])) in files.written
    assert (offset_of(5), bytes(data[offset_of(5) : offset_of(6)]) + bytes(BLOCK_BYTES)) in files.written
    files.write_errors = [errno.EIO]
    with pytest.raises(OSError, match="Input/output error"):
        Box(segment.parent, segment_bytes=SEGMENT_BYTES, ops=files)


def test_the_journal_of_another_store_is_refused(segment: Path) -> None:
    with pytest.raises(JournalForeignError, match=STORE.hex()):
        scan_journal(segment.parent, bytes(16))


def lose_header(path: Path) -> None:
    path.write_bytes(bytes(SEGMENT_HEADER_BYTES) + path.read_bytes()[SEGMENT_HEADER_BYTES:])


LENGTH = 4 * BLOCK_BYTES - 64  # payload bytes of a group of four blocks


class TestSeveralSegments:
    """Damage that shows only between segments. Each segment holds three groups."""

    @pytest.fixture
    def journal(self, tmp_path: Path) -> Path:
        build(tmp_path / "journal", [bytes([number]) * LENGTH for number in range(1, 9)])
        return tmp_path / "journal"

    def paths(self, journal: Path) -> list[Path]:
        return sorted(journal.glob("segment-*.journal"))

    def test_all_is_found(self, journal: Path) -> None:
        scan = scan_journal(journal, STORE)
        assert ([found.number for found in scan.begun], scan.last_group) == ([1, 2, 3], 8)

    def test_a_missing_segment_is_damage(self, journal: Path) -> None:
        self.paths(journal)[1].unlink()
        with pytest.raises(JournalCorruptError, match="no such file") as caught:
            scan_journal(journal, STORE)
        assert caught.value.path == journal / "segment-0000000000000002.journal"

    def test_the_end_of_a_middle_segment_is_no_tail(self, journal: Path) -> None:
        path = self.paths(journal)[1]
        data = bytearray(path.read_bytes())
        data[FIRST_GROUP_OFFSET + 2 * 4 * BLOCK_BYTES + 100] ^= 1
        path.write_bytes(data)
        with pytest.raises(JournalCorruptError, match="begins with group 7") as caught:
            scan_journal(journal, STORE)
        assert (caught.value.path, caught.value.expected_group) == (path, 6)

    def test_a_lost_header_before_more_than_one_group_is_damage(self, journal: Path) -> None:
        path = self.paths(journal)[2]
        lose_header(path)
        with pytest.raises(JournalCorruptError, match="no whole segment header before group 8"):
            scan_journal(journal, STORE)

    def test_a_lost_header_of_an_earlier_segment_is_damage(self, journal: Path) -> None:
        path = self.paths(journal)[0]
        lose_header(path)
        with pytest.raises(JournalCorruptError, match="no whole segment header") as caught:
            scan_journal(journal, STORE)
        assert caught.value.path == path

    def test_a_write_that_lost_only_the_new_header_is_taken_whole(self, journal: Path) -> None:
        path = self.paths(journal)[2]
        data = path.read_bytes()
        first = data[FIRST_GROUP_OFFSET : FIRST_GROUP_OFFSET + 4 * BLOCK_BYTES]
        path.write_bytes((bytes(FIRST_GROUP_OFFSET) + first).ljust(len(data), b"\0"))
        box = Box(journal)
        assert box.journal.last_group == 7
        box.write(b"next")
        box.close()
        assert read_groups(journal, 8, after=6) == {7: bytes([7]) * LENGTH, 8: b"next"}

    def test_a_torn_first_group_of_a_segment_leaves_the_segment_begun(self, journal: Path) -> None:
        path = self.paths(journal)[2]
        data = path.read_bytes()
        path.write_bytes(data[:SEGMENT_HEADER_BYTES].ljust(len(data), b"\0"))
        box = Box(journal)
        assert box.journal.last_group == 6
        box.write(b"again")
        box.close()
        assert read_groups(journal, 7, after=5) == {6: bytes([6]) * LENGTH, 7: b"again"}

    def test_every_segment_without_a_header_is_damage_not_an_empty_journal(self, journal: Path) -> None:
        for path in self.paths(journal):
            lose_header(path)
        with pytest.raises(JournalCorruptError):
            scan_journal(journal, STORE)

    def test_another_segment_size_is_taken_up_from_the_next_segment_on(self, journal: Path) -> None:
        box = Box(journal, segment_bytes=SEGMENT_BYTES // 2)
        for _ in range(6):
            box.write(bytes(LENGTH))
        box.close()
        assert scan_journal(journal, STORE).last_group == 14
        assert {path.stat().st_size for path in self.paths(journal)} == {SEGMENT_BYTES, SEGMENT_BYTES // 2}


def test_verify_reports_an_empty_and_a_sound_journal(tmp_path: Path, segment: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert verify_journal(tmp_path / "empty").last_group == 0
    shutil.copytree(segment.parent, tmp_path / "copy")
    report = verify_journal(tmp_path / "copy")
    assert (report.first_group, report.last_group, report.problems, report.store_uuid) == (1, 5, [], STORE)
    assert report.bytes == report.segments * SEGMENT_BYTES
    assert report.tail == f"{segment.name} at byte {offset_of(6)}: no group"
