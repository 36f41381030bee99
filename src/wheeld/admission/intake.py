"""How many bytes of submits are being decided: what comes beyond them waits at the door, undecoded.

Owns the count and the line. Does not own why a submit is refused (gate, driver), but for a line that is too long.
Invariants: at most INTAKE_BYTES_MAX are inside, unless a single message is larger; small messages and large ones stand
in lines of their own that take turns, so that neither waits for all of the other.
"""

from __future__ import annotations

import asyncio
from collections import deque

from wheeld.model import errors, limits
from wheeld.model.errors import Refused

Line = deque[tuple[int, asyncio.Future[None]]]


class Intake:
    """See the module. Whoever has entered must leave, with the same size."""

    def __init__(self) -> None:
        self._inside = 0
        self._waiting = 0
        self._lines: deque[Line] = deque((deque(), deque()))
        """The line whose turn it is stands first."""
        self._small, self._large = self._lines

    @property
    def bytes(self) -> int:
        """Of all messages that are inside or wait."""
        return self._inside + self._waiting

    async def enter(self, size: int) -> None:
        """Return when a message of this size may be decided; Refused when too much waits already."""
        if not (self._small or self._large) and self._fits(size):
            self._inside += size
            return
        if self.bytes + size > limits.SUBMIT_BYTES_MAX:
            raise Refused(errors.STORE_BUSY, f"{self.bytes} bytes of submits are under way")
        line = self._small if size <= limits.INTAKE_SMALL_BYTES else self._large
        place = (size, asyncio.get_running_loop().create_future())
        line.append(place)
        self._waiting += size
        try:
            await place[1]
        except asyncio.CancelledError:
            if place in line:
                line.remove(place)
                self._waiting -= size
                self._admit()
            elif not place[1].cancelled():
                self.leave(size)
            raise

    def leave(self, size: int) -> None:
        """A message of this size has been answered."""
        self._inside -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return self._inside == 0 or self._inside + size <= limits.INTAKE_BYTES_MAX

    def _admit(self) -> None:
        # By the lines, not by their bytes: an empty message has none, and waits all the same.
        while self._small or self._large:
            if not self._lines[0]:
                self._lines.rotate()
            size, waiter = self._lines[0][0]
            # One that was cancelled in this turn of the loop has yet to hear of it: it only gives up its place.
            if not waiter.cancelled() and not self._fits(size):
                return
            self._lines[0].popleft()
            self._waiting -= size
            if not waiter.cancelled():
                self._lines.rotate()
                self._inside += size
                waiter.set_result(None)
