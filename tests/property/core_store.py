"""A store in a dictionary: folds the core's entries into rows, keys and producer batches, as the storekeeper would."""

from __future__ import annotations

from wheeld.model.entry import (
    GRANT_BODY,
    OUTCOMES,
    RENEW_BODY,
    RESCHEDULE_BODY,
    SUBMIT_BODY,
    TO_BACKLOG,
    EntryHead,
    EntryKind,
    iterate_entries,
    unpack_outcome,
)
from wheeld.model.job import JobState
from wheeld.model.rows import ROW_BACKLOG, ROW_LEASED, Row
from wheeld.model.spec import unpack_spec

NO_KEY = bytes(16)


class Store:
    """What is known after the groups folded so far. Finished jobs have no row, but dead letters do."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.keys: dict[bytes, tuple[bytes, int, int]] = {}
        self.producers: list[bytes] = []
        self.index: dict[int, int] = {}
        self.epoch = 1

    def fold(self, group: bytes) -> None:
        """Apply a group; indexes of a shard must follow each other without a gap."""
        for head, view in iterate_entries(group):
            assert head.index == self.index.get(head.shard, 0) + 1, f"shard {head.shard}: {head} follows {self.index}"
            self.index[head.shard], self.epoch = head.index, head.epoch
            self.apply(head, bytes(view))

    def apply(self, head: EntryHead, body: bytes) -> None:
        job_id = body[:16]
        backlog = ROW_BACKLOG if head.flags & TO_BACKLOG else 0
        if head.kind == EntryKind.SUBMIT:
            _, hashed, content, due_ms = SUBMIT_BODY.unpack_from(body)
            record = body[SUBMIT_BODY.size :]
            assert unpack_spec(record).create_ms == head.now_ms
            self.rows[job_id] = Row(
                job_id, due_ms, 0, 0, JobState.SCHEDULED, backlog, 0, 0, bytes(16), b"", b"", record
            )
            if hashed != NO_KEY:
                self.keys[hashed] = (job_id, content, head.now_ms)
        elif head.kind == EntryKind.PRODUCER:
            self.producers.append(body)
        elif job_id in self.rows:
            self.rows[job_id] = self.changed(head, body, self.rows[job_id], backlog)
            if self.rows[job_id].state in (JobState.SUCCEEDED, JobState.CANCELLED, JobState.EXPIRED):
                del self.rows[job_id]

    def changed(self, head: EntryHead, body: bytes, row: Row, backlog: int) -> Row:
        """The row after an entry of its job."""
        free = {"fencing": 0, "lease_ms": 0, "fire_ms": 0, "session": bytes(16), "worker": b"", "flags": backlog}
        if head.kind == EntryKind.GRANT:
            _, fencing, due_ms, expire_ms, lease_ms, attempt, worker_len, _, session = GRANT_BODY.unpack_from(body)
            worker = body[GRANT_BODY.size : GRANT_BODY.size + worker_len]
            return row._replace(
                fencing=fencing,
                lease_ms=lease_ms,
                fire_ms=expire_ms - lease_ms,
                session=session,
                worker=worker,
                attempt=attempt,
                flags=ROW_LEASED,
                due_ms=due_ms,
            )
        if head.kind in OUTCOMES:
            outcome = unpack_outcome(body)
            due_ms = outcome.new_due_ms or row.due_ms
            return row._replace(state=outcome.state, due_ms=due_ms, error=outcome.error, **free)
        if head.kind == EntryKind.RELEASE:
            attempt = int.from_bytes(body[32:34], "little")
            return row._replace(attempt=attempt, state=JobState.RETRYING if attempt else JobState.SCHEDULED, **free)
        if head.kind == EntryKind.RENEW:
            return row._replace(lease_ms=RENEW_BODY.unpack_from(body)[3])
        if head.kind == EntryKind.RESCHEDULE:
            return row._replace(due_ms=RESCHEDULE_BODY.unpack_from(body)[2], flags=backlog)
        if head.kind == EntryKind.BACKLOG:
            return row._replace(flags=row.flags | ROW_BACKLOG)
        return row
