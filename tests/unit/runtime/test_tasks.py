"""Supervised tasks: no crash is lost, and stopping leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from wheeld.runtime.tasks import TaskEndedError, TaskSupervisor


def watched() -> tuple[TaskSupervisor, list[tuple[str, BaseException]]]:
    crashes: list[tuple[str, BaseException]] = []
    return TaskSupervisor(lambda name, error: crashes.append((name, error))), crashes


async def fail() -> None:
    raise ValueError("broken")


async def finish() -> None:
    await asyncio.sleep(0)


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def drain(supervisor: TaskSupervisor) -> None:
    while len(supervisor):
        await asyncio.sleep(0)


async def test_a_crash_is_reported_with_the_name_of_its_task() -> None:
    supervisor, crashes = watched()
    supervisor.spawn(fail(), "loader")
    await drain(supervisor)
    assert [(name, str(error)) for name, error in crashes] == [("loader", "broken")]


async def test_a_task_that_should_run_for_ever_must_not_return() -> None:
    supervisor, crashes = watched()
    supervisor.spawn(finish(), "short")
    supervisor.spawn(finish(), "driver", for_ever=True)
    await drain(supervisor)
    assert [(name, type(error)) for name, error in crashes] == [("driver", TaskEndedError)]


async def test_a_task_that_its_owner_cancels_has_not_crashed() -> None:
    supervisor, crashes = watched()
    supervisor.spawn(wait_for_ever(), "stream", for_ever=True).cancel()
    await drain(supervisor)
    assert crashes == []


async def test_stop_ends_everything_and_refuses_new_tasks() -> None:
    supervisor, crashes = watched()
    tasks = [supervisor.spawn(wait_for_ever(), f"task {number}", for_ever=True) for number in range(3)]
    await supervisor.stop()
    await supervisor.stop()
    assert all(task.cancelled() for task in tasks)
    assert crashes == []
    with pytest.raises(RuntimeError, match="after the supervisor had stopped"):
        supervisor.spawn(finish(), "late")


async def test_a_crash_on_the_way_down_is_reported() -> None:
    async def crash_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while closing")

    supervisor, crashes = watched()
    supervisor.spawn(crash_when_cancelled(), "flusher")
    await asyncio.sleep(0)
    await supervisor.stop()
    await asyncio.sleep(0)
    assert [(name, str(error)) for name, error in crashes] == [("flusher", "while closing")]


async def test_a_supervised_task_may_stop_the_others() -> None:
    supervisor, crashes = watched()
    other = supervisor.spawn(wait_for_ever(), "other")
    supervisor.spawn(supervisor.stop(), "stopper")
    await drain(supervisor)
    assert other.cancelled()
    assert crashes == []
