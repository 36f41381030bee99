"""The worker's conversation with the daemon, on threads of its own: one reads, gRPC's own writes what the outbox
holds.

Owns: the channel, the session, reconnects, the lock around leases and outbox. Does not own: handlers; leases go to a
`Sink`, outcomes come back through `settle`. Invariants: the session id is the same in every stream of this object;
each reopening lists all leases that are held and repeats all settles that are not answered; no handler, however it
blocks, stands between a lease and its renewal.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from wheeld.client.channel import open_channel
from wheeld.client.failures import Backoff, failure_of
from wheeld.model import errors, limits
from wheeld.wire._work import read_frame, read_settled, stream_member
from wheeld.worker.leases import Frame, HeldJob, LeaseTable
from wheeld.worker.outbox import Outbox
from wheeld.worker.outcome import Outcome

if TYPE_CHECKING:
    import grpc

_log: Final = logging.getLogger("wheeld.worker")
_METHOD: Final = "/wheeld.v1.WorkerService/StreamLeases"
_PING_S_DEFAULT: Final = 10.0
_SILENT_PINGS: Final = 3
_JOIN_S: Final = 2.0
_FATAL: Final = frozenset({errors.MALFORMED, errors.FIELD_INVALID, errors.STREAM_PROTOCOL})
"""What this worker says is wrong, and would be again. Anything else may pass: it reconnects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """What the worker says when it opens a stream."""

    address: str
    worker_id: str
    queues: Sequence[str]
    namespace: str
    max_outstanding_jobs: int
    max_outstanding_bytes: int
    lease_ms: int
    credentials: grpc.ChannelCredentials | None = None


class Sink(Protocol):
    """Who gets what the stream brings. Called on the reading thread: return at once."""

    def on_frame(self, frame: Frame, receive_time_us: int) -> None:
        """Leases."""

    def on_fatal(self, error: BaseException) -> None:
        """The stream cannot go on: the daemon refuses it, or a defect."""


class _Member(IntEnum):
    """The members of StreamLeasesResponse that are hot."""

    LEASES = 2
    SETTLED = 3


def _decoded(data: bytes) -> tuple[int, int, Any]:
    """(when the bytes arrived, _Member, what they say); of what is not hot (0, the message)."""
    receive_time_us = time.time_ns() // 1000
    member = stream_member(data)
    if member == _Member.LEASES:
        return receive_time_us, member, Frame(*read_frame(data))
    if member == _Member.SETTLED:
        return receive_time_us, member, read_settled(data)
    from wheeld.wire.pb.v1 import worker_service_pb2 as pb

    message = pb.StreamLeasesResponse.FromString(data)
    if message.WhichOneof("message") in ("leases", "settled"):
        # Several members, of which the last counts: written anew it stands there alone.
        return _decoded(message.SerializeToString())
    return receive_time_us, 0, message


