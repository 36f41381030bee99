"""What each field of a request accepts, in words, for the error that refuses a value.

Owns: the words, made from the bounds. Does not own: the checks (the codecs) or the bounds (`limits`). Invariant: every
field that an item can be refused for has its words.
"""

from __future__ import annotations

from typing import Final

from wheeld.model import limits
from wheeld.model.errors import FIELD_NAMES, Field

_NAME: Final = f"up to {limits.NAME_BYTES_MAX} of a-z 0-9 _ . -, the first of them a letter or digit"
_AHEAD_DAYS: Final = limits.SCHEDULE_AHEAD_MS_MAX // limits.DAY_MS
_BACKOFF_DAYS: Final = limits.BACKOFF_MS_LIMIT // limits.DAY_MS
_LEASE: Final = (
    f"0 or unset for the default, else {limits.LEASE_MS_MIN // limits.SECOND_MS} s "
    f"to {limits.LEASE_MS_MAX // limits.HOUR_MS} h"
)

ACCEPTABLE: Final[dict[int, str]] = {
    Field.NAMESPACE: _NAME,
    Field.QUEUE: _NAME,
    Field.TYPE: f"1 to {limits.TYPE_BYTES_MAX} bytes without control characters",
    Field.PAYLOAD: f"up to {limits.PAYLOAD_BYTES_MAX} bytes",
    Field.PRIORITY: f"0 to {limits.PRIORITY_MAX}",
    Field.SCHEDULE_TIME: f"a time from 1970 on, at most {_AHEAD_DAYS} days ahead",
    Field.DELAY: f"0 to {_AHEAD_DAYS} days",
    Field.EXPIRE: f"0 to {_AHEAD_DAYS} days",
    Field.IDEMPOTENCY_KEY: f"up to {limits.KEY_BYTES_MAX} bytes",
    Field.ROUTING_KEY: f"up to {limits.ROUTING_KEY_BYTES_MAX} bytes",
    Field.LABELS: (
        f"up to {limits.LABELS_MAX} labels, keys of 1 to {limits.LABEL_KEY_BYTES_MAX} bytes, values of up to "
        f"{limits.LABEL_VALUE_BYTES_MAX}, {limits.LABELS_BYTES_MAX} bytes together"
    ),
    Field.RETRY_POLICY: (
        f"up to {limits.ATTEMPTS_MAX} attempts, backoff of 0 to {_BACKOFF_DAYS} days with the first not above the "
        f"longest, multiplier {limits.BACKOFF_PERCENT_MIN / 100:g} to {limits.BACKOFF_PERCENT_MAX / 100:g}, "
        "jitter 0 to 1"
    ),
    Field.LEASE_DURATION: _LEASE,
    Field.TRACE_CONTEXT: f"up to {limits.TRACE_BYTES_MAX} bytes",
    Field.LEASE_TOKEN: "a token as it came with the lease",
    Field.RETRY_DELAY: f"0 to {_BACKOFF_DAYS} days",
    Field.ERROR_MESSAGE: f"up to {limits.ERROR_BYTES_MAX} bytes",
    Field.RESULT: f"up to {limits.RESULT_BYTES_MAX} bytes",
}


def refused_field(number: int) -> str:
    """The name of a field and what it accepts; "" for none."""
    if number not in FIELD_NAMES:
        return ""
    return f"field `{FIELD_NAMES[number]}` takes {ACCEPTABLE[number]}"
