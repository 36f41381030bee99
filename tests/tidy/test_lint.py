"""ruff finds nothing, and the format is ruff's."""

from __future__ import annotations

from tests.tidy.project import run_module


def test_ruff_rules() -> None:
    done = run_module("ruff", "check", "--output-format", "concise", ".")
    assert done.returncode == 0, done.stdout


def test_ruff_format() -> None:
    done = run_module("ruff", "format", "--check", ".")
    assert done.returncode == 0, f"{done.stdout}\nmake fmt repairs it"
