"""`wheeld serve` and `wheeld dev`: run a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from wheeld._version import __version__
from wheeld.cli.configs import ConfigFile
from wheeld.daemon.config import NAMES, load, meta_of
from wheeld.daemon.node import Node
from wheeld.daemon.run import run_daemon

_SWITCHES = ("insecure",)


def _flag(name: str) -> tuple[str, Any, Any]:
    """An option as a flag; values stay text, so that config parses them alike wherever they come from."""
    kind = bool | None if name in _SWITCHES else str | None
    help_ = (meta_of(name).description or "").replace("`", "")
    return name, Annotated[kind, Parameter(help=help_)], dataclasses.field(default=None)


Flags: Any = Parameter(name="*")(dataclasses.make_dataclass("Flags", [_flag(name) for name in NAMES], frozen=True))
"""One optional flag for each option of the daemon."""


def serve(*, flags: Any = None, config: ConfigFile = None) -> int:
    """Run the daemon until SIGTERM or SIGINT. An option is looked up in flags, then WHEELD_*, then the file."""
    return run_daemon(load(config, os.environ, dataclasses.asdict(flags or Flags())))


# A type that is made at run time cannot be written into the signature; cyclopts reads it here.
Flags.__module__ = __name__
serve.__annotations__["flags"] = Flags


def dev(*, data_dir: str = ".wheeld", temporary: bool = False, worker: bool = True) -> int:
    """Run a daemon for development, with a worker for jobs of type `echo`.

    Parameters
    ----------
    data_dir
        Where jobs are kept.
    temporary
        Use a data directory that is removed at the end.
    worker
        Run the echo worker.
    """
    if not temporary:
        return _dev(data_dir, worker)
    with tempfile.TemporaryDirectory(prefix="wheeld-dev-") as folder:
        return _dev(folder, worker)


def _dev(data_dir: str, with_worker: bool) -> int:
    loaded = load(None, os.environ, {"data_dir": data_dir, "log_level": os.environ.get("WHEELD_LOG_LEVEL", "warning")})

    @contextlib.asynccontextmanager
    async def beside(node: Node) -> AsyncIterator[None]:
        print(banner(node), flush=True)
        if not with_worker:
            yield
            return
        async with echo_worker(f"127.0.0.1:{node.edge.port}"):
            yield

    return run_daemon(loaded, beside)


def banner(node: Node) -> str:
    """What one needs to know to go on."""
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    took_ms = node.clock.wall_ms() - node.start_ms
    page = f"http://127.0.0.1:{node.web.port}" if node.web is not None else "off"
    return (
        f"\n  {bold}wheeld {__version__}{plain}  ready in {took_ms / 1000:.1f} s\n\n"
        f"  gRPC    {node.config.listen}\n"
        f"  status  {page}\n"
        f"  data    {Path(node.config.data_dir).resolve()}\n\n"
        f"  {dim}In another terminal:{plain}\n"
        f'    wheeld job submit echo \'{{"hi": "Ada"}}\' --in 3s --wait\n'
        f"    wheeld skew\n\n"
        f"  {dim}Stop with Ctrl-C: nothing that was accepted is lost.{plain}\n"
    )


@contextlib.asynccontextmanager
async def echo_worker(address: str) -> AsyncIterator[None]:
    """A worker for `echo` in a thread of its own, which ends before the daemon drains."""
    from wheeld.cli.echo import make_app
    from wheeld.worker.worker import Worker

    worker = Worker(make_app(address), concurrency=10, worker_id="echo", grace=2.0)
    thread = threading.Thread(target=worker.main, name="echo worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        await asyncio.to_thread(thread.join, 5.0)
