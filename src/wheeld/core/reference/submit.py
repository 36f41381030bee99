"""Submits: resolve times, find duplicates, name the job, write the entry, keep near jobs.

A batch is decided whole or not at all: when a key must first be looked up in the store, nothing has happened yet.
"""

from __future__ import annotations

from typing import NamedTuple

from wheeld.core.reference.state import KeyRecord, Producer, State
from wheeld.model import errors, limits
from wheeld.model.batch import (
    DONE,
    ITEM_HEAD,
    NEED_KEYS,
    NO_SESSION,
    REFUSED,
    RESULT_DUPLICATE,
    SUBMIT_HEAD,
    SUBMIT_RESULT,
)
from wheeld.model.entry import PRODUCER_BODY, SUBMIT_BODY, TO_BACKLOG, EntryKind
from wheeld.model.ids import NO_ID, pack_id
from wheeld.model.siphash import key_hash, shard_of, siphash128
from wheeld.model.spec import FLAG_DELAY, FLAG_EXPIRE_AFTER, Spec, unpack_spec

NO_HASH = bytes(16)


class Item(NamedTuple):
    """One item of a batch. `code` set: the codec refused it."""

    code: int
    field: int
    record: bytes


class Pass(NamedTuple):
    """How a batch is decided: live at `now_ms`, or the repetition of one decided before (`repeat`), which stages
    nothing.

    The item at position i has the sequence number `first_seq + i`, whether it is used or not: so a repetition names
    the same jobs.
    """

    now_ms: int
    shard: int
    first_seq: int
    repeat: bool


def unpack_items(batch: bytes) -> tuple[int, bytes, int, list[Item]]:
    """(batch number, producer session, content hash, items)."""
    count, _, batch_no, session, content = SUBMIT_HEAD.unpack_from(batch)
    items = []
    at = SUBMIT_HEAD.size
    for _ in range(count):
        length, code, field, _ = ITEM_HEAD.unpack_from(batch, at)
        at += ITEM_HEAD.size
        items.append(Item(code, field, batch[at : at + length]))
        at += length
    return batch_no, session, content, items


def submit(state: State, now_ms: int, batch: bytes) -> tuple[int, int, bytes]:
    """See Core.submit."""
    batch_no, session, content, items = unpack_items(batch)
    wanted = unknown_keys(state, now_ms, items)
    if wanted:
        return NEED_KEYS, 0, b"".join(wanted)
    named = session != NO_SESSION and batch_no != 0
    if named:
        producer = remember_producer(state, session)
        known = producer.batches.get(batch_no)
        if known is not None and known[0] == content:
            _, base_ms, first_seq, _, shard = known
            return decide(state, items, Pass(base_ms, shard, first_seq, repeat=True))
        if known is not None or batch_no + limits.PRODUCER_BATCHES_REMEMBERED <= producer.highest:
            return REFUSED, 0, bytes((errors.BATCH_CONFLICT,))
    first_seq = state.seq
    state.seq += len(items)
    if named:
        stage_producer(state, now_ms, session, batch_no, content, first_seq, len(items))
    return decide(state, items, Pass(now_ms, state.shard, first_seq, repeat=False))


def unknown_keys(state: State, now_ms: int, items: list[Item]) -> list[bytes]:
    """Hashes of keys that only the store can know, each once, in order."""
    if state.keys_complete:
        return []
    wanted: dict[bytes, None] = {}
    for item in items:
        if item.code == 0 and item.record[5]:
            spec = unpack_spec(item.record)
            hashed = key_hash(state.config.store_uuid, spec.queue, spec.key)
            if hashed not in state.keys:
                wanted[hashed] = None
    return list(wanted)


def remember_producer(state: State, session: bytes) -> Producer:
    producer = state.producers.get(session)
    if producer is None:
        producer = state.producers[session] = Producer()
        if len(state.producers) > limits.PRODUCERS_REMEMBERED_MAX:
            state.producers.popitem(last=False)
    else:
        state.producers.move_to_end(session)
    return producer


def stage_producer(
    state: State, now_ms: int, session: bytes, batch_no: int, content: int, first_seq: int, count: int
) -> None:
    """Write down how the batch is decided, before its submits and in the same group."""
    state.producers[session].remember(batch_no, (content, now_ms, first_seq, count, state.shard))
    body = PRODUCER_BODY.pack(session, batch_no, content, now_ms, first_seq, count, state.shard)
    state.stage(EntryKind.PRODUCER, 0, shard_of(session, state.config.shards), now_ms, body)


