"""The committed stubs are exactly what `proto/` generates with the pinned generator."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.tidy import protogen
from tests.tidy.project import ROOT


def test_stubs_are_up_to_date(tmp_path: Path) -> None:
    if importlib.util.find_spec("grpc_tools") is None and not os.environ.get("CI"):
        pytest.skip("grpcio-tools is not installed")
    protogen.generate(tmp_path)
    fresh, committed = protogen.stubs(tmp_path), protogen.stubs(ROOT / "src")
    assert fresh
    stale = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
    assert not stale, f"run `make proto` and commit: {stale}"
