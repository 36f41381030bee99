"""Corners of the wire format, where one's own parser goes wrong: the native codec agrees with the generated classes."""

from __future__ import annotations

import pytest

from wheeld.wire import codec
from wheeld.wire.codec import SettleKind, SubmitKind

NATIVE = codec.native_codec()
REFERENCE = codec.reference_codec()


def check_submit(kind: int, message: bytes) -> None:
    assert NATIVE.decode_submit(message, kind) == REFERENCE.decode_submit(message, kind)


def check_settle(kind: int, message: bytes) -> None:
    assert NATIVE.decode_settle(message, kind) == REFERENCE.decode_settle(message, kind)


def nested(depth: int) -> bytes:
    return b"\xa3\x06" * depth + b"\xa4\x06" * depth


def wrapped(*tags: bytes, inside: bytes) -> bytes:
    for tag in reversed(tags):
        length = len(inside)
        inside = tag + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + inside
    return inside


@pytest.mark.parametrize("depth", range(94, 103))
@pytest.mark.parametrize("path", [(), (b"\x1a",), (b"\x1a", b"\x5a"), (b"\x1a", b"\x3a"), (b"\x1a", b"\x5a", b"\x12")])
def test_depth_of_unknown_groups(depth: int, path: tuple[bytes, ...]) -> None:
    check_submit(SubmitKind.BATCH, wrapped(*path, inside=nested(depth)))


@pytest.mark.parametrize("depth", range(94, 103))
@pytest.mark.parametrize(
    "path", [(b"\x1a",), (b"\x1a", b"\x0a"), (b"\x1a", b"\x12", b"\x1a"), (b"\x22",), (b"\x22", b"\x12")]
)
def test_depth_of_unknown_groups_in_settles(depth: int, path: tuple[bytes, ...]) -> None:
    check_settle(SettleKind.STREAM, wrapped(*path, inside=nested(depth)))


VARINTS = [
    b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x02",
    b"\xff" * 9 + b"\x7f",
    b"\xff" * 10 + b"\x01",
    b"\x80\x00",
    b"\x80" * 9 + b"\x00",
    b"\xff",
]


@pytest.mark.parametrize("number", VARINTS)
@pytest.mark.parametrize(
    "tag",
    [
        b"\x10",
        b"\x90\x00",
        b"\x90\x80\x80\x80\x00",
        b"\x90\x80\x80\x80\x80\x00",
        b"\xa0\x06",
        b"\xf8\xff\xff\xff\x0f",
        b"\xf8\xff\xff\xff\x1f",
        b"\x00",
        b"\x0e",
    ],
)
def test_odd_tags_and_varints(tag: bytes, number: bytes) -> None:
    check_submit(SubmitKind.BATCH, tag + number)


@pytest.mark.parametrize(
    "length", [b"\x81" + b"\x80" * n + b"\x00" for n in range(10)] + [b"\xff\xff\xff\xff\x07", b"\x81\x80\x80\x80\x10"]
)
def test_odd_lengths(length: bytes) -> None:
    check_submit(SubmitKind.BATCH, b"\x0a" + length + b"x")


@pytest.mark.parametrize(
    "text",
    [
        b"\xed\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xc2\x80",
        b"\xe0\x9f\xbf",
        b"\xe0\xa0\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xc2",
        b"a" * 7 + b"\xff",
        b"a" * 8 + b"\xc3\xa9" + b"a" * 9,
        b"\x80",
    ],
)
def test_utf8(text: bytes) -> None:
    check_submit(SubmitKind.BATCH, b"\x0a" + bytes([len(text)]) + text)


@pytest.mark.parametrize(
    "job",
    [
        b"\x22\x02\x08\x05\x22\x02\x10\x05",  # the same member of the oneof twice: merged
        b"\x22\x02\x08\x05\x2a\x02\x08\x05\x22\x02\x10\x05",  # another in between: begins anew
        b"\x5a\x02\x08\x05\x5a\x04\x12\x02\x08\x01",  # a submessage twice: merged
        b"\x3a\x06\x0a\x01a\x12\x01b\x3a\x06\x0a\x01a\x12\x01c",  # a label twice: the last wins
        b"\x3a\x09\x0a\x01a\x12\x01b\x0a\x01c",  # a key twice in one entry
        b"\x3a\x03\x0a\x01a",  # an entry without a value
        b"\x3a\x08\x0a\x01a\x12\x01b\x18\x05",  # an entry with something else in it
        b"\x30\x85\x80\x80\x80\x10",  # a uint32 of more than 32 bits is cut
        b"\x0d\x00\x00\x00\x00",  # a known number with another wire type is unknown
    ],
)
@pytest.mark.parametrize("kind", [SubmitKind.CREATE, SubmitKind.BATCH])
def test_merging(kind: int, job: bytes) -> None:
    tag = b"\x0a" if kind == SubmitKind.CREATE else b"\x1a"
    job = b"\x12\x01t" + job
    once = tag + bytes([len(job)]) + job
    check_submit(kind, once)
    check_submit(kind, once + once)


def test_members_of_the_oneof_do_not_mix() -> None:
    settle_then_renew = b"\x1a\x00\x22\x00"
    assert NATIVE.peek_stream_request(settle_then_renew) == codec.StreamCase.MALFORMED
    assert NATIVE.decode_settle(settle_then_renew)[0] == 1
