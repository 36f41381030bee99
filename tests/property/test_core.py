"""The native core against its specification: long random histories of calls, compared after each one.

What is compared: answers, the entries of every group, the digest and the counters; the wake-up time only one-sidedly,
since the native wheel may name an earlier one. A failure prints its seed; `WHEELD_CORE_SEED` repeats it,
`WHEELD_CORE_HISTORIES` asks for more.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Any

import pytest

from tests.property.core_store import Store
from tests.unit.core.core_kit import BOOT_MS, START_MS, granted, settle_batch, settle_item, submit_batch, submitted
from wheeld.core.api import LEASES, CoreConfig, Restored
from wheeld.core.factory import open_core
from wheeld.model import batch as packed
from wheeld.model.rows import ROW_BACKLOG
from wheeld.model.spec import FLAG_DELAY, FLAG_EXPIRE_AFTER, Spec

HISTORIES = int(os.environ.get("WHEELD_CORE_HISTORIES", "24"))
STEPS = 160
DIGEST_EVERY = 4  # in Python it costs more than the calls
QUEUES = [b"main/mail", b"main/sms", b"other/mail", b"other/slow"]
SESSIONS = [bytes([number]) * 16 for number in range(1, 5)]


class Twins:
    """Both implementations, driven as one."""

    def __init__(self, config: CoreConfig, restored: Restored, now_ms: int, boot_ms: int) -> None:
        self.reference = open_core(config, restored, now_ms, boot_ms, "reference")
        self.native = open_core(config, restored, now_ms, boot_ms, "native")
        self.calls = 0
        self.compare("new")

    def call(self, verb: str, *arguments: Any) -> Any:
        expected = getattr(self.reference, verb)(*arguments)
        found = getattr(self.native, verb)(*arguments)
        assert found == expected, f"{verb}{arguments}: {found} is not {expected}"
        self.compare(f"{verb}{arguments}")
        return expected

    def compare(self, after: str) -> None:
        assert self.native.counters() == self.reference.counters(), after
        self.calls += 1
        if self.calls % DIGEST_EVERY == 0:
            assert self.native.state_hash() == self.reference.state_hash(), after
        assert self.native.open_group_bytes() == self.reference.open_group_bytes(), after
        assert self.native.barrier_group() == self.reference.barrier_group(), after


class History:
    """One random run. Owns the clocks and what a driver, a store and workers would remember."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now_ms, self.boot_ms, self.lead_ms = START_MS, BOOT_MS, 20
        self.config = CoreConfig(
            store_uuid=self.random.randbytes(16),
            shards=self.random.choice([1, 3, 16]),
            bucket_width_ms=10_000,
            resident_bytes_max=self.random.choice([4_000, 20_000, 60_000, 1 << 30]),
            recent_keys_max=self.random.choice([2, 8, 1000]),
            departed_max=self.random.choice([3, 1000]),
        )
        self.store = Store()
        self.durable = 0
        self.tokens: list[tuple[bytes, int]] = []
        self.ids: list[bytes] = []
        self.loads: list[int] = []
        self.batches: list[bytes] = []
        self.stream = 0
        self.group = 0
        self.twins = self.start(Restored(has_keys=self.random.random() < 0.5))

    def start(self, restored: Restored) -> Twins:
        twins = Twins(self.config, restored, self.now_ms, self.boot_ms)
        if self.random.random() < 0.8:
            twins.call("open_horizon", self.now_ms + self.random.choice([1_000, 60_000, 10**9]), b"\xff" * 16)
            self.loads = [1]
        return twins

    # -- what a step may do; the names are drawn at random --------------------------------------
    def spec(self) -> Spec:
        draw = self.random
        spec = Spec(
            queue=draw.choice(QUEUES),
            type=b"t" * draw.randrange(3),
            payload=draw.randbytes(draw.choice([0, 5, 200])),
            priority=draw.choice([0, 4, 4, 4, 9]),
            labels=draw.choice([b"", b"\1a\1b"]),
            trace=draw.choice([b"", b"trace"]),
            max_attempts=draw.choice([1, 2, 20]),
            backoff_initial_ms=draw.choice([1, 500]),
            lease_ms=draw.choice([0, 0, 3_000]),
            routing_key=draw.choice([b"", b"", b"r1", b"r2"]),
            schedule_ms=draw.choice([0, self.now_ms + draw.randrange(-50, 5_000)]),
        )
        shape = draw.random()
        if shape < 0.2:
            spec = replace(spec, key=b"k%d" % draw.randrange(6), routing_key=b"")
        elif shape < 0.4:
            spec = replace(spec, flags=FLAG_DELAY, schedule_ms=draw.choice([0, 40, 3_000, 1 << 50]))
        if draw.random() < 0.2:
            spec = replace(spec, expire_ms=self.now_ms + draw.randrange(1, 4_000))
        elif draw.random() < 0.2:
            spec = replace(spec, flags=spec.flags | FLAG_EXPIRE_AFTER, expire_ms=draw.randrange(1, 300))
        return spec

    def submit(self) -> None:
        draw = self.random
        items: list[Spec | bytes] = [
            bytes((2, 7)) if draw.random() < 0.05 else self.spec() for _ in range(draw.randrange(12))
        ]
        named = draw.random() < 0.3
        batch = submit_batch(items, draw.randrange(1, 200) if named else 0, draw.choice(SESSIONS), draw.randrange(3))
        if self.batches and draw.random() < 0.15:
            batch = draw.choice(self.batches)
        self.batches.append(batch)
        outcome, _, records = self.twins.call("submit", self.now_ms, batch)
        if outcome == packed.NEED_KEYS:
            if draw.random() < 0.2:
                return
            answers = b"".join(self.key_answer(records[at : at + 16]) for at in range(0, len(records), 16))
            self.twins.call("provide_keys", answers)
            outcome, _, records = self.twins.call("submit", self.now_ms, batch)
        if outcome == packed.DONE:
            self.ids += [job_id for code, _, _, job_id in submitted(records) if code == 0]

    def flood(self) -> None:
        """Many jobs of one queue, close together: near, so that the horizon falls, or due, so that they are spilled."""
        draw = self.random
        first_ms = self.now_ms + draw.choice([-50, 100, 2_000, 20_000])
        apart_ms = draw.choice([0, 1, 40])
        spec = Spec(draw.choice(QUEUES), payload=bytes(draw.choice([20, 900])), priority=draw.choice([4, 4, 9]))
        jobs = [replace(spec, schedule_ms=first_ms + number * apart_ms) for number in range(draw.randrange(10, 80))]
        _, _, records = self.twins.call("submit", self.now_ms, submit_batch(list(jobs)))
        self.ids += [job_id for code, _, _, job_id in submitted(records) if code == 0]

    def page_in(self) -> None:
        """The head of some queue's backlog, as the driver reads it; what a clock then turns back waits in memory."""
        rows = sorted((row for row in self.store.rows.values() if row.flags & ROW_BACKLOG), key=lambda row: row.due_ms)
        load, _ = self.twins.call("begin_load")
        data = b"".join(row.pack() for row in rows[: self.random.randrange(60)])
        self.twins.call("load", self.now_ms, self.boot_ms, load, data)
        self.twins.call("end_load", load)
        if self.random.random() < 0.4:
            self.rebase()
        if self.random.random() < 0.5:
            self.flood()
            self.tick()

    def key_answer(self, hashed: bytes) -> bytes:
        job_id, content, create_ms = self.store.keys.get(hashed, (bytes(16), 0, 0))
        return hashed + job_id + content.to_bytes(8, "little") + create_ms.to_bytes(8, "little")

    def tick(self) -> None:
        self.lead_ms = self.random.choice([5, 20, 50])
        for _ in range(20):
            if not self.twins.call("tick", self.now_ms, self.boot_ms, self.lead_ms, self.random.random() < 0.9):
                return

    def release(self) -> None:
        now_us = self.now_ms * 1000 + self.random.randrange(1000)
        for message in self.twins.call("release", now_us, self.durable, self.random.choice([1, 5, 10_000])):
            if message.kind == LEASES:
                self.tokens += [(job_id, fencing) for job_id, fencing, _ in granted(message.data)]

    def settle(self) -> None:
        draw = self.random
        items = []
        for _ in range(draw.randrange(8)):
            if not self.tokens:
                break
            token = (
                draw.choice(self.tokens) if draw.random() < 0.2 else self.tokens.pop(draw.randrange(len(self.tokens)))
            )
            if draw.random() < 0.1:
                token = (
                    (token[0], token[1] + draw.randrange(3))
                    if draw.random() < 0.5
                    else (draw.choice(self.ids), token[1])
                )
            items.append(
                settle_item(
                    draw.choice([1, 1, 2, 2, 3, 4, 9]),
                    token,
                    flags=draw.choice([0, 0, 0, 1]),
                    extend_ms=draw.choice([0, 100, 9_000]),
                    delay_ms=draw.choice([packed.NO_DELAY, 0, 30, 70_000]),
                    error=draw.choice([b"", b"boom"]),
                    result=b"r" * draw.randrange(9),
                    receive_us=draw.choice([0, self.now_ms * 1000 + 77]),
                )
            )
        session = packed.NO_SESSION if draw.random() < 0.8 else draw.choice(SESSIONS)
        self.twins.call("settle", self.now_ms, self.boot_ms, session, settle_batch(items))

    def open_stream(self) -> None:
        draw = self.random
        self.stream += 1
        held = [draw.choice(self.tokens) for _ in range(draw.randrange(4))] if self.tokens else []
        self.twins.call(
            "open_stream",
            self.now_ms,
            self.boot_ms,
            self.stream,
            draw.choice(SESSIONS),
            b"w%d" % draw.randrange(3),
            draw.choices(QUEUES, k=draw.randrange(4)),
            draw.choice([0, 1, 7, 500]),
            draw.choice([0, 900, 1 << 20]),
            draw.choice([1_000, 2_500]),
            b"".join(packed.TOKEN.pack(*token) for token in held),
        )

    def set_credit(self) -> None:
        self.twins.call("set_credit", self.random.randrange(self.stream + 1), self.random.choice([0, 3, 100]), 1 << 20)

    def close_stream(self) -> None:
        self.twins.call("close_stream", self.now_ms, self.boot_ms, self.random.randrange(self.stream + 1))

    def some_id(self) -> bytes:
        return self.random.choice(self.ids) if self.ids else bytes(16)

    def row_for(self, job_id: bytes) -> tuple[bytes, int]:
        row = self.store.rows.get(job_id)
        if row is None or not self.loads or self.random.random() < 0.3:
            return b"", 0
        return row.pack(), self.random.choice(self.loads)

    def get(self) -> None:
        self.twins.call("get", self.now_ms, self.some_id())

    def cancel(self) -> None:
        job_id = self.some_id()
        self.twins.call("cancel", self.now_ms, job_id, *self.row_for(job_id))

    def reschedule(self) -> None:
        job_id = self.some_id()
        due_ms = self.now_ms + self.random.choice([-10, 0, 30, 4_000, 100_000, 1 << 50])
        self.twins.call("reschedule", self.now_ms, job_id, due_ms, *self.row_for(job_id))

    def set_queue(self) -> None:
        self.twins.call("set_queue", self.now_ms, self.random.choice(QUEUES), self.random.random() < 0.4)

    def take_group(self) -> None:
        taken = self.twins.call("take_group")
        if taken is not None:
            self.group = taken[0]
            self.store.fold(taken[1])
        if self.random.random() < 0.8:
            self.durable = self.group
        if self.random.random() < 0.3:
            self.twins.call("checkpointed", self.durable)

    def begin_load(self) -> None:
        if self.random.random() < 0.5:
            number, _ = self.twins.call("begin_load")
        else:
            due_ms = self.now_ms + self.random.randrange(20_000)
            number, _ = self.twins.call(
                "open_horizon", due_ms, self.random.choice([bytes(16), b"\xff" * 16, self.some_id()])
            )
        self.loads.append(number)

    def load(self) -> None:
        rows = list(self.store.rows.values())
        chosen = self.random.sample(rows, self.random.randrange(min(len(rows), 20) + 1))
        if self.loads:
            data = b"".join(row.pack() for row in chosen)
            self.twins.call("load", self.now_ms, self.boot_ms, self.random.choice(self.loads), data)

    def end_load(self) -> None:
        if self.loads:
            self.twins.call("end_load", self.loads.pop(self.random.randrange(len(self.loads))))

    def close_before(self) -> None:
        watermark_ms = self.now_ms + self.random.randrange(-3_000, 20)
        self.twins.call("close_before", self.now_ms, watermark_ms, self.random.choice([0, 1, 5, 1000]))

    def backlog_drained(self) -> None:
        for view in self.twins.reference.queues()[:1]:
            self.twins.call("backlog_drained", view.queue, view.spills - self.random.randrange(2) if view.spills else 0)

    def rebase(self) -> None:
        self.now_ms -= self.random.randrange(2_000)
        self.twins.call("rebase", self.now_ms)

    def look(self) -> None:
        self.twins.call("queues")
        self.twins.call("horizon")
        self.twins.call("watermark_ms")

    def wait(self) -> None:
        passed = self.random.choice([1, 10, 300, 3_000])
        self.now_ms += passed
        self.boot_ms += passed

    def wake(self) -> None:
        arguments = (self.now_ms, self.boot_ms, self.lead_ms, self.durable)
        native, reference = self.twins.native.next_wake_ms(*arguments), self.twins.reference.next_wake_ms(*arguments)
        assert native <= reference, f"the native core sleeps past {reference}, to {native}"
        assert (native == (1 << 64) - 1) == (reference == (1 << 64) - 1)

    def restart(self) -> None:
        """Both begin again from what the store knows, at a later epoch."""
        old = self.twins.reference
        self.take_group()
        self.durable = self.group
        self.stream = 0
        paused = [view.queue for view in old.queues() if view.paused]
        backlog = [view.queue for view in old.queues() if view.backlog]
        restored = Restored(
            group=self.group,
            next_seq=[10_000 * (self.store.epoch + 1)] * self.config.shards,
            epoch=self.store.epoch + 1,
            index=[self.store.index.get(shard, 0) for shard in range(self.config.shards)],
            watermark_ms=old.watermark_ms(),
            paused_queues=paused,
            backlog_queues=backlog,
            has_keys=True,
            producers=b"".join(self.store.producers),
        )
        self.twins = self.start(restored)
        self.loads.append(self.twins.call("begin_load")[0])
        leased = [row for row in self.store.rows.values() if row.fencing]
        self.twins.call("load", self.now_ms, self.boot_ms, self.loads[-1], b"".join(row.pack() for row in leased))

    def run(self) -> None:
        weights = {
            self.submit: 10,
            self.flood: 1.5,
            self.page_in: 4,
            self.tick: 12,
            self.release: 10,
            self.settle: 10,
            self.open_stream: 4,
            self.set_credit: 2,
            self.close_stream: 1,
            self.get: 3,
            self.cancel: 3,
            self.reschedule: 4,
            self.set_queue: 1,
            self.take_group: 8,
            self.begin_load: 2,
            self.load: 3,
            self.end_load: 2,
            self.close_before: 2,
            self.backlog_drained: 1,
            self.rebase: 0.3,
            self.look: 2,
            self.wait: 8,
            self.wake: 3,
            self.restart: 0.3,
        }
        for step in self.random.choices(list(weights), list(weights.values()), k=STEPS):
            step()


def seed_of(history: int) -> int:
    given = os.environ.get("WHEELD_CORE_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 40) + history


@pytest.mark.parametrize("history", range(HISTORIES))
def test_random_histories_agree(history: int) -> None:
    seed = seed_of(history)
    try:
        History(seed).run()
    except Exception as failure:
        raise AssertionError(f"WHEELD_CORE_SEED={seed} repeats this failure") from failure
