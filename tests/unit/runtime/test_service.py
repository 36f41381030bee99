"""The start/stop contract, one case at a time and under stress."""

from __future__ import annotations

import asyncio
import random

import pytest

from wheeld.runtime.service import Service, ServiceGroup, ServiceState, ServiceStoppedError


class Recorder(Service):
    """Counts its calls; its start can wait for a gate and fail."""

    def __init__(self, name: str = "recorder", journal: list[str] | None = None) -> None:
        super().__init__(name)
        self.calls: list[str] = [] if journal is None else journal
        self.gate: asyncio.Event | None = None
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None
        self.inside = 0

    async def on_start(self) -> None:
        assert self.inside == 0
        self.inside += 1
        try:
            self.calls.append(f"start {self.name}")
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
            if self.start_error is not None:
                raise self.start_error
        finally:
            self.inside -= 1

    async def on_stop(self) -> None:
        assert self.inside == 0
        self.inside += 1
        self.calls.append(f"stop {self.name}")
        await asyncio.sleep(0)
        self.inside -= 1
        if self.stop_error is not None:
            raise self.stop_error


async def test_starts_and_stops_once_whoever_asks() -> None:
    service = Recorder()
    await asyncio.gather(*(service.start() for _ in range(5)))
    assert service.state is ServiceState.STARTED
    await asyncio.gather(*(service.stop() for _ in range(5)))
    await service.stop()
    assert service.calls == ["start recorder", "stop recorder"]
    assert service.state is ServiceState.STOPPED


async def test_stop_without_start_is_safe_and_final() -> None:
    service = Recorder()
    await service.stop()
    await service.wait_stopped()
    assert service.calls == []
    with pytest.raises(ServiceStoppedError):
        await service.start()


async def test_stop_cancels_a_start_that_hangs() -> None:
    service = Recorder()
    service.gate = asyncio.Event()
    starter = asyncio.create_task(service.start())
    while not service.calls:
        await asyncio.sleep(0)
    await service.stop()
    with pytest.raises(ServiceStoppedError):
        await starter
    assert service.calls == ["start recorder", "stop recorder"]


async def test_a_cancelled_starter_does_not_cancel_the_start() -> None:
    service = Recorder()
    service.gate = asyncio.Event()
    impatient = asyncio.create_task(service.start())
    patient = asyncio.create_task(service.start())
    while not service.calls:
        await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    service.gate.set()
    await patient
    assert service.state is ServiceState.STARTED
    await service.stop()


async def test_a_failed_start_stops_the_service_and_reaches_every_starter() -> None:
    service = Recorder()
    service.start_error = ValueError("no port")
    outcomes = await asyncio.gather(service.start(), service.start(), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no port", "no port"]
    await service.wait_stopped()
    assert service.calls == ["start recorder", "stop recorder"]


async def test_a_group_starts_in_order_and_stops_in_reverse() -> None:
    calls: list[str] = []
    group = ServiceGroup("node", [Recorder(name, calls) for name in "abc"])
    await group.start()
    await group.stop()
    assert calls == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


async def test_a_group_member_that_fails_to_start_brings_the_started_ones_down() -> None:
    calls: list[str] = []
    members = [Recorder(name, calls) for name in "abc"]
    members[1].start_error = OSError("busy")
    group = ServiceGroup("node", members)
    with pytest.raises(OSError, match="busy"):
        await group.start()
    await group.wait_stopped()
    assert calls == ["start a", "start b", "stop b", "stop a"]


async def test_a_group_member_that_fails_to_stop_does_not_keep_the_rest_up() -> None:
    calls: list[str] = []
    members = [Recorder(name, calls) for name in "ab"]
    members[1].stop_error = OSError("stuck")
    group = ServiceGroup("node", members)
    await group.start()
    with pytest.raises(ExceptionGroup) as caught:
        await group.stop()
    assert [str(error) for error in caught.value.exceptions] == ["stuck"]
    assert calls[-2:] == ["stop b", "stop a"]


@pytest.mark.parametrize("seed", range(200))
async def test_stress_any_mixture_of_starts_stops_and_cancels(seed: int) -> None:
    source = random.Random(seed)
    service = Recorder()
    if source.random() < 0.3:
        service.start_error = ValueError("refused")
    if source.random() < 0.5:
        service.gate = asyncio.Event()
    callers: list[asyncio.Task[None]] = []
    for _ in range(source.randrange(2, 30)):
        choice = source.random()
        if choice < 0.4:
            callers.append(asyncio.create_task(service.start()))
        elif choice < 0.6:
            callers.append(asyncio.create_task(service.stop()))
        elif choice < 0.75 and callers:
            source.choice(callers).cancel()
        elif service.gate is not None and choice < 0.8:
            service.gate.set()
        for _ in range(source.randrange(3)):
            await asyncio.sleep(0)
    await service.stop()
    await asyncio.gather(*callers, return_exceptions=True)
    assert service.state is ServiceState.STOPPED, f"seed {seed}"
    assert service.calls in ([], ["stop recorder"], ["start recorder", "stop recorder"]), f"seed {seed}"
    assert service.inside == 0, f"seed {seed}"
