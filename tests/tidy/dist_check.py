"""Installs what `make dist` built into a clean environment and runs it there, outside of the checkout.

A plain script: it needs nothing but the standard library. The wheel was built from the sdist, so a file that the sdist
lacks shows here. Invariant: nothing of the checkout is on the path of what it runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.tidy.project import extension_modules  # noqa: E402  (a script has no package)


def one(folder: Path, pattern: str) -> Path:
    """The only file that matches."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"expected one {pattern} in {folder}, found {[path.name for path in found]}")
    return found[0]


def clean_environment() -> dict[str, str]:
    """The environment without what would let the checkout shine through."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "WHEELD_"))}


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder; its output, or the end of everything."""
    output, environment = subprocess.PIPE, clean_environment()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}\n{done.stdout}")
    return done.stdout.strip()


def contents(wheel: Path) -> set[str]:
    """What a wheel ships."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def check_wheel(wheel: Path) -> None:
    """Every file of the package and every native module is in it, sources of the native modules are not."""
    names = contents(wheel)
    package = ROOT / "src" / "wheeld"
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".pyi", ".typed")]
    files += [path for path in (package / "web" / "static").rglob("*") if path.is_file()]
    missing = sorted({str(path.relative_to(package.parent)) for path in files} - names)
    for module in extension_modules():
        if not any(name.startswith(module.replace(".", "/") + ".") and name.endswith(".so") for name in names):
            missing.append(f"{module} (built)")
    sources = (".pyx", ".c", ".h", ".pxd")
    stray = sorted(name for name in names if name.endswith(sources) or not name.startswith("wheeld"))
    if missing or stray:
        sys.exit(f"{wheel.name}: missing {missing}, stray {stray}")


def main(dist: Path) -> None:
    """Check the wheel, then what it does once installed."""
    wheel, sdist = one(dist, "*.whl"), one(dist, "*.tar.gz")
    check_wheel(wheel)
    with tempfile.TemporaryDirectory(prefix="wheeld-dist-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv/bin/python")
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
        run(folder, *pip, "install", str(wheel))
        imports = ", ".join(["wheeld", *extension_modules()])
        place = run(folder, python, "-c", f"import {imports}; print(wheeld.__file__)")
        if not Path(place).is_relative_to(folder):
            sys.exit(f"not the installed package: {place}")
        print(run(folder, str(folder / "venv/bin/wheeld"), "version"))
        run(folder, *pip, "wheel", "--no-deps", "-w", "again", str(sdist))
        difference = contents(one(folder / "again", "*.whl")) ^ contents(wheel)
        if difference:
            sys.exit(f"the wheel from the sdist differs: {sorted(difference)}")
    print(f"{wheel.name} and {sdist.name} install and run")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
