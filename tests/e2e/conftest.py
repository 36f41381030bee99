"""Fixtures of the end-to-end tests: daemons and runs that are ended, and directories that are verified, after each
test.

Invariant: `wheeld store verify` finds nothing in the directory of any daemon that a test has used, unless the test
damaged it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness.calls import Calls
from tests.e2e.harness.daemon import Daemon, verify
from tests.e2e.harness.run import Run

MakeDaemon = Callable[..., Daemon]
MakeRun = Callable[..., Run]


def rounds(default: int) -> int:
    """How often a crash is repeated; WHEELD_E2E_ROUNDS decides otherwise."""
    return int(os.environ.get("WHEELD_E2E_ROUNDS") or default)


def assert_sound(directory: Path) -> None:
    """The directory as its daemon has left it."""
    if directory.exists():
        found = verify(directory)
        assert found.returncode == 0, f"wheeld store verify finds:\n{found.stdout}{found.stderr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture
def make_daemon(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeDaemon]:
    """Daemons that are not started yet; on the directory `data` unless another is named."""
    made: list[Daemon] = []

    def make(*options: str, directory: Path | None = None) -> Daemon:
        made.append(Daemon(directory or tmp_path / "data", *options, log=tmp_path / f"daemon-{len(made)}.log"))
        return made[-1]

    yield make
    for daemon in reversed(made):
        daemon.close()
        if request.node.stash.get(FAILED, True) and daemon.log.exists():
            print(f"--- log of the daemon on {daemon.directory}\n{daemon.log_tail()}")
    for directory in {daemon.directory for daemon in made}:
        assert_sound(directory)


@pytest.fixture
def fresh_daemon(make_daemon: MakeDaemon) -> Daemon:
    """One that serves, for a test that cannot share it."""
    made = make_daemon()
    made.start()
    return made


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests of a file: they use queues of their own, and may kill and restart it."""
    folder = tmp_path_factory.mktemp("shared")
    made = Daemon(folder / "data", log=folder / "daemon.log")
    yield made
    made.close()
    assert_sound(made.directory)


@pytest.fixture
def daemon(module_daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """The file's daemon; serving, even if the test before has left it dead."""
    if not module_daemon.is_running():
        module_daemon.start()
    yield module_daemon
    if request.node.stash.get(FAILED, True):
        print(module_daemon.log_tail())


@pytest.fixture
def calls(daemon: Daemon) -> Iterator[Calls]:
    """Stubs to the file's daemon, on a queue of this test."""
    with Calls(daemon.address, queue=f"q-{uuid.uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture
def make_run(tmp_path: Path, seed: int, request: pytest.FixtureRequest) -> Iterator[MakeRun]:
    """A run under load on the seed that is printed."""
    made: list[Run] = []

    def make(*options: str) -> Run:
        made.append(Run(tmp_path / f"run-{len(made)}", seed, *options))
        return made[-1]

    yield make
    for run in made:
        failed = request.node.stash.get(FAILED, True)
        if failed and run.daemon.log.exists():
            print(run.logs())
        run.close()
        assert_sound(run.daemon.directory)
