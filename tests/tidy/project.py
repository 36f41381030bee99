"""What the tidy tests know of the checkout: its root, its own source files, its extension table.

Owns no rule: the rules stand in the tests beside it. Generated stubs and build products are never among the sources.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "src" / "wheeld" / "wire" / "pb"
OWN_FOLDERS = ("src", "native", "tests", "bench", "docs", "proto", ".ci")


def own_files(*suffixes: str) -> list[Path]:
    """The project's files with one of these suffixes, sorted; a new file counts before it is committed."""
    candidates = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in OWN_FOLDERS:
        candidates += (ROOT / folder).rglob("*")
    return sorted(path for path in candidates if path.suffix in suffixes and GENERATED not in path.parents)


def extension_modules() -> list[str]:
    """The dotted names of the native modules, read from setup.py without running it."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "MODULES":
            assert isinstance(node.value, ast.Dict)
            return [ast.literal_eval(entry.elts[0]) for entry in node.value.values if isinstance(entry, ast.Tuple)]
    raise AssertionError("setup.py has no MODULES table that could be read")


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in the root; its output comes back as one text."""
    output = subprocess.PIPE
    return subprocess.run(
        command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT, text=True, check=False, timeout=900
    )


def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m module` with this interpreter in the root."""
    return run(sys.executable, "-m", module, *arguments)
