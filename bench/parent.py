"""Servers that a benchmark starts end when it ends, also by kill -9, which no handler of its own sees.

Owns nothing. Invariant: what `end_with_parent` gives runs in the child, between fork and exec; from there on the kernel
keeps watch. The thread that starts a server must live as long as it is needed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from wheeld.runtime._timer import set_parent_death_signal


def end_with_parent(how: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: the child gets this signal when the process that calls this is gone."""
    parent = os.getpid()

    def tie() -> None:
        set_parent_death_signal(how)
        if os.getppid() != parent:
            os._exit(1)

    return tie
