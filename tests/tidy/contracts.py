"""Checks the import contracts of pyproject.toml; `python -m tests.tidy.contracts` is `make layers`.

import-linter refuses a contract that names a package which does not exist yet, and the contracts name every package
that the design has. So the missing ones are left out here. Invariant: a package that exists is always checked.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tests.tidy.project import ROOT, run

SOURCES = ROOT / "src"


def exists(module: str) -> bool:
    """Whether a module can be checked; modules that are not ours always can."""
    if module.split(".", 1)[0] != "wheeld":
        return True
    path = SOURCES.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def existing_contracts(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The contracts without the modules that do not exist; one that has nothing left to say is dropped."""
    contracts = []
    for contract in settings["contracts"]:
        kept = dict(contract)
        if contract["type"] == "forbidden":
            for field in ("source_modules", "forbidden_modules"):
                kept[field] = [module for module in contract[field] if exists(module)]
            if not kept["source_modules"] or not kept["forbidden_modules"]:
                continue
        contracts.append(kept)
    return contracts


def as_ini(settings: dict[str, Any]) -> str:
    """The settings in import-linter's INI form, which needs no TOML writer."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return "".join(f"\n    {item}" for item in value)
        return str(value)

    lines = ["[importlinter]"]
    lines += [f"{key} = {text(value)}" for key, value in settings.items() if key != "contracts"]
    for contract in existing_contracts(settings):
        lines.append(f"\n[importlinter:contract:{contract['id']}]")
        lines += [f"{key} = {text(value)}" for key, value in contract.items() if key != "id"]
    return "\n".join(lines) + "\n"


def check() -> tuple[bool, str]:
    """Run import-linter; whether all contracts are kept, and what it said."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "contracts.ini"
        config.write_text(as_ini(settings))
        command = Path(sys.executable).with_name("lint-imports")
        done = run(str(command), "--no-logo", "--no-cache", "--config", str(config))
    return done.returncode == 0, done.stdout


if __name__ == "__main__":
    kept, output = check()
    print(output)
    sys.exit(not kept)
