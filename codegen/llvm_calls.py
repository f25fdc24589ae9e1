"""Calls of mathematical functions, at as few vectors as hold their arguments."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm_arithmetic import call, shuffle
from gradc.codegen.llvm_text import Writer, llvm_type
from gradc.codegen.vector_math import JOINT, result_type, working_bits
from gradc.ir.types import DType

_PACKED = 8
_Results = list[list[str]]  # of a function, one or several, at each row of arguments


def call_each(
    w: Writer, name: str, dtype: DType, lanes: int, rows: Sequence[Sequence[str]]
) -> _Results:
    """A function at rows of arguments, scalars or vectors."""
    if len(rows) == 1:
        return [_call(w, name, dtype, lanes, rows[0])]
    return _packed(w, name, dtype, rows) if lanes == 1 else _wide(w, name, dtype, lanes, rows)


def _call(w: Writer, name: str, dtype: DType, lanes: int, args: Sequence[str]) -> list[str]:
    """The results at one row."""
    found = call(w, name, dtype, lanes, args)
    if name not in JOINT:
        return [found]
    kind = result_type(name, llvm_type(dtype, lanes))
    return [w.let(f"extractvalue {kind} {found}, {i}") for i in range(len(JOINT[name][0]))]


def _packed(w: Writer, name: str, dtype: DType, rows: Sequence[Sequence[str]]) -> _Results:
    """A function at several scalar places, as few vectors as hold them.

    The results are the same: a function of one lane runs the algorithm of the vector functions.
    """
    results: _Results = []
    for start in range(0, len(rows), _PACKED):
        part = rows[start : start + _PACKED]
        lanes = 1 << (len(part) - 1).bit_length()
        if lanes == 1:
            results.append(_call(w, name, dtype, 1, part[0]))
            continue
        padded = [*part, *[part[-1]] * (lanes - len(part))]
        vectors = [_pack(w, dtype, column) for column in zip(*padded, strict=True)]
        found, kind = _call(w, name, dtype, lanes, vectors), llvm_type(dtype, lanes)
        results += [
            [w.let(f"extractelement {kind} {vector}, i64 {i}") for vector in found]
            for i in range(len(part))
        ]
    return results


def _wide(
    w: Writer, name: str, dtype: DType, lanes: int, rows: Sequence[Sequence[str]]
) -> _Results:
    """A function at several vectors, two by two where registers are narrow.

    A vector of two registers is computed step by step in both: neither waits for the other.
    """
    results: _Results = []
    bits = w.module.target.vector_bits
    pairs = len(rows) // 2 if working_bits(name, dtype) * lanes <= bits <= 256 else 0
    kind, wide = llvm_type(dtype, lanes), llvm_type(dtype, 2 * lanes)
    for i in range(0, 2 * pairs, 2):
        both = [
            shuffle(w, kind, a, range(2 * lanes), b) for a, b in zip(*rows[i : i + 2], strict=True)
        ]
        found = _call(w, name, dtype, 2 * lanes, both)
        results += [
            [shuffle(w, wide, value, range(at, at + lanes)) for value in found] for at in (0, lanes)
        ]
    return [*results, *(_call(w, name, dtype, lanes, row) for row in rows[2 * pairs :])]


def _pack(w: Writer, dtype: DType, scalars: Sequence[str]) -> str:
    """A vector of scalars."""
    kind, element, vector = llvm_type(dtype, len(scalars)), llvm_type(dtype), "poison"
    for lane, scalar in enumerate(scalars):
        vector = w.let(f"insertelement {kind} {vector}, {element} {scalar}, i64 {lane}")
    return vector
