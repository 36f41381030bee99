"""mypy --strict over src finds nothing."""

from __future__ import annotations

import pytest

from tests.tidy.project import run_module


@pytest.mark.timeout(900)
def test_mypy_strict() -> None:
    done = run_module("mypy")
    assert done.returncode == 0, done.stdout
