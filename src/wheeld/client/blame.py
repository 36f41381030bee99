"""Which field of a job has the wrong type, once encoding has failed.

Owns: the types that the fields take. Nothing here runs for a job that can be encoded. Invariant: the error names the
field and what was given; what no field is to blame for is raised as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from wheeld.model import errors
from wheeld.model.errors import Field, Misused

WRONG: Final = (TypeError, AttributeError, UnicodeEncodeError)
"""What encoding raises over a wrong type."""
_TEXTS: Final = {
    "type": Field.TYPE,
    "queue": Field.QUEUE,
    "key": Field.IDEMPOTENCY_KEY,
    "routing_key": Field.ROUTING_KEY,
    "trace_context": Field.TRACE_CONTEXT,
    "namespace": Field.NAMESPACE,
}
_SPANS: Final = {"start_timeout": Field.EXPIRE, "lease_duration": Field.LEASE_DURATION, "delay": Field.DELAY}
_SPAN: Final = (str, int, float, timedelta)


def blame(words: Mapping[str, Any], cause: Exception) -> Exception:
    """The error to raise for a job with these fields."""
    # A retry policy is not looked into: it is to blame when nothing else is.
    for name, value in sorted(words.items(), key=lambda word: word[0] == "retry"):
        wanted, field = _wanted(name, value)
        if wanted:
            return Misused(errors.FIELD_INVALID, f"{name} takes {wanted}, not {value!r}", field=field)
    return cause


def _wanted(name: str, value: Any) -> tuple[str, int]:
    """(what the field takes, the field) when it does not take the value; ("", 0) else."""
    if name in _TEXTS:
        return ("" if _is_text(value) else "a text that UTF-8 can hold"), _TEXTS[name]
    if value is None:
        return "", 0
    if name in _SPANS:
        return ("" if isinstance(value, _SPAN) else 'a span such as "15m", seconds or a timedelta'), _SPANS[name]
    if name == "priority":
        return ("" if isinstance(value, int) else "an integer"), Field.PRIORITY
    if name == "schedule_time":
        return ("" if isinstance(value, (int, float, datetime)) else "a datetime or Unix seconds"), Field.SCHEDULE_TIME
    if name == "labels":
        well = isinstance(value, Mapping) and all(_is_text(text) for entry in value.items() for text in entry)
        return ("" if well else "a mapping of texts to texts"), Field.LABELS
    if name == "payload":
        return ("" if isinstance(value, (bytes, bytearray, memoryview)) else "bytes"), Field.PAYLOAD
    if name == "retry":
        return "a RetryPolicy with numbers and spans", Field.RETRY_POLICY
    return "", 0


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
