"""The spec record: what a client said of a job, in the one layout that codec, entries, memory and LMDB share.

Version 1, little endian, 56 fixed bytes, then `queue path | type | key | routing key | labels | trace | payload`:

    0 u8 version   1 u8 flags   2 u8 priority   3 u8 queue_len   4 u8 type_len   5 u8 key_len   6 u16 labels_len
    8 u64 schedule_ms   16 u64 create_ms   24 u64 expire_ms (0: never)
    32 u32 payload_len   36 u16 max_attempts   38 u16 backoff_percent
    40 u32 backoff_initial_ms   44 u32 backoff_max_ms   48 u32 lease_ms (0: the worker's wish, or the default)
    52 u8 jitter_percent   53 u8 trace_len   54 u16 routing_len

The codec fills it from a request with DELAY / EXPIRE_AFTER set where times are relative and `schedule_ms = 0` for
"now"; the core
resolves them at its decision (and clears the flags), writes `create_ms`, and copies the record as it is from there on.
Invariant: `spec_size` of a record equals its length. A new field means a new version; records of an old one stay
readable.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from wheeld.model import limits

SPEC_VERSION = 1
SPEC_HEAD = struct.Struct("<BBBBBBHQQQIHHIIIBBH")
assert SPEC_HEAD.size == 56

FLAG_DELAY = 1
"""`schedule_ms` is a delay from the moment of decision. Only in requests."""
FLAG_EXPIRE_AFTER = 2
"""`expire_ms` counts from the resolved schedule time. Only in requests."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A decoded spec record. `queue` is `namespace/queue`; `labels` and `payload` are opaque bytes here."""

    queue: bytes
    type: bytes = b""
    payload: bytes = b""
    key: bytes = b""
    routing_key: bytes = b""
    labels: bytes = b""
    trace: bytes = b""
    flags: int = 0
    priority: int = limits.PRIORITY_DEFAULT
    schedule_ms: int = 0
    create_ms: int = 0
    expire_ms: int = 0
    max_attempts: int = limits.ATTEMPTS_DEFAULT
    backoff_percent: int = limits.BACKOFF_PERCENT_DEFAULT
    backoff_initial_ms: int = limits.BACKOFF_INITIAL_MS_DEFAULT
    backoff_max_ms: int = limits.BACKOFF_MS_MAX_DEFAULT
    jitter_percent: int = limits.BACKOFF_JITTER_PERCENT_DEFAULT
    lease_ms: int = 0

    def pack(self) -> bytes:
        """The record's bytes."""
        head = SPEC_HEAD.pack(
            SPEC_VERSION,
            self.flags,
            self.priority,
            len(self.queue),
            len(self.type),
            len(self.key),
            len(self.labels),
            self.schedule_ms,
            self.create_ms,
            self.expire_ms,
            len(self.payload),
            self.max_attempts,
            self.backoff_percent,
            self.backoff_initial_ms,
            self.backoff_max_ms,
            self.lease_ms,
            self.jitter_percent,
            len(self.trace),
            len(self.routing_key),
        )
        parts = (head, self.queue, self.type, self.key, self.routing_key, self.labels, self.trace, self.payload)
        return b"".join(parts)

    def at(self, **changes: int) -> Spec:
        """The same spec with other numbers."""
        return replace(self, **changes)  # type: ignore[arg-type]


def unpack_spec(record: bytes | memoryview) -> Spec:
    """The spec in a record. ValueError when the version is unknown or the lengths do not add up."""
    if len(record) < SPEC_HEAD.size or record[0] != SPEC_VERSION:
        raise ValueError(
            f"spec record of {len(record)} bytes, version {record[0] if len(record) else None}: not readable"
        )
    head = SPEC_HEAD.unpack_from(record)
    _, flags, priority, queue_len, type_len, key_len, labels_len, schedule_ms, create_ms = head[:9]
    expire_ms, payload_len = head[9:11]
    (max_attempts, percent, initial_ms, max_ms, lease_ms, jitter, trace_len, routing_len) = head[11:]
    at = SPEC_HEAD.size
    parts: list[bytes] = []
    for length in (queue_len, type_len, key_len, routing_len, labels_len, trace_len, payload_len):
        parts.append(bytes(record[at : at + length]))
        at += length
    if at != len(record):
        raise ValueError(f"spec record of {len(record)} bytes says that it has {at}")
    queue, kind, key, routing_key, labels, trace, payload = parts
    return Spec(
        queue,
        kind,
        payload,
        key,
        routing_key,
        labels,
        trace,
        flags,
        priority,
        schedule_ms,
        create_ms,
        expire_ms,
        max_attempts,
        percent,
        initial_ms,
        max_ms,
        jitter,
        lease_ms,
    )


def pack_labels(labels: dict[str, str]) -> bytes:
    """Labels, sorted by key: `u8 key_len | key | u8 value_len | value` each, UTF-8."""
    parts = []
    for key in sorted(labels):
        raw_key, raw_value = key.encode(), labels[key].encode()
        parts.append(bytes((len(raw_key),)) + raw_key + bytes((len(raw_value),)) + raw_value)
    return b"".join(parts)


def unpack_labels(block: bytes) -> dict[str, str]:
    """The labels in a block made by `pack_labels`."""
    labels: dict[str, str] = {}
    at = 0
    while at < len(block):
        key_end = at + 1 + block[at]
        value_end = key_end + 1 + block[key_end]
        labels[block[at + 1 : key_end].decode()] = block[key_end + 1 : value_end].decode()
        at = value_end
    return labels
