"""docs/protocol.md says of each error what the registry says."""

from __future__ import annotations

from pathlib import Path

import pytest

from wheeld.model.errors import REGISTRY, ErrorKind

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocol.md"


@pytest.mark.parametrize("kind", REGISTRY.values(), ids=lambda kind: kind.reason)
def test_error_is_documented(kind: ErrorKind) -> None:
    again = "yes" if kind.retry else "no"
    row = f"| {kind.code} | `{kind.reason}` | {kind.status} | {again} | {kind.duty} |"
    assert row in DOCUMENT.read_text().splitlines()
