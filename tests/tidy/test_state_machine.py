"""The drawn state machine is the one in the code, and the table is closed."""

from __future__ import annotations

from pathlib import Path

from tests.tidy.draw_states import draw
from wheeld.model.job import TERMINAL, TRANSITIONS, JobState

DOCUMENT = Path(__file__).parents[2] / "docs" / "state-machine.md"


def test_the_document_is_drawn_from_the_table() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == draw(), "run python -m tests.tidy.draw_states docs/state-machine.md"


def test_nothing_leaves_a_terminal_state_and_every_state_is_reached() -> None:
    assert not [before for before, _ in TRANSITIONS if before in TERMINAL]
    assert set().union(*TRANSITIONS.values()) == set(JobState)
