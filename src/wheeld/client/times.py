"""Times and spans as users write them: datetimes, timedeltas, seconds, "15m".

Owns: the forms that are accepted. Numbers, datetimes and timedeltas count to the microsecond.
Invariant: a naive datetime is refused, because nobody can know its zone.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, TypeAlias

from wheeld.model import errors
from wheeld.model.errors import Field, Misused

Span: TypeAlias = str | float | timedelta
"""A span: "15m", "1h30m", "250ms"; seconds as a number; a timedelta."""
Moment: TypeAlias = datetime | float
"""A time: a datetime with a zone, or Unix seconds."""

_NANOS: Final = 1_000_000_000
_UNIT_NANOS: Final = {
    "us": 1_000,
    "ms": 1_000_000,
    "s": _NANOS,
    "m": 60 * _NANOS,
    "h": 3600 * _NANOS,
    "d": 86_400 * _NANOS,
    "w": 7 * 86_400 * _NANOS,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)\s*")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@lru_cache(maxsize=1024)
def _text_ns(text: str) -> int:
    at, total = 0, Fraction(0)
    stripped = text.strip()
    while at < len(stripped):
        part = _PART.match(stripped, at)
        if part is None:
            raise Misused(errors.FIELD_INVALID, f"not a span: {text!r}", hint='Write it as "15m", "1h30m" or "250ms".')
        total += Fraction(part[1]) * _UNIT_NANOS[part[2]]
        at = part.end()
    if not stripped:
        raise Misused(errors.FIELD_INVALID, "an empty span", hint='Write it as "15m", "1h30m" or "250ms".')
    return math.ceil(total)


def _number_ns(value: float) -> int:
    # To the microsecond: the float nearest to 0.003 lies above it, and must not become 4 ms when the daemon rounds up.
    try:
        return round(value * 1_000_000) * 1000
    except (ValueError, OverflowError):
        raise Misused(errors.FIELD_INVALID, f"not a finite number: {value!r}") from None


def span_ns(span: Span) -> int:
    """Nanoseconds of a span; negative ones are refused."""
    if isinstance(span, str):
        return _text_ns(span)
    value = span // _MICROSECOND * 1000 if isinstance(span, timedelta) else _number_ns(span)
    if value < 0:
        raise Misused(errors.FIELD_INVALID, f"a negative span: {span!r}", field=Field.DELAY)
    return value


def span_seconds(span: Span) -> float:
    """Seconds of a span, for timers of this process."""
    return span_ns(span) / _NANOS


def moment_ns(moment: Moment) -> int:
    """Unix nanoseconds of a time."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise Misused(
                errors.FIELD_INVALID,
                f"a datetime without a zone: {moment.isoformat()}",
                hint="Give it one: datetime(..., tzinfo=ZoneInfo(...)), or datetime.now(UTC).",
                field=Field.SCHEDULE_TIME,
            )
        return ((moment - _EPOCH) // _MICROSECOND) * 1000
    return _number_ns(moment)


def set_ns(message: Any, nanoseconds: int) -> None:
    """Write nanoseconds into a protobuf Timestamp or Duration."""
    message.seconds, message.nanos = divmod(nanoseconds, _NANOS)


def read_moment(message: Any) -> datetime:
    """A protobuf Timestamp as a datetime in UTC."""
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def read_span(message: Any) -> timedelta:
    """A protobuf Duration as a timedelta."""
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
