"""Batches on their way: tries, ends of streams, the watch. The stream is scripted, or a fake daemon's."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc
import pytest

from tests.unit.worker.fake_server import FakeDaemon
from wheeld.client import delivery as delivery_module
from wheeld.client.client import Client
from wheeld.client.delivery import Batch, Delivery
from wheeld.client.failures import Unreachable
from wheeld.model import errors
from wheeld.model.errors import Refused, WheeldError
from wheeld.wire.pb.v1 import job_service_pb2 as pb


class Stream:
    """What went out by it. `channel` is the list of all."""

    def __init__(self, channel: list[Stream], listener: Delivery) -> None:
        channel.append(self)
        self.listener, self.named = listener, False
        self.sent: list[Any] = []
        self.finished = self.cancelled = False

    def send(self, data: bytes) -> None:
        self.sent.append(pb.SubmitJobsRequest.FromString(data))

    def finish(self) -> None:
        self.finished = True

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, number: int, **fields: Any) -> None:
        self.listener.on_answer(self, pb.SubmitJobsResponse(batch_number=number, **fields).SerializeToString())  # type: ignore[arg-type]


class Broken(grpc.RpcError):
    """A connection that broke."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "gone"

    def trailing_metadata(self) -> tuple[()]:
        return ()


class Sending:
    """A delivery, its streams, and what became of its batches."""

    def __init__(self, timeout_s: float = 30.0) -> None:
        self.streams: list[Stream] = []
        self.retries = 0
        self.delivery = Delivery(self.streams, "here", "me", timeout_s, self._on_retry)  # type: ignore[arg-type]

    def _on_retry(self) -> None:
        self.retries += 1

    def begin(self, number: int) -> asyncio.Future[bytes]:
        outcome: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def settled(data: bytes, error: WheeldError | None) -> None:
            if error is None:
                outcome.set_result(data)
            else:
                outcome.set_exception(error)

        self.delivery.begin(Batch(number, b"", settled))
        return outcome

    async def until_sent(self, streams: int) -> Stream:
        """The newest stream, once there are so many and something went out by it."""
        async with asyncio.timeout(30):
            while len(self.streams) < streams or not self.streams[-1].sent:
                await asyncio.sleep(0.001)
        return self.streams[-1]


@pytest.fixture(autouse=True)
def scripted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "daemon" not in request.fixturenames:
        monkeypatch.setattr(delivery_module, "SubmitStream", Stream)


async def test_the_first_message_of_each_stream_names_the_session() -> None:
    sending = Sending()
    first, second = sending.begin(1), sending.begin(300)
    (stream,) = sending.streams
    assert [(sent.batch_number, sent.producer_session_id) for sent in stream.sent] == [(1, "me"), (300, "")]
    stream.answer(300)
    sending.delivery.on_end(stream, Broken())  # type: ignore[arg-type]
    again = await sending.until_sent(2)
    assert [(sent.batch_number, sent.producer_session_id) for sent in again.sent] == [(1, "me")]
    again.answer(1)
    assert second.done() and first.done() and not sending.delivery.open


async def test_only_the_refused_batch_is_sent_again() -> None:
    sending = Sending()
    outcomes = [sending.begin(number) for number in (1, 2, 3)]
    (stream,) = sending.streams
    stream.answer(2, code=errors.STORE_BUSY, retry_delay_ms=1)
    stream.answer(3, code=errors.BATCH_CONFLICT)
    with pytest.raises(Refused, match="BATCH_CONFLICT"):
        await outcomes[2]
    async with asyncio.timeout(30):
        while len(stream.sent) < 4:
            await asyncio.sleep(0.001)
    assert stream.sent[3].batch_number == 2 and sending.retries == 1 and not outcomes[0].done()


async def test_a_refusal_that_lasts_beyond_the_deadline_is_told() -> None:
    sending = Sending(timeout_s=5.0)
    outcome = sending.begin(1)
    sending.streams[0].answer(1, code=errors.STORE_FULL, retry_delay_ms=5000)
    with pytest.raises(Refused, match="STORE_FULL"):
        await outcome
    assert not sending.retries


async def test_a_refusal_after_a_lost_try_does_not_say_that_nothing_was_created() -> None:
    sending = Sending()
    outcomes = [sending.begin(1), sending.begin(2)]
    sending.streams[0].answer(2, code=errors.STORE_FULL, retry_delay_ms=60_000)
    with pytest.raises(Refused, match="STORE_FULL"):
        await outcomes[1]
    sending.delivery.on_end(sending.streams[0], Broken())  # type: ignore[arg-type]
    again = await sending.until_sent(2)
    again.answer(1, code=errors.STORE_FULL, retry_delay_ms=60_000)
    with pytest.raises(Unreachable, match="STORE_FULL"):
        await outcomes[0]


async def test_a_try_that_is_not_answered_is_given_up_with_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "TRY_S_MAX", 0.01)
    sending = Sending()
    outcome = sending.begin(1)
    first = sending.streams[0]
    second = await sending.until_sent(2)
    assert first.cancelled and second.sent[0].batch_number == 1
    first.answer(1)
    assert not outcome.done()
    async with asyncio.timeout(30):
        while not outcome.done():
            sending.streams[-1].answer(1)
            await asyncio.sleep(0.001)


async def test_out_of_time_is_unreachable_and_the_stream_goes_on() -> None:
    sending = Sending(timeout_s=0.01)
    with pytest.raises(Unreachable, match="here: no answer in"):
        await sending.begin(1)
    assert not sending.delivery.open and not sending.streams[0].cancelled
    sending.streams[0].answer(1)


async def test_an_answer_that_is_none_ends_what_is_open() -> None:
    sending = Sending()
    outcomes = [sending.begin(1), sending.begin(2)]
    sending.delivery.on_answer(sending.streams[0], b"\x0a")  # type: ignore[arg-type]
    for outcome in outcomes:
        with pytest.raises(Refused, match="INTERNAL"):
            await outcome
    assert sending.streams[0].cancelled


async def test_a_stream_that_cannot_be_opened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any) -> None:
        raise ValueError("closed channel")

    monkeypatch.setattr(delivery_module, "SubmitStream", closed)
    with pytest.raises(Refused, match="closed channel"):
        await Sending().begin(1)


async def test_an_idle_stream_is_ended_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "IDLE_S_MAX", 0.01)
    monkeypatch.setattr(delivery_module, "TRY_S_MAX", 0.01)
    sending = Sending()
    sending.begin(1)
    sending.streams[0].answer(1)
    async with asyncio.timeout(30):
        while not sending.streams[0].finished:
            await asyncio.sleep(0.001)
    sending.begin(2)
    assert len(sending.streams) == 2


async def test_a_client_that_nobody_holds_leaves_no_stream(daemon: FakeDaemon) -> None:
    async def submit() -> None:
        await Client(daemon.address).submit("t")

    await asyncio.to_thread(lambda: asyncio.run(submit()))
    assert len(daemon.jobs) == 1
    gc.collect()
    async with asyncio.timeout(30):
        await daemon.until(lambda: not daemon.submit_streams)


async def test_a_closed_client_ends_its_stream(daemon: FakeDaemon, client: Client) -> None:
    await client.submit("t")
    assert daemon.submit_streams == 1
    await client.close()
    async with asyncio.timeout(30):
        await daemon.until(lambda: not daemon.submit_streams)
    await client.submit("t")
    assert len(daemon.jobs) == 2
