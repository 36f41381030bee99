"""Logging for the whole process: JSON lines for machines, `key=value` on a terminal.

Owns the process's structlog configuration. Log calls pass facts as keywords and keep payloads out. Invariant: one line
per event, whatever the values hold. structlog, which brings a tenth of a second of imports, is loaded by the first
logger that is asked for: a daemon that starts has better things to do.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    import structlog

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_waiting: list[Callable[[], None]] = []
"""The configuration that the next logger applies."""


def configure_logs(level: str = "info", *, json: bool | None = None, stream: TextIO | None = None) -> None:
    """Set the process's log level and form; without `json`, a terminal gets `key=value` and everything else JSON."""
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}: use one of {', '.join(LEVELS)}")
    stream = stream or sys.stderr
    as_json = not stream.isatty() if json is None else json
    _waiting[:] = [lambda: _apply(level, as_json, stream)]


def _apply(level: str, as_json: bool, stream: TextIO) -> None:
    import structlog

    renderer: Any
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.processors.LogfmtRenderer(key_order=["time", "level", "event"], bool_as_flag=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def get_logger(part: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that names its part of the daemon in every line."""
    import structlog

    while _waiting:
        _waiting.pop()()
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=part)
    return logger
