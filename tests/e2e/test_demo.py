"""`wheeld demo`, as a user runs it: through the SDK, with a kill -9 in the middle."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.e2e.harness.daemon import ROOT, environment


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_demo() -> None:
    command = [sys.executable, "-m", "wheeld", "demo"]
    found = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=150, check=False
    )
    print(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "kill -9" in found.stdout and "Every accepted job ran." in found.stdout
    assert "\x1b" not in found.stdout, "no colours in a pipe"
    row = re.search(r"^ *([\d,]+) +([\d,]+) +0 +0 +\d+ +0 +0 *$", found.stdout, re.MULTILINE)
    assert row is not None and row[1] == row[2], "submitted = ran, nothing lost, early, created twice or unexplained"
