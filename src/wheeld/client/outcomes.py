"""What a handler may raise to say how its attempt ends, other than by an ordinary exception."""

from __future__ import annotations

from wheeld.client.times import Span


class Retry(Exception):
    """Try again; after `delay`, or by the job's retry policy. The attempt counts as failed with `reason`."""

    def __init__(self, reason: str = "the handler asked for another attempt", *, delay: Span | None = None) -> None:
        self.reason, self.delay = reason, delay
        super().__init__(reason)


class Fail(Exception):
    """The job has failed for good, whatever attempts are left."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
