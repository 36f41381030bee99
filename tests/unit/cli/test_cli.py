"""The command: errors as one line, exit codes, a fast version, and the commands against a daemon's API."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.edge.conftest import FACTS
from tests.unit.edge.fake_driver import FakeDriver, queue_view, skew
from wheeld.admission.gate import Gate
from wheeld.cli.main import COMMANDS, main
from wheeld.cli.plain import plain_flags
from wheeld.cli.serve import Flags
from wheeld.daemon.config import NAMES
from wheeld.driver.api import JobView
from wheeld.edge.server import EdgeParts, EdgeServer
from wheeld.metrics.calls import CallCounts
from wheeld.model import errors
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.errors import Refused
from wheeld.model.ids import id_to_text, pack_id
from wheeld.model.job import JobState
from wheeld.model.rows import Row
from wheeld.model.spec import Spec
from wheeld.runtime.clock import SimClock
from wheeld.store.directory import open_or_create
from wheeld.wire.codec import native_codec

Capture = pytest.CaptureFixture[str]


def one_line(capsys: Capture) -> str:
    """What was said on stderr: one line, no traceback."""
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and err.startswith("wheeld: "), (out, err)
    return err


def test_version_is_light_and_fast() -> None:
    code = "import sys; sys.argv = ['wheeld', 'version']\nfrom wheeld.cli.main import main; main(['version']); "
    code += "print([name for name in ('grpc', 'cyclopts', 'asyncio', 'msgspec') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[1] == "[]"


def test_every_command_can_be_reached(capsys: Capture) -> None:
    for name, place, _ in COMMANDS:
        if name == "demo":
            continue
        assert main([name, "--help"]) == 0, place
        assert name in capsys.readouterr().out


def test_every_option_is_a_flag_of_serve() -> None:
    assert tuple(Flags.__dataclass_fields__) == NAMES


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["jbo"], 2, "`wheeld job`"),
        (["serve", "--no-such-option"], 2, "--no-such-option"),
        (["serve", "--data-dir", "/tmp/x", "--shards", "0"], 2, "--shards"),
        (["config", "show", "--config", "/nonexistent.toml"], 2, "/nonexistent.toml"),
        (["job", "submit", "echo", "--in", "1s", "--at", "2030-01-01"], 1, "--in and --at"),
        (["job", "submit", "echo", "--at", "soon"], 1, "'soon'"),
        (["job", "reschedule", "x"], 1, "--in SPAN"),
        (["worker", "no.such.module:app"], 2, "no.such.module"),
        (["worker", "json:app"], 2, "App"),
        (["store", "verify", "/nonexistent"], 2, "/nonexistent"),
    ],
)
def test_errors_are_one_line(capsys: Capture, arguments: list[str], code: int, said: str) -> None:
    assert main(arguments) == code
    assert said in one_line(capsys)


def test_config_show_and_validate(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "wheeld.toml"
    file.write_text('data_dir = "/d"\nresident_bytes = "64MiB"')
    monkeypatch.setenv("WHEELD_SHARDS", "4")
    assert main(["config", "show", "--config", str(file), "--origin", "-o", "json"]) == 0
    rows = {row["option"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(NAMES)
    assert rows["shards"] == ("4", "environment WHEELD_SHARDS") and rows["resident_bytes"] == ("64MiB", f"file {file}")
    assert main(["config", "validate", "--config", str(file)]) == 0
    file.write_text("shard = 4")
    assert main(["config", "validate", "--config", str(file)]) == 2


def test_verify_refuses_a_directory_in_use(capsys: Capture, tmp_path: Path) -> None:
    directory = open_or_create(tmp_path)
    try:
        assert main(["store", "verify", str(tmp_path)]) == 3
        assert "in use" in one_line(capsys)
    finally:
        directory.close()


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The edge over a fake driver, on a loop in a thread of its own: commands have loops of their own."""
    ready, stop = threading.Event(), asyncio.Event()
    found = SimpleNamespace()

    async def serve() -> None:
        found.driver, found.loop = FakeDriver(), asyncio.get_running_loop()
        parts = EdgeParts(found.driver, native_codec(), SimClock(int(time.time() * 1000)), Gate(), CallCounts(), FACTS)
        server = EdgeServer(parts, "127.0.0.1:0")
        await server.start()
        monkeypatch.setenv("WHEELD_ADDRESS", f"127.0.0.1:{server.port}")
        ready.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield found
    found.loop.call_soon_threadsafe(stop.set)
    thread.join(60)


