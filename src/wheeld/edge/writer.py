"""Writes what a stream has to say, one message at a time, in the turn in which it became ready.

Owns the write under way, and how many writes one turn of the event loop may begin beside what it is there for. A task
would begin its write a turn later, behind whatever the driver still does in this one: a lease frame is released at its
schedule time, and that turn is most of what the daemon adds to its lateness. Invariants: one write at a time on each
stream; writes are never cancelled from here, they end with the call; nothing is raised into whoever kicks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from wheeld.model.limits import STREAM_WRITES_PER_TURN_MAX


class Turns:
    """How many writes may still begin in this turn of the loop, over all streams of a server."""

    def __init__(self) -> None:
        self._left = STREAM_WRITES_PER_TURN_MAX

    def take(self) -> bool:
        """Whether one more may begin now; otherwise it waits for a turn of its own."""
        if self._left == STREAM_WRITES_PER_TURN_MAX:
            asyncio.get_running_loop().call_soon(self._refill)
        self._left -= 1
        return self._left >= 0

    def _refill(self) -> None:
        self._left = STREAM_WRITES_PER_TURN_MAX


class Writer:
    """See the module. `take` gives the next message or None; `on_end` is told why writing ended: None when asked to."""

    def __init__(
        self,
        turns: Turns,
        write: Callable[[bytes], Coroutine[Any, Any, None]],
        take: Callable[[], bytes | None],
        on_written: Callable[[], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self._turns, self._write, self._take = turns, write, take
        self._on_written, self._on_end = on_written, on_end
        self._loop = asyncio.get_running_loop()
        self._busy = self._finishing = self._ended = False

    def kick(self) -> None:
        """There may be something to write."""
        if self._busy or self._ended:
            return
        self._busy = True
        if self._turns.take():
            self._next()
        else:
            self._loop.call_soon(self._next)

    def finish(self) -> None:
        """End once `take` has nothing left."""
        self._finishing = True
        self.kick()

    def _next(self) -> None:
        """Begin the next write; without one, rest or end. What `take` does may kick again: that finds us busy."""
        try:
            message = self._take()
            if message is not None:
                _Running(self._write(message), self._on_done)
                return
        except Exception as error:
            self._end(error)
            return
        self._busy = False
        if self._finishing:
            self._end(None)

    def _on_done(self, error: BaseException | None) -> None:
        if error is not None:
            self._end(error)
            return
        self._on_written()
        self._loop.call_soon(self._next)

    def _end(self, error: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._on_end(error)


class _Running:
    """A coroutine that runs now up to its first wait, and from there on as its futures are done."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], done: Callable[[BaseException | None], None]) -> None:
        self._coroutine, self._done = coroutine, done
        self._step(None)

    def _step(self, _waited: Any) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            self._done(None)
        except BaseException as error:
            self._done(error)
        else:
            # The mark by which a future knows that it was awaited and not merely yielded; whoever runs a coroutine
            # takes it back.
            awaited._asyncio_future_blocking = False  # noqa: SLF001
            awaited.add_done_callback(self._step)
