"""Errors of the registry as gRPC statuses, and back.

Owns: the details that travel beside a status: ErrorInfo (reason, domain), BadRequest (the field at fault), RetryInfo
(when to come again). Does not own: the registry (model/errors.py), or what a failure without them means to a caller.
Invariant: `from_rpc_error` of what `to_status` made gives the same code, detail, hint and field.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from wheeld.model import errors
from wheeld.model.errors import BY_REASON, FIELD_NAMES, REGISTRY, Field, Refused

DOMAIN: Final = "wheeld.dev"
DETAILS_KEY: Final = "grpc-status-details-bin"
RETRY_DELAY_MS: Final = {errors.STORE_BUSY: 100, errors.STORE_FULL: 5000, errors.DRAINING: 500}
RETRY_DELAY_MS_DEFAULT: Final = 1000
_FIELDS: Final = {name: number for number, name in FIELD_NAMES.items()}


class Status(NamedTuple):
    """What `context.abort` takes, in its order."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, bytes], ...]


class Refusal(NamedTuple):
    """The daemon's no, and after how long it may be asked again (0: not said)."""

    error: Refused
    retry_delay_ms: int


def retry_delay_ms(code: int) -> int:
    """After how long the same message may be sent again; 0 when it should not be."""
    return RETRY_DELAY_MS.get(code, RETRY_DELAY_MS_DEFAULT) if REGISTRY[code].retry else 0


def to_status(code: int, detail: str, field: int = Field.NONE, hint: str = "") -> Status:
    """The status of an error."""
    kind = REGISTRY[code]
    status = getattr(grpc.StatusCode, kind.status)
    info = error_details_pb2.ErrorInfo(reason=kind.reason, domain=DOMAIN)
    info.metadata["detail"] = detail
    info.metadata["hint"] = hint or kind.duty
    text = str(Refused(code, detail, hint=hint))
    found = status_pb2.Status(code=status.value[0], message=text)
    found.details.add().Pack(info)
    if field:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=FIELD_NAMES[field], description=detail)
        found.details.add().Pack(bad)
    if delay_ms := retry_delay_ms(code):
        wait = error_details_pb2.RetryInfo()
        wait.retry_delay.FromMilliseconds(delay_ms)
        found.details.add().Pack(wait)
    return Status(status, text, ((DETAILS_KEY, found.SerializeToString()),))


def _details_of(call: Any) -> Any:
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value).details
            except DecodeError:
                return ()
    return ()


def from_rpc_error(call: Any) -> Refusal | None:
    """What a failed call says. None when it is not this API's answer: the network or a proxy failed."""
    info, bad, wait = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    reason, detail, hint, field, delay_ms = "", "", "", "", 0
    for entry in _details_of(call):
        if entry.Unpack(info) and info.domain == DOMAIN:
            reason, detail, hint = info.reason, info.metadata.get("detail", ""), info.metadata.get("hint", "")
        elif entry.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif entry.Unpack(wait):
            delay_ms = wait.retry_delay.ToMilliseconds()
    if not reason:
        return None
    text = detail or call.details() or reason
    if reason not in BY_REASON:
        return Refusal(
            Refused(errors.INTERNAL, f"{text} (reason {reason}, which this version does not know)"), delay_ms
        )
    error = Refused(BY_REASON[reason].code, text, hint=hint, field=_FIELDS.get(field, Field.NONE))
    return Refusal(error, delay_ms)
