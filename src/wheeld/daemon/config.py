"""Where option values come from: defaults < TOML file < environment WHEELD_* < flags. Validated once, at start.

Owns the merging and the origin of each value. Does not own the options (options). Invariant: a Config that was loaded
is within all bounds, and an option that nobody knows is an error that names its key, its place and the nearest known
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from wheeld.daemon.options import Config, is_loopback, parse_size, parse_span_ms, split_address
from wheeld.model.errors import StartFailure

PREFIX = "WHEELD_"
OTHER_VARIABLES = frozenset(
    {"WHEELD_ADDRESS", "WHEELD_CONFIG", "WHEELD_SEED", "WHEELD_EXT", "WHEELD_SANITIZE", "WHEELD_TEST_SANITIZED"}
)
"""Variables with the prefix that are not options: the SDK's address, the file's place, and those of build and tests."""
_HINTS = get_type_hints(Config, include_extras=True)
NAMES = tuple(Config.__struct_fields__)


@dataclass(frozen=True)
class Loaded:
    """A configuration and, for each option, where its value came from."""

    config: Config
    origin: dict[str, str]


def meta_of(name: str) -> msgspec.Meta:
    """The description and bounds of an option."""
    found = _HINTS[name].__metadata__[0]
    assert isinstance(found, msgspec.Meta)
    return found


def kind_of(name: str) -> str:
    """`size`, `span`, or "" for what needs no unit."""
    return str((meta_of(name).extra or {}).get("kind", ""))


def load(
    file: Path | None = None, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Loaded:
    """Merge and check. StartFailure names the key, the place and the remedy."""
    environment = environment or {}
    if file is None and environment.get("WHEELD_CONFIG"):
        file = Path(environment["WHEELD_CONFIG"])
    values: dict[str, Any] = {}
    origin = dict.fromkeys(NAMES, "default")
    for place, found in ((f"file {file}", _from_file(file)), ("environment", _from_environment(environment))):
        for name, value in found.items():
            where = place if place.startswith("file") else f"environment {PREFIX}{name.upper()}"
            values[name], origin[name] = _value(name, value, where), where
    for name, value in (flags or {}).items():
        if value is not None:
            where = f"flag --{name.replace('_', '-')}"
            values[name], origin[name] = _value(name, value, where), where
    if "data_dir" not in values:
        raise StartFailure("No data directory is named", "Give --data-dir DIR, or set WHEELD_DATA_DIR or `data_dir`.")
    config = Config(**values)
    _check(config, origin)
    return Loaded(config, origin)


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    import tomllib

    try:
        found = tomllib.loads(file.read_text())
    except OSError as error:
        raise StartFailure(
            f"The configuration {file} cannot be read: {error.strerror}", "Check the path and its owner."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartFailure(f"The configuration {file} is no TOML: {error}", "Mend the file.") from None
    for key in found:
        if key not in NAMES:
            raise _unknown(key, f"file {file}")
    return found


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in NAMES:
            raise _unknown(variable, "the environment", PREFIX)
        found[name] = value
    return found


def _unknown(key: str, where: str, prefix: str = "") -> StartFailure:
    import difflib

    near = difflib.get_close_matches(key.removeprefix(prefix).lower(), NAMES, n=1)
    nearest = prefix + (near[0].upper() if prefix else near[0]) if near else ""
    guess = f"Did you mean `{nearest}`?" if nearest else "`wheeld config show` lists the options."
    return StartFailure(f"Unknown option `{key}` in {where}", guess)


def _value(name: str, value: Any, where: str) -> Any:
    """The value in its option's own type and unit."""
    try:
        if isinstance(value, str) and kind_of(name) == "size":
            value = parse_size(value)
        elif isinstance(value, str) and kind_of(name) == "span":
            value = parse_span_ms(value)
        elif isinstance(value, Path):
            value = str(value)
        return msgspec.convert(value, _HINTS[name], strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise StartFailure(
            f"Option `{name}` ({where}) has the value {value!r}: {error}", meta_of(name).description or ""
        ) from None


def _check(config: Config, origin: Mapping[str, str]) -> None:
    """What holds between options, and what a type cannot say."""
    if config.lead_min > config.lead_max:
        raise StartFailure(
            f"Option `lead_min` ({origin['lead_min']}) is {config.lead_min} ms, above `lead_max`, {config.lead_max} ms",
            "Raise lead_max or lower lead_min.",
        )
    for name in ("listen", "http_listen"):
        address = getattr(config, name)
        if (name == "http_listen" and address == "off") or (name == "listen" and address.startswith("unix:")):
            continue
        try:
            split_address(address)
        except ValueError as error:
            raise StartFailure(f"Option `{name}` ({origin[name]}): {error}", meta_of(name).description or "") from None
        if not config.insecure and not is_loopback(address):
            raise StartFailure(
                f"Option `{name}` ({origin[name]}) is {address}, which other machines can reach, and this version has "
                "neither TLS nor authentication",
                "Listen on 127.0.0.1, or say --insecure if the network keeps strangers out.",
            )


def written(name: str, value: Any) -> str:
    """A value as one would write it in the file."""
    kind = kind_of(name)
    if kind == "size":
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
    if kind == "span":
        for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
        return f"{value}ms"
    return str(value).lower() if isinstance(value, bool) else str(value)


def render_table() -> str:
    """The table of options in docs/configuration.md."""
    defaults = Config(data_dir="-")
    lines = ["| option | environment | default | meaning |", "|---|---|---|---|"]
    for name in NAMES:
        default = "" if name in ("data_dir", "node") else f"`{written(name, getattr(defaults, name))}`"
        lines.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {meta_of(name).description} |")
    return "\n".join(lines) + "\n"
