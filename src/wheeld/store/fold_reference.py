"""The fold's meaning, in plain Python: tables as dictionaries, entries applied one by one.

The readable specification and the test oracle of native/fold with store/checkpoint: both must leave the same tables.
Owns its tables; bounds nothing, deletes nothing by age. Invariant: after each entry the tables are what the store
holds once it is folded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from wheeld.model import entry as e
from wheeld.model.entry import EntryHead, EntryKind
from wheeld.model.ids import ID_BYTES, unpack_id
from wheeld.model.job import JobState
from wheeld.model.limits import DAY_MS, PRODUCER_BATCHES_REMEMBERED
from wheeld.model.spec import Spec, unpack_spec
from wheeld.store import layout
from wheeld.store.layout import RECORD_VERSION, Lease, State, Table

NO_HASH = bytes(16)


class ReferenceFold:
    """A store in memory. `history` keys are (day, key)."""

    def __init__(self, shards: int, bucket_width_ms: int) -> None:
        self.bucket_width_ms = bucket_width_ms
        self.tables: dict[Table, dict[bytes, bytes]] = {table: {} for table in layout.MAIN_TABLES}
        self.history: dict[tuple[int, bytes], bytes] = {}
        self.next_seq, self.index, self.epoch = [0] * shards, [0] * shards, [0] * shards
        self.watermark_ms = 0
        self.time_ms = 0

    def apply(self, payload: bytes | memoryview) -> None:
        """Fold one group. ValueError for an entry that cannot be folded."""
        for head, body in e.iterate_entries(payload):
            if head.shard >= len(self.index):
                raise ValueError(f"shard {head.shard} of {len(self.index)}")
            self._HANDLERS[EntryKind(head.kind)](self, head, bytes(body))
            self.index[head.shard] = max(self.index[head.shard], head.index)
            self.epoch[head.shard] = max(self.epoch[head.shard], head.epoch)
            self.time_ms = max(self.time_ms, head.now_ms)

    def state_of(self, job_id: bytes) -> State:
        """The job's state, stored or as submitted."""
        record = self.tables[Table.STATE].get(job_id)
        if record is not None:
            return layout.unpack_state(record)
        return State(JobState.SCHEDULED, 0, self.spec_of(job_id).schedule_ms, b"")

    def spec_of(self, job_id: bytes) -> Spec:
        """The job's spec. ValueError when there is no such job."""
        if job_id not in self.tables[Table.JOBS]:
            raise ValueError(f"entry for job {job_id.hex()}, which does not exist")
        return unpack_spec(self.tables[Table.JOBS][job_id])

    def _set_state(self, job_id: bytes, state: State) -> None:
        as_submitted = State(JobState.SCHEDULED, 0, self.spec_of(job_id).schedule_ms, b"")
        if state == as_submitted:
            self.tables[Table.STATE].pop(job_id, None)
        else:
            self.tables[Table.STATE][job_id] = state.pack()

    def _set_due(self, job_id: bytes, old_ms: int | None, new_ms: int | None) -> None:
        moved, home = self.tables[Table.MOVED], unpack_id(job_id).bucket
        if old_ms is not None:
            moved.pop(layout.moved_key(job_id, old_ms // self.bucket_width_ms), None)
        if new_ms is not None and new_ms // self.bucket_width_ms != home:
            moved[layout.moved_key(job_id, new_ms // self.bucket_width_ms)] = b""

    def _backlog(self, head: EntryHead, job_id: bytes, was_ms: int, to_ms: int) -> None:
        spec = self.spec_of(job_id)
        if head.flags & e.WAS_BACKLOG:
            self.tables[Table.BACKLOG].pop(layout.backlog_key(spec.queue, spec.priority, was_ms, job_id), None)
        if head.flags & e.TO_BACKLOG:
            self.tables[Table.BACKLOG][layout.backlog_key(spec.queue, spec.priority, to_ms, job_id)] = b""

    def _submit(self, head: EntryHead, body: bytes) -> None:
        job_id, key_hash, content_hash, due_ms = e.SUBMIT_BODY.unpack_from(body)
        if job_id in self.tables[Table.JOBS]:
            raise ValueError(f"job {job_id.hex()} is submitted twice")
        self.tables[Table.JOBS][job_id] = body[e.SUBMIT_BODY.size :]
        self._set_state(job_id, State(JobState.SCHEDULED, 0, due_ms, b""))
        self._set_due(job_id, None, due_ms)
        self._backlog(head, job_id, 0, due_ms)
        if key_hash != NO_HASH:
            key = layout.IDEMPOTENCY_KEY.pack(layout.key_expiry_day(head.now_ms), key_hash)
            self.tables[Table.KEYS][key] = layout.KEY_RECORD.pack(RECORD_VERSION, job_id, content_hash, head.now_ms)
        self.next_seq[head.shard] = max(self.next_seq[head.shard], unpack_id(job_id).seq + 1)

    def _grant(self, head: EntryHead, body: bytes) -> None:
        job_id, fencing, due_ms, expire_ms, lease_ms, attempt, worker_len, _, session = e.GRANT_BODY.unpack_from(body)
        worker = body[e.GRANT_BODY.size : e.GRANT_BODY.size + worker_len]
        lease = Lease(attempt, lease_ms, fencing, due_ms, expire_ms, max(head.now_ms, due_ms), session, worker)
        self._backlog(head, job_id, due_ms, 0)
        self.tables[Table.LEASES][job_id] = lease.pack()

    def _renew(self, _: EntryHead, body: bytes) -> None:
        job_id, _fencing, expire_ms, lease_ms = e.RENEW_BODY.unpack(body)
        lease = layout.unpack_lease(self.tables[Table.LEASES][job_id])
        self.tables[Table.LEASES][job_id] = lease._replace(expire_ms=expire_ms, lease_ms=lease_ms).pack()

    def _release(self, head: EntryHead, body: bytes) -> None:
        job_id, _fencing, due_ms, attempt = e.RELEASE_BODY.unpack_from(body)
        lease = layout.unpack_lease(self.tables[Table.LEASES].pop(job_id))
        self._set_due(job_id, lease.due_ms, due_ms)
        self._patch_state(job_id, attempt, due_ms)
        self._backlog(head, job_id, 0, due_ms)

    def _reschedule(self, head: EntryHead, body: bytes) -> None:
        job_id, old_ms, new_ms, attempt = e.RESCHEDULE_BODY.unpack_from(body)
        self._set_due(job_id, old_ms, new_ms)
        self._patch_state(job_id, attempt, new_ms)
        self._backlog(head, job_id, old_ms, new_ms)

    def _patch_state(self, job_id: bytes, attempt: int, due_ms: int) -> None:
        state = JobState.RETRYING if attempt else JobState.SCHEDULED
        self._set_state(job_id, State(state, attempt, due_ms, self.state_of(job_id).error))

    def _outcome(self, head: EntryHead, body: bytes) -> None:
        outcome = e.unpack_outcome(body)
        job_id, retrying = outcome.job_id, outcome.state == JobState.RETRYING
        self._backlog(head, job_id, outcome.due_ms, outcome.new_due_ms)
        self.tables[Table.LEASES].pop(job_id, None)
        self._set_due(job_id, outcome.due_ms, outcome.new_due_ms if retrying else None)
        if retrying or outcome.state == JobState.FAILED:
            due_ms = outcome.new_due_ms if retrying else outcome.due_ms
            self._set_state(job_id, State(outcome.state, outcome.attempt, due_ms, outcome.error))
        else:
            del self.tables[Table.JOBS][job_id]
            self.tables[Table.STATE].pop(job_id, None)
        if outcome.state == JobState.FAILED:
            self.tables[Table.DEAD][layout.dead_key(outcome.queue, head.now_ms, job_id)] = b""
        ended = layout.JOB_ENDED if head.kind in (EntryKind.CANCEL, EntryKind.EXPIRE) else layout.ATTEMPT_ENDED
        key = layout.history_key(job_id, outcome.attempt, ended)
        self.history[head.now_ms // DAY_MS, key] = layout.HISTORY_HEAD.pack(RECORD_VERSION, head.now_ms) + body

    def _backlog_entry(self, head: EntryHead, body: bytes) -> None:
        job_id, due_ms = e.BACKLOG_BODY.unpack_from(body)
        self._backlog(head._replace(flags=e.TO_BACKLOG), job_id, 0, due_ms)

    def _producer(self, _: EntryHead, body: bytes) -> None:
        session, batch_no, _, _, first_seq, count, shard = e.PRODUCER_BODY.unpack(body)
        # Numbers of refused items are spent too: the batch may be asked for again.
        self.next_seq[shard] = max(self.next_seq[shard], first_seq + count)
        sessions = self.tables[Table.SESSIONS]
        sessions[layout.SESSION_KEY.pack(session, batch_no)] = bytes((RECORD_VERSION,)) + body
        newest = max(int.from_bytes(key[ID_BYTES:], "big") for key in sessions if key[:ID_BYTES] == session)
        for key in [key for key in sessions if key[:ID_BYTES] == session]:
            if int.from_bytes(key[ID_BYTES:], "big") + PRODUCER_BATCHES_REMEMBERED <= newest:
                del sessions[key]

    def _queue(self, _: EntryHead, body: bytes) -> None:
        self.tables[Table.QUEUES][body[2:]] = layout.QUEUE_RECORD.pack(RECORD_VERSION, body[0])

    def _close(self, _: EntryHead, body: bytes) -> None:
        self.watermark_ms = max(self.watermark_ms, e.CLOSE_BODY.unpack(body)[0])

    def _epoch(self, _head: EntryHead, _body: bytes) -> None:
        """The head says it all."""

    _HANDLERS: ClassVar[dict[EntryKind, Callable[[ReferenceFold, EntryHead, bytes], None]]] = {
        EntryKind.SUBMIT: _submit, EntryKind.GRANT: _grant, EntryKind.RELEASE: _release, EntryKind.RENEW: _renew,
        EntryKind.RESCHEDULE: _reschedule, EntryKind.BACKLOG: _backlog_entry, EntryKind.PRODUCER: _producer,
        EntryKind.QUEUE: _queue, EntryKind.CLOSE: _close, EntryKind.EPOCH: _epoch,
        **dict.fromkeys(e.OUTCOMES, _outcome),
    }  # fmt: skip