def ended(state: JobState) -> JobView:
    job_id = pack_id(1, 1, 0)
    spec = Spec(queue=b"default/default", type=b"echo", payload=b"hi", schedule_ms=1000, create_ms=900).pack()
    row = Row(job_id, 1000, 1, 1, int(state), 0, 0, 0, bytes(16), b"", b"", spec)
    end = Outcome(
        job_id, 1, 1000, 0, 1002, 1000, 1, int(state), 4, EntryKind.NACK if state == JobState.FAILED else EntryKind.ACK,
        b"default/default", b"echo", b"w", b"", b"boom", b"out",
    )  # fmt: skip
    return JobView(row, 1007, end)


def test_submit_and_wait(capsys: Capture, daemon: SimpleNamespace) -> None:
    name = id_to_text(pack_id(1, 1, 0))
    daemon.driver.jobs[pack_id(1, 1, 0)] = ended(JobState.SUCCEEDED)
    assert main(["job", "submit", "echo", "hi", "--in", "3s", "--wait"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert name in first and "SUCCEEDED" in last and "(2 ms late)" in last and "5 ms" in last and "out" in last
    daemon.driver.jobs[pack_id(1, 2, 0)] = ended(JobState.FAILED)
    assert main(["job", "submit", "echo", "--wait", "-o", "json"]) == 1
    job = json.loads(capsys.readouterr().out)
    assert (job["state"], job["last_error"], job["payload"]) == ("FAILED", "boom", "hi")


def test_get_and_its_refusal(capsys: Capture, daemon: SimpleNamespace) -> None:
    daemon.driver.jobs[pack_id(1, 1, 0)] = ended(JobState.SUCCEEDED)
    name = id_to_text(pack_id(1, 1, 0))
    assert main(["job", "get", name]) == 0
    assert "SUCCEEDED" in capsys.readouterr().out
    daemon.driver.refusal = Refused(errors.JOB_NOT_FOUND, f"job {name}")
    assert main(["job", "get", name]) == 1
    assert "JOB_NOT_FOUND" in one_line(capsys)


def test_queues_and_skew(capsys: Capture, daemon: SimpleNamespace) -> None:
    daemon.driver.views = [queue_view(b"default/mail", ready=3, release_skew=skew(500, 2000)), queue_view(b"n/q")]
    assert main(["queue", "list"]) == 0
    out = capsys.readouterr().out
    assert "mail" in out and "n/q" in out
    assert main(["queue", "pause", "n/q", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["paused"] is True
    assert main(["skew", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["queue"], row["until"], row["fires"]) == ("mail", "transport", 2) and 0.5 <= row["p50"] < 0.6
    daemon.driver.views = []
    assert main(["skew"]) == 0
    assert "Nothing has fired yet" in capsys.readouterr().out


def test_a_daemon_that_is_not_there(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wheeld.cli.connection.TIMEOUT_S", 0.3)
    assert main(["job", "get", "x" * 26, "--address", "127.0.0.1:1"]) == 1
    assert "127.0.0.1:1" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("skew --duration soon", "--duration"),
        ("skew --duration 0s", "--duration"),
        ("skew --rate 0", "--rate"),
        ("submit --jobs 0", "--jobs"),
        ("submit --batch 0", "--batch"),
        ("submit --batch 20000", "--batch"),
        ("burst --in-flight 0", "--in-flight"),
        ("lifecycle --payload 262145", "--payload"),
        ("submit --spread far", "--spread"),
        ("skew --slo p99=soon", "p99=soon"),
    ],
)
def test_a_benchmark_that_would_measure_nothing_is_refused(capsys: Capture, words: str, named: str) -> None:
    assert main(["bench", *words.split(), "--address", "127.0.0.1:1"]) == 2
    assert named in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("", {}),
        ("--data-dir d --listen=127.0.0.1:1 --insecure", {"data_dir": "d", "listen": "127.0.0.1:1", "insecure": True}),
        ("--config f.toml --log-level debug", {"config": "f.toml", "log_level": "debug"}),
        ("--help", None),
        ("-c f.toml", None),
        ("--data-dir", None),
        ("--data-dir --insecure", None),
        ("--data-dir a --data-dir b", None),
        ("--no-insecure", None),
        ("--insecure=true", None),
        ("--dat-dir d", None),
        ("d", None),
    ],
)
def test_the_plain_form_of_serve_is_read_without_a_library(words: str, flags: dict[str, str | bool] | None) -> None:
    assert plain_flags(words.split(), NAMES) == flags
