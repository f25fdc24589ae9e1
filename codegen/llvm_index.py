"""Arithmetic of indices: the form `base + stride * lane` is kept, so that loads stay vectors."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm_arithmetic import divide_naturals
from gradc.codegen.llvm_spread import Affine, Axes, Entry, KernelState, Spread, project, union
from gradc.codegen.llvm_text import literal, llvm_type
from gradc.ir.types import bool_, f64, i64

INDEX_ARITHMETIC = ("add", "sub", "mul", "floordiv", "mod")


def index_arithmetic(
    k: KernelState, op: str, operands: Sequence[Spread], natural: bool
) -> Spread | None:
    """The result of i64 operands in a form better than a vector of numbers; None if there is none.

    `natural`: no operand is negative.
    """
    axes = union(operands)
    rows = list(zip(*(project(operand, axes) for operand in operands), strict=True))
    if any(operand.is_vector for operand in operands):
        return _scaled(k, operands, axes, rows) if op == "mul" else None
    if op not in ("floordiv", "mod"):
        entries = [_affine(k, op, *row) for row in rows]
        found = tuple(entry for entry in entries if entry is not None)
        return Spread(axes, found) if len(found) == len(rows) else None
    if not natural:
        return None
    scalars = [(a, b) for a, b in rows if isinstance(a, str) and isinstance(b, str)]
    if len(scalars) == len(rows):
        return Spread(axes, tuple(divide_naturals(k.w, op, a, b) for a, b in scalars))
    ramps = [
        (a.base, b)
        for a, b in rows
        if isinstance(a, Affine) and a.stride == "1" and isinstance(b, str)
    ]
    if len(ramps) == len(rows):
        return Spread(axes, tuple(_divide_ramp(k, op, a, b) for a, b in ramps), True)
    return None


def _scaled(
    k: KernelState, operands: Sequence[Spread], axes: Axes, rows: Sequence[Sequence[Entry]]
) -> Spread | None:
    """Products of vectors, whose lanes are known one by one, with a number."""
    if operands[0].is_vector == operands[1].is_vector:
        return None
    at, found = (0 if operands[0].is_vector else 1), []
    for row in rows:
        vector, factor = row[at], row[1 - at]
        if vector not in k.scalars or isinstance(factor, Affine) or isinstance(vector, Affine):
            return None
        kind = llvm_type(i64, k.lanes)
        product = k.w.let(f"mul {kind} {vector}, {k.splat(i64, factor)}")
        k.scalars[product] = [k.w.mul(lane, factor) for lane in k.scalars[vector]]
        found.append(product)
    return Spread(axes, tuple(found), True)


def _affine(k: KernelState, op: str, a: Entry, b: Entry) -> Entry | None:
    """A sum, difference or product on `base + stride * lane`; None where it is not of that form."""
    w = k.w
    if isinstance(a, str) and isinstance(b, str):
        return {"add": w.add, "sub": w.sub, "mul": w.mul}[op](a, b)
    if op == "mul":
        if isinstance(a, Affine) and isinstance(b, Affine):
            return None
        ramp, factor = (a, b) if isinstance(a, Affine) else (b, a)
        assert isinstance(ramp, Affine) and isinstance(factor, str)
        return _ramp(w.mul(ramp.base, factor), w.mul(ramp.stride, factor))
    left = a if isinstance(a, Affine) else Affine(a, "0")
    right = b if isinstance(b, Affine) else Affine(b, "0")
    combine = w.add if op == "add" else w.sub
    return _ramp(combine(left.base, right.base), combine(left.stride, right.stride))


def _ramp(base: str, stride: str) -> Entry:
    return base if stride == "0" else Affine(base, stride)


def _divide_ramp(k: KernelState, op: str, base: str, divisor: str) -> str:
    """`(base + lane) // divisor` or its remainder, none negative: one division for all lanes.

    With base = q d + r it is q + (r + lane) // d. Where d has at least as many elements as there
    are lanes, that quotient is 0 or 1; else its operands are small and exact as floats.
    """
    w, lanes = k.w, k.lanes
    whole, flags, floats = (llvm_type(t, lanes) for t in (i64, bool_, f64))
    rest = k.vector(i64, Affine(divide_naturals(w, "mod", base, divisor), "1"), False)
    splat = k.splat(i64, divisor)
    wraps = w.let(f"icmp uge {whole} {rest}, {splat}")
    carry = w.let(f"zext {flags} {wraps} to {whole}")
    if not (divisor.isdigit() and int(divisor) >= lanes):
        ratio = w.let(
            f"fdiv {floats} {w.let(f'uitofp {whole} {rest} to {floats}')}, "
            f"{w.let(f'uitofp {whole} {splat} to {floats}')}"
        )
        name = f"llvm.fptosi.sat.v{lanes}i64.v{lanes}f64"
        several = w.intrinsic(name, whole, [(floats, ratio)])
        is_wide = w.let(f"icmp uge i64 {divisor}, {lanes}")
        carry = w.let(f"select i1 {is_wide}, {whole} {carry}, {whole} {several}")
    if op == "floordiv":
        quotient = k.splat(i64, divide_naturals(w, "floordiv", base, divisor))
        result = w.let(f"add {whole} {quotient}, {carry}")
    else:
        result = w.let(f"sub {whole} {rest}, {w.let(f'mul {whole} {carry}, {splat}')}")
    is_zero = w.let(f"icmp eq i64 {divisor}, 0")
    return w.let(f"select i1 {is_zero}, {whole} {literal(0, i64, lanes)}, {whole} {result}")
