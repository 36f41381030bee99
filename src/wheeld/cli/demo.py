"""`wheeld demo`: a daemon, a producer and a worker for half a minute; the daemon is killed in the middle, nothing is
lost.

Owns the acts and the processes. Does not own the judgement (demo_tally). Everything goes through the public SDK, as a
user's program would. Invariant: whatever happens, the processes end and the temporary directory goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from rich.console import Console

from wheeld.cli.demo_jobs import QUEUE, TYPE, parse
from wheeld.cli.demo_screen import Screen
from wheeld.cli.demo_tally import Tally
from wheeld.client.client import Client, JobHandle
from wheeld.client.jobs import JobOptions, encode_job
from wheeld.model.errors import StartFailure, WheeldError

BURST_JOBS = 2000
KILL_AFTER_S = 9.0
"""From the first act on."""
START_S_MAX = 30.0
PROBE_S = 0.5
PATIENCE_S = 20.0
OPTIONS = JobOptions(queue=QUEUE)


def run() -> int:
    """Half a minute of a daemon, a producer and a worker, with a kill -9 in the middle."""
    terminal = sys.stdout.isatty()
    screen = Screen(Console(highlight=False, width=None if terminal else 110))
    with tempfile.TemporaryDirectory(prefix="wheeld-demo-") as folder:
        return asyncio.run(Demo(Path(folder), screen).run())


def free_port() -> int:
    """A port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def now_ms() -> int:
    """Wall clock."""
    return time.time_ns() // 1_000_000


