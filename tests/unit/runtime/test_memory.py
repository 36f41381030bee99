"""What malloc is told shows in where it takes a large block from."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

LARGE_AFTER_LARGE = """
import ctypes, sys
from wheeld.model import limits
from wheeld.runtime.memory import tune_malloc
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if "tuned" in sys.argv:
    assert tune_malloc()
freed = libc.malloc(8 * limits.MALLOC_LARGE_BYTES)
libc.free(freed)  # from here on glibc takes blocks of this size from the heap, unless it was told
block = libc.malloc(4 * limits.MALLOC_LARGE_BYTES)
heaps = [line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
print(any(int(heap.split("-")[0], 16) <= block < int(heap.split("-")[1], 16) for heap in heaps))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library's malloc takes no options")
def test_large_blocks_stay_out_of_the_heap() -> None:
    command = [sys.executable, "-c", LARGE_AFTER_LARGE]
    assert subprocess.run([*command, "plain"], capture_output=True, text=True, check=True).stdout == "True\n"
    assert subprocess.run([*command, "tuned"], capture_output=True, text=True, check=True).stdout == "False\n"
