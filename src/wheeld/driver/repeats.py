"""Settles of leases that memory knows nothing of: a worker says again what was settled before a restart, or long ago.

Owns the look into the history. Invariants: it only reads; a token that no ended attempt had stays unknown; a history
that cannot be read now (a full disk) is the answer to its items alone, who may ask again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from wheeld.model import errors, limits
from wheeld.model.batch import OP_RENEW, RESULT_REPEATED, SETTLE_BATCH_HEAD, SETTLE_HEAD, SETTLE_RESULT
from wheeld.model.entry import EntryKind, Outcome
from wheeld.model.errors import Refused
from wheeld.model.ids import NO_ID
from wheeld.model.job import JobState

Attempts = Callable[[bytes], Awaitable[list[tuple[int, Outcome]]]]
_CODE: Final = slice(1, None, SETTLE_RESULT.size)


async def answer_repeats(batch: bytes, results: bytes, attempts: Attempts) -> bytes:
    """The results, with the answers that the first settle got instead of TOKEN_UNKNOWN."""
    if errors.TOKEN_UNKNOWN not in results[_CODE]:
        return results
    unknown = [index for index, code in enumerate(results[_CODE]) if code == errors.TOKEN_UNKNOWN]
    tokens = _tokens(batch)
    answered = bytearray(results)
    for start in range(0, len(unknown), limits.HISTORY_READS_AT_ONCE_MAX):
        chunk = [
            index for index in unknown[start : start + limits.HISTORY_READS_AT_ONCE_MAX] if tokens[index][0] != NO_ID
        ]
        found = await asyncio.gather(*(attempts(tokens[at][0]) for at in chunk), return_exceptions=True)
        for index, ended in zip(chunk, found, strict=True):
            at = index * SETTLE_RESULT.size
            said = _said_again(answered[at], tokens[index][1], ended)
            if said is not None:
                SETTLE_RESULT.pack_into(answered, at, answered[at], *said, 0, 0)
    return bytes(answered)


def _said_again(
    operation: int, fencing: int, ended: list[tuple[int, Outcome]] | BaseException
) -> tuple[int, int, int] | None:
    """The answer for a token, by the ended attempts of its job; None when it had none of them."""
    if isinstance(ended, Refused):
        return ended.kind.code, 0, 0
    if isinstance(ended, BaseException):
        raise ended
    outcomes = [outcome for _, outcome in ended if outcome.fencing == fencing]
    return _answer(operation, outcomes[-1]) if outcomes else None


def _answer(operation: int, outcome: Outcome) -> tuple[int, int, int]:
    """(code, flags, state after) for a settle of an attempt that has ended so."""
    if outcome.state == JobState.CANCELLED:
        return errors.CANCELLED, 0, outcome.state
    if operation == OP_RENEW or outcome.cause == EntryKind.LEASE_EXPIRE:
        return errors.LEASE_EXPIRED, 0, outcome.state
    return errors.OK, RESULT_REPEATED, outcome.state


def _tokens(batch: bytes) -> list[tuple[bytes, int]]:
    """(job id, fencing) of each item of a settle batch."""
    count, _ = SETTLE_BATCH_HEAD.unpack_from(batch)
    tokens, at = [], SETTLE_BATCH_HEAD.size
    for _ in range(count):
        _, _, error_len, result_len, _, _, fencing, job_id, _ = SETTLE_HEAD.unpack_from(batch, at)
        tokens.append((job_id, fencing))
        at += SETTLE_HEAD.size + error_len + result_len
    return tokens
