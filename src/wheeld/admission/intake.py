"""How many bytes of submits are being decided: what comes beyond them waits at the door, undecoded.

Owns the count and the line. Does not own why a submit is refused (gate, driver), but for a line that is too long.
Invariants: at most INTAKE_BYTES_MAX are inside, unless a single message is larger; small messages and large ones stand
in lines of their own that take turns, so that neither waits for all of the other.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from wheeld.model import errors, limits
from wheeld.model.errors import Refused

Line = OrderedDict[asyncio.Future[None], int]
"""Who waits, with the size: many may leave at once, and none of them is looked for."""


class Intake:
    """See the module. Whoever has entered must leave, with the same size."""

    def __init__(self) -> None:
        self._inside = 0
        self._waiting = 0
        self._lines: deque[Line] = deque((Line(), Line()))
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
        waiter = asyncio.get_running_loop().create_future()
        line = self._small if size <= limits.INTAKE_SMALL_BYTES else self._large
        line[waiter] = size
        self._waiting += size
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.leave(size)
            elif line.pop(waiter, None) is not None:
                self._waiting -= size
                self._admit()
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
            waiter, size = next(iter(self._lines[0].items()))
            # One that was cancelled in this turn of the loop has yet to hear of it.
            left = waiter.cancelled()
            if not left and not self._fits(size):
                return
            del self._lines[0][waiter]
            self._waiting -= size
            if not left:
                self._lines.rotate()
                self._inside += size
                waiter.set_result(None)
