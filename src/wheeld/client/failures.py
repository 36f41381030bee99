"""From a failed RPC to an error of the SDK.

Owns: which failures are the daemon's answer (they carry ErrorInfo) and which are the network's. Invariant: every
failed call ends in a WheeldError; a call whose effect is unknown ends in Unreachable and in nothing else.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from wheeld.model import errors
from wheeld.model.acceptable import refused_field
from wheeld.model.errors import FIELD_NAMES, ErrorKind, Refused, WheeldError

if TYPE_CHECKING:
    import grpc

_TRANSPORT: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN"})
_FIELDS: Final = {name: number for number, name in FIELD_NAMES.items()}
_BACKOFF_FIRST_S: Final = 0.05
_BACKOFF_LAST_S: Final = 1.0


class Unreachable(WheeldError):
    """No answer came: whether the call had an effect is not known."""

    def __init__(self, detail: str) -> None:
        hint = "Check that the daemon runs and the address is right; whether the call had an effect is not known"
        self.kind = ErrorKind(errors.OK, "UNREACHABLE", "UNAVAILABLE", True, hint)
        self.detail, self.hint, self.field = detail, hint, errors.Field.NONE
        Exception.__init__(self, f"UNREACHABLE: {detail} ({hint})")


def unanswered(address: str, last: WheeldError) -> Unreachable:
    """The end of a call of which some try had no answer: a later refusal does not say that the effect is missing."""
    if isinstance(last, Unreachable):
        return last
    return Unreachable(f"{address}: a try was not answered, and the last one ended in {last.args[0]}")


class Failure:
    """One failed call: the error for the caller, whether to try again, and how long to wait before at least."""

    __slots__ = ("delay_s", "error", "retry")

    def __init__(self, error: WheeldError, *, retry: bool, delay_s: float = 0.0) -> None:
        self.error, self.retry, self.delay_s = error, retry, delay_s


def refusal(code: int, detail: str, field: str = "") -> Refused:
    """The daemon's no, as an error; a code of a newer daemon counts as INTERNAL."""
    if code not in errors.REGISTRY:
        return Refused(errors.INTERNAL, f"{detail} (error code {code}, which this version does not know)")
    return Refused(code, detail, field=_FIELDS.get(field, errors.Field.NONE))


def refused_job(code: int, field: str) -> Refused:
    """The daemon's no to one job of a batch: with the field that it names, and what that field takes."""
    words = refused_field(_FIELDS.get(field, errors.Field.NONE)) or field
    return refusal(code, f"the job is refused: {words}" if words else "the job is refused", field)


def failure_of(rpc_error: grpc.RpcError, address: str) -> Failure:
    """What a failed call means."""
    from wheeld.wire.status import from_rpc_error

    call: Any = rpc_error
    refused = from_rpc_error(call)
    if refused is not None:
        return Failure(refused.error, retry=refused.error.kind.retry, delay_s=refused.retry_delay_ms / 1000)
    status = call.code().name
    text = call.details() or status
    if status in _TRANSPORT:
        return Failure(Unreachable(f"{address}: {text}"), retry=True)
    return Failure(Refused(errors.INTERNAL, f"{status} from {address}: {text}"), retry=False)


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