def decide(state: State, items: list[Item], how: Pass) -> tuple[int, int, bytes]:
    """Decide every item."""
    results = []
    for position, item in enumerate(items):
        code, field, spec = check(item, how.now_ms)
        flags, job_id = 0, NO_ID
        if spec is not None and spec.key:
            code, flags, job_id = decide_keyed(state, item, spec, how, how.first_seq + position)
        elif spec is not None:
            shard = how.shard
            if spec.routing_key:
                shard = shard_of(key_hash(state.config.store_uuid, spec.queue, spec.routing_key), state.config.shards)
            job_id = name_job(state, spec, shard, how.first_seq + position)
            flags = RESULT_DUPLICATE if how.repeat else 0
            if not how.repeat:
                accept(state, how.now_ms, job_id, spec, NO_HASH, 0)
        count_result(state, code, flags)
        results.append(SUBMIT_RESULT.pack(code, field, flags, 0, 0, job_id))
    # Not between the items: a key that a later item needs would be forgotten, and taken for new.
    forget_keys(state)
    return DONE, state.barrier(), b"".join(results)


def count_result(state: State, code: int, flags: int) -> None:
    if code:
        state.counters.refused += 1
    elif flags & RESULT_DUPLICATE:
        state.counters.duplicates += 1


def check(item: Item, now_ms: int) -> tuple[int, int, Spec | None]:
    """(code, field, spec with its times resolved)."""
    if item.code:
        return item.code, item.field, None
    spec = unpack_spec(item.record)
    due_ms = now_ms + spec.schedule_ms if spec.flags & FLAG_DELAY else max(spec.schedule_ms, now_ms)
    if due_ms > now_ms + limits.SCHEDULE_AHEAD_MS_MAX:
        return (
            errors.SCHEDULE_TOO_FAR,
            errors.Field.DELAY if spec.flags & FLAG_DELAY else errors.Field.SCHEDULE_TIME,
            None,
        )
    expire_ms = spec.expire_ms
    if spec.flags & FLAG_EXPIRE_AFTER:
        expire_ms += due_ms
    elif expire_ms and expire_ms <= due_ms:
        return errors.FIELD_INVALID, errors.Field.EXPIRE, None
    return 0, 0, spec.at(flags=0, schedule_ms=due_ms, create_ms=now_ms, expire_ms=expire_ms)


def decide_keyed(state: State, item: Item, spec: Spec, how: Pass, seq: int) -> tuple[int, int, bytes]:
    """(code, flags, id) of an item with an idempotency key: the job that the key names, or a new one in the shard
    that its hash names."""
    hashed = key_hash(state.config.store_uuid, spec.queue, spec.key)
    content = int.from_bytes(siphash128(state.config.store_uuid, item.record)[:8], "little")
    known = state.keys.get(hashed)
    if known is not None and known.job_id != NO_ID and known.create_ms + limits.IDEMPOTENCY_WINDOW_MS > how.now_ms:
        if known.content_hash != content:
            return errors.KEY_CONFLICT, 0, known.job_id
        return 0, RESULT_DUPLICATE, known.job_id
    job_id = name_job(state, spec, shard_of(hashed, state.config.shards), seq)
    if how.repeat:
        return 0, RESULT_DUPLICATE, job_id
    state.keys[hashed] = KeyRecord(job_id, content, how.now_ms, state.group)
    state.keys.move_to_end(hashed)
    accept(state, how.now_ms, job_id, spec, hashed, content)
    return 0, 0, job_id


def name_job(state: State, spec: Spec, shard: int, seq: int) -> bytes:
    return pack_id(shard, spec.schedule_ms // state.config.bucket_width_ms, seq)


def accept(state: State, now_ms: int, job_id: bytes, spec: Spec, hashed: bytes, content: int) -> None:
    """Stage the submit and keep the job when it is near."""
    record = spec.pack()
    late = spec.schedule_ms < state.watermark_ms
    body = SUBMIT_BODY.pack(job_id, hashed, content, spec.schedule_ms) + record
    state.stage_job(EntryKind.SUBMIT, TO_BACKLOG if late else 0, job_id, now_ms, body)
    state.counters.submitted += 1
    if late or state.keeps(spec.schedule_ms, job_id, spec.queue):
        state.place(state.insert(job_id, spec.schedule_ms, 0, record, late))


def forget_keys(state: State) -> None:
    """Keep the table of recent keys bounded; what is forgotten must be in the store, where it is found from now on."""
    while len(state.keys) > state.config.recent_keys_max:
        oldest = next(iter(state.keys.values()))
        if oldest.group > state.checkpointed_group:
            return
        state.keys.popitem(last=False)
        state.keys_complete = False
