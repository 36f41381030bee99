"""One rival at one size, in a process of its own: `python -m bench.micro.cell RIVAL TIMERS` prints JSON.

Owns: the workload of the curve. Timers uniform over an hour of milliseconds, keys in scattered order. With TIMERS
armed: arm and cancel more of them in batches, go through the first tenth of the hour millisecond by millisecond, then
through the second tenth in one jump. Invariant: every key that was armed and not cancelled expires once and not early,
or the cell fails; memory is what the process grew by, inputs apart.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from bench.micro.rivals import ADVANCE_LIMIT, RIVALS, Rival

HOUR_MS = 3_600_000
TENTH_MS = HOUR_MS // 10
BATCH = 10_000
CHUNK = 1_000_000
EXTRA_MAX = 200_000
"""Timers that are armed on top, and then others cancelled, to time these two."""
Figures = dict[str, float | int | None]


def resident_bytes() -> int:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def inputs(timers: int, extra: int) -> tuple[array[int], array[int]]:
    """(keys, times): all keys once, in scattered order."""
    draw = np.random.default_rng(1)
    keys, dues_ms = array("I"), array("Q")
    keys.frombytes(draw.permutation(timers + extra).astype(np.uint32).tobytes())
    dues_ms.frombytes(draw.integers(1, HOUR_MS, timers + extra, dtype=np.uint64).tobytes())
    return keys, dues_ms


def spans(begin: int, end: int, step: int) -> list[slice]:
    """[begin, end) in parts."""
    return [slice(at, min(at + step, end)) for at in range(begin, end, step)]


def fastest_half(costs_ns: list[float]) -> float:
    """Mean of the faster half of the batches: other processes on the machine only ever add."""
    chosen = sorted(costs_ns)[: max(len(costs_ns) // 2, 1)]
    return sum(chosen) / len(chosen)


def walk(rival: Rival, moments_ms: Iterable[int]) -> tuple[int, list[int]]:
    """(ns, keys): everything that is due at one moment after another, one call for each unless a limit is reached."""
    parts: list[array[int] | list[int]] = []
    advance = rival.advance
    began = time.thread_time_ns()
    for now_ms in moments_ms:
        while keys := advance(now_ms, ADVANCE_LIMIT):
            parts.append(keys)
            if len(keys) < ADVANCE_LIMIT:
                break
    return time.thread_time_ns() - began, [key for part in parts for key in part]


def timed_batches(call: Callable[..., object], batches: list[tuple[array[int], ...]]) -> float:
    """ns per item."""
    costs = []
    for arguments in batches:
        began = time.thread_time_ns()
        call(*arguments)
        costs.append((time.thread_time_ns() - began) / len(arguments[0]))
    return fastest_half(costs)


def measure(name: str, timers: int, steps: bool) -> Figures:
    """All figures of one rival at one size; with `steps` false the walk by milliseconds is left out."""
    extra = min(EXTRA_MAX, timers)
    keys, dues_ms = inputs(timers, extra)
    chunks = [(keys[part], dues_ms[part]) for part in spans(0, timers, CHUNK)]
    # The whole inputs stay: freed, their pages would be taken again by what is to be weighed.
    gc.collect()
    gc.disable()
    before = resident_bytes()
    rival = RIVALS[name](timers + extra)
    began = time.thread_time_ns()
    if name in ("native", "reference"):
        for chunk in chunks:
            rival.fill(*chunk)
    else:
        rival.fill(keys[:timers], dues_ms[:timers])
    filled_ns = time.thread_time_ns() - began
    gc.collect()
    grown = resident_bytes() - before
    armed = timed_batches(rival.arm_many, [(keys[p], dues_ms[p]) for p in spans(timers, timers + extra, BATCH)])
    cancelled = timed_batches(rival.cancel_many, [(keys[p],) for p in spans(0, extra, BATCH)])
    left = np.frombuffer(dues_ms, dtype=np.uint64)[extra:]
    gone = np.frombuffer(keys, dtype=np.uint32)[extra:]
    stepped_ns, stepped = walk(rival, range(1, TENTH_MS + 1)) if steps else (0, [])
    first_ms = TENTH_MS if steps else 0
    check(stepped, gone[left <= first_ms], timers + extra)
    jumped_ns, jumped = walk(rival, [first_ms + TENTH_MS])
    check(jumped, gone[(left > first_ms) & (left <= first_ms + TENTH_MS)], timers + extra)
    return {
        "timers": timers,
        "fill_ns": round(filled_ns / timers, 1),
        "arm_ns": round(armed, 1),
        "cancel_ns": round(cancelled, 1),
        "step_ns": round(stepped_ns / TENTH_MS, 1) if steps else None,
        "expire_steps_ns": round(stepped_ns / len(stepped), 1) if steps else None,
        "expire_jump_ns": round(jumped_ns / len(jumped), 1),
        "bytes_per_timer": round(grown / timers, 1),
    }


def check(found: list[int], wanted: np.ndarray[tuple[int], np.dtype[np.uint32]], capacity: int) -> None:
    """Each key wanted, once."""
    seen = np.bincount(np.array(found, dtype=np.int64), minlength=capacity)
    expected = np.bincount(wanted.astype(np.int64), minlength=capacity)
    if not np.array_equal(seen, expected):
        raise SystemExit(f"{int(np.abs(seen - expected).sum())} timers expired wrongly")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("timers", type=int)
    parser.add_argument("--no-steps", action="store_true", help="leave the walk by milliseconds out")
    given = parser.parse_args()
    print(json.dumps(measure(given.rival, given.timers, not given.no_steps)))
