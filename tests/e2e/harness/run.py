"""One run under load: a daemon, producers, workers, a chaos hand, and the verdict at the end.

Owns the processes of the run and the folder of its records. Invariant: nothing outlives `close`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc

from tests.e2e.checker.history import SUCCEEDED, History, Verdict
from tests.e2e.checker.records import CRASH, STATE, Recorder, read_all
from tests.e2e.harness.daemon import PATIENCE_S, ROOT, Daemon, die_with_parent, environment, wait_until
from wheeld.wire.pb.v1 import job_service_pb2 as pb
from wheeld.wire.pb.v1 import job_service_pb2_grpc

NUMBERS_APART = 10_000_000
QUIET_S = 3.0
"""The workers have come to an end of what they will see once nothing was written for longer than a lease and its retry
take.
"""


class Run:
    """See the module. Its seed decides everything that the harness draws."""

    def __init__(self, folder: Path, seed: int, *options: str) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.records.mkdir(parents=True)
        self.rng = random.Random(seed)
        self.daemon = Daemon(folder / "data", *options)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.producers: list[subprocess.Popen[bytes]] = []
        self._recorder = Recorder(self.records / "harness.jsonl")
        self._started = 0

    # -- processes ---------------------------------------------------------------
    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """One more worker process."""
        self.workers.append(self._spawn("worker", *options))
        return self.workers[-1]

    def add_producer(self, *options: str) -> subprocess.Popen[bytes]:
        """One more producer process."""
        self.producers.append(
            self._spawn("producer", "--first-number", str(1 + len(self.producers) * NUMBERS_APART), *options)
        )
        return self.producers[-1]

    def _spawn(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        self._started += 1
        name = f"{what}-{self._started}"
        command = [sys.executable, "-m", f"tests.e2e.harness.{what}", "--address", self.daemon.address]
        command += ["--record", str(self.records / f"{name}.jsonl"), "--seed", str(self.rng.getrandbits(32)), *options]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one call of prctl, which takes no lock
            )

    # -- chaos -------------------------------------------------------------------
    def pause(self, least_s: float, most_s: float) -> None:
        """Let the load go on for a random while: the moment of a kill is the point of it, no probe could say when."""
        time.sleep(self.rng.uniform(least_s, most_s))

    def crash(self, victim: str) -> None:
        """kill -9 of `daemon`, `keeper` or `worker`, and bring it back."""
        self._recorder.write(CRASH, victim)
        if victim == "daemon":
            self.daemon.kill()
            self.pause(0.0, 0.3)
            self.daemon.start()
        elif victim == "keeper":
            pid = self.daemon.keeper_pid()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: self.daemon.find_keeper() not in (0, pid), "a new storekeeper runs")
        else:
            worker = self.workers.pop(self.rng.randrange(len(self.workers)))
            worker.kill()
            worker.wait()
            self.add_worker()

    def count(self, victim: str) -> None:
        """Write a crash down that the test itself brings about."""
        self._recorder.write(CRASH, victim)

    # -- the end -----------------------------------------------------------------
    def stop_producers(self) -> None:
        """Let each finish its batch."""
        # One that is still on its way up does not listen yet; it makes its record when it does.
        wait_until(
            lambda: len(list(self.records.glob("producer-*.jsonl"))) == len(self.producers), "the producers are up"
        )
        for producer in self.producers:
            producer.terminate()
        for producer in self.producers:
            code = producer.wait(PATIENCE_S)
            assert code == 0, f"a producer failed:\n{self.logs()}"

    def history(self) -> History:
        """What is known so far."""
        return History(read_all(self.records))

    def accepted(self) -> int:
        """Jobs that were accepted so far."""
        return len(self.history().accepted)

    def finish(self, least: int = 0, patience_s: float = 120.0) -> Verdict:
        """Wait until at least so many jobs are accepted and every one of them is done, ask the daemon for those whose
        end nobody saw, and judge.
        """
        wait_until(lambda: self.accepted() >= least, f"{least} jobs are accepted")
        self.stop_producers()
        deadline = time.monotonic() + patience_s
        count, since = -1, time.monotonic()
        while (unfinished := self.history().unfinished()) and time.monotonic() < deadline:
            if len(unfinished) != count:
                count, since = len(unfinished), time.monotonic()
            quiet = time.monotonic() - since > QUIET_S
            if quiet and all(state >= SUCCEEDED for state in self._states(unfinished).values()):
                break
            time.sleep(0.1)
        for job_id, state in self._states(unfinished).items():
            self._recorder.write(STATE, job_id, state)
        for worker in self.workers:
            assert worker.poll() is None, f"a worker failed:\n{self.logs()}"
        verdict = self.history().judge()
        print(verdict)
        return verdict

    def _states(self, job_ids: list[str]) -> dict[str, int]:
        states = {}
        with grpc.insecure_channel(self.daemon.address) as channel:
            stub = job_service_pb2_grpc.JobServiceStub(channel)
            for job_id in job_ids:
                try:
                    states[job_id] = stub.GetJob(pb.GetJobRequest(job_id=job_id), timeout=PATIENCE_S).job.state
                except grpc.RpcError as error:
                    print(f"GetJob {job_id}: {error.code().name} {error.details()}")
                    states[job_id] = 0
        return states

    def logs(self) -> str:
        """The ends of the logs of all processes."""
        parts = [f"daemon:\n{self.daemon.log_tail()}"]
        parts += [
            f"{path.name}:\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.folder.glob("*-*.log"))
        ]
        return "\n".join(parts)

    def close(self) -> None:
        """End everything."""
        for process in (*self.workers, *self.producers):
            if process.poll() is None:
                process.kill()
            process.wait()
        self.daemon.close()
