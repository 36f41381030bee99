"""Jobs before they are sent: options, and their bytes as one element of a batch message.

Owns: how a job's options become a NewJob, and the framing of one field. Does not own: limits, which the daemon
enforces. Invariant: the bytes of a job are made once; a batch that is sent again has the same content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Any, Final, TypedDict

from wheeld.client.blame import WRONG, blame
from wheeld.client.times import Moment, Span, moment_ns, set_ns, span_ns
from wheeld.model import errors
from wheeld.model.errors import Field, Misused
from wheeld.wire._produce import job_element, job_head


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When and how often a failed attempt is tried again. None = the daemon's default for that field."""

    max_attempts: int | None = None
    initial_backoff: Span | None = None
    max_backoff: Span | None = None
    backoff_multiplier: float | None = None
    jitter: float | None = None

    def write(self, message: Any) -> None:
        """Into a protobuf RetryPolicy."""
        message.max_attempts = self.max_attempts or 0
        if self.initial_backoff is not None:
            set_ns(message.initial_backoff, span_ns(self.initial_backoff))
        if self.max_backoff is not None:
            set_ns(message.max_backoff, span_ns(self.max_backoff))
        if self.backoff_multiplier is not None:
            message.backoff_multiplier = self.backoff_multiplier
        if self.jitter is not None:
            message.jitter = self.jitter


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Everything about a job besides its type, its payload and its time."""

    queue: str = ""
    priority: int | None = None
    key: str = ""
    routing_key: str = ""
    labels: Mapping[str, str] | None = None
    start_timeout: Span | None = None
    retry: RetryPolicy | None = None
    lease_duration: Span | None = None
    trace_context: str = ""
    namespace: str = ""


class OptionWords(TypedDict, total=False):
    """The same as keyword arguments."""

    queue: str
    priority: int | None
    key: str
    routing_key: str
    labels: Mapping[str, str] | None
    start_timeout: Span | None
    retry: RetryPolicy | None
    lease_duration: Span | None
    trace_context: str
    namespace: str


NO_OPTIONS: Final = JobOptions()


_SCHEDULE_TIME: Final = 4
_DELAY: Final = 5
"""Fields of NewJob."""
_NANOS: Final = 1_000_000_000
_SECONDS_MAX: Final = 1 << 62
"""More than any time that the daemon takes, less than what a message holds."""


@cache
def _new_job() -> Any:
    from wheeld.wire.pb.v1 import job_pb2

    return job_pb2.NewJob


def length_delimited(tag: bytes, body: bytes) -> bytes:
    """One protobuf field: tag, length, body."""
    size = len(body)
    if size < 128:
        return b"%b%c%b" % (tag, size, body)
    return tag + varint(size) + body


def varint(value: int) -> bytes:
    """Base-128, as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def head_of(type: str, options: JobOptions) -> bytes:
    """The fields of a NewJob that are the same for every call of a handler: all but its payload and its time."""
    try:
        return _head(type, options)
    except WRONG as error:
        words = {field.name: getattr(options, field.name) for field in fields(options)}
        raise blame({"type": type} | words, error) from None


def _head(type: str, options: JobOptions) -> bytes:
    try:
        head = job_head(
            type,
            options.queue,
            options.priority,
            options.key,
            options.routing_key,
            options.labels,
            options.trace_context,
            options.namespace,
        )
    except OverflowError:
        raise _bad_priority(options.priority) from None
    if options.start_timeout is None and options.lease_duration is None and options.retry is None:
        return head
    job = _new_job()()
    if options.start_timeout is not None:
        set_ns(job.start_timeout, span_ns(options.start_timeout))
    if options.lease_duration is not None:
        set_ns(job.lease_duration, span_ns(options.lease_duration))
    if options.retry is not None:
        options.retry.write(job.retry_policy)
    rest: bytes = job.SerializeToString()
    return head + rest


def _bad_priority(priority: int | None) -> Misused:
    return Misused(errors.FIELD_INVALID, f"priority {priority}", field=Field.PRIORITY)


def _head_of_words(type: str, words: OptionWords) -> bytes:
    """`head_of` for keyword arguments, without an object for them where they are plain."""
    if "retry" in words or "start_timeout" in words or "lease_duration" in words:
        return head_of(type, JobOptions(**words))
    plain: Any = words
    try:
        return job_head(type, **plain)
    except OverflowError:
        raise _bad_priority(words.get("priority")) from None
    except WRONG as error:
        raise blame({"type": type} | plain, error) from None


@lru_cache(maxsize=1024)
def _plain_head(type: str) -> bytes:
    return head_of(type, NO_OPTIONS)


def _one_time(schedule_time: Moment | None, delay: Span | None) -> None:
    if schedule_time is not None and delay is not None:
        raise Misused(errors.FIELD_INVALID, "both schedule_time and delay are given", hint="Give one of them.")


def write_when(message: Any, schedule_time: Moment | None, delay: Span | None) -> None:
    """The `when` of a RescheduleJobRequest."""
    _one_time(schedule_time, delay)
    if schedule_time is not None:
        set_ns(message.schedule_time, moment_ns(schedule_time))
    elif delay is not None:
        set_ns(message.delay, span_ns(delay))


def _parts(nanoseconds: int, field: int, value: Moment | Span) -> tuple[int, int]:
    """(seconds, nanoseconds) of a time."""
    seconds, nanoseconds = divmod(nanoseconds, _NANOS)
    if not -_SECONDS_MAX < seconds < _SECONDS_MAX:
        raise Misused(errors.FIELD_INVALID, f"beyond every time: {value!r}", field=field)
    return seconds, nanoseconds


@lru_cache(maxsize=1024)
def _delay_parts(delay: Span) -> tuple[int, int]:
    # A program has few delays and says them often.
    return _parts(span_ns(delay), Field.DELAY, delay)


def finish_job(head: bytes, payload: bytes, schedule_time: Moment | None, delay: Span | None) -> bytes:
    """A job's head with payload and time, as one `jobs` element of a batch message."""
    try:
        return _finish(head, payload, schedule_time, delay)
    except WRONG as error:
        words = {"payload": payload, "schedule_time": schedule_time, "delay": delay}
        raise blame(words, error) from None


def _finish(head: bytes, payload: bytes, schedule_time: Moment | None, delay: Span | None) -> bytes:
    if type(payload) is not bytes:
        payload = bytes(memoryview(payload))
    if schedule_time is not None:
        _one_time(schedule_time, delay)
        return job_element(
            head, payload, _SCHEDULE_TIME, *_parts(moment_ns(schedule_time), Field.SCHEDULE_TIME, schedule_time)
        )
    if delay is not None:
        return job_element(head, payload, _DELAY, *_delay_parts(delay))
    return job_element(head, payload)


def encode_words(
    type: str, payload: bytes, schedule_time: Moment | None, delay: Span | None, words: OptionWords
) -> bytes:
    """`encode_job` with the options as keyword arguments have them."""
    head = _head_of_words(type, words) if words or type.__class__ is not str else _plain_head(type)
    return finish_job(head, payload, schedule_time, delay)


def encode_job(
    type: str,
    payload: bytes = b"",
    *,
    schedule_time: Moment | None = None,
    delay: Span | None = None,
    options: JobOptions = NO_OPTIONS,
) -> bytes:
    """The job as one `jobs` element of a batch message. Protobuf promises no order of labels, so the bytes are kept."""
    head = _plain_head(type) if options is NO_OPTIONS and type.__class__ is str else head_of(type, options)
    return finish_job(head, payload, schedule_time, delay)
