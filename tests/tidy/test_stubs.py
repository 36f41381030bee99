"""Every native module is built, and its stub says what it really offers."""

from __future__ import annotations

import pytest

from tests.tidy.project import ROOT, extension_modules, run_module

ALLOWED = ROOT / "tests" / "tidy" / "stub_exceptions.txt"


@pytest.mark.timeout(900)
def test_stubs_match_the_built_modules() -> None:
    modules = extension_modules()
    assert modules
    missing = [module for module in modules if not (ROOT / "src" / f"{module.replace('.', '/')}.pyi").is_file()]
    assert not missing, f"without a stub: {missing}"
    done = run_module(
        "mypy.stubtest", "--ignore-disjoint-bases", "--ignore-unused-allowlist", "--allowlist", str(ALLOWED), *modules
    )
    assert done.returncode == 0, done.stdout
