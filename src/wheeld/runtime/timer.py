"""The firing clock on an event loop: one deadline on the wall clock, that knows of the clock's steps.

Owns a timerfd and its place in the loop. Does not know what is due. Invariant: after `arm(D)` the callback runs once at
or after D, never before, unless it is armed or disarmed again; and it runs soon after every step of the wall clock,
armed or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from wheeld.runtime import _timer


class DeadlineSource(Protocol):
    """What FiringTimer needs of `_timer.TimerFd`; tests bring their own to step the clock."""

    def fileno(self) -> int:
        """A descriptor that is readable when read() has something to say."""

    def arm(self, deadline_ns: int) -> int:
        """Set the deadline."""

    def disarm(self) -> int:
        """Take the deadline away."""

    def read(self) -> int:
        """FIRED, STEPPED or NONE."""

    def close(self) -> None:
        """Close the descriptor."""


class Deadline(Protocol):
    """The firing clock: `FiringTimer`, or a simulated one."""

    def arm(self, deadline_ms: int) -> None:
        """Call back at this wall-clock time; replaces what was armed."""

    def close(self) -> None:
        """Never call back again."""


OpenDeadline = Callable[[Callable[[bool], None]], Deadline]
"""Makes the firing clock with the callback that it is to run."""


class FiringTimer:
    """See the module. The callback gets True when the wall clock was stepped: what is due by the new time?"""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, callback: Callable[[bool], None], source: DeadlineSource | None = None
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._source: DeadlineSource = source or _timer.TimerFd()
        self._deadline_ms: int | None = None
        self._closed = False
        # Disarming registers for steps: an idle node must hear of them as well.
        self._source.disarm()
        loop.add_reader(self._source.fileno(), self._on_readable)

    @property
    def deadline_ms(self) -> int | None:
        """When the callback runs next, or None."""
        return self._deadline_ms

    def arm(self, deadline_ms: int) -> None:
        """Run the callback at this wall clock time, instead of the deadline before; a past time means at once."""
        if deadline_ms == self._deadline_ms:
            return
        self._deadline_ms = deadline_ms
        self._note(self._source.arm(deadline_ms * 1_000_000))

    def disarm(self) -> None:
        """Have no deadline."""
        if self._deadline_ms is not None:
            self._deadline_ms = None
            self._note(self._source.disarm())

    def close(self) -> None:
        """Stop for good; harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._source.fileno())
            self._source.close()

    def _note(self, outcome: int) -> None:
        """Rearming may be what tells of a step, which the kernel reports once; the caller's own turn must end first."""
        if outcome == _timer.STEPPED:
            self._loop.call_soon(self._run_stepped)

    def _on_readable(self) -> None:
        outcome = self._source.read()
        if outcome == _timer.FIRED:
            self._deadline_ms = None
            self._callback(False)
        elif outcome == _timer.STEPPED:
            self._run_stepped()

    def _run_stepped(self) -> None:
        """Tell of a step. The deadline stands: rearmed first, so that it holds by the new time in any case."""
        if self._closed:
            return
        if self._deadline_ms is not None:
            self._note(self._source.arm(self._deadline_ms * 1_000_000))
        self._callback(True)
