"""Checksums and bytes on disk: test vectors, golden bytes, and the two implementations against each other."""

from __future__ import annotations

import os
import random

import pytest

from wheeld.journal import _journal
from wheeld.journal.format import (
    BLOCK_BYTES,
    HeaderVersionError,
    SegmentHeader,
    decode_header,
    group_bytes_max,
    segment_name,
    segment_number,
)

STORE = bytes(range(16))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x00000000),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_vectors(data: bytes, expected: int) -> None:
    assert _journal.crc32c(data) == expected
    assert _journal.crc32c_portable(data) == expected


def test_crc32c_by_instruction_and_by_table_agree_at_every_alignment(rng: random.Random) -> None:
    data = rng.randbytes(4096)
    for _ in range(500):
        start = rng.randrange(64)
        end = rng.randrange(start, len(data))
        first = _journal.crc32c(memoryview(data)[start:end], 7)
        assert first == _journal.crc32c_portable(memoryview(data)[start:end], 7)
        middle = rng.randint(start, end)
        assert first == _journal.crc32c(data[middle:end], _journal.crc32c(data[start:middle], 7))


def test_golden_bytes_of_a_group() -> None:
    header, crc = _journal.encode_header(b"wheel", 7, 0x01020304, 1_700_000_000_123, STORE)
    assert header.hex() == (
        "57475250" "0100" "0000" + crc.to_bytes(4, "little").hex() + "05000000" "0700000000000000"
        "04030201" "00000000" "7b68e5cf8b010000" "000102030405060708090a0b0c0d0e0f" "0000000000000000"
    )  # fmt: skip
    assert crc == 0x35614C4C
    assert crc == _journal.crc32c(b"wheel", _journal.crc32c(header[:8] + bytes(4) + header[12:]))


def test_golden_bytes_of_a_segment_header() -> None:
    data = SegmentHeader(STORE, 3, 900, 0x0A0B0C0D, 64 * 2**20).encode()
    assert len(data) == 4096
    assert data[:64].hex() == (
        "574a5347" "0100" "0000" + data[8:12].hex() + "00000000" "0300000000000000" "8403000000000000"
        "0d0c0b0a" "00000000" "0000000400000000" "000102030405060708090a0b0c0d0e0f"
    )  # fmt: skip
    assert data[64:] == bytes(4032)
    assert int.from_bytes(data[8:12], "little") == 0xF615EF3A
    assert decode_header(data) == SegmentHeader(STORE, 3, 900, 0x0A0B0C0D, 64 * 2**20)


def test_a_segment_header_with_any_bit_flipped_is_none() -> None:
    data = SegmentHeader(STORE, 3, 900, 5, 8192).encode()
    for bit in [*range(64 * 8), *range(64 * 8, len(data) * 8, 61)]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert decode_header(bytes(flipped)) is None
    assert decode_header(data[:-1]) is None


def test_a_newer_segment_header_is_told_from_a_damaged_one() -> None:
    bare = bytearray(SegmentHeader(STORE, 3, 900, 5, 8192).encode())
    bare[4] = 2
    bare[8:12] = bytes(4)
    bare[8:12] = _journal.crc32c(bytes(bare)).to_bytes(4, "little")
    with pytest.raises(HeaderVersionError, match="version 2"):
        decode_header(bytes(bare))


def test_names_and_sizes() -> None:
    assert segment_number(segment_name(42)) == 42
    for name in ("segment.new", "segment-42.journal", segment_name(1) + ".old", "lock"):
        assert segment_number(name) is None
    assert [_journal.frame_size(length) for length in (0, 4032, 4033)] == [4096, 4096, 8192]
    assert _journal.frame_size(group_bytes_max(65536)) == 65536 - BLOCK_BYTES
    assert _journal.ALIGN == BLOCK_BYTES == 4096


@pytest.mark.parametrize("call_bytes_max", [1, 7, 100, 511])
def test_short_writes_are_continued(tmp_path: os.PathLike[str], call_bytes_max: int) -> None:
    parts = [b"head", b"", bytes(range(256)) * 4, b"tail"]
    fd = os.open(os.path.join(tmp_path, "file"), os.O_RDWR | os.O_CREAT)  # noqa: PTH118
    assert _journal.write_synced(fd, parts, 10, call_bytes_max) > 0
    assert os.pread(fd, 4096, 0) == bytes(10) + b"".join(parts)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        _journal.write_synced(fd, parts, 0)
    with pytest.raises(ValueError, match="too many"):
        _journal.write_synced(fd, [b"x"] * 9, 0)
