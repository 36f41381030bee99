"""A benchmark that is killed leaves no server."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DAEMON = """
import asyncio, time
from bench.daemon import Daemon
daemon = Daemon()
asyncio.run(daemon.start(http=False))
print(daemon.pid, daemon.directory, flush=True)
time.sleep(600)
"""
PEER = """
import sys, time
from bench.compare.process import Server, temporary_directory
folder = temporary_directory("test")
print(Server([sys.executable, "-c", "import time; time.sleep(600)"], folder).pid, folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("program", [DAEMON, PEER])
def test_a_killed_benchmark_leaves_no_server(program: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        ended = os.pidfd_open(int(pid))
        run.send_signal(signal.SIGKILL)
    try:
        assert select.select([ended], [], [], 60)[0], f"process {pid} still runs"
    finally:
        os.close(ended)
        shutil.rmtree(folder)
