"""`wheeld config ...`: what the daemon would be told, and by whom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from wheeld.cli.output import Output, print_rows
from wheeld.daemon.config import NAMES, Loaded, load, written

app = App(name="config", help="Look at the daemon's configuration.")
ConfigFile = Annotated[Path | None, Parameter(name=["--config", "-c"], help="TOML file. Default: WHEELD_CONFIG.")]


def _load(config: Path | None, data_dir: str | None) -> Loaded:
    return load(config, os.environ, {"data_dir": data_dir})


@app.command
def show(
    *, config: ConfigFile = None, data_dir: str | None = None, origin: bool = False, output: Output = "table"
) -> None:
    """All options with their values.

    Parameters
    ----------
    data_dir
        As for `wheeld serve`.
    origin
        Say where each value came from.
    """
    loaded = _load(config, data_dir)
    rows = []
    for name in NAMES:
        row = {"option": name, "value": written(name, getattr(loaded.config, name))}
        if origin:
            row["origin"] = loaded.origin[name]
        rows.append(row)
    print_rows(rows, output, "")


@app.command
def validate(*, config: ConfigFile = None, data_dir: str | None = None) -> None:
    """Check file and environment; the exit code is 2 when something is wrong."""
    loaded = _load(config, data_dir)
    told = sum(origin != "default" for origin in loaded.origin.values())
    print(f"The configuration is valid: {told} of {len(NAMES)} options are set.")
