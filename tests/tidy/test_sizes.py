"""Files and functions keep to their budgets; the committed exceptions may only shrink.

A line of size_exceptions.txt is `path[:function] lines`. An exception that grew is refused, one that shrank must be
written down lower, one that fits its budget again must go: so the list is never looser than the code.
"""

from __future__ import annotations

from tests.tidy.project import ROOT, own_files
from tests.tidy.sizes import c_functions, cython_functions, longest_functions, python_functions

FILE_LINES = {".py": 400, ".c": 700, ".h": 700, ".pyx": 300}
FUNCTION_LINES = 70
EXCEPTIONS = ROOT / "tests" / "tidy" / "size_exceptions.txt"


def over_budget() -> dict[str, int]:
    """Everything that is too long: name -> lines."""
    found: dict[str, int] = {}
    for path in own_files(*FILE_LINES):
        name = str(path.relative_to(ROOT))
        lines = len(path.read_text().splitlines())
        if lines > FILE_LINES[path.suffix]:
            found[name] = lines
        for function, length in longest_functions(path).items():
            if length > FUNCTION_LINES:
                found[f"{name}:{function}"] = length
    return found


def allowed() -> dict[str, int]:
    """The exceptions, as committed."""
    lines = [line.split("#", 1)[0].split() for line in EXCEPTIONS.read_text().splitlines()]
    return {name: int(length) for name, length in (line for line in lines if line)}


def test_budgets() -> None:
    found, exceptions = over_budget(), allowed()
    grown = {name: lines for name, lines in found.items() if lines > exceptions.get(name, 0)}
    assert not grown, f"too long (files {FILE_LINES}, functions {FUNCTION_LINES}): {grown}"
    loose = {name: found.get(name) for name, lines in exceptions.items() if found.get(name, 0) < lines}
    assert not loose, f"{EXCEPTIONS.name} is looser than the code (None: remove the line): {loose}"


C_TEXT = """
static int
wh_one(int a,
       int b)
{
  if (a) { return "}"[0]; } /* } */
  return b;
}
struct s { int x; };
"""
CYTHON_TEXT = """
cdef class A:
    cpdef int f(self,
                int x) except -1:
        return x

    def g(self):
        pass
"""
PYTHON_TEXT = """
async def f():
    def g():
        pass
"""


def test_readers_see_functions() -> None:
    """A reader that finds nothing would let everything pass."""
    assert dict(c_functions(C_TEXT)) == {"wh_one": 6}
    assert dict(cython_functions(CYTHON_TEXT)) == {"f": 3, "g": 2}
    assert dict(python_functions(PYTHON_TEXT)) == {"f": 3, "g": 2}
