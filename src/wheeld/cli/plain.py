"""`wheeld serve` in its plain form, read without the library that reads everything else.

A supervisor starts the daemon, and its start is part of an outage: the library for command lines takes a tenth of a
second to load. Owns no option: names come from daemon/config. Invariant: what is not plainly `--name VALUE` of a known
option is left to that library, which explains what is wrong, so both read the same words the same way.
"""

from __future__ import annotations

import os
from pathlib import Path

SWITCH = "insecure"


def plain_flags(arguments: list[str], names: tuple[str, ...]) -> dict[str, str | bool] | None:
    """The flags behind `serve`, by the option's name (`config` is the file); None when this is not for here."""
    found: dict[str, str | bool] = {}
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in (*names, "config") or name in found:
            return None
        if name == SWITCH:
            if equals:
                return None
            found[name] = True
            continue
        text = value if equals else next(words, "")
        if not text or text.startswith("-"):
            return None
        found[name] = text
    return found


def serve_plainly(arguments: list[str]) -> int | None:
    """Run the daemon; None when the arguments are not plain. StartFailure as from `wheeld serve`."""
    from wheeld.daemon.config import NAMES, load

    flags = plain_flags(arguments, NAMES)
    if flags is None:
        return None
    config = flags.pop("config", None)
    loaded = load(Path(str(config)) if config is not None else None, os.environ, flags)
    from wheeld.daemon.run import run_daemon

    return run_daemon(loaded)