class Demo:
    """See the module."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self._folder, self._screen = folder, screen
        self._address = f"127.0.0.1:{free_port()}"
        self._tally = Tally()
        self._daemon: asyncio.subprocess.Process | None = None
        self._arrived = asyncio.Event()

    async def run(self) -> int:
        """The whole play; 1 when something was lost, early or not explained."""
        try:
            async with Client(self._address) as client:
                await self._start_daemon()
                async with self._worker(client):
                    await self._play(client)
                    await self._wait_for_all()
        finally:
            await self._kill_daemon()
        self._screen.result(self._tally)
        return 1 if any(self._tally.failures().values()) else 0

    # -- processes -----------------------------------------------------------------
    async def _start_daemon(self) -> None:
        began = time.monotonic()
        log = self._folder / "daemon.log"
        command = [sys.executable, "-m", "wheeld", "serve", "--data-dir", str(self._folder / "data")]
        command += ["--listen", self._address, "--http-listen", "off", "--log-level", "warning"]
        with log.open("ab") as output:
            self._daemon = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=output, stderr=output)
        while True:
            if self._daemon.returncode is not None:
                raise StartFailure("The daemon of the demo did not start", log.read_text(errors="replace"), 1)
            # A client of its own: the producer's may be waiting out the backoff of its last attempt to connect.
            with contextlib.suppress(WheeldError):
                async with Client(self._address, timeout=PROBE_S) as probe:
                    await probe.server_info()
                    break
            if time.monotonic() - began > START_S_MAX:
                raise StartFailure(
                    f"The daemon did not answer within {START_S_MAX:g} s", log.read_text(errors="replace"), 1
                )
        self._screen.daemon_serves(self._address, self._daemon.pid, time.monotonic() - began)

    async def _kill_daemon(self) -> None:
        if self._daemon is not None and self._daemon.returncode is None:
            self._daemon.kill()
            await self._daemon.wait()

    @contextlib.asynccontextmanager
    async def _worker(self, client: Client) -> AsyncIterator[None]:
        """The worker process, with someone who reads its lines."""
        command = [sys.executable, "-m", "wheeld.cli.demo_jobs", self._address]
        log = self._folder / "worker.log"
        with log.open("wb") as errors:
            worker = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=errors)
        assert worker.stdout is not None
        reader = asyncio.create_task(self._read(worker.stdout))
        try:
            await self._wait_for_worker(client)
            self._screen.worker_listens(worker.pid)
            yield
        except TimeoutError:
            raise StartFailure("The worker of the demo does not listen", log.read_text(errors="replace"), 1) from None
        finally:
            if worker.returncode is None:
                worker.terminate()
            await worker.wait()
            await reader

    async def _wait_for_worker(self, client: Client) -> None:
        """Until the daemon counts it; there is no event for that."""
        async with asyncio.timeout(START_S_MAX):
            while not (await client.queue(QUEUE)).workers:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            run = parse(line.decode())
            self._tally.runs.append(run)
            self._screen.ran(run)
            self._arrived.set()

    # -- the play ------------------------------------------------------------------
    async def _play(self, client: Client) -> None:
        began_ms = now_ms()
        kill_ms = began_ms + round(KILL_AFTER_S * 1000)
        self._screen.act("Jobs to run now, one at a time")
        for number in range(5):
            await self._submit_now(client, f"now-{number}")
            await asyncio.sleep(0.15)
        self._screen.act("Jobs with a delay, each at its own millisecond; and a burst, all in the same one")
        start_ms = now_ms() + 300
        await self._submit_at(client, {f"delayed-{number}": start_ms + 613 * number for number in range(8)})
        await self._submit_at(client, {f"burst-a-{number}": start_ms + 2550 for number in range(BURST_JOBS)})
        # What comes due around the kill and behind it is accepted now, and must outlive the daemon.
        await self._submit_at(client, {f"near-kill-{number}": kill_ms - 1000 + 100 * number for number in range(60)})
        await self._submit_at(client, {f"behind-{number}": kill_ms + 6000 + 613 * number for number in range(8)})
        await self._submit_at(client, {f"burst-b-{number}": kill_ms + 8550 for number in range(BURST_JOBS)})
        await asyncio.sleep(max(kill_ms - 500 - now_ms(), 0) / 1000)
        await self._crash(client, kill_ms)
        self._screen.act("The rest of what was accepted before the kill, on time again")
        await asyncio.sleep(max(kill_ms + 10_500 - now_ms(), 0) / 1000)
        for number in range(5, 8):
            await self._submit_now(client, f"now-{number}")

    async def _crash(self, client: Client, kill_ms: int) -> None:
        """kill -9 while a batch is on its way; the SDK sends it again until it is answered."""
        self._screen.act("kill -9 in the middle of a submit")
        await asyncio.sleep(max(kill_ms - now_ms(), 0) / 1000)
        due = {f"in-flight-{number}": kill_ms + 7000 for number in range(500)}
        on_its_way = asyncio.create_task(self._submit_at(client, due))
        await asyncio.sleep(0)
        assert self._daemon is not None
        pid = self._daemon.pid
        self._tally.killed_ms = now_ms()
        await self._kill_daemon()
        self._screen.daemon_killed(pid, self._tally.waiting())
        await self._start_daemon()
        self._tally.serving_ms = now_ms()
        async with Client(self._address) as onlooker:
            await self._wait_for_worker(onlooker)
        self._tally.back_ms = now_ms()
        self._screen.told(f"the worker is back {self._tally.back_ms - self._tally.serving_ms:,} ms later")
        await on_its_way
        self._screen.told(f"the {len(due)} jobs of the interrupted submit were accepted, each once")

    async def _submit_now(self, client: Client, name: str) -> None:
        handle = await client.submit(TYPE, name.encode(), queue=QUEUE)
        self._tally.accept(name, handle.job_id)

    async def _submit_at(self, client: Client, dues_ms: dict[str, int]) -> None:
        self._tally.intended_ms.update(dues_ms)
        encoded = [
            encode_job(TYPE, name.encode(), schedule_time=due_ms / 1000, options=OPTIONS)
            for name, due_ms in dues_ms.items()
        ]
        for name, handle in zip(dues_ms, await client.submit_many(encoded), strict=True):
            assert isinstance(handle, JobHandle)
            self._tally.accept(name, handle.job_id)

    async def _wait_for_all(self) -> None:
        """Until everything accepted has run, or nothing more comes."""
        await until(lambda: self._tally.waiting() == 0, self._arrived)


async def until(done: Callable[[], bool], news: asyncio.Event) -> None:
    """Return when it is done, or when there was no news for a while."""
    while not done():
        news.clear()
        try:
            await asyncio.wait_for(news.wait(), PATIENCE_S)
        except TimeoutError:
            return
