"""The door."""

from __future__ import annotations

import pytest

from wheeld.admission.gate import Gate
from wheeld.model import errors, limits
from wheeld.model.errors import Refused


def code_of(gate: Gate, size: int) -> int:
    with pytest.raises(Refused) as caught:
        gate.admit_submit(size)
    return caught.value.kind.code


def test_an_open_gate_looks_at_the_size() -> None:
    gate = Gate()
    gate.admit_submit(limits.MESSAGE_BYTES_MAX)
    assert code_of(gate, limits.MESSAGE_BYTES_MAX + 1) == errors.BATCH_TOO_LARGE
    gate.admit_stream()


def test_a_closed_gate_stays_closed_and_tells_its_watchers_once() -> None:
    gate, told = Gate(), []
    gate.watch(lambda: told.append(1))
    left = lambda: told.append(2)  # noqa: E731 - the same object must be given back
    gate.watch(left)
    gate.unwatch(left)
    gate.close(77)
    gate.close(99)
    assert gate.draining and gate.deadline_ms == 77 and told == [1]
    assert code_of(gate, 1) == errors.DRAINING
