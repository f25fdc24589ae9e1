"""A value as a short formula over the arrays in memory, and the source lines it comes from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath

import numpy as np
from gradc.ir.function import Equation, Value
from gradc.ir.lowering import Contraction, IndexMap, Literal, Reduction, Scatter, SelectedSum
from gradc.ir.span import Span
from gradc.ir.types import ConstantData

_INFIX = {
    "add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2), "pow": ("**", 3),
    "eq": ("==", 0), "ne": ("!=", 0), "lt": ("<", 0), "le": ("<=", 0), "gt": (">", 0),
    "ge": (">=", 0),
}  # fmt: skip
_ATOM = 4
_DEEPEST = 6
_LONGEST = 72
_MOST_LINES = 3  # separate runs of lines


def expression_of(value: Value, names: Mapping[Value, str]) -> str:
    """What an array holds: `sum over d of X * w`; longer formulas end in dots."""
    text = _made(value, names, _DEEPEST)[0]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3].rstrip()}..."


def lines_of(value: Value, stored: Collection[Value]) -> str:
    """Where in the source a value, and what is computed inside it, comes from: `model.grad:3-5`."""
    found: dict[str, set[int]] = {}
    seen, stack = {value}, [value]
    while stack:
        owner = stack.pop().owner
        if owner is None:
            continue
        if owner.span is not None:
            found.setdefault(PurePath(owner.span.file).name, set()).update(_covered(owner.span))
        fresh = [v for v in owner.inputs if v not in stored and v not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return ", ".join(f"{file}:{_runs(sorted(lines))}" for file, lines in sorted(found.items()))


def _covered(span: Span) -> range:
    return range(span.line, max(span.line, span.end_line) + 1)


def _runs(lines: list[int]) -> str:
    """3,5-7; only the first and the last of many runs."""
    runs: list[tuple[int, int]] = []
    for line in lines:
        if runs and runs[-1][1] == line - 1:
            runs[-1] = (runs[-1][0], line)
        else:
            runs.append((line, line))
    if len(runs) > _MOST_LINES:
        runs = [(runs[0][0], runs[-1][1])]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _text(value: Value, names: Mapping[Value, str], depth: int) -> tuple[str, int]:
    """The formula of an operand, and how strongly it binds."""
    if value in names:
        return names[value], _ATOM
    if value.owner is None:
        return value.name or "?", _ATOM
    return _made(value, names, depth)


def _made(value: Value, names: Mapping[Value, str], depth: int) -> tuple[str, int]:
    made = value.owner
    assert made is not None
    rule, name = made.op.lower, made.op.name
    if isinstance(rule, Literal):
        return _number(made.attrs["value"]), _ATOM
    if name == "size_value":
        dim = str(made.attrs["dim"])
        return dim, _ATOM if dim.isalnum() else 1
    if _moves_only(made):
        return _text(made.inputs[0], names, depth)
    if not depth:
        return "...", _ATOM
    operands = [_text(v, names, depth - 1) for v in made.inputs]
    if name in _INFIX:
        return _infix(name, operands)
    if name == "neg":
        return f"-{_bound(operands[0], 2)}", 2
    if isinstance(rule, Contraction):
        factors = " * ".join(_bound(o, 2) for o in operands)
        return _summed("sum", _summed_dims(made), factors)
    if isinstance(rule, Reduction):
        dims = [str(made.inputs[0].shape[axis]) for axis in made.attrs["axes"]]
        return _summed(rule.kind, dims, operands[0][0])
    if isinstance(rule, SelectedSum):
        dims = [str(made.inputs[1].shape[axis]) for axis in made.attrs["axes"]]
        condition, terms = operands
        return _summed("sum", dims, f"{terms[0]} where {condition[0]}")
    if isinstance(rule, Scatter):
        base, indices, updates = (text for text, _ in operands)
        verb = "plus" if rule.kind == "add" else "with"
        return f"{base} {verb} {updates} at {indices}", 0
    return f"{name}({', '.join(text for text, _ in operands)})", _ATOM


def _infix(name: str, operands: list[tuple[str, int]]) -> tuple[str, int]:
    sign, level = _INFIX[name]
    left, right = operands
    tighter = level if name in ("add", "mul") else level + 1
    return f"{_bound(left, level)} {sign} {_bound(right, tighter)}", level


def _bound(operand: tuple[str, int], level: int) -> str:
    text, own = operand
    return text if own >= level else f"({text})"


def _summed(kind: str, dims: list[str], terms: str) -> tuple[str, int]:
    return (f"{kind} over {', '.join(dims)} of {terms}", 0) if dims else (terms, 2)


def _summed_dims(made: Equation) -> list[str]:
    labels = (*made.attrs["lhs"], *made.attrs["rhs"])
    dims = [dim for value in made.inputs for dim in value.shape]
    found = {x: str(d) for x, d in zip(labels, dims, strict=True) if x not in made.attrs["out"]}
    return list(found.values())


def _moves_only(made: Equation) -> bool:
    """Whether an equation shows its operand's entries where they were, repeated or transposed."""
    rule = made.op.lower
    if made.op.name == "cast":
        return True
    if not isinstance(rule, IndexMap) or len(made.inputs) != 1:
        return False
    (alignment,) = rule.align(*(v.type for v in made.inputs), **made.attrs)
    return None not in alignment or made.op.name == "reshape"


def _number(data: ConstantData) -> str:
    array = data.array
    if array.size and bool(np.all(array == array.flat[0])):
        return f"{array.flat[0]:.6g}" if array.dtype.kind == "f" else str(array.flat[0])
    return "constants"
