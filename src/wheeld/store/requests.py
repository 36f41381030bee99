"""From a request's bytes to the generator that answers it.

Owns no state. A handler yields chunks of the answer (empty ones mean only that a slice of work is done) and returns
the trailer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Final

import msgspec

from wheeld.model.ids import ID_BYTES
from wheeld.store import frames, lookup, scan
from wheeld.store.api import StoreStats
from wheeld.store.environment import HistoryDays
from wheeld.store.frames import Op
from wheeld.store.layout import MAIN_TABLES
from wheeld.store.snapshot import Snapshot

Answer = Generator[bytes, None, bytes]
Handler = Callable[[Snapshot, HistoryDays, bytes], Answer]


def _checkpoint(_snapshot: Snapshot, _history: HistoryDays, _body: bytes) -> Answer:
    """The position in the answer's head says it all."""
    yield b""
    return b""


def _recover(snapshot: Snapshot, _history: HistoryDays, _body: bytes) -> Answer:
    found = yield from lookup.recovery(snapshot)
    return msgspec.msgpack.encode(found)


def _leases(snapshot: Snapshot, _history: HistoryDays, _body: bytes) -> Answer:
    yield from lookup.leases(snapshot)
    return b""


def _plan(snapshot: Snapshot, _history: HistoryDays, body: bytes) -> Answer:
    due_ms, job_id, until_ms, budget_bytes = frames.PLAN_BODY.unpack(body)
    place = yield from scan.plan(snapshot, (due_ms, job_id), until_ms, budget_bytes)
    return frames.PLACE.pack(*place)


def _scan(snapshot: Snapshot, _history: HistoryDays, body: bytes) -> Answer:
    after_ms, after_id, before_ms, before_id = frames.RANGE_BODY.unpack(body)
    yield from scan.scan(snapshot, (after_ms, after_id), (before_ms, before_id))
    return b""


def _backlog(snapshot: Snapshot, _history: HistoryDays, body: bytes) -> Answer:
    limit_bytes, queue_len = frames.BACKLOG_HEAD.unpack_from(body)
    queue_end = frames.BACKLOG_HEAD.size + queue_len
    next_key, more = yield from lookup.backlog_page(
        snapshot, body[frames.BACKLOG_HEAD.size : queue_end], body[queue_end:], limit_bytes
    )
    return bytes((more,)) + next_key


def _read(snapshot: Snapshot, _history: HistoryDays, body: bytes) -> Answer:
    yield from lookup.read(snapshot, frames.split_fixed(body, ID_BYTES))
    return b""


def _keys(snapshot: Snapshot, _history: HistoryDays, body: bytes) -> Answer:
    yield from lookup.find_keys(snapshot, frames.split_fixed(body, 16))
    return b""


def _attempts(_snapshot: Snapshot, history: HistoryDays, body: bytes) -> Answer:
    # All at once: between slices a day may be removed.
    for finish_ms, outcome in list(lookup.attempts(history, body)):
        yield frames.ATTEMPT_HEAD.pack(len(outcome), finish_ms) + outcome
    return b""


def _stats(snapshot: Snapshot, history: HistoryDays, _body: bytes) -> Answer:
    yield b""
    store = snapshot.store
    disk = os.statvfs(store.directory.path)
    found = StoreStats(
        position=snapshot.position,
        counts={table.name.lower(): snapshot.entries(table) for table in MAIN_TABLES},
        bytes_used=store.bytes_used(),
        bytes_map=store.environment.info()["map_size"],
        history_bytes=sum(history.bytes_of(day) for day in history.days()),
        free_bytes=disk.f_bavail * disk.f_frsize,
    )
    return msgspec.msgpack.encode(found)


HANDLERS: Final[dict[Op, Handler]] = {
    Op.CHECKPOINT: _checkpoint,
    Op.RECOVER: _recover,
    Op.LEASES: _leases,
    Op.PLAN: _plan,
    Op.SCAN: _scan,
    Op.BACKLOG: _backlog,
    Op.READ: _read,
    Op.KEYS: _keys,
    Op.ATTEMPTS: _attempts,
    Op.STATS: _stats,
}
