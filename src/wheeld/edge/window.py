"""How much of one stream may be under way: messages and their bytes.

Owns two counters. Invariant: at most `messages_max` are under way, and at most `bytes_max` unless a single message is
larger.
"""

from __future__ import annotations

import asyncio


class Window:
    """One reader acquires, anybody releases. A reader that waits here does not read: that is the back-pressure."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max, self._bytes_max = messages_max, bytes_max
        self._messages = self._bytes = 0
        self._abandoned = False
        self._changed = asyncio.Event()

    @property
    def messages(self) -> int:
        """How many are under way."""
        return self._messages

    async def acquire(self, size: int) -> None:
        """Return when a message of this size may begin."""
        while self._messages >= self._messages_max or (self._messages and self._bytes + size > self._bytes_max):
            self._changed.clear()
            await self._changed.wait()
        if not self._abandoned:
            self._messages += 1
            self._bytes += size

    def release(self, size: int) -> None:
        """A message of this size has been answered."""
        if not self._abandoned:
            self._messages -= 1
            self._bytes -= size
        self._changed.set()

    def abandon(self) -> None:
        """Nothing will be answered any more: let whoever waits go on."""
        self._messages = self._bytes = 0
        self._abandoned = True
        self._changed.set()

    async def wait_empty(self) -> None:
        """Return when nothing is under way."""
        while self._messages:
            self._changed.clear()
            await self._changed.wait()
