"""Waiters beside asyncio's own tasks: who goes on, with what, and what a cancellation or an exit does to the others."""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from typing import Any

import pytest

from wheeld.wire import _produce
from wheeld.wire._produce import Handle, Queue, Waiter, answer, wake
from wheeld.wire.pb.v1 import job_service_pb2

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name")


class Kept(Handle):
    """As JobHandle."""

    __slots__ = ()


def response(*results: dict[str, Any]) -> bytes:
    return job_service_pb2.SubmitJobsResponse(
        results=[job_service_pb2.JobResult(**result) for result in results]
    ).SerializeToString()


async def waiting(waiter: Waiter) -> Any:
    return await waiter


async def tasks_of(count: int) -> tuple[list[Waiter], list[asyncio.Task[Any]]]:
    """Tasks that have begun to wait."""
    waiters = [Waiter(asyncio.get_running_loop()) for _ in range(count)]
    tasks = [asyncio.create_task(waiting(waiter)) for waiter in waiters]
    await asyncio.sleep(0)
    return waiters, tasks


def answered(waiters: list[Waiter]) -> None:
    data = response(*({"job_id": str(number)} for number in range(len(waiters))))
    answer(data, waiters, "client", Kept, ValueError)
    asyncio.get_running_loop().call_soon(wake, waiters)


async def test_each_task_gets_its_own_answer() -> None:
    waiters, tasks = await tasks_of(3)
    data = response({"job_id": "a"}, {"code": 2, "field": "queue"}, {"job_id": "c", "duplicate": True})
    answer(data, waiters, "client", Kept, ValueError)
    assert not any(task.done() for task in tasks)
    asyncio.get_running_loop().call_soon(wake, waiters)
    first, refused, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, Kept) and (first.job_id, first.duplicate, first._client) == ("a", False, "client")
    assert isinstance(refused, ValueError) and refused.args == (2, "queue")
    assert (last.job_id, last.duplicate) == ("c", True)


@pytest.mark.parametrize("data", [b"", response({"job_id": "a"}), response({}, {}, {}), response({}, {}) + b"\x12\x05"])
async def test_an_answer_that_does_not_fit_changes_nothing(data: bytes) -> None:
    waiters, tasks = await tasks_of(2)
    with pytest.raises(ValueError, match="batch of 2"):
        answer(data, waiters, None, Kept, ValueError)
    assert not any(waiter.done() for waiter in waiters)
    answered(waiters)
    assert [handle.job_id for handle in await asyncio.gather(*tasks)] == ["0", "1"]


async def test_an_error_that_many_share_does_not_gather_their_frames() -> None:
    waiters, tasks = await tasks_of(50)
    error = ValueError("no answer")
    for waiter in waiters:
        waiter.fail(error)
    asyncio.get_running_loop().call_soon(wake, waiters)
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 50
    assert len(traceback.extract_tb(error.__traceback__)) < 5


async def test_a_cancelled_task_ends_and_its_neighbours_do_not() -> None:
    waiters, tasks = await tasks_of(3)
    tasks[1].cancel("not wanted")
    with pytest.raises(asyncio.CancelledError, match="not wanted"):
        await tasks[1]
    assert waiters[1].cancelled() and not waiters[1].cancel()
    answered(waiters)
    assert (await tasks[0]).job_id == "0" and (await tasks[2]).job_id == "2"


async def test_a_cancel_between_the_answer_and_the_wake_counts() -> None:
    waiters, (task,) = await tasks_of(1)
    answered(waiters)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_gives_it_up() -> None:
    waiter = Waiter(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting(waiter), 0.001)
    assert waiter.cancelled()


async def test_a_task_goes_on_in_its_own_context() -> None:
    waiters = [Waiter(asyncio.get_running_loop()) for _ in range(2)]

    async def named(name: str, waiter: Waiter) -> tuple[str, str, Any]:
        NAME.set(name)
        await waiter
        task = asyncio.current_task()
        assert task is not None
        return NAME.get(), name, task

    tasks = [asyncio.create_task(named(name, waiter)) for name, waiter in zip("ab", waiters, strict=True)]
    await asyncio.sleep(0)
    answered(waiters)
    assert await asyncio.gather(*tasks) == [("a", "a", tasks[0]), ("b", "b", tasks[1])]


def test_a_task_that_ends_the_program_leaves_the_others_to_the_loop() -> None:
    ended: list[str] = []

    async def leave(waiter: Waiter) -> None:
        await waiter
        raise SystemExit(3)

    async def stay(waiter: Waiter) -> None:
        ended.append((await waiter).job_id)

    async def main(loop: asyncio.AbstractEventLoop) -> tuple[list[Waiter], list[asyncio.Task[None]]]:
        waiters = [Waiter(loop) for _ in range(3)]
        tasks = [loop.create_task(leave(waiters[0])), *(loop.create_task(stay(waiter)) for waiter in waiters[1:])]
        await asyncio.sleep(0)
        return waiters, tasks

    loop = asyncio.new_event_loop()
    try:
        waiters, tasks = loop.run_until_complete(main(loop))
        answer(response({}, {"job_id": "1"}, {"job_id": "2"}), waiters, None, Kept, ValueError)
        loop.call_soon(wake, waiters)
        with pytest.raises(SystemExit):
            loop.run_until_complete(asyncio.wait(tasks[1:]))
        loop.run_until_complete(asyncio.wait(tasks[1:]))
        assert isinstance(tasks[0].exception(), SystemExit)
    finally:
        loop.close()
    assert ended == ["1", "2"]


async def test_one_task_awaits_a_waiter() -> None:
    (waiter,), (task,) = await tasks_of(1)
    with pytest.raises(asyncio.InvalidStateError):
        waiter.add_done_callback(print)
    with pytest.raises(asyncio.InvalidStateError):
        waiter.result()
    answered([waiter])
    await task


async def test_a_queue_is_cut_by_number_and_by_size() -> None:
    pumped: list[int] = []
    queue = Queue(asyncio.get_running_loop(), lambda: pumped.append(len(queue)))
    waiters = [queue.submit(bytes([number]) * 10) for number in range(5)]
    assert (len(queue), queue.size_bytes, queue.pump_due) == (5, 50, True)
    await asyncio.sleep(0)
    assert pumped == [5]
    waiters[1].cancel()
    assert queue.cut(2, 1000) == (b"\0" * 10 + b"\2" * 10, [waiters[0], waiters[2]])
    assert queue.cut(9, 5) == (b"\3" * 10, [waiters[3]])
    waiters[4].cancel()
    assert queue.cut(9, 1000) == (b"", [])
    assert (len(queue), queue.size_bytes) == (0, 0)


def test_wrong_words_are_told() -> None:
    for wrong in ({"queue": 5}, {"labels": {"a": 1}}, {"labels": {1: "a"}}, {"key": "\ud800"}, {"colour": "red"}):
        with pytest.raises((TypeError, UnicodeEncodeError)):
            _produce.job_head("t", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _produce.job_element(b"", "text")  # type: ignore[arg-type]
