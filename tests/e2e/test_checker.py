"""The checker itself: a good history passes, and each planted fault is found as what it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checker.history import (
    CREATED_TWICE,
    DONE_TWICE,
    EARLY,
    FOREIGN,
    LOST,
    UNEXPLAINED,
    History,
    Verdict,
)
from tests.e2e.checker.records import Recorder, read, read_all

S = 1_000_000
DUE_MS = 2000


def got(
    second: float,
    token: str,
    fencing: int,
    *,
    session: str = "s",
    job: str = "J1",
    attempt: int = 1,
    number: int = 1,
    redelivery: bool = False,
    expire_ms: int = 5000,
    due_ms: int = DUE_MS,
) -> list[Any]:
    """A receipt."""
    return ["got", int(second * S), session, [[job, token, attempt, fencing, due_ms, expire_ms, redelivery, number]]]


def good() -> list[list[Any]]:
    """Two jobs; the first is done at once, the second after a nack."""
    return [
        ["intent", 1 * S, "b/1", [[1, DUE_MS], [2, DUE_MS]]],
        ["accepted", 1 * S + 1, "b/1", ["J1", "J2"]],
        ["connect", 1 * S + 2, "s", []],
        got(2.001, "t1", 1),
        got(2.001, "t2", 2, job="J2", number=2),
        ["settle", int(2.002 * S), "s", [["ack", "t1"], ["nack", "t2"]]],
        ["settled", int(2.003 * S), "s", [["ack", "t1", 0, False], ["nack", "t2", 0, False]]],
        got(2.2, "t3", 3, job="J2", number=2, attempt=2, due_ms=2100),
        ["settle", int(2.21 * S), "s", [["ack", "t3"]]],
        ["settled", int(2.22 * S), "s", [["ack", "t3", 0, False]]],
    ]


def judge(lines: list[list[Any]]) -> Verdict:
    return History(sorted(lines, key=lambda line: line[1])).judge()


def test_good_history() -> None:
    verdict = judge(good())
    assert not verdict.faults, verdict
    assert (verdict.counts["accepted"], verdict.counts["delivered"], verdict.counts["again: nacked or released"]) == (
        2,
        3,
        1,
    )
    assert verdict.skew_us == [1000, 1000]


def without(index: int) -> list[list[Any]]:
    lines = good()
    del lines[index]
    return lines


PLANTED = {
    "an accepted job never arrives": (without(3)[:3] + good()[4:5], {LOST: 2}),
    "an accepted job is never acked": (good()[:-2], {LOST: 1}),
    "an ack is refused": ([*good()[:-1], ["settled", 3 * S, "s", [["ack", "t3", 12, False]]]], {LOST: 1}),
    "a job is said to have succeeded, but nobody acked it": ([*good()[:-2], ["state", 9 * S, "J2", 5]], {LOST: 1}),
    "a job is still pending at the end": ([*good()[:-1], ["state", 9 * S, "J2", 2]], {LOST: 1}),
    "before its lease says": ([*good()[:3], got(1.999, "t1", 1), *good()[4:]], {EARLY: 1}),
    "before its client meant, whatever the lease says": (
        [*good()[:3], got(1.5, "t1", 1, due_ms=1400), *good()[4:]],
        {EARLY: 1},
    ),
    "the same ack is new twice": ([*good(), ["settled", 3 * S, "s", [["ack", "t1", 0, False]]]], {DONE_TWICE: 1}),
    "two tokens of a job are acked": (
        [
            *good(),
            got(6, "t9", 9),
            ["settle", 7 * S, "s", [["ack", "t9"]]],
            ["settled", 8 * S, "s", [["ack", "t9", 0, True]]],
        ],
        {DONE_TWICE: 1, UNEXPLAINED: 1},
    ),
    "a batch is created twice": ([*good(), got(3, "t9", 9, job="J9")], {CREATED_TWICE: 1}),
    "a job that nobody submitted": ([*good(), got(3, "t9", 9, job="J9", number=7)], {FOREIGN: 1}),
    "again without a reason": ([*without(6), got(2.5, "t9", 9)], {LOST: 1, UNEXPLAINED: 1}),
    "again after it was done": ([*good(), got(6, "t9", 9)], {UNEXPLAINED: 1}),
    "again with an older token": ([*without(6)[:6], got(6, "t9", 0, expire_ms=6001)], {LOST: 2, UNEXPLAINED: 1}),
    "a redelivery without a reconnect": ([*without(6), got(2.5, "t9", 9, redelivery=True)], {LOST: 1, UNEXPLAINED: 1}),
    "a redelivery of what the worker holds": (
        [*without(6), ["connect", int(2.4 * S), "s", ["t1"]], got(2.5, "t9", 9, redelivery=True)],
        {LOST: 1, UNEXPLAINED: 1},
    ),
    "to another session before the lease ends": (
        [*without(6), got(4.9, "t9", 9, session="other")],
        {LOST: 1, UNEXPLAINED: 1},
    ),
    "a crash is no reason": (
        [*without(6), ["crash", int(2.4 * S), "daemon"], got(2.5, "t9", 9)],
        {LOST: 1, UNEXPLAINED: 1},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault(name: str) -> None:
    lines, faults = PLANTED[name]
    verdict = judge(copy.deepcopy(lines))
    assert dict(verdict.faults) == faults, verdict


EXPLAINED = {
    "lease expired": [got(5.0, "t9", 9, session="other", attempt=2)],
    "revoked": [["revoked", int(2.4 * S), "s", [["t1", 11]]], got(2.5, "t9", 9)],
    "redelivered after a reconnect": [["connect", int(2.4 * S), "s", []], got(2.5, "t9", 9, redelivery=True)],
}


@pytest.mark.parametrize("reason", EXPLAINED)
def test_explained_delivery(reason: str) -> None:
    """The ack of the first token was not accepted; the second one's is."""
    end = [["settle", 6 * S, "s", [["ack", "t9"]]], ["settled", 7 * S, "s", [["ack", "t9", 0, False]]]]
    lines = good()
    lines[6] = ["settled", int(2.003 * S), "s", [["nack", "t2", 0, False]]]
    verdict = judge([*lines, *EXPLAINED[reason], *end])
    assert not verdict.faults, verdict
    assert verdict.counts[f"again: {reason}"] == 1


def test_a_lease_may_be_read_when_another_has_followed_it() -> None:
    """By a worker that stood still for longer than the lease; while the lease runs, nothing may follow it."""
    late = got(6, "t0", 0, session="other", expire_ms=2001)
    assert not judge([*good(), late]).faults
    running = got(6, "t0", 0, session="other", expire_ms=6001)
    assert judge([*good(), running]).faults == {UNEXPLAINED: 1}


def test_unseen_end_is_not_lost() -> None:
    """The worker was killed between its ack and the answer."""
    assert not judge([*good()[:-1], ["state", 9 * S, "J2", 5]]).faults


def test_half_a_line_is_ignored(tmp_path: Path) -> None:
    Recorder(tmp_path / "a.jsonl").write("crash", "daemon", time_us=5)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(json.dumps(["crash", 6, "wor"])[:-3])
    assert read_all(tmp_path) == [["crash", 5, "daemon"]]


def test_reading_beside_a_writer(tmp_path: Path) -> None:
    """One look at the file: one that went on reading could meet a line's two halves as two lines."""
    path = tmp_path / "a.jsonl"
    recorder = Recorder(path)
    recorder.write("crash", "daemon", time_us=5)
    lines = read(path)
    assert next(lines) == ["crash", 5, "daemon"]
    recorder.write("crash", "worker", time_us=6)
    assert list(lines) == []
