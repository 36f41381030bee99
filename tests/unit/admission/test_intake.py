"""The line at the door: what enters, what waits, who is let in next."""

from __future__ import annotations

import asyncio

import pytest

from wheeld.admission.intake import Intake
from wheeld.model import errors, limits
from wheeld.model.errors import Refused

SMALL = 1000
LARGE = limits.MESSAGE_BYTES_MAX


async def settle() -> None:
    """Every task does what it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def full() -> Intake:
    """One that takes nothing more."""
    intake = Intake()
    for _ in range(limits.INTAKE_BYTES_MAX // LARGE):
        await intake.enter(LARGE)
    return intake


async def test_what_does_not_fit_waits_until_room_is_made() -> None:
    intake = await full()
    waiting = asyncio.create_task(intake.enter(LARGE))
    await settle()
    assert not waiting.done()
    assert intake.bytes == limits.INTAKE_BYTES_MAX + LARGE
    intake.leave(LARGE)
    await waiting
    assert intake.bytes == limits.INTAKE_BYTES_MAX


async def test_small_messages_and_large_ones_take_turns() -> None:
    intake, entered = await full(), []

    async def come(name: str, size: int) -> None:
        await intake.enter(size)
        entered.append(name)
        intake.leave(size)

    tasks = [asyncio.create_task(come(f"large {at}", LARGE)) for at in range(4)]
    tasks += [asyncio.create_task(come(f"small {at}", SMALL)) for at in range(2)]
    await settle()
    intake.leave(LARGE)
    await asyncio.gather(*tasks)
    assert max(entered.index("small 0"), entered.index("small 1")) < entered.index("large 3")
    assert [name for name in entered if name.startswith("large")] == [f"large {at}" for at in range(4)]


async def test_nobody_overtakes_the_line_of_the_same_size() -> None:
    intake, entered = await full(), []

    async def come(name: int) -> None:
        await intake.enter(LARGE)
        entered.append(name)

    tasks = [asyncio.create_task(come(name)) for name in range(3)]
    await settle()
    for _ in range(3):
        intake.leave(LARGE)
    await asyncio.gather(*tasks)
    assert entered == [0, 1, 2]


async def test_a_message_that_is_larger_than_the_bound_enters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INTAKE_BYTES_MAX", 10)
    intake = Intake()
    await intake.enter(11)
    waiting = asyncio.create_task(intake.enter(1))
    await settle()
    assert not waiting.done()
    intake.leave(11)
    await waiting


async def test_a_line_that_is_too_long_is_refused() -> None:
    intake = await full()
    room = (limits.SUBMIT_BYTES_MAX - limits.INTAKE_BYTES_MAX) // LARGE
    tasks = [asyncio.create_task(intake.enter(LARGE)) for _ in range(room)]
    await settle()
    with pytest.raises(Refused) as refused:
        await intake.enter(LARGE)
    assert refused.value.kind.code == errors.STORE_BUSY
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert intake.bytes == limits.INTAKE_BYTES_MAX


async def test_who_leaves_the_line_leaves_no_hole_and_keeps_no_room() -> None:
    intake = await full()
    first, second = asyncio.create_task(intake.enter(LARGE)), asyncio.create_task(intake.enter(LARGE))
    await settle()
    first.cancel()
    await settle()
    intake.leave(LARGE)
    await second
    third = asyncio.create_task(intake.enter(LARGE))
    await settle()
    intake.leave(LARGE)
    third.cancel()  # its place was given to it already, and it never learns
    await settle()
    assert intake.bytes == limits.INTAKE_BYTES_MAX - LARGE


async def test_who_leaves_the_line_in_the_turn_that_makes_room_disturbs_nobody() -> None:
    intake = await full()
    first, second = asyncio.create_task(intake.enter(LARGE)), asyncio.create_task(intake.enter(LARGE))
    await settle()
    first.cancel()
    intake.leave(LARGE)  # before the first could leave its place
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert intake.bytes == limits.INTAKE_BYTES_MAX


async def test_an_empty_message_is_not_left_in_the_line() -> None:
    intake = await full()
    large = asyncio.create_task(intake.enter(LARGE))
    await settle()
    empty = [asyncio.create_task(intake.enter(0)) for _ in range(3)]
    await settle()
    intake.leave(LARGE)
    await large
    intake.leave(LARGE)
    async with asyncio.timeout(30):
        await asyncio.gather(*empty)
    assert intake.bytes == limits.INTAKE_BYTES_MAX - LARGE
