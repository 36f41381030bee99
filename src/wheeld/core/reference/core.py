"""The façade of the reference core: one method per verb of the protocol, each a call into the module of its kind."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

from wheeld.core.api import CoreConfig, Counters, QueueView, Released, Restored
from wheeld.core.reference import control, dispatch, loads, settle, streams, submit
from wheeld.core.reference.digest import state_hash
from wheeld.core.reference.state import Job, Queue, State
from wheeld.model.entry import EntryKind


class ReferenceCore:
    """See wheeld.core.api.Core."""

    def __init__(self, config: CoreConfig, restored: Restored, now_ms: int, boot_ms: int) -> None:
        self.state = State(config, restored, now_ms, boot_ms)
        for shard in range(config.shards):
            self.state.stage(EntryKind.EPOCH, 0, shard, now_ms, b"")

    def submit(self, now_ms: int, batch: bytes) -> tuple[int, int, bytes]:
        return submit.submit(self.state, now_ms, bytes(batch))

    def settle(self, now_ms: int, boot_ms: int, session: bytes, batch: bytes) -> tuple[int, bytes]:
        return settle.settle(self.state, now_ms, boot_ms, session, bytes(batch))

    def tick(self, now_ms: int, boot_ms: int, lead_ms: int, grants_allowed: bool) -> bool:
        return dispatch.tick(self.state, now_ms, boot_ms, lead_ms, grants_allowed)

    def release(self, now_us: int, durable_group: int, jobs_max: int) -> list[Released]:
        return dispatch.release(self.state, now_us, durable_group, jobs_max)

    def next_wake_ms(self, now_ms: int, boot_ms: int, lead_ms: int, durable_group: int) -> int:
        return dispatch.next_wake_ms(self.state, now_ms, boot_ms, lead_ms, durable_group)

    def take_group(self) -> tuple[int, bytes] | None:
        state = self.state
        if not state.buffer:
            return None
        number, state.group = state.group, state.group + 1
        taken, state.buffer = bytes(state.buffer), bytearray()
        return number, taken

    def open_group_bytes(self) -> int:
        return len(self.state.buffer)

    def barrier_group(self) -> int:
        return self.state.barrier()

    def open_stream(
        self,
        now_ms: int,
        boot_ms: int,
        stream: int,
        session: bytes,
        worker: bytes,
        queues: Sequence[bytes],
        max_jobs: int,
        max_bytes: int,
        lease_ms: int,
        held: bytes,
    ) -> tuple[int, int, bytes]:
        return streams.open_stream(
            self.state, now_ms, boot_ms, stream, session, worker, queues, max_jobs, max_bytes, lease_ms, held
        )

    def set_credit(self, stream: int, max_jobs: int, max_bytes: int) -> None:
        streams.set_credit(self.state, stream, max_jobs, max_bytes)

    def close_stream(self, now_ms: int, boot_ms: int, stream: int) -> int:
        return streams.close_stream(self.state, now_ms, stream)

    def get(self, now_ms: int, job_id: bytes) -> bytes | None:
        return control.get(self.state, now_ms, job_id)

    def cancel(self, now_ms: int, job_id: bytes, row: bytes, load: int) -> tuple[int, int, bytes]:
        return control.cancel(self.state, now_ms, job_id, row, load)

    def reschedule(self, now_ms: int, job_id: bytes, due_ms: int, row: bytes, load: int) -> tuple[int, int, bytes]:
        return control.reschedule(self.state, now_ms, job_id, due_ms, row, load)

    def set_queue(self, now_ms: int, queue: bytes, paused: bool) -> int:
        return control.set_queue(self.state, now_ms, queue, paused)

    def begin_load(self) -> tuple[int, int]:
        return loads.begin_load(self.state)

    def open_horizon(self, due_ms: int, job_id: bytes) -> tuple[int, int]:
        return loads.open_horizon(self.state, due_ms, job_id)

    def load(self, now_ms: int, boot_ms: int, load: int, rows: bytes) -> int:
        return loads.load(self.state, now_ms, boot_ms, load, bytes(rows))

    def end_load(self, load: int) -> None:
        loads.end_load(self.state, load)

    def provide_keys(self, records: bytes) -> None:
        loads.provide_keys(self.state, records)

    def checkpointed(self, group: int) -> None:
        loads.checkpointed(self.state, group)

    def close_before(self, now_ms: int, watermark_ms: int, entries_max: int) -> bool:
        return loads.close_before(self.state, now_ms, watermark_ms, entries_max)

    def backlog_drained(self, queue: bytes, spills: int) -> bool:
        return loads.backlog_drained(self.state, queue, spills)

    def rebase(self, now_ms: int) -> None:
        loads.rebase(self.state, now_ms)

    def horizon(self) -> tuple[int, bytes]:
        return self.state.horizon

    def watermark_ms(self) -> int:
        return self.state.watermark_ms

    def queues(self) -> list[QueueView]:
        views = []
        for queue in self.state.queues.values():
            job = self._oldest(queue)
            credit = sum(max(stream.max_jobs - len(stream.session.leases), 0) for stream in queue.streams)
            views.append(
                QueueView(
                    queue.path,
                    queue.paused,
                    queue.ready.live,
                    queue.running,
                    queue.backlog,
                    queue.spills,
                    len(queue.streams),
                    credit,
                    job.due_ms if job is not None else 0,
                    array("Q", queue.release_skew).tobytes(),
                    array("Q", queue.receive_skew).tobytes(),
                )
            )
        return views

    def _oldest(self, queue: Queue) -> Job | None:
        """The most urgent job that waits; entries of jobs that left stay in the queue until their turn."""
        jobs = self.state.jobs
        waiting = [entry for entry in queue.ready.entries() if entry[2] in jobs and jobs[entry[2]].stamp == entry[3]]
        return jobs[min(waiting)[2]] if waiting else None

    def counters(self) -> Counters:
        state = self.state
        return replace(
            state.counters,
            resident_jobs=len(state.jobs),
            resident_bytes=state.resident_bytes,
            leases=len(state.leases),
            ready=sum(queue.ready.live for queue in state.queues.values()),
            armed=len(state.wheel),
            streams=len(state.streams),
            open_group_bytes=len(state.buffer),
        )

    def state_hash(self) -> int:
        return state_hash(self.state)
