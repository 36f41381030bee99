"""What tests of the core share: batches as the codec packs them, and readers of what the core answers."""

from __future__ import annotations

from wheeld.core.api import CoreConfig
from wheeld.model import batch as packed
from wheeld.model.spec import Spec

START_MS = 1_700_000_000_000
BOOT_MS = 5_000_000
FAR_MS = START_MS + 10**12
CONFIG = CoreConfig(store_uuid=bytes(range(16)), shards=4, bucket_width_ms=10_000)
TOP_ID = b"\xff" * 16


def submit_batch(
    specs: list[Spec | bytes], batch_no: int = 0, session: bytes = packed.NO_SESSION, content: int = 0
) -> bytes:
    """A submit batch; an item of bytes is two numbers: the code and field with which the codec refused it."""
    parts = [packed.SUBMIT_HEAD.pack(len(specs), 0, batch_no, session, content)]
    for spec in specs:
        if isinstance(spec, bytes):
            parts.append(packed.ITEM_HEAD.pack(0, spec[0], spec[1], 0))
        else:
            record = spec.pack()
            parts.append(packed.ITEM_HEAD.pack(len(record), 0, 0, 0) + record)
    return b"".join(parts)


def submitted(records: bytes) -> list[tuple[int, int, int, bytes]]:
    """(code, field, flags, id) of each item."""
    return [(code, field, flags, job) for code, field, flags, _, _, job in packed.SUBMIT_RESULT.iter_unpack(records)]


def settle_item(
    op: int, token: tuple[bytes, int], *, flags: int = 0, delay_ms: int = packed.NO_DELAY, extend_ms: int = 0,
    receive_us: int = 0, error: bytes = b"", result: bytes = b"",
) -> bytes:  # fmt: skip
    """One item of a settle batch; `token` is (job id, fencing)."""
    head = packed.SETTLE_HEAD.pack(
        op, flags, len(error), len(result), delay_ms, extend_ms, token[1], token[0], receive_us
    )
    return head + error + result


def settle_batch(items: list[bytes]) -> bytes:
    """A settle batch."""
    return packed.SETTLE_BATCH_HEAD.pack(len(items), 0) + b"".join(items)


def settled(records: bytes) -> list[tuple[int, int, int, int, int]]:
    """(op, code, flags, state after, lease expiry) of each item."""
    return [(op, code, flags, after, at) for op, code, flags, after, _, at in packed.SETTLE_RESULT.iter_unpack(records)]


def granted(data: bytes) -> list[tuple[bytes, int, int]]:
    """(job id, fencing, attempt) of each lease in a frame."""
    found, at = [], 0
    while at < len(data):
        length, job_id, fencing, _, _, _, attempt, _, _ = packed.GRANT_HEAD.unpack_from(data, at)
        found.append((job_id, fencing, attempt))
        at += 4 + length
    return found
