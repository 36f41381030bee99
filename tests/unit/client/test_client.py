"""The client against a daemon in memory: batching, deduplication, retries, verbs."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.unit.worker.fake_server import FakeDaemon, fake_daemon
from wheeld.client.app import App
from wheeld.client.client import Client
from wheeld.client.failures import Unreachable
from wheeld.client.jobs import encode_job
from wheeld.model import errors, limits
from wheeld.model.errors import Misused, Refused, WheeldError
from wheeld.model.job import JobState
from wheeld.wire.pb.v1 import job_pb2


async def test_submits_of_one_moment_share_a_batch(daemon: FakeDaemon, client: Client) -> None:
    handles = await asyncio.gather(*(client.submit("t", str(n).encode()) for n in range(100)))
    assert daemon.batch_sizes == [100]
    assert [daemon.jobs[handle.job_id].payload for handle in handles] == [str(n).encode() for n in range(100)]


async def test_many_submits_of_one_moment_go_in_two_halves(daemon: FakeDaemon, client: Client) -> None:
    handles = await asyncio.gather(*(client.submit("t", str(n).encode()) for n in range(301)))
    assert sorted(daemon.batch_sizes) == [150, 151]
    assert [daemon.jobs[handle.job_id].payload for handle in handles] == [str(n).encode() for n in range(301)]


async def test_the_next_batch_is_what_came_while_the_last_was_away(daemon: FakeDaemon) -> None:
    daemon.gate = asyncio.Event()
    async with Client(daemon.address, batches_in_flight=1) as client:
        submits = [asyncio.create_task(client.submit("t"))]
        await daemon.until(lambda: daemon.batch_calls)
        for _ in range(5):
            submits.append(asyncio.create_task(client.submit("t")))
            await asyncio.sleep(0)
        assert len(daemon.batch_calls) == 1
        daemon.gate.set()
        await asyncio.gather(*submits)
    assert daemon.batch_sizes == [1, 5]


async def test_a_lost_answer_creates_nothing_twice(daemon: FakeDaemon, client: Client) -> None:
    daemon.lose_answers = 2
    handles = await asyncio.gather(*(client.submit("t") for _ in range(10)))
    assert len({handle.job_id for handle in handles}) == len(daemon.jobs) == 10
    assert len(daemon.batch_calls) == 3
    assert len(set(daemon.batch_calls)) == 1, "a batch keeps its session and number"


async def test_a_daemon_that_comes_back_gets_the_same_batch(daemon: FakeDaemon, client: Client) -> None:
    await client.submit("before")
    await daemon.stop()
    submit = asyncio.create_task(client.submit("after"))
    while not client.retries:
        await asyncio.sleep(0.01)
    await daemon.start()
    await submit
    assert [job.type for job in daemon.jobs.values()] == ["before", "after"]


async def test_busy_is_waited_for(daemon: FakeDaemon, client: Client) -> None:
    daemon.busy = 2
    handle = await client.submit("t")
    assert handle.job_id in daemon.jobs and client.retries == 2


async def test_a_job_larger_than_any_message_does_not_hurt_others_under_way(daemon: FakeDaemon) -> None:
    daemon.gate = asyncio.Event()
    async with Client(daemon.address, timeout=60) as client:
        other = asyncio.create_task(client.submit("t"))
        await daemon.until(lambda: daemon.batch_calls)
        with pytest.raises(Misused, match="BATCH_TOO_LARGE"):
            await client.submit("t", bytes(3 * limits.MESSAGE_BYTES_MAX))
        daemon.gate.set()
        assert (await other).job_id in daemon.jobs


async def test_one_refused_job_does_not_hurt_its_batch(daemon: FakeDaemon, client: Client) -> None:
    good, bad, other = await asyncio.gather(
        client.submit("t"), client.submit(""), client.submit("t"), return_exceptions=True
    )
    assert isinstance(bad, Refused)
    assert (bad.kind.code, bad.field) == (errors.FIELD_INVALID, errors.Field.TYPE)
    assert {good.job_id, other.job_id} == set(daemon.jobs)  # type: ignore[union-attr]


async def test_batches_fit_a_message(daemon: FakeDaemon, client: Client) -> None:
    payload = b"x" * limits.PAYLOAD_BYTES_MAX
    await asyncio.gather(*(client.submit("t", payload) for _ in range(40)))
    assert len(daemon.jobs) == 40
    assert max(daemon.batch_sizes) * len(payload) < limits.MESSAGE_BYTES_MAX
    with pytest.raises(Misused, match="batch of"):
        await client.submit_raw_batch(encode_job("t", payload) * 17)


async def test_a_submit_that_was_given_up_is_not_sent(daemon: FakeDaemon, client: Client) -> None:
    given_up = asyncio.create_task(client.submit("given-up"))
    await asyncio.sleep(0)
    given_up.cancel()
    await client.submit("kept")
    assert [job.type for job in daemon.jobs.values()] == ["kept"]
    assert given_up.cancelled()


async def test_the_oldest_open_batch_stays_in_the_daemons_memory(daemon: FakeDaemon) -> None:
    daemon.gate = asyncio.Event()
    ahead = limits.PRODUCER_BATCHES_REMEMBERED // 2
    async with Client(daemon.address, batches_in_flight=1000) as client:
        sends = [asyncio.create_task(client.submit_raw_batch(encode_job("t"))) for _ in range(2 * ahead)]
        await daemon.until(lambda: len(daemon.batch_calls) >= ahead)
        assert {task.done() for task in sends} == {False}
        daemon.gate.set()
        await asyncio.gather(*sends)
    numbers = [number for _, number in daemon.batch_calls]
    assert sorted(numbers) == list(range(1, 2 * ahead + 1))
    assert max(numbers[:ahead]) <= ahead


async def test_submit_many(daemon: FakeDaemon, client: Client) -> None:
    handles = await client.submit_many(encode_job("t", str(n).encode()) for n in range(12_000))
    assert [daemon.jobs[handle.job_id].payload for handle in handles] == [str(n).encode() for n in range(12_000)]
    answers = await client.submit_many([encode_job("t"), encode_job("")], return_errors=True)
    assert isinstance(answers[1], WheeldError) and answers[0].job_id in daemon.jobs
    with pytest.raises(Refused):
        await client.submit_many([encode_job(""), encode_job("t")])
    assert len(daemon.jobs) == 12_002


async def test_a_key_names_one_job(daemon: FakeDaemon, client: Client) -> None:
    first = await client.submit("t", key="k")
    second = await client.submit("t", key="k")
    assert (first.job_id, first.duplicate, second.duplicate) == (second.job_id, False, True)


async def test_no_daemon_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        async with Client(address, timeout=0.2) as client:
            with pytest.raises(Unreachable, match=address):
                await client.submit("t")
            with pytest.raises(Unreachable):
                await client.server_info()


async def test_verbs(daemon: FakeDaemon, client: Client) -> None:
    handle = await client.submit("t", b"p", labels={"a": "b"})
    job = await handle.get()
    assert (job.type, job.payload, job.labels, job.state) == ("t", b"p", {"a": "b"}, JobState.PENDING)
    with pytest.raises(TimeoutError, match="PENDING"):
        await handle.wait(0)
    assert (await client.server_info()).version == "fake"
    with pytest.raises(Refused, match="JOB_NOT_FOUND"):
        await client.get("0" * 26)
    waiting = asyncio.create_task(handle.wait("10s"))
    await asyncio.sleep(0)
    daemon.jobs[handle.job_id].state = job_pb2.JOB_STATE_SUCCEEDED
    assert (await waiting).finished


async def test_a_cancel_whose_answer_was_lost_is_a_cancel(daemon: FakeDaemon, client: Client) -> None:
    handle = await client.submit("t")
    daemon.lose_answers = 1
    assert (await handle.cancel()).state is JobState.CANCELLED
    with pytest.raises(Refused, match="JOB_FINISHED"):
        await handle.cancel()


def test_a_client_serves_one_running_loop_at_a_time() -> None:
    client = Client("127.0.0.1:1")

    async def use_elsewhere() -> None:
        async with fake_daemon() as daemon:
            client.address = daemon.address
            await client.submit("t")
            with pytest.raises(Misused, match="another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(client.submit("t")))
            await client.close()

    asyncio.run(use_elsewhere())
    asyncio.run(use_elsewhere())


async def test_handlers_submit_and_still_are_functions(daemon: FakeDaemon) -> None:
    app = App(daemon.address)

    @app.job(queue="email", max_attempts=3)
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert add(1, b=2) == 3 and add.__doc__ == "Adds."
    handle = await add.options(key="k", labels={"a": "b"}).submit_in("15m", 1, b=2)
    job = daemon.jobs[handle.job_id]
    assert (job.queue, job.type, job.payload) == ("email", "add", b'{"args":[1],"kwargs":{"b":2}}')
    assert job.labels == {"a": "b"} and "k" in daemon.keys
    with pytest.raises(Misused, match="two handlers"):
        app.job("add")(print)
    await app.client.close()
