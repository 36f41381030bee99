"""From a failed RPC to an error of the SDK.

Owns: which failures are the daemon's answer (they carry ErrorInfo) and which are the network's. Invariant: every
failed call ends in a WheeldError; a call whose effect is unknown ends in Unreachable and in nothing else.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from wheeld.model import errors
from wheeld.model.errors import FIELD_NAMES, ErrorKind, Refused, WheeldError

if TYPE_CHECKING:
    import grpc

ERROR_DOMAIN: Final = "wheeld.dev"
_TRANSPORT: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"})
_FIELDS: Final = {name: number for number, name in FIELD_NAMES.items()}
_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_LAST_S: Final = 2.0


class Unreachable(WheeldError):
    """No answer came: whether the call had an effect is not known."""

    def __init__(self, detail: str) -> None:
        hint = "Check that the daemon runs and the address is right; whether the call had an effect is not known"
        self.kind = ErrorKind(errors.OK, "UNREACHABLE", "UNAVAILABLE", True, hint)
        self.detail, self.hint, self.field = detail, hint, errors.Field.NONE
        Exception.__init__(self, f"UNREACHABLE: {detail} ({hint})")


class Failure:
    """One failed call: the error for the caller, whether to try again, and after how long if the daemon said so."""

    __slots__ = ("delay_s", "error", "retry")

    def __init__(self, error: WheeldError, *, retry: bool, delay_s: float | None = None) -> None:
        self.error, self.retry, self.delay_s = error, retry, delay_s


def refusal(code: int, detail: str, field: str = "") -> Refused:
    """The daemon's no, as an error; a code of a newer daemon counts as INTERNAL."""
    if code not in errors.REGISTRY:
        return Refused(errors.INTERNAL, f"{detail} (error code {code}, which this version does not know)")
    return Refused(code, detail, field=_FIELDS.get(field, errors.Field.NONE))


def _details(rpc_error: Any) -> tuple[str, str, float | None]:
    """(reason, field, delay in seconds) of google.rpc details; reason is "" when the daemon sent none."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    reason, field, delay_s = "", "", None
    try:
        status = rpc_status.from_call(rpc_error)
    except ValueError:
        # The trailer contradicts the status: not the daemon's answer.
        return reason, field, delay_s
    info, wait, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            reason = info.reason
            field = field or info.metadata.get("field", "")
        elif detail.Unpack(wait):
            delay_s = wait.retry_delay.seconds + wait.retry_delay.nanos / 1e9
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
    return reason, field, delay_s


def failure_of(rpc_error: grpc.RpcError, address: str) -> Failure:
    """What a failed call means."""
    call: Any = rpc_error
    status = call.code().name
    text = call.details() or status
    reason, field, delay_s = _details(call)
    kind = errors.BY_REASON.get(reason)
    if kind is not None:
        return Failure(refusal(kind.code, text, field), retry=kind.retry, delay_s=delay_s)
    if reason or status not in _TRANSPORT:
        return Failure(Refused(errors.INTERNAL, f"{status} from {address}: {text}"), retry=False)
    return Failure(Unreachable(f"{address}: {text}"), retry=True)


class Backoff:
    """Waits that double, each drawn from its upper half: clients that failed together do not return together."""

    def __init__(self) -> None:
        self._wait_s = _BACKOFF_FIRST_S

    def next_s(self) -> float:
        """The next wait in seconds."""
        wait_s = self._wait_s
        self._wait_s = min(_BACKOFF_LAST_S, wait_s * 2)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._wait_s = _BACKOFF_FIRST_S
