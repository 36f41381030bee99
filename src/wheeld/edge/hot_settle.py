"""Unary settles, from bytes to bytes: AckJobs, NackJobs, ReleaseLeases, RenewLeases.

Owns nothing but the order of steps. Knows no gRPC. Invariant: settles pass while the node drains.

Each LeaseJobs call has a session of its own (see hot_lease): a settle names what the sessions of its caller begin with,
so that a worker settles what it leased in any of its calls, and nobody else's.
"""

from __future__ import annotations

import asyncio

from wheeld.driver.api import Driver
from wheeld.edge.decisions import Decisions
from wheeld.edge.opening import call_prefix, caller_of
from wheeld.model import errors, limits
from wheeld.model.batch import CALL_PREFIX_BYTES, SETTLE_BATCH_HEAD, SETTLE_HEAD
from wheeld.model.errors import Refused
from wheeld.wire.codec import AnswerKind, Codec, SettleKind

_ANY_CALL = bytes(16 - CALL_PREFIX_BYTES)
_DETAILS = {
    errors.MALFORMED: "the bytes are not a message of the schema",
    errors.BATCH_TOO_LARGE: f"more than {limits.SETTLES_MAX} items in one message",
}


def refused_settles(code: int) -> Refused:
    """The error of a message that cannot be settled as a whole."""
    return Refused(code, _DETAILS.get(code, "the message is refused"))


def slices_of(batch: bytes) -> list[bytes]:
    """The batch in parts that one turn of the loop may decide. Only settles without texts, which are all alike, can be
    cut without a look at each.
    """
    count, _ = SETTLE_BATCH_HEAD.unpack_from(batch)
    most, first = limits.SETTLES_PER_TURN_MAX, SETTLE_BATCH_HEAD.size
    if count <= most or len(batch) != first + count * SETTLE_HEAD.size:
        return [batch]
    return [
        SETTLE_BATCH_HEAD.pack(min(most, count - at), 0)
        + batch[first + at * SETTLE_HEAD.size : first + (at + most) * SETTLE_HEAD.size]
        for at in range(0, count, most)
    ]


async def settle_in_turns(driver: Driver, decisions: Decisions, session: bytes, batch: bytes) -> bytes:
    """The results of a settle batch, decided slice by slice so that a large one holds up nobody else."""
    parts = slices_of(batch)
    if len(parts) == 1:
        return await driver.settle(session, batch)
    under_way = []
    for part in parts:
        under_way.append(decisions.begin(driver.settle(session, part)))
        await asyncio.sleep(0)
    return b"".join(await asyncio.gather(*under_way))


class SettleFront:
    """See the module."""

    def __init__(self, driver: Driver, codec: Codec, decisions: Decisions) -> None:
        self._driver, self._codec, self._decisions = driver, codec, decisions

    async def ack(self, message: bytes) -> bytes:
        """AckJobsRequest -> AckJobsResponse."""
        return await self._settle(message, SettleKind.ACK)

    async def nack(self, message: bytes) -> bytes:
        """NackJobsRequest -> NackJobsResponse."""
        return await self._settle(message, SettleKind.NACK)

    async def release(self, message: bytes) -> bytes:
        """ReleaseLeasesRequest -> ReleaseLeasesResponse."""
        return await self._settle(message, SettleKind.RELEASE)

    async def renew(self, message: bytes) -> bytes:
        """RenewLeasesRequest -> RenewLeasesResponse."""
        return await self._settle(message, SettleKind.RENEW)

    async def _settle(self, message: bytes, kind: SettleKind) -> bytes:
        code, batch, worker, session = self._codec.decode_settle(message, kind)
        if code:
            raise refused_settles(code)
        holder = call_prefix(caller_of(worker, session)[1]) + _ANY_CALL
        results = await self._decisions.run(settle_in_turns(self._driver, self._decisions, holder, batch))
        return self._codec.encode_settled(AnswerKind.UNARY, batch, results)
