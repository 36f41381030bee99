"""A worker: leases jobs of an app's handlers, runs them, settles them, and goes down in order.

Owns: the composition of stream and runner, signals, shutdown. Invariants: a job that was begun is settled before the
worker ends, unless the daemon is away; nothing new is begun once it stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from wheeld.client.app import App
from wheeld.client.times import Span, span_seconds
from wheeld.model import errors, limits
from wheeld.model.errors import Misused
from wheeld.worker.batch import BatchHandler, BatchSink
from wheeld.worker.leases import Frame
from wheeld.worker.runner import Runner
from wheeld.worker.stream import LeaseStream, StreamOptions

_log: Final = logging.getLogger("wheeld.worker")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FLUSH_S: Final = 5.0


def default_worker_id() -> str:
    """Host and process."""
    host = socket.gethostname().encode()[: limits.WORKER_ID_BYTES_MAX - 12].decode(errors="ignore")
    return f"{host}-{os.getpid()}"


class _RunnerSink:
    """Hands frames from the stream's thread to the runner's loop."""

    def __init__(self, on_fatal: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_fatal = on_fatal
        self.stream: LeaseStream
        self.runner: Runner

    def on_frame(self, frame: Frame, receive_time_us: int) -> None:
        """See Sink."""
        fresh = self.stream.take_frame(frame, receive_time_us)
        if fresh:
            self._loop.call_soon_threadsafe(self.runner.take, fresh)

    def on_fatal(self, error: BaseException) -> None:
        """See Sink."""
        self._loop.call_soon_threadsafe(self._on_fatal, error)


class Worker:
    """See the module. `concurrency`: handlers at once; `prefetch`: jobs held beyond those, waiting in this process.

    `prefetch` is 0 unless told: a job that waits behind a long one is late though another worker may be idle.
    """

    def __init__(
        self,
        app: App,
        queues: Sequence[str] | None = None,
        *,
        concurrency: int = 10,
        prefetch: int | None = None,
        lease_duration: Span = 30.0,
        grace: Span = 25.0,
        worker_id: str | None = None,
        namespace: str = "",
        max_outstanding_bytes: int = 0,
        batch_handler: BatchHandler | None = None,
    ) -> None:
        if concurrency < 1 or (prefetch or 0) < 0 or concurrency + (prefetch or 0) > limits.STREAM_JOBS_MAX:
            raise Misused(
                errors.FIELD_INVALID,
                f"concurrency {concurrency} and prefetch {prefetch}",
                hint=f"At least 1 and 0, and together at most {limits.STREAM_JOBS_MAX}.",
            )
        self._app = app
        self._concurrency = concurrency
        self._grace_s = span_seconds(grace)
        self._batch_handler = batch_handler
        own_queues = sorted({handler.queue for handler in app.handlers.values()})
        self._options = StreamOptions(
            address=app.address,
            worker_id=worker_id or default_worker_id(),
            queues=list(queues) if queues is not None else own_queues or ["default"],
            namespace=namespace,
            max_outstanding_jobs=concurrency + (prefetch or 0),
            max_outstanding_bytes=max_outstanding_bytes,
            lease_ms=round(span_seconds(lease_duration) * 1000),
            credentials=app.credentials,
        )
        self._stream: LeaseStream | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hurry: asyncio.Event | None = None
        self._fatal: BaseException | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """What the stream has counted: leases, settled, refused, renewed, revoked, reconnects, dropped, adopted."""
        return dict(self._stream.counts) if self._stream is not None else {}

    @property
    def connected(self) -> bool:
        """Whether the daemon has answered `open` on the present stream."""
        return self._stream is not None and self._stream.opened.is_set()

    def main(self) -> None:
        """Run until SIGTERM or SIGINT, on an event loop of its own."""
        asyncio.run(self.run())

    def stop(self) -> None:
        """Begin the shutdown; from any thread. Asked for twice, what runs gets no grace."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_stop)

    async def run(self) -> None:
        """Work until `stop` or a signal. Raises what the daemon said if it refuses this worker for good."""
        self._loop = asyncio.get_running_loop()
        self._stop, self._hurry, self._fatal = asyncio.Event(), asyncio.Event(), None
        runner: Runner | None = None
        if self._batch_handler is not None:
            batch_sink = BatchSink(self._batch_handler, self._fail_threadsafe)
            stream = batch_sink.stream = LeaseStream(self._options, batch_sink)
        else:
            runner_sink = _RunnerSink(self._fail)
            stream = runner_sink.stream = LeaseStream(self._options, runner_sink)
            runner = runner_sink.runner = Runner(self._app.handlers, self._concurrency, stream)
        self._stream = stream
        with self._signals():
            stream.start()
            try:
                await self._stop.wait()
            finally:
                await self._shut_down(stream, runner)
        if self._fatal is not None:
            raise self._fatal

    async def _shut_down(self, stream: LeaseStream, runner: Runner | None) -> None:
        stream.set_credit(0)
        if runner is not None:
            stopping = asyncio.create_task(runner.stop(self._grace_s))
            assert self._hurry is not None
            hurry = asyncio.create_task(self._hurry.wait())
            await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                runner.cancel_all()
            await stopping
            hurry.cancel()
            await asyncio.wait((hurry,))
        if not await asyncio.to_thread(stream.wait_idle, 0.0 if self._fatal else _FLUSH_S):
            _log.warning("some settles were not answered; their jobs run again when their leases have ended")
        await asyncio.to_thread(stream.close)

    def _on_stop(self) -> None:
        assert self._stop is not None and self._hurry is not None
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _fail(self, error: BaseException) -> None:
        self._fatal = self._fatal or error
        self._on_stop()

    def _fail_threadsafe(self, error: BaseException) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._fail, error)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the worker, where this thread may say so."""
        loop = asyncio.get_running_loop()
        ours = threading.current_thread() is threading.main_thread()
        if ours:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._on_stop)
        try:
            yield
        finally:
            if ours:
                for number in _SIGNALS:
                    loop.remove_signal_handler(number)
