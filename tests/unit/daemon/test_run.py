"""How the process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wheeld.daemon.run import EXIT_CRASH


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("thread", [False, True])
def test_a_crash_ends_the_process_from_any_thread(thread: bool) -> None:
    call = "crash('journal', OSError('disk gone'))"
    if thread:
        call = f"import threading; t = threading.Thread(target=lambda: {call}); t.start(); t.join()"
    done = run(f"from wheeld.daemon.run import crash; {call}; print('went on')")
    assert done.returncode == EXIT_CRASH
    assert "disk gone" in done.stdout + done.stderr and "went on" not in done.stdout


def test_the_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import asyncio, os, signal\n"
        "from wheeld.daemon.drain import StopSignals\n"
        "async def main():\n"
        "    signals = StopSignals(); signals.install(asyncio.get_running_loop())\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await signals.asked.wait()\n"
        "    print('asked', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    done = run(code)
    assert done.returncode == 128 + 15, done.stderr
    assert "asked" in done.stdout
