"""Large submits in parts that one turn of the loop may decide.

Owns the cut. Invariant: the parts hold the batch's items, each once and in order, so that their results joined are the
batch's. A producer's batch stays whole: the entry that lets it be asked for again must stand in one group with all that
it names.
"""

from __future__ import annotations

from collections.abc import Iterator

from wheeld.model import limits
from wheeld.model.batch import ITEM_HEAD, NO_SESSION, SUBMIT_HEAD


def slices_of(batch: bytes) -> Iterator[bytes]:
    """The parts, each cut when it is asked for: a look at ten thousand items takes a turn of its own, too."""
    count, flags, number, session, content = SUBMIT_HEAD.unpack_from(batch)
    small = count <= limits.SUBMITS_PER_TURN_MAX and len(batch) <= limits.SUBMIT_BYTES_PER_TURN_MAX
    if small or (number and session != NO_SESSION):
        yield batch
        return
    at = SUBMIT_HEAD.size
    while count:
        end, taken = at, 0
        while taken < min(count, limits.SUBMITS_PER_TURN_MAX) and end - at < limits.SUBMIT_BYTES_PER_TURN_MAX:
            end += ITEM_HEAD.size + int.from_bytes(batch[end : end + 4], "little")
            taken += 1
        yield SUBMIT_HEAD.pack(taken, flags, number, session, content) + batch[at:end]
        at, count = end, count - taken
