"""Every option of the daemon: name, type, default, bounds, meaning. docs/configuration.md is generated from it.

Owns the list. Does not own where values come from (config). Invariant: each option is read by daemon/node.py and has an
effect.
"""

from __future__ import annotations

import re
import socket
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from wheeld.model import limits

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SIZE: Final = re.compile(r"(\d+) *(B|KiB|MiB|GiB|TiB)?\Z", re.IGNORECASE)
_SIZE_UNITS: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?) *(ms|s|m|h|d)?\Z", re.IGNORECASE)
_SPAN_UNITS: Final = {"ms": 1, "s": 1000, "": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _default_node() -> str:
    return socket.gethostname().lower() or "node"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the daemon was told. Sizes are bytes, spans are milliseconds, whatever unit they were written in."""

    data_dir: Annotated[
        str, Meta(min_length=1, description="Directory of the journal and the store; created when missing.")
    ]
    node: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="Name of this node. Default: the host's name."),
    ] = msgspec.field(default_factory=_default_node)
    listen: Annotated[str, Meta(description="Address of the gRPC API: HOST:PORT, or unix:PATH.")] = "127.0.0.1:7733"
    http_listen: Annotated[
        str, Meta(description="Address of the status page, metrics and health: HOST:PORT, or `off`.")
    ] = "127.0.0.1:7734"
    insecure: Annotated[
        bool, Meta(description="Serve on other addresses than loopback without TLS and authentication.")
    ] = False
    shards: Annotated[
        int,
        Meta(
            ge=1,
            le=limits.SHARDS_MAX,
            description="Shards of a new data directory; an existing one keeps its own number.",
        ),
    ] = limits.SHARDS_DEFAULT
    resident_bytes: Annotated[
        int,
        Meta(ge=16 * limits.MIB, description="Most bytes that jobs may hold in memory.", extra={"kind": "size"}),
    ] = limits.RESIDENT_BYTES_DEFAULT
    segment_bytes: Annotated[
        int,
        Meta(
            ge=limits.SEGMENT_BYTES,
            le=1024 * limits.MIB,
            description="Size of a journal segment file.",
            extra={"kind": "size"},
        ),
    ] = limits.SEGMENT_BYTES
    history_retention: Annotated[
        int,
        Meta(
            ge=limits.DAY_MS,
            description="How long the attempts of ended jobs are kept; whole days.",
            extra={"kind": "span"},
        ),
    ] = 7 * limits.DAY_MS
    lead_min: Annotated[
        int,
        Meta(
            ge=1,
            le=limits.LEAD_MS_MAX,
            description="Least time by which jobs are prepared before they are due.",
            extra={"kind": "span"},
        ),
    ] = limits.LEAD_MS_DEFAULT
    lead_max: Annotated[
        int,
        Meta(
            ge=1,
            le=limits.LEAD_MS_MAX,
            description=f"Most time by which jobs are prepared, on a slow disk; at most {limits.LEAD_MS_MAX} ms.",
            extra={"kind": "span"},
        ),
    ] = limits.LEAD_MS_MAX
    drain_timeout: Annotated[
        int,
        Meta(
            ge=0,
            le=limits.HOUR_MS,
            description="How long workers may settle what they hold after a stop signal.",
            extra={"kind": "span"},
        ),
    ] = 10 * limits.SECOND_MS
    core: Annotated[
        Literal["native", "reference"],
        Meta(description="The state machine that runs: `native`, or the slow, readable `reference`."),
    ] = "native"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "logfmt"],
        Meta(description="Form of log lines; `auto`: logfmt on a terminal, else JSON."),
    ] = "auto"


def parse_size(text: str) -> int:
    """Bytes, from `512MiB`. ValueError when it is no size."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write a number of bytes, or one with KiB, MiB, GiB or TiB")
    return int(match.group(1)) * _SIZE_UNITS[(match.group(2) or "").lower()]


def parse_span_ms(text: str) -> int:
    """Milliseconds, from `90s`, `1.5h`, `7d`; a bare number is seconds. ValueError when it is no span."""
    match = _SPAN.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no span of time: write a number with ms, s, m, h or d")
    return round(float(match.group(1)) * _SPAN_UNITS[(match.group(2) or "").lower()])


def split_address(text: str) -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, with brackets around an IPv6 host. ValueError when it is none."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is no address: write HOST:PORT, as in 127.0.0.1:7733")
    return host, int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    if address.startswith("unix:"):
        return True
    host, _ = split_address(address)
    return host in LOOPBACK or host.startswith("127.")
