"""The composition root: one node, put together from its parts.

Owns the order in which parts start and stop. Invariant: what starts later stops earlier; a part that breaks ends the
process, the node never goes on without it.

A start is part of an outage, so the storekeeper is on its way before this process imports gRPC and the HTTP side: the
two load side by side. The HTTP side is loaded when jobs are served already, or once a recovery takes long, so that a
probe of its life is answered.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wheeld._version import __version__
from wheeld.admission.gate import Gate
from wheeld.coordination.local import LocalCoordinator
from wheeld.core.api import CoreConfig
from wheeld.core.factory import open_core
from wheeld.daemon.options import Config, split_address
from wheeld.driver.checkpoints import Room
from wheeld.driver.driver import NodeDriver, Parts
from wheeld.driver.groups import threadsafe
from wheeld.journal.errors import JournalError
from wheeld.journal.format import SEGMENT_VERSION
from wheeld.journal.journal import Journal
from wheeld.metrics.calls import CallCounts
from wheeld.model import limits
from wheeld.model.errors import StartFailure
from wheeld.runtime.clock import SystemClock
from wheeld.runtime.service import Service
from wheeld.runtime.tasks import TaskSupervisor
from wheeld.runtime.timer import FiringTimer
from wheeld.store.api import StoreBehind, StoreFailed, StoreFull
from wheeld.store.client import StoreClient
from wheeld.store.directory import FORMAT_VERSION as STORE_FORMAT_VERSION
from wheeld.store.directory import DataDirectory, open_or_create
from wheeld.store.supervisor import KeeperOptions

if TYPE_CHECKING:
    from wheeld.edge.server import EdgeServer
    from wheeld.web.server import WebServer

WEB_PATIENCE_S = 1.0
"""A recovery that takes longer is watched over HTTP."""
EXIT_DIRECTORY = 3
EXIT_CORRUPT = 5

OnCrash = Callable[[str, BaseException], None]


class Node(Service):
    """See the module. `on_crash` may be called from any thread and must not return to what broke."""

    def __init__(self, config: Config, on_crash: OnCrash) -> None:
        super().__init__("node")
        self.config, self._on_crash = config, on_crash
        self.gate, self.counts, self.clock = Gate(), CallCounts(), SystemClock()
        self._undo: list[tuple[str, Callable[[], object]]] = []

    async def on_start(self) -> None:
        """See Service."""
        config, loop = self.config, asyncio.get_running_loop()
        self.start_ms = self.clock.wall_ms()
        directory = open_directory(config)
        self._undo.append(("directory", directory.close))
        store = StoreClient(directory, KeeperOptions(history_days=-(-config.history_retention // limits.DAY_MS)))
        self._undo.append(("store", store.stop))
        keeper = begun(store.start())
        await asyncio.to_thread(import_module, "wheeld.edge.server")
        journal = self._open_journal(directory, threadsafe(loop, self._on_durable))
        self._undo.insert(-1, ("journal", lambda: asyncio.to_thread(journal.close)))
        tasks = TaskSupervisor(self._on_crash)
        core_config = CoreConfig(
            directory.store_uuid, directory.format.shards, directory.format.bucket_width_ms, config.resident_bytes
        )
        self.driver = NodeDriver(
            Parts(
                config=core_config,
                open_core=partial(open_core, implementation=config.core),
                journal=journal,
                store=store,
                clock=self.clock,
                open_deadline=lambda callback: FiringTimer(loop, callback),
                tasks=tasks,
                room=room_of(directory, config),
                coordinator=LocalCoordinator(),
                lead_ms_min=config.lead_min,
                lead_ms_max=config.lead_max,
                probe_period_ms=limits.LOOP_PROBE_PERIOD_MS,
            )
        )
        self.edge = self._edge(directory)
        self.web: WebServer | None = None
        recovery = begun(self._recover(keeper, tasks, store))
        try:
            await asyncio.wait({recovery}, timeout=WEB_PATIENCE_S)
            if not recovery.done():
                await self._web_up()
            await recovery
        finally:
            recovery.cancel()
        await self._up("edge", self.edge)
        if self.web is None:
            await self._web_up()
        # Jobs are served already; the node is not ready before the rest is loaded, which costs them punctuality.
        await asyncio.to_thread(import_module, "structlog")

    def _on_durable(self, number: int) -> None:
        """The journal's word. Its writer is older than the driver, but has nothing to tell before that."""
        self.driver.on_durable(number)

    def _edge(self, directory: DataDirectory) -> EdgeServer:
        from wheeld.edge.admin import ServerFacts
        from wheeld.edge.server import EdgeParts, EdgeServer
        from wheeld.wire.codec import native_codec, reference_codec

        facts = ServerFacts(
            version=__version__,
            node=self.config.node,
            store_uuid=directory.format.store_uuid,
            shards=directory.format.shards,
            start_ms=self.start_ms,
            journal_format_version=SEGMENT_VERSION,
            store_format_version=STORE_FORMAT_VERSION,
            resident_bytes_max=self.config.resident_bytes,
        )
        codec = native_codec() if self.config.core == "native" else reference_codec()
        return EdgeServer(EdgeParts(self.driver, codec, self.clock, self.gate, self.counts, facts), self.config.listen)

    async def _up(self, name: str, service: Service) -> None:
        self._undo.append((name, service.stop))
        await service.start()

    async def _web_up(self) -> None:
        if self.config.http_listen == "off":
            return
        await asyncio.to_thread(import_module, "wheeld.web.server")
        from wheeld.web.exporter import Sources
        from wheeld.web.server import WebServer

        sources = Sources(
            self.driver, self.clock, self.gate, self.counts, __version__, self.config.node, self.start_ms,
            probe=lambda: self.driver.probe,
        )  # fmt: skip
        ready = lambda: self.state.value == "started"  # noqa: E731
        self.web = WebServer(sources, ready, *split_address(self.config.http_listen))
        await self._up("web", self.web)

    async def _recover(self, keeper: asyncio.Task[None], tasks: TaskSupervisor, store: StoreClient) -> None:
        try:
            await keeper
            await self.driver.start()
            # Until here its failure is an answer to whoever asks it, and refuses the start.
            store.on_failed = lambda error: self._on_crash("store", error)
            # Here, for the start may fail or be cancelled elsewhere before it hears of this.
            self._undo += [("driver", self.driver.stop), ("tasks", tasks.stop)]
        except StoreFull as error:
            raise StartFailure(
                f"The disk of {self.config.data_dir} has no room for what the journal holds: {error}",
                "Free space on it and start again; nothing was lost.",
                EXIT_DIRECTORY,
            ) from None
        except (StoreFailed, StoreBehind) as error:
            verify = f"Run `wheeld store verify {self.config.data_dir}`, and restore from a backup if it finds damage."
            raise StartFailure(f"The store cannot be used: {error}", verify, EXIT_CORRUPT) from None

    def _open_journal(self, directory: DataDirectory, on_durable: Callable[[int], None]) -> Journal:
        try:
            return Journal.open(
                directory.journal, directory.store_uuid, segment_bytes=self.config.segment_bytes, on_durable=on_durable,
                on_failure=lambda error: self._on_crash("journal", error),
            )  # fmt: skip
        except JournalError as error:
            raise StartFailure(
                str(error), "Nothing was changed; the daemon does not start on it.", EXIT_CORRUPT
            ) from None

    async def on_stop(self) -> None:
        """See Service. In reverse; a part that cannot stop does not keep the rest up."""
        failures: list[Exception] = []
        while self._undo:
            name, stop = self._undo.pop()
            try:
                done = stop()
                if asyncio.iscoroutine(done):
                    await done
            except Exception as error:
                error.add_note(f"while the {name} stopped")
                failures.append(error)
        if failures:
            raise ExceptionGroup("parts failed to stop", failures)


def begun(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Work that goes on beside the rest of the start. When that fails first, nobody asks how this one ended."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def open_directory(config: Config) -> DataDirectory:
    """The data directory, locked."""
    try:
        return open_or_create(Path(config.data_dir), shards=config.shards)
    except StartFailure as failure:
        raise StartFailure(failure.cause, failure.remedy, EXIT_DIRECTORY) from None


def room_of(directory: DataDirectory, config: Config) -> Room:
    """What the file system of the data directory has left."""

    def free_bytes() -> int:
        found = os.statvfs(directory.path)
        return found.f_bavail * found.f_frsize

    return Room(free_bytes, config.segment_bytes)
