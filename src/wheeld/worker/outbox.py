"""What the worker has to say on its stream: settles until they are answered, renewals, credit, pongs.

Owns: the order and the batching; natural batching, as the next message takes what has gathered while the last was
sent. Does not own: the lock, which is the stream's. Invariant: a settle leaves only when it is answered or dropped;
after a reconnect the unanswered ones go first, in their old order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from wheeld.client.jobs import length_delimited
from wheeld.model import limits

_SETTLE_TAG: Final = b"\x1a"
"""Field 3 of StreamLeasesRequest."""
_BYTES_MAX: Final = limits.MESSAGE_BYTES_MAX - 4 * limits.KIB


class Outbox:
    """Gathers, and gives out encoded StreamLeasesRequests."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, bytes] = {}
        self._sent: dict[bytes, bytes] = {}
        self._renewals: deque[bytes] = deque()
        self._credit: tuple[int, int] | None = None
        self._pong = False

    @property
    def unanswered(self) -> int:
        """Settles that are not answered yet, sent or not."""
        return len(self._waiting) + len(self._sent)

    def settle(self, token: bytes, item: bytes) -> None:
        """`item`: an encoded element of Settle."""
        self._waiting[token] = item

    def settle_all(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Many at once."""
        self._waiting.update(items)

    def drop(self, token: bytes) -> None:
        """The settle was answered, or its lease is gone."""
        if self._sent.pop(token, None) is None:
            self._waiting.pop(token, None)

    def drop_all(self, tokens: Iterable[bytes]) -> None:
        """As `drop`, for many."""
        for token in tokens:
            if self._sent.pop(token, None) is None:
                self._waiting.pop(token, None)

    def renew(self, tokens: Iterable[bytes]) -> None:
        """Extend these leases."""
        self._renewals.extend(tokens)

    def set_credit(self, jobs: int, size: int) -> None:
        """State a new credit."""
        self._credit = (jobs, size)

    def pong(self) -> None:
        """Answer a ping."""
        self._pong = True

    def reopen(self) -> None:
        """The stream is a new one: what was not answered is said again. Renewals and pongs of the old one are void."""
        self._waiting = {**self._sent, **self._waiting}
        self._sent = {}
        self._renewals.clear()
        self._pong = False

    def take(self) -> bytes | None:
        """The next message; None when there is nothing to say. Renewals come before settles, so they never starve."""
        from wheeld.wire.pb.v1 import worker_service_pb2 as pb

        message: Any
        if self._pong:
            self._pong = False
            message = pb.StreamLeasesRequest(pong=pb.Pong())
        elif self._credit is not None:
            jobs, size = self._credit
            self._credit = None
            message = pb.StreamLeasesRequest(credit=pb.Credit(max_outstanding_jobs=jobs, max_outstanding_bytes=size))
        elif self._renewals:
            tokens = [self._renewals.popleft() for _ in range(min(len(self._renewals), limits.SETTLES_MAX))]
            message = pb.StreamLeasesRequest(renew=pb.Renew(lease_tokens=tokens))
        elif self._waiting:
            return length_delimited(_SETTLE_TAG, self._take_settles())
        else:
            return None
        encoded: bytes = message.SerializeToString()
        return encoded

    def _take_settles(self) -> bytes:
        if len(self._waiting) <= limits.SETTLES_MAX:
            body = b"".join(self._waiting.values())
            if len(body) <= _BYTES_MAX:
                if self._sent:
                    self._sent.update(self._waiting)
                else:
                    self._sent = self._waiting
                self._waiting = {}
                return body
        size = 0
        taken: list[bytes] = []
        for token, item in islice(self._waiting.items(), limits.SETTLES_MAX):
            size += len(item)
            if taken and size > _BYTES_MAX:
                break
            taken.append(token)
        items = [self._waiting.pop(token) for token in taken]
        self._sent.update(zip(taken, items, strict=True))
        return b"".join(items)
