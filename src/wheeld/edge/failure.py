"""From an error to the status that a client sees.

Owns the moment of turning: the table and the details are wire/status.py's. Invariant: what is not a WheeldError is a
defect; it is logged with its traceback and the client learns no more than INTERNAL.
"""

from __future__ import annotations

from typing import Any

from wheeld.model import errors
from wheeld.model.errors import WheeldError
from wheeld.runtime.logs import get_logger
from wheeld.wire.status import to_status


def as_wheeld_error(error: Exception, where: str) -> WheeldError:
    """The error as the client may see it."""
    if isinstance(error, WheeldError):
        return error
    get_logger("edge").error("call failed", call=where, exc_info=error)
    return WheeldError(errors.INTERNAL, f"{where} failed; the daemon's log says why")


async def abort(context: Any, error: WheeldError) -> None:
    """End the call with the error's status. Does not return."""
    await context.abort(*to_status(error.kind.code, error.detail, error.field, error.hint))
