"""The core that runs: a thin façade over the C core.

Owns the Python shape of calls and answers only; the rules stand in native/core, their specification in
`wheeld.core.reference`. Hot calls run without the GIL. Invariant: one thread at a time; a second one that meets a hot
call gets RuntimeError.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from wheeld.core._core import RawCore
from wheeld.core.api import CoreConfig, Counters, QueueView, Released, Restored


class NativeCore:
    """See wheeld.core.api.Core."""

    def __init__(self, config: CoreConfig, restored: Restored, now_ms: int, boot_ms: int) -> None:
        index = array("Q", restored.index or [0] * config.shards)
        self._raw = RawCore(
            config.store_uuid,
            config.shards,
            config.bucket_width_ms,
            config.resident_bytes_max,
            config.recent_keys_max,
            config.departed_max,
            restored.group,
            max(restored.next_seq, default=1),
            index,
            restored.epoch,
            restored.watermark_ms,
            restored.has_keys,
            now_ms,
            boot_ms,
        )
        for path in restored.paused_queues:
            self._raw.restore_queue(path, True, False)
        for path in restored.backlog_queues:
            self._raw.restore_queue(path, False, True)
        self._raw.restore_producers(restored.producers)
        self._raw.start(now_ms)

    def submit(self, now_ms: int, batch: bytes) -> tuple[int, int, bytes]:
        return self._raw.submit(now_ms, batch)

    def settle(self, now_ms: int, boot_ms: int, session: bytes, batch: bytes) -> tuple[int, bytes]:
        return self._raw.settle(now_ms, boot_ms, session, batch)

    def tick(self, now_ms: int, boot_ms: int, lead_ms: int, grants_allowed: bool) -> bool:
        return self._raw.tick(now_ms, boot_ms, lead_ms, grants_allowed)

    def release(self, now_us: int, durable_group: int, jobs_max: int) -> list[Released]:
        return self._raw.release(now_us, durable_group, jobs_max, Released)

    def next_wake_ms(self, now_ms: int, boot_ms: int, lead_ms: int, durable_group: int) -> int:
        return self._raw.next_wake_ms(now_ms, boot_ms, lead_ms, durable_group)

    def take_group(self) -> tuple[int, memoryview] | None:
        return self._raw.take_group()

    def open_group_bytes(self) -> int:
        return self._raw.open_group_bytes()

    def barrier_group(self) -> int:
        return self._raw.barrier_group()

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
        return self._raw.open_stream(
            now_ms, boot_ms, stream, session, worker, list(queues), max_jobs, max_bytes, lease_ms, held
        )

    def set_credit(self, stream: int, max_jobs: int, max_bytes: int) -> None:
        self._raw.set_credit(stream, max_jobs, max_bytes)

    def close_stream(self, now_ms: int, boot_ms: int, stream: int) -> int:
        return self._raw.close_stream(now_ms, stream)

    def get(self, now_ms: int, job_id: bytes) -> bytes | None:
        return self._raw.get(now_ms, job_id)

    def cancel(self, now_ms: int, job_id: bytes, row: bytes, load: int) -> tuple[int, int, bytes]:
        return self._raw.cancel(now_ms, job_id, row, load)

    def reschedule(self, now_ms: int, job_id: bytes, due_ms: int, row: bytes, load: int) -> tuple[int, int, bytes]:
        return self._raw.reschedule(now_ms, job_id, due_ms, row, load)

    def set_queue(self, now_ms: int, queue: bytes, paused: bool) -> int:
        return self._raw.set_queue(now_ms, queue, paused)

    def begin_load(self) -> tuple[int, int]:
        return self._raw.begin_load()

    def open_horizon(self, due_ms: int, job_id: bytes) -> tuple[int, int]:
        return self._raw.open_horizon(due_ms, job_id)

    def load(self, now_ms: int, boot_ms: int, load: int, rows: bytes) -> int:
        return self._raw.load(now_ms, boot_ms, load, rows)

    def end_load(self, load: int) -> None:
        self._raw.end_load(load)

    def provide_keys(self, records: bytes) -> None:
        self._raw.provide_keys(records)

    def checkpointed(self, group: int) -> None:
        self._raw.checkpointed(group)

    def close_before(self, now_ms: int, watermark_ms: int, entries_max: int) -> bool:
        return self._raw.close_before(now_ms, watermark_ms, entries_max)

    def backlog_drained(self, queue: bytes, spills: int) -> bool:
        return self._raw.backlog_drained(queue, spills)

    def rebase(self, now_ms: int) -> None:
        self._raw.rebase(now_ms)

    def horizon(self) -> tuple[int, bytes]:
        return self._raw.horizon()

    def watermark_ms(self) -> int:
        return self._raw.watermark_ms()

    def queues(self) -> list[QueueView]:
        return [QueueView(*view) for view in self._raw.queues()]

    def counters(self) -> Counters:
        return Counters(*self._raw.counters())

    def state_hash(self) -> int:
        return self._raw.state_hash()

    def memory_bytes(self) -> tuple[int, int]:
        """(bytes of tables, bytes of spec records), for benchmarks and the metrics."""
        return self._raw.memory_bytes()
