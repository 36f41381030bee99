"""What only the native core can get wrong: its doors for bytes and numbers, its bounds, its views of memory."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.core_kit import BOOT_MS, CONFIG, START_MS, TOP_ID, submit_batch, submitted
from wheeld.core.api import HISTOGRAM_BUCKETS, Core, CoreConfig, Restored
from wheeld.core.native import NativeCore
from wheeld.core.reference import ReferenceCore
from wheeld.core.reference.timers import Timers
from wheeld.model import limits
from wheeld.model.entry import PRODUCER_BODY
from wheeld.model.rows import Row
from wheeld.model.spec import Spec
from wheeld.wheel.native import NativeWheel

MAIL = Spec(b"main/mail", b"send", b"payload")


def new_core(config: CoreConfig = CONFIG, restored: Restored = Restored()) -> NativeCore:  # noqa: B008
    return NativeCore(config, restored, START_MS, BOOT_MS)


@pytest.mark.parametrize(
    ("config", "restored"),
    [
        (replace(CONFIG, shards=0), Restored()),
        (replace(CONFIG, bucket_width_ms=0), Restored()),
        (replace(CONFIG, store_uuid=b"short"), Restored()),
        (CONFIG, Restored(index=[1, 2])),
        (CONFIG, Restored(producers=b"cut")),
        (CONFIG, Restored(producers=PRODUCER_BODY.pack(bytes(16), 1, 0, 0, 0, 0, 9))),
        (CONFIG, Restored(paused_queues=[b"q" * 256])),
    ],
)
def test_a_core_refuses_facts_that_cannot_be(config: CoreConfig, restored: Restored) -> None:
    with pytest.raises(ValueError, match=r"range|bytes"):
        new_core(config, restored)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("get", (START_MS, b"short")),
        ("cancel", (START_MS, bytes(17), b"", 0)),
        ("open_horizon", (START_MS, b"")),
        ("settle", (START_MS, BOOT_MS, b"me", bytes(8))),
        ("set_queue", (START_MS, b"q" * 256, True)),
        ("provide_keys", (bytes(47),)),
        ("load", (START_MS, BOOT_MS, 1, bytes(80))),
        ("submit", (1 << 63, submit_batch([MAIL]))),
        ("open_stream", (START_MS, BOOT_MS, 1, b"s" * 16, b"w" * 256, [], 1, 1, 1, b"")),
        ("open_stream", (START_MS, BOOT_MS, 1, b"s" * 16, b"w", [], 1, 1, 1, bytes(23))),
    ],
)
def test_arguments_of_the_wrong_shape_change_nothing(verb: str, arguments: tuple[Any, ...]) -> None:
    core = new_core()
    core.begin_load()
    before = core.state_hash(), core.open_group_bytes()
    with pytest.raises(ValueError, match="bytes"):
        getattr(core, verb)(*arguments)
    assert (core.state_hash(), core.open_group_bytes()) == before


def test_a_spec_that_tables_cannot_hold_is_refused() -> None:
    core = new_core()
    for spec in (replace(MAIL, priority=10), replace(MAIL, jitter_percent=101), replace(MAIL, expire_ms=1 << 63)):
        with pytest.raises(ValueError, match="layout"):
            core.submit(START_MS, submit_batch([spec]))


def test_two_sessions_cannot_share_a_stream_number() -> None:
    core = new_core()
    core.open_stream(START_MS, BOOT_MS, 1, b"a" * 16, b"w", [b"main/mail"], 1, 1, 1, b"")
    with pytest.raises(ValueError, match="another session"):
        core.open_stream(START_MS, BOOT_MS, 1, b"b" * 16, b"w", [b"main/mail"], 1, 1, 1, b"")
    core.open_stream(START_MS, BOOT_MS, 1, b"a" * 16, b"w", [b"main/mail"], 1, 1, 1, b"")
    assert core.counters().streams == 1


def test_bytes_like_batches_are_taken_as_they_are() -> None:
    core = new_core()
    batch = submit_batch([MAIL])
    for view in (batch, bytearray(batch), memoryview(batch)):
        assert len(submitted(core.submit(START_MS, view)[2])) == 1  # type: ignore[arg-type]
    assert submitted(core.submit(START_MS, submit_batch([]))[2]) == []


def test_a_queue_without_values_shows_empty_histograms() -> None:
    core = new_core(restored=Restored(paused_queues=[b"main/mail"], backlog_queues=[b"main/mail", b"main/sms"]))
    views = [(view.queue, view.paused, view.backlog) for view in core.queues()]
    assert views == [(b"main/mail", True, True), (b"main/sms", False, True)]
    assert core.queues()[0].release_skew == bytes(8 * HISTOGRAM_BUCKETS)


def test_more_than_one_tick_may_take_comes_over_several() -> None:
    core = new_core()
    core.open_horizon(START_MS + 1_000, TOP_ID)
    jobs = 2 * limits.EXPIRIES_PER_TICK_MAX - 1
    core.submit(START_MS, submit_batch([replace(MAIL, payload=b"", schedule_ms=START_MS + 1)] * jobs))
    assert core.tick(START_MS + 1, BOOT_MS, 5, False)
    assert core.counters().ready == limits.EXPIRIES_PER_TICK_MAX
    assert not core.tick(START_MS + 1, BOOT_MS, 5, False)
    assert core.counters().ready == jobs


@pytest.mark.parametrize("implementation", [NativeCore, ReferenceCore])
def test_jobs_that_were_not_started_in_time_count_against_a_tick(implementation: type[Core]) -> None:
    """A clock that leaps may end very many at once; what one tick stages must fit a group."""
    core = implementation(CoreConfig(b"u" * 16), Restored(), START_MS, BOOT_MS)
    core.open_horizon(START_MS + 10_000_000, TOP_ID)
    jobs = 4 * limits.GRANTS_PER_TICK_MAX
    core.submit(START_MS, submit_batch([replace(MAIL, schedule_ms=START_MS, expire_ms=START_MS + 1_000)] * jobs))
    while core.tick(START_MS, BOOT_MS, 5, False):
        pass
    core.open_stream(START_MS, BOOT_MS, 1, b"s" * 16, b"w", [MAIL.queue], 10, 1 << 20, 30_000, b"")
    expired = []
    for _ in range(4):
        core.tick(START_MS + 999_999, BOOT_MS, 0, True)
        expired.append(core.counters().expired)
    most = limits.GRANTS_PER_TICK_MAX + 2 * limits.EXPIRIES_PER_TICK_MAX
    assert expired[-1] == jobs
    assert max(later - earlier for earlier, later in zip([0, *expired], expired, strict=False)) <= most


def test_where_a_limit_bit_both_wheels_stand_at_the_first_timer_left() -> None:
    native, reference = NativeWheel(START_MS, 16), Timers[int](START_MS)
    for key in range(16):
        due_ms = START_MS + key // 3 * 5_000
        native.arm_many(array("I", [key]), array("Q", [due_ms]))
        reference.arm(key, due_ms)
    for limit in (2, 2, 1, 4, 16):
        assert list(native.advance(START_MS + 22_000, limit)) == reference.advance(START_MS + 22_000, limit)
        assert native.now_ms() == reference.now


def test_memory_is_given_back_with_the_jobs() -> None:
    core = new_core()
    core.open_horizon(START_MS + 1_000, TOP_ID)
    _, _, records = core.submit(START_MS, submit_batch([MAIL] * 100))
    _, before = core.memory_bytes()
    for _, _, _, job_id in submitted(records):
        core.cancel(START_MS, job_id, b"", 0)
    assert (before, core.memory_bytes()[1]) == (100 * len(MAIL.pack()), 0)


def test_a_row_of_an_unknown_shard_is_refused() -> None:
    core = new_core()
    load, _ = core.begin_load()
    row = Row(b"\xff" * 16, START_MS, 0, 0, 1, 0, 0, 0, bytes(16), b"", b"", MAIL.pack()).pack()
    with pytest.raises(ValueError, match="layout"):
        core.load(START_MS, BOOT_MS, load, row)
