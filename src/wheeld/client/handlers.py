"""A function as a job: callable as before, with verbs that submit it.

Owns: the typed handle that `@app.job` returns. Does not own: running it for a worker. Invariant: calling a handler
runs the function in the caller's process, and nothing else.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

from wheeld.client.jobs import JobOptions, OptionWords, finish_job, head_of
from wheeld.client.payload import Arguments, encode_arguments
from wheeld.client.times import Moment, Span
from wheeld.model import errors
from wheeld.model.errors import Misused

if TYPE_CHECKING:
    from wheeld.client.app import App
    from wheeld.client.handle import JobHandle

P = ParamSpec("P")
R = TypeVar("R")


class Submitter(Generic[P]):
    """The submit verbs of a handler, with certain options."""

    def __init__(self, app: App, name: str, options: JobOptions, raw: bool) -> None:
        self._app, self._name, self._options, self._raw = app, name, options, raw

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it as soon as a worker is free."""
        return await self._submit(None, None, args, kwargs)

    async def submit_at(self, when: Moment, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it at `when`: a datetime with a zone, or Unix seconds. Never earlier."""
        return await self._submit(when, None, args, kwargs)

    async def submit_in(self, delay: Span, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it after `delay`: "15m", seconds or a timedelta, counted from when the daemon takes the job."""
        return await self._submit(None, delay, args, kwargs)

    def encode(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, when: Moment | None = None, delay: Span | None = None
    ) -> bytes:
        """The job for `Client.submit_many`."""
        return finish_job(self._head, self._payload(args, kwargs), when, delay)

    @functools.cached_property
    def _head(self) -> bytes:
        return head_of(self._name, self._options)

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        if not self._raw:
            return encode_arguments(args, kwargs)
        if kwargs or len(args) != 1 or not isinstance(args[0], bytes):
            raise Misused(errors.FIELD_INVALID, f"{self._name} is a raw handler: submit it with one argument of bytes")
        return args[0]

    async def _submit(
        self, when: Moment | None, delay: Span | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> JobHandle:
        return await self._app.client.place(self.encode(args, kwargs, when=when, delay=delay))


class Handler(Submitter[P], Generic[P, R]):
    """A registered function. `timeout_s`: how long one attempt may take; None = as long as it likes."""

    def __init__(
        self,
        app: App,
        function: Callable[P, R],
        *,
        name: str,
        options: JobOptions,
        timeout_s: float | None,
        raw: bool,
    ) -> None:
        # First, because it brings the function's own attributes, which must not hide ours.
        functools.update_wrapper(self, function)
        super().__init__(app, name, options, raw)
        self.function = function
        self.name = name
        self.queue = options.queue
        self.raw = raw
        self.timeout_s = timeout_s
        self.is_async = inspect.iscoroutinefunction(function)
        self.arguments = Arguments(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def options(self, **changes: Unpack[OptionWords]) -> Submitter[P]:
        """The same verbs, with other options: `await welcome.options(priority=9, key="welcome-42").submit("Ada")`."""
        return Submitter(self._app, self._name, replace(self._options, **changes), self._raw)
