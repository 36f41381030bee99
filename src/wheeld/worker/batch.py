"""One callable for all leases of a frame, settled in one go: for load generators and for sinks that work by the
batch.

Owns: the hook's contract. The handler runs on the thread that reads the stream: no hop lies between the wire and it,
and while it runs nothing else is read (renewals go on). Invariant: every lease of the frame is settled, whatever the
handler does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from wheeld.wire._work import Lease
from wheeld.worker.leases import Frame
from wheeld.worker.outcome import Ack, Nack, Outcome, describe, encode_acks
from wheeld.worker.stream import LeaseStream

BatchHandler: TypeAlias = Callable[[Sequence[Lease], int], "Sequence[Outcome | None] | None"]
"""(Leases of one frame, with the fields of the message of this name; receipt in Unix microseconds) -> None: all acked;
or an outcome for each.
"""


class BatchSink:
    """See the module."""

    def __init__(self, handler: BatchHandler, on_fatal: Callable[[BaseException], None]) -> None:
        self._handler, self.on_fatal = handler, on_fatal
        self.stream: LeaseStream

    def on_frame(self, frame: Frame, receive_time_us: int) -> None:
        """See stream.Sink."""
        leases = frame.leases
        tokens = [lease.lease_token for lease in leases]
        held = self.stream.hold_together(tokens, min(lease.lease_duration_ms for lease in leases) / 1000)
        outcomes: Sequence[Outcome | None] | None
        try:
            outcomes = self._handler(leases, receive_time_us)
            if outcomes is not None and len(outcomes) != len(tokens):
                raise ValueError(f"the batch handler returned {len(outcomes)} outcomes for {len(tokens)} leases")
        except (Exception, SystemExit) as error:
            outcomes = [Nack(describe(error))] * len(tokens)
        if outcomes is None:
            items = encode_acks(tokens, receive_time_us)
        else:
            items = [
                _encoded(outcome or Ack(), token, receive_time_us)
                for token, outcome in zip(tokens, outcomes, strict=True)
            ]
        self.stream.settle_together(held, list(zip(tokens, items, strict=True)))


def _encoded(outcome: Outcome, token: bytes, receive_time_us: int) -> bytes:
    # Handlers are not type checked: what cannot be said must not end the stream.
    try:
        return outcome.encode(token, receive_time_us)
    except Exception as error:
        return Nack(describe(error)).encode(token, receive_time_us)
