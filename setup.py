"""Native extensions of wheeld; every other fact about the package stands in pyproject.toml.

`WHEELD_EXT=wheel,core` builds only the named extensions, `WHEELD_EXT=none` no one (for an install over what stands
in place). `WHEELD_SANITIZE=1` builds with ASan and UBSan.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent

WHEEL_PARTS = ("", "_advance", "_chain", "_check", "_memory", "_sort", "_sweep")
WHEEL_C = [f"native/wheel/wh_wheel{part}.c" for part in WHEEL_PARTS]
WHEEL_C += ["native/common/wh_toucher.c", "native/common/wh_memory.c"]

CORE_PARTS = (
    *("core", "control", "dispatch", "entries", "group", "keys", "lease", "loads", "pool", "ready", "records"),
    *("release", "settle", "spec", "spill", "streams", "submit", "table", "views"),
)
CORE_C = [f"native/core/wh_{part}.c" for part in CORE_PARTS]
CORE_C += [*WHEEL_C, "native/common/wh_siphash.c"]

CLIENT_C = ["native/wire/wh_client.c", "native/wire/wh_pb.c"]

# Short name -> (module, Cython source, C sources). A .pyx is never named like a .c of its folder: Cython overwrites it.
MODULES: dict[str, tuple[str, str, list[str]]] = {
    "core": ("wheeld.core._core", "native/cython/_core.pyx", CORE_C),
    "journal": (
        "wheeld.journal._journal",
        "native/cython/_journal.pyx",
        ["native/journal/wh_crc32c.c", "native/journal/wh_frame.c", "native/journal/wh_sync.c"],
    ),
    "fold": (
        "wheeld.store._fold",
        "native/cython/_fold.pyx",
        [f"native/fold/wh_{name}.c" for name in ("block", "fold", "fold_entry", "fold_finish", "fold_pack")],
    ),
    "load": (
        "wheeld.store._load",
        "native/cython/_load.pyx",
        [f"native/fold/wh_{name}.c" for name in ("block", "dues", "ids", "rows")],
    ),
    "rows": (
        "wheeld.store._rows",
        "native/cython/_rows.pyx",
        ["native/fold/wh_block.c", "native/fold/wh_rows.c"],
    ),
    "timer": ("wheeld.runtime._timer", "native/cython/_timer.pyx", []),
    "produce": ("wheeld.wire._produce", "native/cython/_produce.pyx", CLIENT_C),
    "work": ("wheeld.wire._work", "native/cython/_work.pyx", CLIENT_C),
    "wire": (
        "wheeld.wire._wire",
        "native/cython/_wire.pyx",
        [
            f"native/wire/wh_{part}.c"
            for part in ("job_message", "job_write", "lease", "pb", "settle", "submit", "xxh64")
        ],
    ),
    "wheel": ("wheeld.wheel._wheel", "native/cython/_wheel.pyx", WHEEL_C),
}


def extensions() -> list[Extension]:
    """The extensions to build, as told by WHEELD_EXT (all when it is not set)."""
    names = os.environ.get("WHEELD_EXT", "")
    wanted = [] if names == "none" else [name for name in names.split(",") if name] or list(MODULES)
    headers = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("native/**/*.h"))
    headers += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("native/**/*.pxd"))
    flags = [
        "-O3",
        "-std=c11",
        "-fno-strict-aliasing",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Wno-unused-function",
    ]
    link = ["-pthread"]
    if os.environ.get("WHEELD_SANITIZE"):
        flags = ["-O1", "-g", "-std=c11", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"]
        link += ["-fsanitize=address,undefined"]
    found = []
    for name in wanted:
        module, source, c_sources = MODULES[name]
        found.append(
            Extension(
                module,
                [source, *c_sources],
                include_dirs=[
                    "native/common",
                    "native/wheel",
                    "native/core",
                    "native/wire",
                    "native/fold",
                    "native/journal",
                ],
                depends=headers,
                extra_compile_args=flags,
                extra_link_args=link,
            )
        )
    return found


class LazyCythonBuild(build_ext):
    """Cythonizes when extensions are really built, so that metadata hooks stay fast and need no Cython."""

    def finalize_options(self) -> None:
        from Cython.Build import cythonize

        self.distribution.ext_modules[:] = cythonize(
            self.distribution.ext_modules,
            build_dir="build/cython",
            include_path=["native/cython"],
            compiler_directives={
                "language_level": 3,
                "boundscheck": False,
                "wraparound": False,
                "embedsignature": True,
            },
        )
        super().finalize_options()


setup(ext_modules=extensions(), cmdclass={"build_ext": LazyCythonBuild})
