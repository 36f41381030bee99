"""Counts of finished calls by service, method and code, and of those that are open.

Owns plain numbers on one event loop. Invariant: `in_flight` is the number of entered calls that have not left.
"""

from __future__ import annotations

from collections.abc import Callable


class CallCounts:
    """Written by the edge, read at a metrics scrape."""

    def __init__(self) -> None:
        self.handled: dict[tuple[str, str, str], int] = {}
        self.in_flight = 0
        self.on_idle: Callable[[], None] | None = None

    def enter(self) -> None:
        """A call has begun."""
        self.in_flight += 1

    def leave(self, service: str, method: str, code: str) -> None:
        """A call has ended with this code."""
        self.in_flight -= 1
        if not self.in_flight and self.on_idle is not None:
            self.on_idle()
        key = (service, method, code)
        self.handled[key] = self.handled.get(key, 0) + 1
