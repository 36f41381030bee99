"""A client that is not ours and not Python: Node.js with @grpc/grpc-js and the protos as they are published.

Slow: installs packages from the network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness.daemon import ROOT, Daemon

FOREIGN = Path(__file__).parent / "foreign"


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js and npm are not installed")
def test_node_client(fresh_daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    for name in ("package.json", "drive.js"):
        shutil.copy(FOREIGN / name, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True, timeout=120
    )
    command = ["node", "drive.js", fresh_daemon.address, str(ROOT / "proto")]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    said = json.loads(found.stdout)
    print(said)
    assert said["acked"] == said["submitted"] == 200
