"""The table of elementwise ops, constants and casts: where to test each, and its value."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
from gradc.ir.op import Op
from gradc.ir.ops import arithmetic, cast, constants, elementwise, logarithms, logic
from gradc.ir.types import bool_, constant_data, f32, f64, i32, i64
from op_case import Case, Operand

EMPTY = MappingProxyType({"n": 0})
BOUNDS = tuple[float, float]
SHAPES = MappingProxyType({"": ("n", 3), "0-d": ()})


def entrywise(formula: Callable[..., Any]) -> Callable[..., Any]:
    """`formula` of Python numbers, applied to each entry."""

    def apply(*arrays: Any) -> Any:
        entries = zip(*(a.ravel().tolist() for a in arrays), strict=True)
        return np.array([formula(*xs) for xs in entries]).reshape(arrays[0].shape)

    return apply


def floats(
    op: Op, formula: Callable[..., Any], *bounds: BOUNDS, tolerance: float = 50.0
) -> list[Case]:
    """Cases of an op of floats drawn between the bounds, one pair an operand."""
    return [
        Case(
            op,
            tuple(Operand(shape, low, high) for low, high in bounds),
            entrywise(formula),
            note=note,
            empty=EMPTY if shape else None,
            tolerance=tolerance,
        )
        for note, shape in SHAPES.items()
    ]


def others(op: Op, formula: Callable[..., Any], *operands: Operand, note: str) -> Case:
    """A case of an op of integers, booleans, or a mixture."""
    empty = EMPTY if operands[0].shape else None
    return Case(op, operands, entrywise(formula), note=note, empty=empty)


def integers(op: Op, formula: Callable[..., Any], *bounds: BOUNDS) -> list[Case]:
    """Cases of an op of integers drawn between the bounds."""
    return [
        others(
            op,
            formula,
            *(Operand(("n", 3), low, high, dtype) for low, high in bounds),
            note=dtype.name,
        )
        for dtype in (i64, i32)
    ]


def booleans(op: Op, formula: Callable[..., Any], operands: int = 2) -> list[Case]:
    """A case of an op of booleans."""
    return [others(op, formula, *[Operand(("n", 3), dtype=bool_)] * operands, note="bool")]


ANY, POSITIVE, FEW = (-2.0, 2.0), (0.2, 3.0), (0.0, 2.0)


def numbers(op: Op, formula: Callable[..., Any], operands: int = 2) -> list[Case]:
    """Cases of an op of floats or integers of any sign."""
    return [
        *floats(op, formula, *[ANY] * operands),
        *integers(op, formula, *[(-5, 5)] * operands),
    ]


def _remainder(a: float, b: float) -> float:
    return a % b if b else 0


def _floor_divide(a: float, b: float) -> float:
    return a // b if b else 0


ARITHMETIC = (
    *numbers(arithmetic.add, lambda a, b: a + b),
    *numbers(arithmetic.sub, lambda a, b: a - b),
    *numbers(arithmetic.mul, lambda a, b: a * b),
    *floats(arithmetic.div, lambda a, b: a / b, ANY, POSITIVE),
    *numbers(arithmetic.neg, lambda a: -a, operands=1),
    *numbers(arithmetic.abs_, abs, operands=1),
    *numbers(arithmetic.sign, lambda a: (a > 0) - (a < 0), operands=1),
    *floats(arithmetic.pow_, math.pow, POSITIVE, ANY),
    *integers(arithmetic.pow_, lambda a, b: a**b, (-5, 5), (0, 6)),
    *numbers(arithmetic.floor_divide, _floor_divide),
    *numbers(arithmetic.remainder, _remainder),
    *numbers(arithmetic.maximum, max),
    *numbers(arithmetic.minimum, min),
    *floats(arithmetic.clip, lambda x, a, b: min(max(x, a), b), ANY, (-1.0, -0.2), (0.2, 1.0)),
    *integers(arithmetic.clip, lambda x, a, b: min(max(x, a), b), (-5, 5), (-3, 0), (-1, 2)),
)


def _logaddexp(x: float, y: float) -> float:
    return max(x, y) + math.log(math.exp(x - max(x, y)) + math.exp(y - max(x, y)))


FUNCTIONS = (
    *floats(elementwise.exp, math.exp, ANY),
    *floats(elementwise.log, math.log, POSITIVE),
    *floats(elementwise.log1p, math.log1p, (-0.7, 2.0)),
    *floats(elementwise.expm1, math.expm1, ANY),
    *floats(elementwise.sqrt, math.sqrt, POSITIVE),
    *floats(elementwise.tanh, math.tanh, ANY),
    *floats(elementwise.sigmoid, lambda x: 1 / (1 + math.exp(-x)), (-30.0, 30.0)),
    *floats(elementwise.softplus, lambda x: math.log1p(math.exp(x)), (-30.0, 30.0)),
    *floats(elementwise.sin, math.sin, (-6.0, 6.0)),
    *floats(elementwise.cos, math.cos, (-6.0, 6.0)),
    *floats(elementwise.arctan2, math.atan2, ANY, ANY),
    *floats(elementwise.erf, math.erf, ANY),
    *floats(logarithms.xlogy, lambda x, y: x * math.log(y), ANY, POSITIVE),
    *floats(logarithms.xlog1py, lambda x, y: x * math.log1p(y), ANY, (-0.7, 2.0)),
    *floats(logarithms.logaddexp, _logaddexp, (-30.0, 30.0), (-30.0, 30.0)),
    *floats(elementwise.floor, math.floor, (-6.0, 6.0)),
    *floats(elementwise.ceil, math.ceil, (-6.0, 6.0)),
)

LOGIC = (
    *(
        case
        for op, formula in (
            (logic.eq, lambda a, b: a == b),
            (logic.ne, lambda a, b: a != b),
            (logic.lt, lambda a, b: a < b),
            (logic.le, lambda a, b: a <= b),
            (logic.gt, lambda a, b: a > b),
            (logic.ge, lambda a, b: a >= b),
        )
        for case in (*floats(op, formula, ANY, ANY), *integers(op, formula, FEW, FEW))
    ),
    *booleans(logic.eq, lambda a, b: a == b),
    *booleans(logic.ne, lambda a, b: a != b),
    *booleans(logic.logical_and, lambda a, b: a and b),
    *booleans(logic.logical_or, lambda a, b: a or b),
    *booleans(logic.logical_xor, lambda a, b: a != b),
    *booleans(logic.logical_not, lambda a: not a, operands=1),
    *floats(logic.isnan, math.isnan, ANY),
    *(
        others(
            logic.where,
            lambda c, a, b: a if c else b,
            Operand(shape, dtype=bool_),
            Operand(shape, dtype=dtype, low=-9, high=9),
            Operand(shape, dtype=dtype, low=-9, high=9),
            note=note,
        )
        for note, shape, dtype in (
            ("", ("n", 3), None),
            ("0-d", (), None),
            ("i64", ("n", 3), i64),
            ("i32", ("n", 3), i32),
            ("bool", ("n", 3), bool_),
        )
    ),
)

CASTS = tuple(
    Case(
        cast.cast,
        (Operand(shape, -5, 5, source),),
        lambda x, *, dtype: np.array([dtype.numpy.type(e) for e in x.flat]).reshape(x.shape),
        attrs={"dtype": target},
        note=f"{source}-{target}{'' if shape else '-0-d'}",
        empty=EMPTY if shape else None,
    )
    for source, target, shape in product(
        (f64, f32, i64, i32, bool_), (f64, f32, i64, i32, bool_), (("n", 3), ())
    )
)

CONSTANTS = (
    Case(
        constants.constant,
        (),
        lambda *, value: [[1, 2], [3, 4.5]],
        {"value": constant_data([[1, 2], [3, 4.5]])},
        empty=None,
    ),
    Case(
        constants.constant, (), lambda *, value: -7, {"value": constant_data(-7, i32)}, "i32",
        empty=None,
    ),
    Case(constants.constant, (), lambda *, value: [], {"value": constant_data([])}, "empty"),
    *(
        Case(
            constants.iota, (), lambda *, size, dtype: list(range(size)),
            {"size": 5, "dtype": dtype}, dtype.name, empty=None,
        )
        for dtype in (i64, i32, f64, f32)
    ),
    Case(constants.iota, (), lambda *, size, dtype: [], {"size": 0, "dtype": i64}, "empty"),
    Case(constants.size_value, (), lambda *, dim: 5, {"dim": 5}, "static", empty=None),
)  # fmt: skip

CASES = (*ARITHMETIC, *FUNCTIONS, *LOGIC, *CASTS, *CONSTANTS)
