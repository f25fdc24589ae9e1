"""Values known before the call: numbers, sizes, tuples, types; and arithmetic on them.

Numbers beside numbers are computed here; sizes stay sizes under `+ - * // %`, so that they can be
lengths and indices. Everything else becomes an operation on arrays.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import inf, nan, pi
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from gradc.ir.dims import Dim, SizeExpr
from gradc.ir.types import DTYPES_BY_NAME, DType

Static: TypeAlias = "int | float | bool | SizeExpr | DType | tuple[Any, ...] | None"

CONSTANTS: dict[str, Static] = {
    "true": True,
    "false": False,
    "pi": pi,
    "inf": inf,
    "nan": nan,
    "none": None,
}
MAX_TERMS = 200  # of a size expression
MAX_DEGREE = 32
INTEGER_RANGE = range(-(2**63), 2**63)
NOT_STATIC = object()  # the answer where arithmetic has to be done on arrays


class StaticValueError(ValueError):
    """An operation on numbers or sizes that has no value; the text says why."""


def is_dim(x: object) -> TypeGuard[Dim]:
    """Whether `x` is an integer or a size."""
    return isinstance(x, int | SizeExpr) and not isinstance(x, bool)


def is_number(x: object) -> TypeGuard[int | float]:
    return isinstance(x, int | float) and not isinstance(x, bool)


def describe(x: object) -> str:
    """What a static value is, for an error."""
    if isinstance(x, bool):
        return "a boolean"
    if isinstance(x, int):
        return "an integer"
    if isinstance(x, float):
        return "a number"
    if isinstance(x, SizeExpr):
        return f"the size {x}"
    if isinstance(x, tuple):
        return f"a tuple of {len(x)}"
    if isinstance(x, DType):
        return f"the type {x}"
    return "none" if x is None else f"an array {x}"


def static_binary(symbol: str, x: object, y: object) -> Any:
    """`x symbol y` where both are numbers, or sizes and the result is one; else NOT_STATIC.

    Raises StaticValueError for a division of integers by zero, an integer that does not fit into
    64 bits, and a size expression beyond all reason.
    """
    if is_number(x) and is_number(y):
        return _number(symbol, x, y)
    if is_dim(x) and is_dim(y) and symbol in _ON_SIZES:
        return _size(symbol, x, y)
    if isinstance(x, bool) and isinstance(y, bool) and symbol in ("and", "or"):
        return (x and y) if symbol == "and" else (x or y)
    return NOT_STATIC


def static_negative(x: object) -> Any:
    """`-x` of a number or a size; else NOT_STATIC."""
    if is_dim(x):
        return _checked(-x)
    return -x if isinstance(x, float) else NOT_STATIC


_FLOATING: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "**": np.power,
}
_EXACT: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
_COMPARING: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ON_SIZES = frozenset(("+", "-", "*", "//", "%", "**"))


def _number(symbol: str, x: float, y: float) -> Any:
    if symbol in _COMPARING:
        return bool(_COMPARING[symbol](x, y))
    if isinstance(x, int) and isinstance(y, int):
        if symbol == "**" and y >= 0:
            return _checked(_integer_power(x, y))
        if symbol in _EXACT:
            _check_divisor(symbol, y)
            return _checked(_EXACT[symbol](x, y))
    if symbol not in _FLOATING:
        return NOT_STATIC
    with np.errstate(all="ignore"):
        return float(_FLOATING[symbol](np.float64(x), np.float64(y)))


def _integer_power(x: int, y: int) -> int:
    if abs(x) > 1 and y > 64:
        raise StaticValueError(f"{x} ** {y} does not fit into 64 bits; write {x}.0 ** {y}")
    return int(x**y) if abs(x) > 1 else int(x ** min(y, 2 + y % 2))


def _size(symbol: str, x: Dim, y: Dim) -> Any:
    if symbol == "**":
        if not isinstance(y, int) or not 0 <= y <= 8:
            return NOT_STATIC
        power: Dim = 1
        for _ in range(y):
            power = _size("*", power, x)
        return power
    if symbol == "*" and _degree(x) + _degree(y) > MAX_DEGREE:
        raise StaticValueError("this size expression is too large")
    _check_divisor(symbol, y)
    if symbol == "%":
        return _checked(x - y * (x // y))
    return _checked(_EXACT[symbol](x, y))


def _check_divisor(symbol: str, y: object) -> None:
    if symbol in ("//", "%") and y == 0:
        raise StaticValueError("an integer is divided by zero")


def _degree(x: Dim) -> int:
    return max((len(monomial) for monomial, _ in x.terms), default=0) if _is_size(x) else 0


def _is_size(x: object) -> TypeGuard[SizeExpr]:
    return isinstance(x, SizeExpr)


def _checked(x: Dim) -> Dim:
    """`x`, unless it is beyond 64 bits or a size expression that no shape needs."""
    if isinstance(x, int):
        if x not in INTEGER_RANGE:
            raise StaticValueError("this integer does not fit into 64 bits; write it with `.0`")
        return x
    if len(x.terms) > MAX_TERMS or len(str(x)) > 20 * MAX_TERMS:
        raise StaticValueError("this size expression is too large")
    if any(coefficient not in INTEGER_RANGE for _, coefficient in x.terms):
        raise StaticValueError("a coefficient of this size expression does not fit into 64 bits")
    return x


def dtype_named(name: str) -> DType | None:
    """The element type called `name`."""
    return DTYPES_BY_NAME.get(name)
