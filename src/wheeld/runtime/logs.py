"""Logging for the whole process: JSON lines for machines, `key=value` on a terminal.

Owns the process's structlog configuration. Log calls pass facts as keywords and keep payloads out. Invariant: one line
per event, whatever the values hold.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, TextIO

import structlog

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logs(level: str = "info", *, json: bool | None = None, stream: TextIO | None = None) -> None:
    """Set the process's log level and form; without `json`, a terminal gets `key=value` and everything else JSON."""
    if level not in LEVELS:
        raise ValueError(f"unknown log level {level!r}: use one of {', '.join(LEVELS)}")
    stream = stream or sys.stderr
    as_json = not stream.isatty() if json is None else json
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
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=part)
    return logger
