"""How the SDK tries a call again."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from wheeld.client import channel
from wheeld.client.channel import Caller
from wheeld.client.failures import Unreachable
from wheeld.model import errors
from wheeld.model.errors import Refused
from wheeld.wire.status import Status, to_status


class Failed(grpc.RpcError):
    """What a stub raises."""

    def __init__(self, status: Status) -> None:
        self.code, self.details = lambda: status.code, lambda: status.details
        self.trailing_metadata = lambda: status.trailing_metadata


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def note(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(channel.asyncio, "sleep", note)
    return found


def fails_first(*codes: int) -> Any:
    """A method that fails so, then answers."""
    left = list(codes)

    def method(request: bytes, timeout: float) -> bytes:
        if left:
            raise Failed(to_status(left.pop(0), "not now"))
        return b"answer to " + request

    return method


@pytest.mark.parametrize(("code", "least_s"), [(errors.STORE_BUSY, 0.1), (errors.STORE_FULL, 5.0)])
async def test_a_busy_daemon_says_when_to_come_again(waits: list[float], code: int, least_s: float) -> None:
    assert await Caller("here", 30.0).call(fails_first(code, code), b"x") == b"answer to x"
    assert len(waits) == 2 and min(waits) >= least_s


async def test_a_wait_beyond_the_deadline_is_not_begun(waits: list[float]) -> None:
    with pytest.raises(Refused, match="STORE_FULL"):
        await Caller("here", 4.0).call(fails_first(errors.STORE_FULL), b"x")
    assert not waits


async def test_a_try_without_an_answer_is_not_forgotten(waits: list[float]) -> None:
    """The first try may have had its effect: that a later one was refused for now does not say the contrary."""
    left = [Failed(Status(grpc.StatusCode.UNAVAILABLE, "gone", ())), Failed(to_status(errors.STORE_FULL, "not now"))]

    def method(request: bytes, timeout: float) -> bytes:
        raise left.pop(0)

    with pytest.raises(Unreachable, match="STORE_FULL"):
        await Caller("here", 4.0).call(method, b"x")
    assert not left


async def test_what_cannot_succeed_is_not_tried_again(waits: list[float]) -> None:
    with pytest.raises(Refused, match="KEY_CONFLICT"):
        await asyncio.wait_for(Caller("here", 30.0).call(fails_first(errors.KEY_CONFLICT), b"x"), 60)
    assert not waits
