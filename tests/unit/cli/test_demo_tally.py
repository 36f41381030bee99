"""The demo's judgement can fail: each fault is counted as what it is."""

from __future__ import annotations

from wheeld.cli.demo_jobs import Run, parse
from wheeld.cli.demo_tally import AFTER, BEFORE, DOWN, NOW, Tally, figures

KILLED_MS, SERVING_MS, BACK_MS = 5000, 7000, 8000


def ran(
    name: str, due_ms: int, late_ms: float = 1.0, *, job_id: str = "", attempt: int = 1, again: bool = False
) -> Run:
    return Run(name, job_id or f"id-{name}", attempt, again, due_ms, int((due_ms + late_ms) * 1000))


def tally(*runs: Run, accepted: tuple[str, ...] = ("a", "b")) -> Tally:
    """Jobs `a` and `b` are due at 1000 ms."""
    made = Tally(KILLED_MS, SERVING_MS, BACK_MS)
    for name in accepted:
        made.intended_ms[name] = 1000
        made.accept(name, f"id-{name}")
    made.runs += runs
    return made


def wrong(made: Tally) -> dict[str, int]:
    return {name: count for name, count in made.failures().items() if count}


def test_good_run() -> None:
    assert wrong(tally(ran("a", 1000), ran("b", 1000))) == {}


def test_faults() -> None:
    a, b = ran("a", 1000), ran("b", 1000)
    assert wrong(tally(a)) == {"lost": 1}
    assert wrong(tally(a, ran("b", 1000, -0.001))) == {"early": 1}
    assert wrong(tally(a, ran("b", 900))) == {"early": 1}, "the client's own time counts, not only the lease's"
    assert wrong(tally(a, b, b)) == {"unexplained": 1}
    assert wrong(tally(a, b, ran("b", 1000, job_id="another"))) == {"created twice": 1}


def test_explained_repetition() -> None:
    made = tally(ran("a", 1000), ran("b", 1000), ran("b", 1000, attempt=2), ran("a", 1000, again=True))
    assert made.twice() == (2, 0)
    assert wrong(made) == {}


def test_phases() -> None:
    made = tally(accepted=())
    made.intended_ms = {"before": 1000, "just-before": 4999, "down": 7500, "after": 9000}
    made.runs += [ran(name, due_ms) for name, due_ms in made.intended_ms.items() if name != "just-before"]
    made.runs += [ran("just-before", 4999, 4000), ran("now", 1500)]
    assert {phase: len(skews) for phase, skews in made.by_phase().items()} == {NOW: 1, BEFORE: 1, DOWN: 2, AFTER: 1}


def test_line_round_trip() -> None:
    run = ran("now-1", 1000, again=True)
    assert parse(run.line()) == run


def test_figures() -> None:
    found = figures([float(value) for value in range(1000)])
    assert (found["p50"], found["p99"], found["p99.9"], found["max"]) == (500, 990, 999, 999)
