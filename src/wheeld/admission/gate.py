"""The door: refuses what must not reach the driver, before any work is spent on it.

Owns the drain state. Does not own what needs the node's state (a full store, a backlog): the driver raises those.
Invariant: once closed, the gate stays closed, and nothing new passes; what passed before is not touched.
"""

from __future__ import annotations

from collections.abc import Callable

from wheeld.model import errors, limits
from wheeld.model.errors import Refused


class Gate:
    """Asked by the edge before each call that brings new work. Settles are not asked: they must always get through."""

    def __init__(self) -> None:
        self._draining = False
        self._deadline_ms = 0
        self._on_close: set[Callable[[], None]] = set()

    @property
    def draining(self) -> bool:
        """Whether the node has begun to shut down."""
        return self._draining

    @property
    def deadline_ms(self) -> int:
        """Until when workers may settle what they hold (wall clock); 0 while the gate is open."""
        return self._deadline_ms

    def close(self, deadline_ms: int) -> None:
        """Begin to drain; a second call changes nothing."""
        if not self._draining:
            self._draining = True
            self._deadline_ms = deadline_ms
            for callback in list(self._on_close):
                callback()

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back when the gate closes; whoever watches must also unwatch."""
        self._on_close.add(callback)

    def unwatch(self, callback: Callable[[], None]) -> None:
        """The end of watch."""
        self._on_close.discard(callback)

    def admit_submit(self, message_bytes: int) -> None:
        """May this message bring jobs? Refused says why not."""
        self.admit_stream()
        if message_bytes > limits.MESSAGE_BYTES_MAX:
            raise Refused(
                errors.BATCH_TOO_LARGE,
                f"a message of {message_bytes} bytes; at most {limits.MESSAGE_BYTES_MAX} are taken",
            )

    def admit_stream(self) -> None:
        """May a stream be opened, or work be asked for?"""
        if self._draining:
            raise Refused(errors.DRAINING, "the daemon is shutting down")
