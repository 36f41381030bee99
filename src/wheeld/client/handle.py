"""What a submit returns: the job's id, and the verbs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wheeld.client.times import Span
from wheeld.client.views import Attempt, Job
from wheeld.wire._produce import Handle

if TYPE_CHECKING:
    from wheeld.client.client import Client


class JobHandle(Handle):
    """An accepted job. `duplicate`: the idempotency key was known, and this is the first submit's job."""

    __slots__ = ()

    _client: Client

    def __repr__(self) -> str:
        return f"JobHandle({self.job_id!r}{', duplicate=True' if self.duplicate else ''})"

    async def get(self) -> Job:
        """The job as it stands."""
        return await self._client.get(self.job_id)

    async def wait(self, timeout: Span | None = None) -> Job:  # noqa: ASYNC109 - a word of the API
        """The job once it has ended; TimeoutError if not within `timeout`."""
        return await self._client.wait(self.job_id, timeout)

    async def cancel(self) -> Job:
        """End the job."""
        return await self._client.cancel(self.job_id)

    async def run_now(self) -> Job:
        """Make it due now."""
        return await self._client.run_now(self.job_id)

    async def attempts(self) -> list[Attempt]:
        """Its history."""
        return await self._client.attempts(self.job_id)
