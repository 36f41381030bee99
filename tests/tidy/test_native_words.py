"""native/common/wh_model.h says the same numbers as the modules of wheeld.model that it repeats."""

from __future__ import annotations

import ast
import operator
import re

import pytest

from tests.tidy.project import ROOT
from wheeld.core import api
from wheeld.model import batch, entry, errors, job, limits, rows, spec

HEADER = ROOT / "native" / "common" / "wh_model.h"
OPERATORS = {ast.Mult: operator.mul, ast.LShift: operator.lshift}
OTHER_NAMES = {
    "WH_OP_": batch,
    "WH_TO_BACKLOG": entry,
    "WH_WAS_BACKLOG": entry,
    "WH_SETTLE_NO_RETRY": batch,
    "WH_RESULT_": batch,
    "WH_GRANT_REDELIVERY": batch,
    "WH_NEED_KEYS": batch,
    "WH_ROW_BACKLOG": rows,
    "WH_ROW_LEASED": rows,
    "WH_SPEC_VERSION": spec,
}
SIZES = {
    "WH_ENTRY_HEAD": entry.ENTRY_HEAD,
    "WH_SETTLE_BATCH_HEAD": batch.SETTLE_BATCH_HEAD,
    "WH_SETTLE_HEAD": batch.SETTLE_HEAD,
    "WH_SUBMIT_HEAD": batch.SUBMIT_HEAD,
    "WH_ITEM_HEAD": batch.ITEM_HEAD,
    "WH_SUBMIT_RESULT": batch.SUBMIT_RESULT,
    "WH_SETTLE_RESULT": batch.SETTLE_RESULT,
    "WH_GRANT_HEAD": batch.GRANT_HEAD,
    "WH_REVOKED_SIZE": batch.REVOKED,
    "WH_TOKEN_SIZE": batch.TOKEN,
    "WH_ROW_HEAD": rows.ROW_HEAD,
    "WH_SPEC_HEAD": spec.SPEC_HEAD,
    "WH_TAIL_HEAD": entry.TAIL_HEAD,
}


def value_of(text: str, known: dict[str, int]) -> int:
    """The number that a C constant expression stands for: integers, names, products, shifts."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return int(OPERATORS[type(node.op)](walk(node.left), walk(node.right)))
        return known[node.id] if isinstance(node, ast.Name) else int(ast.literal_eval(node))

    return walk(ast.parse(re.sub(r"UINT(?:32|64)_C\((\w+)\)", r"\1", text).strip(), mode="eval").body)


def numbers() -> dict[str, int]:
    """Every constant of the header."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    known: dict[str, int] = {}
    for define, defined, name, value in re.findall(
        r"#define (WH_\w+) (.+)|\b(WH_\w+) = ([^,}]+)", text, flags=re.MULTILINE
    ):
        known[define or name] = value_of(defined or value, known)
    return known


def in_python(name: str) -> int | None:
    """The same number as Python says it; None for one that is the header's own."""
    word = name.removeprefix("WH_")
    if name in SIZES:
        return int(SIZES[name].size)
    for prefix, module in OTHER_NAMES.items():
        if name.startswith(prefix):
            return int(getattr(module, word))
    if word.endswith("_BODY"):
        return int(getattr(entry, word).size)
    kinds = (("ENTRY_", entry.EntryKind), ("STATE_", job.JobState), ("ERROR_", errors), ("FIELD_", errors.Field))
    for prefix, words in kinds:
        if word.startswith(prefix):
            return int(getattr(words, word.removeprefix(prefix)))
    for module in (limits, batch, api):
        if hasattr(module, word):
            return int(getattr(module, word))
    return None


@pytest.mark.parametrize(("name", "value"), numbers().items())
def test_number_is_pythons(name: str, value: int) -> None:
    expected = in_python(name)
    if expected is None:
        # Offsets into the spec's head, its flags under other names, and what the layouts can carry.
        assert name.startswith("WH_SPEC_") or name == "WH_PATH_BYTES_MAX"
    else:
        assert value == expected


def test_spec_offsets() -> None:
    """The offsets are those of the fields in the struct's order."""
    known = numbers()
    offsets = sorted(value for name, value in known.items() if name.startswith("WH_SPEC_") and name.endswith("_AT"))
    sizes = {"B": 1, "H": 2, "I": 4, "Q": 8}
    expected, at = [], 0
    for letter in spec.SPEC_HEAD.format.lstrip("<"):
        expected.append(at)
        at += sizes[letter]
    assert [0, *offsets] == expected
    assert (known["WH_SPEC_DELAY"], known["WH_SPEC_EXPIRE_AFTER"]) == (spec.FLAG_DELAY, spec.FLAG_EXPIRE_AFTER)
