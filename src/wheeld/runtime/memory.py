"""What the C library's malloc is told, so that a daemon's memory is what it uses.

Owns nothing. Left alone, glibc learns from the first freed message of megabytes to take such blocks from the heap,
where they stand between small ones that stay: at its cap of memory a daemon then held twice what it used. And each
thread of gRPC keeps a heap of its own. Invariant: called before the process starts threads.
"""

from __future__ import annotations

import ctypes
from typing import Final

from wheeld.model import limits

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8


def tune_malloc() -> bool:
    """Large blocks come from the system and go back to it; two heaps for all threads. False: this malloc cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = (
        (M_MMAP_THRESHOLD, limits.MALLOC_LARGE_BYTES),
        (M_TRIM_THRESHOLD, limits.MALLOC_SPARE_BYTES),
        (M_ARENA_MAX, limits.MALLOC_ARENAS),
    )
    told = [mallopt(option, value) for option, value in wanted]
    return all(told)
