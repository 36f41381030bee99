"""Imports go down only, and `import wheeld` stays light."""

from __future__ import annotations

import sys
import tomllib

from tests.tidy import contracts
from tests.tidy.project import ROOT, run

HEAVY = ("grpc", "google.protobuf", "lmdb", "uvloop", "starlette", "prometheus_client", "cyclopts", "asyncio")


def test_import_contracts() -> None:
    kept, output = contracts.check()
    assert kept, output


def test_contracts_name_only_packages_of_the_design() -> None:
    """A misspelt package would be taken for one that is missing, and never be checked."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layered = set()
    for contract in settings["contracts"]:
        for layer in contract.get("layers", []):
            layered |= {f"wheeld.{name.strip(' ()')}" for name in layer.replace(":", "|").split("|")}
    for contract in settings["contracts"]:
        named = contract.get("source_modules", []) + contract.get("forbidden_modules", [])
        ours = {".".join(module.split(".")[:2]) for module in named if module.startswith("wheeld.")}
        assert ours <= layered, f"{contract['id']}: {sorted(ours - layered)}"


def test_every_package_has_an_init() -> None:
    """The contracts do not see a folder without one."""
    folders = {path.parent for path in (ROOT / "src" / "wheeld").rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_importing_wheeld_is_light() -> None:
    code = f"import sys, wheeld; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"
