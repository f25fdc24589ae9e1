"""Runs the straight-line loop code that an op's scalar rule writes, entry by entry, on NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Instruction, Ref
from gradc.ir.lowering import Pointwise
from gradc.ir.op import Op
from gradc.ir.types import DType, dtype_of


def _fma(a: Any, b: Any, c: Any) -> Any:
    if not all(map(math.isfinite, (a, b, c))):
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return type(a)(float(exact))


_STEPS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
        "floordiv": np.floor_divide, "mod": np.remainder, "min": np.minimum, "max": np.maximum,
        "neg": np.negative, "abs": np.abs, "fma": _fma, "floor": np.floor, "ceil": np.ceil,
        "trunc": np.trunc, "round": np.rint, "sqrt": np.sqrt, "copysign": np.copysign,
        "isnan": np.isnan, "eq": np.equal, "ne": np.not_equal, "lt": np.less,
        "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "and": np.logical_and,
        "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not,
        "select": lambda c, x, y: x if c else y,
    }
)  # fmt: skip


def run_scalar(op: Op, *numbers: Any, constant: int | None = None) -> Any:
    """The op's scalar rule for NumPy scalars; operand `constant` stands in the code as a number.

    Raises KeyError for a call of a mathematical function: those are not the rule's own code.
    """
    assert isinstance(op.lower, Pointwise)
    k = LoopBuilder()
    refs, environment = _operands(k, numbers, constant)
    result = op.lower.scalar(k, *refs)
    with np.errstate(all="ignore"):
        for statement in k.body:
            assert isinstance(statement, Instruction)
            environment[statement.result] = _step(statement, environment)
    return environment[result]


def instructions(op: Op, *dtypes: DType, constant: float | None = None) -> list[str]:
    """The instructions the rule writes for refs of these dtypes and, last, a constant."""
    assert isinstance(op.lower, Pointwise)
    k = LoopBuilder()
    refs = [Ref(dtype) for dtype in dtypes]
    if constant is not None:
        refs.append(k.const(constant, dtypes[-1]))
    op.lower.scalar(k, *refs)
    found = [statement for statement in k.body if isinstance(statement, Instruction)]
    return [str(i.value) if i.op == "call" else i.op for i in found if i.op != "const"]


def _operands(
    k: LoopBuilder, numbers: Sequence[Any], constant: int | None
) -> tuple[list[Ref], dict[Ref, Any]]:
    refs, environment = [], {}
    for i, number in enumerate(numbers):
        dtype = dtype_of(number.dtype)
        if i == constant:
            refs.append(k.const(number.item(), dtype))
        else:
            refs.append(Ref(dtype))
            environment[refs[-1]] = number
    return refs, environment


def _step(statement: Instruction, environment: Mapping[Ref, Any]) -> Any:
    if statement.op == "const":
        return statement.result.dtype.numpy.type(statement.value)
    operands = [environment[ref] for ref in statement.operands]
    if statement.op == "cast":
        return operands[0].astype(statement.result.dtype.numpy)
    value = _STEPS[statement.op](*operands)
    assert np.asarray(value).dtype == statement.result.dtype.numpy, statement.op
    return value
