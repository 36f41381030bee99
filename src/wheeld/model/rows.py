"""Job rows: a job with its whole present state, as the storekeeper gives it to the core (loads, page-ins) and the
core to the edge (get).

Layout, little endian: ROW_HEAD {u32 length of the row, 16 B id, u64 due_ms, u64 fencing, u16 attempt, u8 state, u8
flags, u32 lease_ms,
u64 fire_ms, 16 B session, u8 worker_len, u8 0, u16 error_len, u32 spec_len}, then worker | error | spec. A load is a
run of rows.
`due_ms` is the time of the present attempt (not the first schedule time, which the spec keeps).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from wheeld.model.spec import Spec, unpack_spec

ROW_HEAD = struct.Struct("<I16sQQHBBIQ16sBBHI")
assert ROW_HEAD.size == 76

ROW_BACKLOG = 1
"""The job has a backlog row in the store."""
ROW_LEASED = 2
"""The job is leased: fencing, lease_ms, fire_ms, session and worker are the lease's."""


class Row(NamedTuple):
    """A decoded job row."""

    job_id: bytes
    due_ms: int
    fencing: int
    attempt: int
    state: int
    flags: int
    lease_ms: int
    fire_ms: int
    session: bytes
    worker: bytes
    error: bytes
    spec: bytes

    def pack(self) -> bytes:
        """The row's bytes."""
        length = ROW_HEAD.size + len(self.worker) + len(self.error) + len(self.spec)
        head = ROW_HEAD.pack(
            length,
            self.job_id,
            self.due_ms,
            self.fencing,
            self.attempt,
            self.state,
            self.flags,
            self.lease_ms,
            self.fire_ms,
            self.session,
            len(self.worker),
            0,
            len(self.error),
            len(self.spec),
        )
        return b"".join((head, self.worker, self.error, self.spec))

    def decoded_spec(self) -> Spec:
        """The spec as an object."""
        return unpack_spec(self.spec)


def unpack_rows(data: bytes | memoryview) -> list[Row]:
    """All rows of a load."""
    view = memoryview(data)
    rows = []
    at = 0
    while at < len(view):
        (
            length,
            job_id,
            due_ms,
            fencing,
            attempt,
            state,
            flags,
            lease_ms,
            fire_ms,
            session,
            worker_len,
            _,
            error_len,
            spec_len,
        ) = ROW_HEAD.unpack_from(view, at)
        worker_at = at + ROW_HEAD.size
        error_at = worker_at + worker_len
        spec_at = error_at + error_len
        if spec_at + spec_len != at + length:
            raise ValueError(f"row at byte {at}: lengths do not add up to {length}")
        worker, error, spec = (
            bytes(view[worker_at:error_at]),
            bytes(view[error_at:spec_at]),
            bytes(view[spec_at : at + length]),
        )
        rows.append(
            Row(job_id, due_ms, fencing, attempt, state, flags, lease_ms, fire_ms, session, worker, error, spec)
        )
        at += length
    return rows