class LeaseStream:
    """See the module. Safe to use from any thread."""

    def __init__(self, options: StreamOptions, sink: Sink) -> None:
        self.session_id = uuid.uuid4().hex
        self.counts: Counter[str] = Counter()
        self.opened = threading.Event()
        self._options, self._sink = options, sink
        self._changed = threading.Condition()
        self._leases = LeaseTable()
        self._outbox = Outbox()
        self._credit = options.max_outstanding_jobs
        self._epoch = 0
        self._closing = False
        self._draining = False
        self._call: Any = None
        self._heard_s = 0.0
        self._ping_s = _PING_S_DEFAULT
        self._backoff = Backoff()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wheeld-leases", daemon=True)

    # --- for the worker, from any thread ------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and stay connected until `close`."""
        self._thread.start()

    def take_frame(self, frame: Frame, receive_time_us: int) -> list[HeldJob]:
        """Hold the leases of a frame and renew them. Those of jobs that are here already only get their new token."""
        with self._changed:
            fresh, adopted = self._leases.add_frame(frame, receive_time_us)
            for old, held in adopted:
                self._outbox.drop(old)
                if held.outcome is not None:
                    self._outbox.settle(held.token, held.outcome.encode(held.token, held.receive_time_us))
            if adopted or self._leases.hastened:
                self._changed.notify_all()
        self.counts["leases"] += len(fresh)
        self.counts["adopted"] += len(adopted)
        return fresh

    def hold_together(self, tokens: Sequence[bytes], shortest_s: float) -> Any:
        """Hold leases that `settle_together` will settle."""
        with self._changed:
            held = self._leases.add_together(tokens, shortest_s)
            if self._leases.hastened:
                self._changed.notify_all()
        self.counts["leases"] += len(tokens)
        return held

    def settle_together(self, held: Any, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Settle what `hold_together` returned: (token, encoded element of Settle)."""
        with self._changed:
            held.settling = True
            # Those that were revoked meanwhile have left the table.
            self._outbox.settle_all(item for item in items if self._leases.get(item[0]) is held)
            self._changed.notify_all()

    def settle(self, settled: Sequence[tuple[HeldJob, Outcome]]) -> None:
        """Say how attempts ended; a revoked one is dropped."""
        with self._changed:
            for held, outcome in settled:
                if held.revoked:
                    self.counts["dropped"] += 1
                    continue
                held.outcome, held.settling = outcome, True
                self._outbox.settle(held.token, outcome.encode(held.token, held.receive_time_us))
            self._changed.notify_all()

    def set_credit(self, jobs: int) -> None:
        """State how many unsettled jobs this worker takes at most."""
        with self._changed:
            self._credit = jobs
            self._outbox.set_credit(jobs, self._options.max_outstanding_bytes)
            self._changed.notify_all()

    def wait_idle(self, seconds: float) -> bool:
        """Block until all settles are answered; False when they are not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._outbox.unanswered or self._stop.is_set(), seconds)

    def close(self) -> None:
        """End the stream in order, and wait for its thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._stop.set()
        if self._thread.ident is None:
            return
        self._thread.join(_JOIN_S)
        call = self._call
        if self._thread.is_alive() and call is not None:
            call.cancel()
        self._thread.join(_JOIN_S)

    # --- the reading thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        channel = open_channel(self._options.address, self._options.credentials)
        method: Any = channel.stream_stream(_METHOD, response_deserializer=_decoded)
        try:
            while not self._stop.is_set():
                if not self._converse(method):
                    return
                if self._stop.wait(self._backoff.next_s()):
                    return
                self.counts["reconnects"] += 1
        except Exception as error:
            _log.exception("the lease stream has ended by a defect")
            self._sink.on_fatal(error)
        finally:
            with self._changed:
                self._epoch += 1
                self._changed.notify_all()
            channel.close()

    def _converse(self, method: Any) -> bool:
        """One stream from open to end; whether another one may follow."""
        import grpc

        with self._changed:
            self._epoch += 1
            self._draining = False
            self._heard_s = time.monotonic()
            self._ping_s = _PING_S_DEFAULT
            self._outbox.reopen()
            epoch = self._epoch
        self._call = method(self._requests(epoch))
        try:
            for receive_time_us, member, said in self._call:
                self._heard_s = time.monotonic()
                if member == _Member.LEASES:
                    self._sink.on_frame(said, receive_time_us)
                elif member == _Member.SETTLED:
                    self._on_settled(*said)
                else:
                    self._on_message(said)
        except grpc.RpcError as rpc_error:
            failure = failure_of(rpc_error, self._options.address)
            if not self._stop.is_set():
                _log.warning("the lease stream has ended: %s", failure.error)
            if failure.error.kind.code in _FATAL and not self._stop.is_set():
                self._sink.on_fatal(failure.error)
                return False
        finally:
            self.opened.clear()
            with self._changed:
                self._epoch += 1
                self._changed.notify_all()
            # A reader that leaves early, by a defect, must not leave the call behind.
            self._call.cancel()
        return True

    def _on_message(self, message: Any) -> None:
        which = message.WhichOneof("message")
        if which == "revoked":
            self._on_revoked(message.revoked.leases)
        elif which == "opened":
            self._on_opened(message.opened)
        elif which == "ping":
            with self._changed:
                self._outbox.pong()
                self._changed.notify_all()
        elif which == "drain":
            _log.info("the daemon drains; reconnecting when what runs is settled")
            with self._changed:
                self._draining = True
                self._changed.notify_all()

    def _on_opened(self, opened: Any) -> None:
        self._backoff.reset()
        with self._changed:
            interval = opened.ping_interval
            self._ping_s = interval.seconds + interval.nanos / 1e9 or _PING_S_DEFAULT
            # Who writes sleeps by the old interval.
            self._changed.notify_all()
        self.opened.set()

    def _on_settled(self, settled: list[bytes], others: list[tuple[bytes, int, int]]) -> None:
        refused: Counter[int] = Counter()
        with self._changed:
            self._outbox.drop_all(settled)
            self._leases.remove_all(settled)
            for token, operation, code in others:
                if operation == _RENEW:
                    self._on_renewed(token, code)
                    continue
                self._outbox.drop(token)
                self._leases.remove(token)
                refused[code] += 1
            self._changed.notify_all()
        self.counts["settled"] += len(settled) + refused.total()
        for code, count in refused.items():
            reason = errors.REGISTRY[code].reason if code in errors.REGISTRY else str(code)
            self.counts["refused"] += count
            _log.warning("%d settles were refused: %s", count, reason)

    def _on_renewed(self, token: bytes, code: int) -> None:
        held = self._leases.get(token)
        if held is None:
            return
        if not code:
            self.counts["renewed"] += 1
            held.on_renewed()
        elif code != errors.FIELD_INVALID and not held.settling:
            self._revoke(token)

    def _on_revoked(self, leases: Any) -> None:
        with self._changed:
            for lease in leases:
                self._revoke(lease.lease_token)
            self._changed.notify_all()

    def _revoke(self, token: bytes) -> None:
        self._outbox.drop(token)
        held = self._leases.remove(token)
        if isinstance(held, HeldJob):
            self.counts["revoked"] += 1
            held.revoked = True
            held.cancel()

    # --- gRPC's writing thread ----------------------------------------------------------------------------------------

    def _requests(self, epoch: int) -> Iterator[bytes]:
        yield self._open_message()
        while (message := self._next_message(epoch)) is not None:
            yield message

    def _open_message(self) -> bytes:
        from wheeld.wire.pb.v1 import worker_service_pb2 as pb

        options = self._options
        with self._changed:
            request = pb.StreamLeasesRequest()
            opening = request.open
            opening.worker_id, opening.session_id = options.worker_id, self.session_id
            opening.namespace = options.namespace
            opening.queues.extend(options.queues)
            # 0 would mean 1 here; a worker that takes nothing more says so by the credit that follows.
            opening.max_outstanding_jobs = max(1, self._credit)
            opening.max_outstanding_bytes = options.max_outstanding_bytes
            opening.lease_duration.FromMilliseconds(options.lease_ms)
            opening.held_lease_tokens.extend(self._leases.tokens())
            if not self._credit:
                self._outbox.set_credit(0, options.max_outstanding_bytes)
            encoded: bytes = request.SerializeToString()
            return encoded

    def _next_message(self, epoch: int) -> bytes | None:
        """Wait for something to say; None ends this side of the stream."""
        patience_s = 0.0
        with self._changed:
            while self._epoch == epoch:
                if due := self._leases.due_renewals():
                    self._outbox.renew(due)
                if (message := self._outbox.take()) is not None:
                    return message
                if self._closing or (self._draining and not len(self._leases)):
                    return None
                silent_s = time.monotonic() - self._heard_s
                patience_s = _SILENT_PINGS * self._ping_s
                if silent_s >= patience_s:
                    break
                self._changed.wait(min(self._leases.next_scan_in_s(), patience_s - silent_s))
            else:
                return None
        _log.warning("nothing was heard from the daemon for %.1f s: reconnecting", patience_s)
        call = self._call
        if call is not None:
            call.cancel()
        return None


_RENEW: Final = 4
"""SETTLE_OPERATION_RENEW."""
assert limits.STREAM_JOBS_MAX * 26 < limits.MESSAGE_BYTES_MAX, "an open must hold all tokens"
