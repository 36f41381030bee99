"""The daemon as a process: its locks, its exit codes, its storekeeper, what it says when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from tests.e2e.conftest import MakeDaemon
from tests.e2e.harness.calls import Calls
from tests.e2e.harness.daemon import Daemon, is_alive, verify, wait_until

EXIT_USAGE, EXIT_DIRECTORY, EXIT_PORT, EXIT_CORRUPT = 2, 3, 4, 5


def test_second_daemon_on_a_directory(fresh_daemon: Daemon, make_daemon: MakeDaemon) -> None:
    code, said = make_daemon().run_to_exit()
    assert code == EXIT_DIRECTORY, said
    assert str(fresh_daemon.directory) in said and "Traceback" not in said, said
    assert str(fresh_daemon.pid) in said, f"the line names who holds the directory:\n{said}"
    assert fresh_daemon.is_serving()


def test_port_in_use(make_daemon: MakeDaemon) -> None:
    made = make_daemon()
    with socket.create_server(("127.0.0.1", made.port)):
        code, said = made.run_to_exit()
    assert code == EXIT_PORT, said
    assert made.address in said and "in use" in said.lower() and "Traceback" not in said, said


def test_port_of_another_daemon(fresh_daemon: Daemon, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Two daemons never share a port, as SO_REUSEPORT would have it."""
    other = make_daemon(directory=tmp_path / "other")
    other.port = fresh_daemon.port
    code, said = other.run_to_exit()
    assert code == EXIT_PORT, said


def test_unknown_option_in_the_file(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    config = tmp_path / "wheeld.toml"
    config.write_text('segment_bites = "64MiB"\n')
    code, said = make_daemon("--config", str(config)).run_to_exit()
    assert code == EXIT_USAGE, said
    assert "segment_bites" in said and "segment_bytes" in said and str(config) in said and "Traceback" not in said, said


def test_directory_of_another_version(make_daemon: MakeDaemon) -> None:
    made = make_daemon()
    made.start()
    assert made.stop() == 0
    format_file = made.directory / "format"
    facts = json.loads(format_file.read_text())
    format_file.write_text(json.dumps({**facts, "format_version": facts["format_version"] + 1}))
    code, said = made.run_to_exit()
    assert code == EXIT_DIRECTORY, said
    assert f"version {facts['format_version'] + 1}" in said and "Traceback" not in said, said
    format_file.write_text(json.dumps(facts))
    made.start()


def test_storekeeper_dies_with_its_daemon(make_daemon: MakeDaemon) -> None:
    """A stopped one as well: the kernel's death signal is SIGKILL, which a stop does not hold up."""
    made = make_daemon()
    made.start()
    with Calls(made.address) as calls:
        job_id = calls.create(delay_ms=3_600_000).job_id
        for frozen in (False, True):
            keeper = made.keeper_pid()
            if frozen:
                os.kill(keeper, signal.SIGSTOP)
            made.kill()
            wait_until(lambda pid=keeper: not is_alive(pid), "the storekeeper is gone")
            made.start()
            assert calls.get(job_id).job_id == job_id


def test_storekeeper_ignores_signals_to_the_group(fresh_daemon: Daemon) -> None:
    """A service manager signals every process; the storekeeper must outlive the drain."""
    keeper = fresh_daemon.keeper_pid()
    os.kill(keeper, signal.SIGTERM)
    os.kill(keeper, signal.SIGINT)
    with Calls(fresh_daemon.address) as calls:
        assert calls.create(delay_ms=1).job_id
    assert fresh_daemon.keeper_pid() == keeper
    assert fresh_daemon.stop() == 0
    assert not is_alive(keeper)


def early_marker(made: Daemon, *, folded: bool = False) -> tuple[Path, int]:
    """Submit a job that can be found in the journal, then enough others behind it; where its payload lies.

    A graceful stop has the store fold all of it; else a storekeeper that stands still has folded nothing of it."""
    marker = b"the-early-one-" + os.urandom(8).hex().encode()
    made.start()
    if not folded:
        os.kill(made.keeper_pid(), signal.SIGSTOP)
    with Calls(made.address) as calls:
        calls.create(payload=marker, delay_ms=3_600_000)
        for _ in range(5):
            calls.create(payload=b"a later one", delay_ms=3_600_000)
    if folded:
        made.stop()
    else:
        made.kill()
    for segment in sorted((made.directory / "journal").iterdir()):
        at = segment.read_bytes().find(marker)
        if at >= 0:
            return segment, at
    raise AssertionError("no segment holds the payload")


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def test_damaged_journal(make_daemon: MakeDaemon) -> None:
    made = make_daemon()
    segment, offset = early_marker(made)
    flip(segment, offset)
    before = segment.read_bytes()
    code, said = made.run_to_exit()
    assert code == EXIT_CORRUPT, said
    for wanted in (str(segment), "at byte", "wheeld store verify", "backup", "Nothing was changed"):
        assert wanted in said, f"{wanted!r} is not in:\n{said}"
    assert "Traceback" not in said, said
    assert segment.read_bytes() == before, "a daemon that refuses to start changes nothing"
    found = verify(made.directory)
    assert found.returncode != 0 and segment.name in found.stdout + found.stderr, found.stdout + found.stderr
    flip(segment, offset)
    made.start()


def test_torn_tail(make_daemon: MakeDaemon) -> None:
    """A last group that was half written when the power went was never answered: the daemon starts without it."""
    made = make_daemon()
    segment, _ = early_marker(made)
    content = segment.read_bytes()
    flip(segment, content.rfind(b"a later one"))
    made.start()


def test_truncated_journal(make_daemon: MakeDaemon) -> None:
    """Durable groups are gone from the end, yet the store has folded them: the two contradict each other."""
    made = make_daemon()
    segment, offset = early_marker(made, folded=True)
    content = segment.read_bytes()
    os.truncate(segment, offset)
    code, said = made.run_to_exit()
    assert code == EXIT_CORRUPT, said
    assert "Traceback" not in said, said
    segment.write_bytes(content)
    made.start()


def test_unreadable_store(make_daemon: MakeDaemon) -> None:
    """The storekeeper is not started again and again on a file that is no LMDB file."""
    made = make_daemon()
    early_marker(made, folded=True)
    data = made.directory / "store" / "data.mdb"
    content = data.read_bytes()
    data.write_bytes(b"\xff" * len(content))
    code, said = made.run_to_exit()
    assert code == EXIT_CORRUPT, said
    assert "wheeld store verify" in said and "Traceback" not in said, said
    data.write_bytes(content)
    made.start()
