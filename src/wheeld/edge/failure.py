"""From an error to the status that a client sees.

Owns the moment of turning: the table is the registry's (model/errors.py). Invariant: what is not a WheeldError is a defect; it is
logged with its traceback and the client learns no more than INTERNAL.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from wheeld.model import errors
from wheeld.model.errors import FIELD_NAMES, WheeldError
from wheeld.runtime.logs import get_logger

DOMAIN = "wheeld.dev"
_DETAILS_KEY = "grpc-status-details-bin"
RETRY_DELAY_MS = {errors.STORE_BUSY: 100, errors.STORE_FULL: 5000, errors.DRAINING: 500}


def retry_delay_ms(error: WheeldError) -> int:
    """After how long the same message may be sent again; 0 when it should not be."""
    return RETRY_DELAY_MS.get(error.kind.code, 1000) if error.kind.retry else 0


def as_wheeld_error(error: Exception, where: str) -> WheeldError:
    """The error as the client may see it."""
    if isinstance(error, WheeldError):
        return error
    get_logger("edge").error("call failed", call=where, exc_info=error)
    return WheeldError(errors.INTERNAL, f"{where} failed; the daemon's log says why")


async def abort(context: Any, error: WheeldError) -> None:
    """End the call with the error's status. Does not return."""
    status = getattr(grpc.StatusCode, error.kind.status)
    await context.abort(status, str(error), ((_DETAILS_KEY, _details(status, error)),))


def _details(status: grpc.StatusCode, error: WheeldError) -> bytes:
    """A google.rpc.Status with the reason, the field at fault and the delay, where there is one."""
    found = status_pb2.Status(code=status.value[0], message=str(error))
    found.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.kind.reason, domain=DOMAIN))
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=FIELD_NAMES.get(error.field, ""), description=error.detail
        )
        found.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if delay_ms := retry_delay_ms(error):
        delay = error_details_pb2.RetryInfo()
        delay.retry_delay.FromMilliseconds(delay_ms)
        found.details.add().Pack(delay)
    return bytes(found.SerializeToString())
