"""What holds for every test: markers by folder, Hypothesis profiles, a seed that is printed, and no loop left dirty.

Owns no fixture of the product: those stand in the conftest of the folder that needs them. Invariant: an asynchronous
test that leaves a task running, or whose loop saw an exception that nobody awaited, fails.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before gRPC is loaded. Harnesses fork with a preexec_fn; with fork support gRPC starts its poller again in the child,
# which finds its descriptors closed and aborts before the program begins (grpc/grpc#43055).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

TESTS = Path(__file__).parent
GRACE_S = 30.0
"""How long the tasks of a test that is over may take to end on a busy machine."""

IN_CI = "CI" in os.environ
"""Chance is drawn alike in each run there: what a change is judged by must not depend on a lot that it did not draw."""

settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    derandomize=IN_CI,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "sanitized", deadline=None, print_blob=True, max_examples=25, suppress_health_check=list(HealthCheck)
)
settings.load_profile("sanitized" if os.environ.get("WHEELD_TEST_SANITIZED") else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below tests/e2e starts real processes."""
    for item in items:
        if TESTS / "e2e" in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def pytest_report_header() -> str:
    return f"wheeld: native modules {'sanitized' if os.environ.get('WHEELD_TEST_SANITIZED') else 'as built'}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a randomized test: WHEELD_SEED repeats a run. Pytest shows the line when the test fails."""
    drawn = zlib.crc32(request.node.nodeid.encode()) if IN_CI else random.SystemRandom().getrandbits(32)
    value = int(os.environ.get("WHEELD_SEED") or drawn)
    print(f"WHEELD_SEED={value}")
    return value


@pytest.fixture
def rng(seed: int) -> random.Random:
    """The one source of chance for a randomized test."""
    return random.Random(seed)


@pytest.fixture
async def loop_guard() -> AsyncIterator[None]:
    """Fails the test for tasks that outlive it and for exceptions that reached only the loop."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks(loop)
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    yield
    # What was told to end may need turns of the loop; gRPC's own tasks end when its poller's thread says so.
    after = asyncio.all_tasks(loop) - before - {asyncio.current_task()}
    leaked = (await asyncio.wait(after, timeout=GRACE_S))[1] if after else set()
    loop.set_exception_handler(None)
    for task in leaked:
        task.cancel()
    assert not leaked, f"tasks outlive the test: {leaked}"
    assert not unhandled, f"exceptions that nobody handled: {unhandled}"


@pytest.fixture(autouse=True)
def clean_loop(request: pytest.FixtureRequest) -> None:
    """Puts the guard around every asynchronous test, outside of its other fixtures: it looks when they have closed."""
    function = getattr(request, "function", None)
    if function is not None and inspect.iscoroutinefunction(function):
        request.getfixturevalue("loop_guard")
