"""The registry of errors: a code, its reason on the wire, its gRPC status, and what the caller does about it.

Owns: the list. `wire/status.py` turns it into gRPC statuses and back. Expected outcomes (already settled, duplicate)
are statuses of an item, not exceptions. Invariant: codes and reasons are unique; the registry refuses a second use.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class ErrorKind(NamedTuple):
    """One registered error. `status` is the name of a gRPC status code; `retry` says whether the same call may
    succeed later."""

    code: int
    reason: str
    status: str
    retry: bool
    duty: str


REGISTRY: Final[dict[int, ErrorKind]] = {}
BY_REASON: Final[dict[str, ErrorKind]] = {}


def _register(code: int, reason: str, status: str, *, retry: bool = False, duty: str) -> int:
    if code in REGISTRY or reason in BY_REASON:
        raise RuntimeError(f"error {code} {reason} is registered twice")
    kind = ErrorKind(code, reason, status, retry, duty)
    REGISTRY[code] = BY_REASON[reason] = kind
    return code


OK: Final = 0
MALFORMED: Final = _register(1, "MALFORMED", "INVALID_ARGUMENT", duty="Send a valid message of the published schema.")
FIELD_INVALID: Final = _register(2, "FIELD_INVALID", "INVALID_ARGUMENT", duty="Mend the named field and send again.")
PAYLOAD_TOO_LARGE: Final = _register(
    3, "PAYLOAD_TOO_LARGE", "INVALID_ARGUMENT", duty="Store the body elsewhere and send a reference."
)
SCHEDULE_TOO_FAR: Final = _register(4, "SCHEDULE_TOO_FAR", "INVALID_ARGUMENT", duty="Choose a time within the bound.")
BATCH_TOO_LARGE: Final = _register(5, "BATCH_TOO_LARGE", "INVALID_ARGUMENT", duty="Split the batch.")
KEY_CONFLICT: Final = _register(
    6, "KEY_CONFLICT", "ALREADY_EXISTS", duty="The key names another job with other content: use a new key."
)
BATCH_CONFLICT: Final = _register(
    7, "BATCH_CONFLICT", "INVALID_ARGUMENT", duty="The batch number was used with other content: use a new number."
)
JOB_NOT_FOUND: Final = _register(
    8, "JOB_NOT_FOUND", "NOT_FOUND", duty="Check the name; history is kept for a limited time."
)
JOB_FINISHED: Final = _register(9, "JOB_FINISHED", "FAILED_PRECONDITION", duty="Nothing to do: the job has ended.")
JOB_RUNNING: Final = _register(
    10, "JOB_RUNNING", "FAILED_PRECONDITION", duty="Wait for the attempt to end, or cancel the job."
)
LEASE_EXPIRED: Final = _register(
    11, "LEASE_EXPIRED", "FAILED_PRECONDITION", duty="Drop the result: the lease ended and the job was taken back."
)
LEASE_FENCED: Final = _register(
    12, "LEASE_FENCED", "FAILED_PRECONDITION", duty="Drop the result: a newer attempt holds the job."
)
LEASE_NOT_YOURS: Final = _register(
    13, "LEASE_NOT_YOURS", "PERMISSION_DENIED", duty="Settle only leases of your own session."
)
TOKEN_UNKNOWN: Final = _register(
    14, "TOKEN_UNKNOWN", "NOT_FOUND", duty="Drop the token; it belongs to no lease of this daemon."
)
STORE_BUSY: Final = _register(
    15, "STORE_BUSY", "RESOURCE_EXHAUSTED", retry=True, duty="Slow down and send again after the stated delay."
)
STORE_FULL: Final = _register(
    16, "STORE_FULL", "RESOURCE_EXHAUSTED", retry=True, duty="Free disk space, or wait until jobs have run."
)
DRAINING: Final = _register(17, "DRAINING", "UNAVAILABLE", retry=True, duty="Reconnect; the daemon is shutting down.")
STREAM_PROTOCOL: Final = _register(
    19, "STREAM_PROTOCOL", "INVALID_ARGUMENT", duty="Send `open` first and only once on a stream."
)
CANCELLED: Final = _register(20, "CANCELLED", "FAILED_PRECONDITION", duty="Drop the result: the job was cancelled.")
INTERNAL: Final = _register(21, "INTERNAL", "INTERNAL", duty="A defect: report it with the daemon's log.")


class Field:
    """Numbers that name the offending field of an item in packed results."""

    NONE = 0
    QUEUE = 1
    TYPE = 2
    PAYLOAD = 3
    PRIORITY = 4
    SCHEDULE_TIME = 5
    DELAY = 6
    EXPIRE = 7
    IDEMPOTENCY_KEY = 8
    ROUTING_KEY = 9
    LABELS = 10
    RETRY_POLICY = 11
    LEASE_DURATION = 12
    TRACE_CONTEXT = 13
    NAMESPACE = 14
    LEASE_TOKEN = 15
    RETRY_DELAY = 16
    ERROR_MESSAGE = 17
    RESULT = 18


FIELD_NAMES: Final[dict[int, str]] = {
    Field.QUEUE: "queue",
    Field.TYPE: "type",
    Field.PAYLOAD: "payload",
    Field.PRIORITY: "priority",
    Field.SCHEDULE_TIME: "schedule_time",
    Field.DELAY: "delay",
    Field.EXPIRE: "start_timeout",
    Field.IDEMPOTENCY_KEY: "idempotency_key",
    Field.ROUTING_KEY: "routing_key",
    Field.LABELS: "labels",
    Field.RETRY_POLICY: "retry_policy",
    Field.LEASE_DURATION: "lease_duration",
    Field.TRACE_CONTEXT: "trace_context",
    Field.NAMESPACE: "namespace",
    Field.LEASE_TOKEN: "lease_token",
    Field.RETRY_DELAY: "retry_delay",
    Field.ERROR_MESSAGE: "error_message",
    Field.RESULT: "result",
}


class WheeldError(Exception):
    """Root of every error that wheeld raises. `kind` is the registry's row; `detail` names the cause, `hint` what to
    do."""

    def __init__(self, code: int, detail: str, *, hint: str = "", field: int = Field.NONE) -> None:
        self.kind = REGISTRY[code]
        self.detail = detail
        self.hint = hint or self.kind.duty
        self.field = field
        super().__init__(f"{self.kind.reason}: {detail} ({self.hint})")


class Refused(WheeldError):
    """The server said no: the request is at fault, or the moment."""


class Misused(WheeldError):
    """The caller used the library wrongly."""


class StartFailure(Exception):
    """The daemon cannot start: the text names the cause and what to do. `exit_code` is the process's."""

    def __init__(self, cause: str, remedy: str, exit_code: int = 2) -> None:
        self.cause, self.remedy, self.exit_code = cause, remedy, exit_code
        super().__init__(f"{cause}. {remedy}")
