"""Tables for people, JSON for programs.

Owns the two forms. Invariant: `json` prints one document with plain values and nothing else on stdout.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

Form = Literal["table", "json"]
Output = Annotated[Form, Parameter(name=["--output", "-o"], help="`table`, or `json` for programs.")]


def print_json(value: Any) -> None:
    """One document."""
    print(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def print_rows(rows: Sequence[Mapping[str, Any]], output: Form, empty: str, *, right: Sequence[str] = ()) -> None:
    """Rows of one shape. The columns named in `right` hold numbers."""
    if output == "json":
        print_json(rows)
        return
    if not rows:
        print(empty)
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    # A pipe has no width of its own: rows must not be cut there.
    Console(width=None if console.is_terminal else 200).print(table)


def print_facts(facts: Mapping[str, Any], output: Form) -> None:
    """Names and values, one a line; what is not set is left out for people."""
    if output == "json":
        print_json(facts)
        return
    shown = {name: _cell(value) for name, value in facts.items() if value not in (None, "", b"", {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}  {value}")


def _cell(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return value.astimezone().isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={entry}" for key, entry in value.items())
    return "" if value is None else str(value)
