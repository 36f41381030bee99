"""Random groups, sizes, releases and power cuts: no durable group is lost, and nothing is read that was not written."""

from __future__ import annotations

import queue
import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.journal.box import STORE, Box, CrashingFiles, PowerCutError, read_groups
from wheeld.journal.errors import JournalFailedError
from wheeld.journal.format import BLOCK_BYTES, group_bytes_max
from wheeld.journal.verify import verify_journal

SEGMENT_BYTES = 8 * BLOCK_BYTES


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    lives=st.lists(st.integers(0, 60), min_size=1, max_size=8),
)
def test_no_power_cut_loses_a_durable_group(seed: int, lives: list[int]) -> None:
    """Each life ends in a power cut after so many changes to the disk: in start-up, a group, a segment or a release."""
    chance = random.Random(seed)
    root = Path(tempfile.mkdtemp())
    try:
        history = History(root / "journal", chance)
        for changes in lives:
            history.live_until_cut(changes)
        history.check(CrashingFiles(chance, 1_000_000)).close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


class History:
    """What was written in all lives so far, and what of it must still be there."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.directory = directory
        self.chance = chance
        self.written: dict[int, bytes] = {}
        self.durable = 0
        self.released = 0

    def live_until_cut(self, changes: int) -> None:
        files = CrashingFiles(self.chance, changes)
        try:
            box = self.check(files)
        except PowerCutError:
            return
        cause: BaseException | None = None
        try:
            for _ in range(50):
                self._act(box)
        except JournalFailedError as error:
            cause = error.__cause__
        finally:
            box.close()
            self._drain(box)
        assert cause is None or isinstance(cause, PowerCutError), cause

    def check(self, files: CrashingFiles) -> Box:
        """Start, and compare what was recovered with what was written."""
        box = Box(self.directory, segment_bytes=SEGMENT_BYTES, ops=files)
        last = box.journal.last_group
        assert self.durable <= last <= self.durable + 1, "lost or invented groups"
        found = read_groups(self.directory, last, after=self.released)
        assert found == {number: self.written[number] for number in range(self.released + 1, last + 1)}
        report = verify_journal(self.directory, STORE)
        assert (report.problems, report.last_group) == ([], last)
        self.durable = last
        return box

    def _act(self, box: Box) -> None:
        if self.durable and self.chance.random() < 0.2:
            up_to = self.chance.randint(self.released, self.durable)
            box.journal.release(up_to)
            self.released = max(self.released, up_to)
            return
        number = self.durable + 1
        size = self.chance.choice([0, 1, 4031, 4032, 4033, 9000, 15000, group_bytes_max(SEGMENT_BYTES)])
        # Part of the payload repeats, so that leftovers of an earlier try of the same number can look like the new try.
        payload = bytes([number % 251]) * (size // 2) + self.chance.randbytes(size - size // 2)
        self.written[number] = payload
        box.journal.append(number, payload, time_ms=number)
        box.wait(number)
        self.durable = number

    def _drain(self, box: Box) -> None:
        """A group that became durable just before the cut was told as such."""
        while True:
            try:
                event = box.events.get_nowait()
            except queue.Empty:
                return
            if isinstance(event, int):
                self.durable = max(self.durable, event)
