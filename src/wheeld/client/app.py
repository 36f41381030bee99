"""The registry of a program's handlers, and the client that submits them.

Owns: names to handlers, one client. Invariant: a name has one handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wheeld.client.channel import default_address
from wheeld.client.client import Client
from wheeld.client.handlers import Handler
from wheeld.client.jobs import JobOptions, RetryPolicy
from wheeld.client.times import Span, span_seconds
from wheeld.model import errors
from wheeld.model.errors import Misused

if TYPE_CHECKING:
    import grpc

P = ParamSpec("P")
R = TypeVar("R")


class App:
    """Handlers of one program. `address` defaults to WHEELD_ADDRESS, else 127.0.0.1:7733."""

    def __init__(self, address: str | None = None, *, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.address = address or default_address()
        self.credentials = credentials
        self._handlers: dict[str, Handler[..., Any]] = {}

    @cached_property
    def client(self) -> Client:
        """Made when it is first used."""
        return Client(self.address, credentials=self.credentials)

    @property
    def handlers(self) -> Mapping[str, Handler[..., Any]]:
        """By name."""
        return MappingProxyType(self._handlers)

    def job(
        self,
        name: str | None = None,
        *,
        queue: str = "default",
        max_attempts: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: Span | None = None,
        raw: bool = False,
    ) -> Callable[[Callable[P, R]], Handler[P, R]]:
        """Register a function, `async` or not, as the handler of jobs of type `name` (its own name unless told).

        `timeout` bounds one attempt. A `raw` handler takes the payload's bytes as its only positional argument.
        """
        if retry is not None and max_attempts is not None:
            raise Misused(errors.FIELD_INVALID, "both retry and max_attempts are given", hint="Put it into `retry`.")
        if max_attempts is not None:
            retry = RetryPolicy(max_attempts=max_attempts)

        def register(function: Callable[P, R]) -> Handler[P, R]:
            handler = Handler(
                self,
                function,
                name=name or function.__name__,
                options=JobOptions(queue=queue, retry=retry),
                timeout_s=None if timeout is None else span_seconds(timeout),
                raw=raw,
            )
            if handler.name in self._handlers:
                raise Misused(
                    errors.FIELD_INVALID,
                    f"two handlers are named {handler.name!r}",
                    hint='Name one of them: @app.job("other-name").',
                )
            self._handlers[handler.name] = handler
            return handler

        return register
