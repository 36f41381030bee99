"""Measures files and functions in lines, for the budgets in test_sizes.

Python is measured by its syntax tree, Cython by indentation, C by braces: a function counts from its first line (the
name in C) to its last. The C reader knows no macros that open or close braces; the house style has none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

C_NOISE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
C_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)
C_NAME = re.compile(r"(\w+)\s*\([^;{}]*\)\s*$", re.DOTALL)
CYTHON_DEF = re.compile(r"^(\s*)(?:async\s+)?(?:def|cdef|cpdef)\s[^=]*?(\w+)\s*\(")


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and length of each function, nested ones and methods as well."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def c_functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and length of each function body at the outermost level."""
    code = text
    for noise in (C_NOISE, C_DIRECTIVE):
        code = noise.sub(lambda match: "\n" * match.group().count("\n"), code)
    depth, head_start, name, first_line = 0, 0, "", 0
    for match in re.finditer(r"[{};]", code):
        if match.group() == "{":
            if depth == 0 and (found := C_NAME.search(code[head_start : match.start()])):
                name, first_line = found.group(1), code.count("\n", 0, head_start + found.start())
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0 and name:
                yield name, code.count("\n", 0, match.start()) - first_line + 1
                name = ""
        if depth == 0:
            head_start = match.end()


def cython_functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and length of each function, by indentation; blank lines behind a function are not its own."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        match = CYTHON_DEF.match(line)
        if not match:
            continue
        indent, end, open_head = len(match.group(1)), start, not line.rstrip().endswith(":")
        for number in range(start + 1, len(lines)):
            body = lines[number]
            if open_head:
                open_head, end = not body.rstrip().endswith(":"), number
            elif body.strip():
                if len(body) - len(body.lstrip()) <= indent:
                    break
                end = number
        yield match.group(2), end - start + 1


READERS = {".py": python_functions, ".c": c_functions, ".h": c_functions, ".pyx": cython_functions}


def longest_functions(path: Path) -> dict[str, int]:
    """Function name -> lines; of several with one name the longest counts."""
    found: dict[str, int] = {}
    for name, lines in READERS[path.suffix](path.read_text()):
        found[name] = max(lines, found.get(name, 0))
    return found
