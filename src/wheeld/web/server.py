"""The HTTP server, on the daemon's own loop.

Owns the listening socket and the routes. Invariants: it takes no signal handlers; /livez answers as long as the loop
turns, /readyz only while the node serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from wheeld.model.errors import StartFailure
from wheeld.runtime.service import Service
from wheeld.web.exporter import Exporter, Sources
from wheeld.web.page import render

EXIT_PORT_IN_USE = 4
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


class _Server(uvicorn.Server):
    """uvicorn would replace the daemon's signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def application(sources: Sources, ready: Callable[[], bool]) -> Starlette:
    """The routes."""
    exporter = Exporter(sources)

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=HEADERS)

    async def readyz(_request: Request) -> Response:
        if not ready():
            return not_ready()
        if sources.gate.draining:
            return PlainTextResponse("draining\n", status_code=503, headers=HEADERS)
        return PlainTextResponse("ok\n", headers=HEADERS)

    async def metrics(_request: Request) -> Response:
        return Response(exporter.render(), media_type=METRICS_TYPE) if ready() else not_ready()

    async def page(_request: Request) -> Response:
        return HTMLResponse(render(sources), headers=HEADERS) if ready() else not_ready()

    def not_ready() -> Response:
        return PlainTextResponse("starting\n", status_code=503, headers={**HEADERS, "retry-after": "1"})

    return Starlette(
        routes=[Route("/", page), Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
    )


class WebServer(Service):
    """See the module."""

    def __init__(self, sources: Sources, ready: Callable[[], bool], host: str, port: int) -> None:
        super().__init__("web")
        self._application = application(sources, ready)
        self._host, self._port = host, port
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def on_start(self) -> None:
        """See Service."""
        try:
            listener = socket.create_server(
                (self._host, self._port), family=socket.AF_INET6 if ":" in self._host else socket.AF_INET
            )
        except OSError as error:
            raise StartFailure(
                f"The HTTP address {self._host}:{self._port} cannot be used: {error.strerror}",
                "Stop the other process, or choose another address (or `off`) with --http-listen HOST:PORT.",
                EXIT_PORT_IN_USE,
            ) from None
        self.port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            self._application, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none"
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="http server")

    async def on_stop(self) -> None:
        """See Service."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
