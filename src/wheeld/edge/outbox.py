"""What waits to be written on one lease stream: control messages, lease frames, revocations, answers to settles.

Owns the queues and the order between them. Does not own the transport. Invariants: nothing precedes `opened`; settles
are answered in the order in which they came; the leases that wait are bounded, past that the worker is held to be dead
and its stream ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from wheeld.core.api import LEASES
from wheeld.edge.hot_lease import tokens_of
from wheeld.edge.window import Window
from wheeld.model import errors, limits
from wheeld.model.errors import Refused
from wheeld.wire.codec import AnswerKind, Codec

Ended = Callable[[Refused], None]


class StreamOutbox:
    """An Outbox whose messages one writer takes with `take`; `ready` tells it that there is one. All methods run on the
    event loop.
    """

    def __init__(self, codec: Codec, settles: Window, ended: Ended) -> None:
        self._codec = codec
        self._settles = settles
        self._ended = ended
        self._control: deque[bytes] = deque()
        self._items: deque[tuple[int, int, bytes, int]] = deque()
        self._answers: deque[tuple[int, bytes, asyncio.Task[bytes]]] = deque()
        self._open = False
        self._leases_turn = False
        self._waiting = 0
        # Until the stream is open nothing can be written, however willing the worker is to read.
        self._waiting_max = 2 * limits.STREAM_JOBS_MAX
        self.ready: Callable[[], None] = lambda: None

    # -- filled by the driver -------------------------------------------------
    def deliver(self, kind: int, count: int, data: bytes, fire_us: int) -> None:
        """See Outbox."""
        self._items.append((kind, count, data, fire_us))
        self._waiting += count
        self.ready()
        if self._waiting > self._waiting_max:
            self._ended(Refused(errors.STORE_BUSY, f"{self._waiting} leases wait: the worker does not read its stream"))

    def closed(self, code: int, detail: str) -> None:
        """See Outbox."""
        self._ended(Refused(code, detail))

    # -- filled by the conversation --------------------------------------------
    def open(self, opened: bytes, revoked: bytes, max_jobs: int) -> None:
        """The stream is attached: say so, then let everything else follow."""
        self._control.appendleft(opened)
        self._waiting_max = _waiting_bound(max_jobs)
        if revoked:
            self._control.append(self._codec.encode_revoked(revoked))
        self._open = True
        self.ready()

    def allow(self, max_jobs: int) -> None:
        """The worker's credit has changed. What lies here by an older credit stays welcome."""
        self._waiting_max = max(self._waiting_max, _waiting_bound(max_jobs))

    def say(self, message: bytes) -> None:
        """A control message: it overtakes leases and answers."""
        self._control.append(message)
        self.ready()

    def expect(self, size: int, batch: bytes, task: asyncio.Task[bytes]) -> None:
        """A settle batch is being decided; its answer goes out when it is done and those before it are."""
        self._answers.append((size, batch, task))
        task.add_done_callback(self._on_settled)

    def _on_settled(self, _task: asyncio.Task[bytes]) -> None:
        self.ready()

    # -- emptied by the writer --------------------------------------------------
    def take(self) -> bytes | None:
        """The next message, or None when there is nothing to write now."""
        if not self._open:
            return None
        if self._control:
            return self._control.popleft()
        # Neither a flood of leases nor one of settles may hold up the other.
        self._leases_turn = not self._leases_turn
        if self._leases_turn:
            return self._take_item() or self._take_answer()
        return self._take_answer() or self._take_item()

    def _take_item(self) -> bytes | None:
        if not self._items:
            return None
        kind, count, data, fire_us = self._items.popleft()
        self._waiting -= count
        if kind != LEASES:
            return self._codec.encode_revoked(data)
        parts = [data]
        size = len(data)
        # One wake of the driver may bring several frames; a write costs more than a copy.
        while self._items and self._items[0][0] == LEASES:
            _, more, data, released_us = self._items[0]
            if count + more > limits.FRAME_JOBS_MAX or size + len(data) > limits.FRAME_BYTES_MAX:
                break
            self._items.popleft()
            self._waiting -= more
            count, size, fire_us = count + more, size + len(data), max(fire_us, released_us)
            parts.append(data)
        return self._codec.encode_leases(AnswerKind.STREAM, parts[0] if len(parts) == 1 else b"".join(parts), fire_us)

    def _take_answer(self) -> bytes | None:
        if not self._answers or not self._answers[0][2].done():
            return None
        size, batch, task = self._answers.popleft()
        self._settles.release(size)
        error = None if task.cancelled() else task.exception()
        if error is not None or task.cancelled():
            self._ended(
                error if isinstance(error, Refused) else Refused(errors.INTERNAL, "settles could not be decided")
            )
            return None
        return self._codec.encode_settled(AnswerKind.STREAM, batch, task.result())

    def take_back(self) -> list[tuple[bytes, int]]:
        """The tokens of leases that were not written; they will not be."""
        tokens = [token for kind, _, data, _ in self._items if kind == LEASES for token in tokens_of(data)]
        self._items = deque(item for item in self._items if item[0] != LEASES)
        self._waiting = sum(item[1] for item in self._items)
        return tokens


def _waiting_bound(max_jobs: int) -> int:
    """A beat of the driver releases up to two rounds of grants before the writer has its turn."""
    return 2 * max(max_jobs, limits.GRANTS_PER_TICK_MAX)
