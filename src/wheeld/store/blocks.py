"""The `jobs` table, which holds blocks of jobs: where a job's block is, and how a fold's jobs come in and go out.

Owns the walk over blocks; their bytes are native (`_fold` writes, `_rows` reads). Invariants: a block's key is not
above its first id and above every id of the block before; a block holds jobs of one shard and bucket, ascending; only
a block of one job is longer than an LMDB page.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from wheeld.model import limits
from wheeld.store._fold import DELETE, PUT, Fold
from wheeld.store._rows import find_specs
from wheeld.store.layout import SHARD_BUCKET, Table

PAGE_HEAD_BYTES: Final = 16
"""What LMDB takes of the page of a long value: a block of the rest takes one page, and frees one."""

BEHIND: Final = b"\x00"
"""An id with this behind it sorts directly behind the id."""
BUCKET_BYTES: Final = SHARD_BUCKET.size


def block_bytes_max(page_bytes: int) -> int:
    """The longest block of more than one job."""
    return page_bytes - PAGE_HEAD_BYTES


def seek(cursor: Any, job_id: bytes) -> bool:
    """Put the cursor on the last block that does not begin above the job, which its bucket may lack; False: none."""
    found: bool = cursor.prev() if cursor.set_range(job_id + BEHIND) else cursor.last()
    return found


def read_specs(cursor: Any, ids: list[bytes]) -> dict[bytes, bytes]:
    """Id -> spec of those that exist; each block is read once."""
    wanted, found, at = sorted(ids), dict[bytes, bytes](), 0
    while at < len(wanted):
        if seek(cursor, wanted[at]):
            at = find_specs(cursor.key(), cursor.value(), wanted, at, found)
        else:
            at += 1
    return found


def remove_ended(fold: Fold, cursor: Any, slice_guard: AbstractContextManager[Any]) -> int:
    """Take the jobs that the fold has ended out of their blocks; how many there were."""
    start = removed = 0
    while True:
        with slice_guard:
            for _ in range(limits.STORE_SLICE_BLOCKS):
                found = fold.next_key(Table.JOBS, DELETE, start)
                if found is None:
                    return removed
                start, job_id = found
                key = cursor.key() if seek(cursor, job_id) else b""
                if key[:BUCKET_BYTES] != job_id[:BUCKET_BYTES]:
                    start += 1
                    continue
                left, start, count = fold.remove_rows(start, key, cursor.value())
                removed += count
                if not left:
                    cursor.delete()
                elif count:
                    cursor.put(key, left)


class Put(NamedTuple):
    """What came of putting a fold's new jobs: how many the store lacked, and in how many places they went in."""

    added: int
    places: int


def put_new(fold: Fold, cursor: Any, bytes_max: int, slice_guard: AbstractContextManager[Any]) -> Put:
    """Put the fold's new jobs into blocks, the first of each bucket into its last one."""
    start = added = places = 0
    while True:
        with slice_guard:
            blocks = 0
            while (found := fold.next_key(Table.JOBS, PUT, start)) and blocks < limits.STORE_SLICE_BLOCKS:
                start, job_id = found
                places += 1
                key, block, end_key = _around(cursor, job_id)
                made, start, count = fold.pack_blocks(
                    start, key, block, end_key, bytes_max, limits.STORE_SLICE_BLOCKS - blocks
                )
                # At once, while the cursor stands where they belong: LMDB need not walk down the tree again.
                cursor.putmulti(made)
                added += count
                blocks += len(made)
            if found is None:
                return Put(added, places)


def _around(cursor: Any, job_id: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Key and value of the block that a job belongs into, and where the next one of its bucket begins."""
    bucket, end_key = job_id[:BUCKET_BYTES], None
    found = cursor.set_range(job_id + BEHIND)
    if found and cursor.key().startswith(bucket):
        end_key = cursor.key()
    found = cursor.prev() if found else cursor.last()
    if found and cursor.key().startswith(bucket):
        return cursor.key(), cursor.value(), end_key
    return None, None, end_key
