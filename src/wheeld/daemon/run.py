"""The life of the daemon's process: from a configuration to an exit code.

Owns the event loop, the exit codes and what the interpreter is told. Invariant: a crash of any part ends the process
with 70 at once, so that a supervisor restarts it and recovery, which is always exercised, brings it back.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from wheeld.daemon.config import Loaded, written
from wheeld.daemon.drain import StopSignals, drain
from wheeld.daemon.node import Node
from wheeld.model import limits
from wheeld.model.errors import StartFailure
from wheeld.runtime.logs import configure_logs, get_logger
from wheeld.runtime.memory import tune_malloc

EXIT_OK = 0
EXIT_CRASH = 70
SWITCH_INTERVAL_S = 0.0005
"""How long a thread that was asked for the GIL may keep it: the journal's thread must not wait for the default 5 ms."""

Beside = Callable[[Node], AbstractAsyncContextManager[None]]
"""What runs beside a node that serves, and ends before the node drains."""


@asynccontextmanager
async def _nothing(_node: Node) -> AsyncIterator[None]:
    yield


def crash(part: str, error: BaseException) -> None:
    """Log and end, from any thread. Never returns: going on could answer for something that is not durable."""
    try:
        get_logger("daemon").error("part crashed: the daemon exits", crashed=part, exc_info=error)
        sys.stderr.flush()
    finally:
        os._exit(EXIT_CRASH)


async def serve(loaded: Loaded, beside: Beside = _nothing) -> int:
    """Run a node until a signal asks for its end. StartFailure when it cannot start."""
    signals = StopSignals()
    signals.install(asyncio.get_running_loop())
    node = Node(loaded.config, crash)
    starting = asyncio.create_task(node.start(), name="start")
    asked = asyncio.create_task(signals.asked.wait(), name="signals")
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await node.stop()
        await asyncio.gather(starting, return_exceptions=True)
        return EXIT_OK
    try:
        await starting
        # What start has built lives as long as the process: the collector, which was off so far, need not look at it.
        gc.freeze()
        gc.set_threshold(limits.COLLECT_AFTER)
        gc.enable()
        announce(node)
        async with beside(node):
            await asked
        await drain(node)
    finally:
        asked.cancel()
        await node.stop()
    get_logger("daemon").info("stopped")
    return EXIT_OK


def announce(node: Node) -> None:
    """The line that says that the node serves."""
    config = node.config
    get_logger("daemon").info(
        "serving",
        node=config.node,
        grpc=config.listen.rpartition(":")[0] + f":{node.edge.port}"
        if not config.listen.startswith("unix:")
        else config.listen,
        http=f"port {node.web.port}" if node.web is not None else "off",
        data_dir=config.data_dir,
        resident_bytes=written("resident_bytes", config.resident_bytes),
        core=config.core,
        start_ms=node.clock.wall_ms() - node.start_ms,
    )


def run_daemon(loaded: Loaded, beside: Beside = _nothing) -> int:
    """The whole process. Returns its exit code; what went wrong was said on stderr."""
    import uvloop

    config = loaded.config
    configure_logs(config.log_level, json={"auto": None, "json": True, "logfmt": False}[config.log_format])
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tune_malloc()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(serve(loaded, beside))
        except StartFailure as failure:
            sys.stderr.write(f"wheeld: {failure.cause.rstrip('.')}.\n        {failure.remedy}\n")
            return failure.exit_code
        except Exception as error:
            get_logger("daemon").error("the daemon broke", exc_info=error)
            return EXIT_CRASH
