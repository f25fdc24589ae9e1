"""Functions applied entry by entry, with NumPy's names, promotion and broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from math import log as _log
from typing import Any

import numpy as np

from gradc.errors import GradcTypeError
from gradc.ir.types import DType, bool_, f64, i64
from gradc.tensor.operands import (
    ArrayLike,
    asarray,
    broadcast_operands,
    build,
    cast,
    is_weak,
    note,
    notes,
    promote,
    result_type,
    stretch,
)
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

Unary = Callable[[ArrayLike], Tensor]
Binary = Callable[[ArrayLike, ArrayLike], Tensor]


def _operands(x: ArrayLike, y: ArrayLike, dtype: DType | None = None) -> list[Tensor]:
    return broadcast_operands(*promote(x, y, dtype=dtype))


def _float_type(*operands: ArrayLike) -> DType:
    """The operands' common type, or f64 where that is no float."""
    common = result_type(operands)
    return common if common.is_float else f64


def _float_function(name: str, meaning: str) -> Unary:
    def function(x: ArrayLike) -> Tensor:
        return build(name, *promote(x, dtype=_float_type(x)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{meaning}, entry by entry; integers are taken as f64."
    return located(function)


exp = _float_function("exp", "e to the power x")
log = _float_function("log", "The natural logarithm")
log1p = _float_function("log1p", "log(1 + x), accurate near 0")
expm1 = _float_function("expm1", "exp(x) - 1, accurate near 0")
sqrt = _float_function("sqrt", "The square root")
sin = _float_function("sin", "The sine of x in radians")
cos = _float_function("cos", "The cosine of x in radians")
tanh = _float_function("tanh", "The hyperbolic tangent")
sigmoid = _float_function("sigmoid", "1 / (1 + exp(-x)), without overflow")
softplus = _float_function("softplus", "log(1 + exp(x)), without overflow")
erf = _float_function("erf", "The error function")


def _logical_as_arithmetic(name: str, logical: str) -> Binary:
    """NumPy's arithmetic: on booleans it is logic."""

    def function(x: ArrayLike, y: ArrayLike) -> Tensor:
        a, b = _operands(x, y)
        return build(logical if a.dtype == bool_ else name, a, b)

    return function


def _named(function: Callable[..., Tensor], name: str, meaning: str) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning
    return located(function)


add = _named(_logical_as_arithmetic("add", "logical_or"), "add", "x + y; of booleans: or.")
multiply = _named(
    _logical_as_arithmetic("mul", "logical_and"), "multiply", "x * y; of booleans: and."
)
maximum = _named(
    _logical_as_arithmetic("maximum", "logical_or"),
    "maximum",
    "The larger of x and y; a NaN wins. Where they are equal, each gets half the cotangent.",
)
minimum = _named(
    _logical_as_arithmetic("minimum", "logical_and"),
    "minimum",
    "The smaller of x and y; a NaN wins. Where they are equal, each gets half the cotangent.",
)


@located
def subtract(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x - y; refused for booleans, as in NumPy."""
    a, b = _operands(x, y)
    if a.dtype == bool_:
        raise GradcTypeError(
            "booleans cannot be subtracted", operands=notes((a, b)), hint="use x ^ y (exclusive or)"
        )
    return build("sub", a, b)


@located
def divide(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x / y; of integers: in f64."""
    return build("div", *_operands(x, y, _float_type(x, y)))


def _integer_for_bool(*operands: ArrayLike) -> DType:
    common = result_type(operands)
    return i64 if common == bool_ else common


@located
def floor_divide(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x // y, rounded down."""
    return build("floor_divide", *_operands(x, y, _integer_for_bool(x, y)))


@located
def remainder(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x - x // y * y, with the sign of y."""
    return build("remainder", *_operands(x, y, _integer_for_bool(x, y)))


@located
def arctan2(y: ArrayLike, x: ArrayLike) -> Tensor:
    """The angle of the point (x, y), in (-pi, pi]."""
    return build("arctan2", *_operands(y, x, _float_type(y, x)))


@located
def xlogy(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x * log(y), and 0 where x is 0; the derivative by y at (0, 0) is 0."""
    return build("xlogy", *_operands(x, y, _float_type(x, y)))


@located
def xlog1py(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x * log(1 + y), and 0 where x is 0; accurate for y near 0."""
    return build("xlog1py", *_operands(x, y, _float_type(x, y)))


@located
def logaddexp(x: ArrayLike, y: ArrayLike) -> Tensor:
    """log(exp(x) + exp(y)), without overflow; of two -inf both derivatives are 0."""
    return build("logaddexp", *_operands(x, y, _float_type(x, y)))


@located
def power(x: ArrayLike, y: ArrayLike) -> Tensor:
    """x ** y. The exponents 1, 2, 3, 1/2 and -1, given as numbers, become products and roots."""
    if isinstance(y, int | float) and is_weak(y):
        special = _fixed_power(asarray(x), y) if not is_weak(x) else None
        if special is not None:
            return special
        if isinstance(y, int) and y < 0 and not result_type((x, y)).is_float:
            raise GradcTypeError(
                f"an integer to the negative power {y} is no integer",
                operands=(note(0, asarray(x)),),
                hint="cast the base to a float, or write the exponent as a float",
            )
    return build("pow", *_operands(x, y, _integer_for_bool(x, y)))


def _fixed_power(x: Tensor, exponent: float) -> Tensor | None:
    x = cast(x, _integer_for_bool(x, exponent))
    if exponent == 0.5:
        return sqrt(x)
    if exponent == -1 and x.dtype.is_float:
        return reciprocal(x)
    if exponent in (1, 2, 3):
        powers = (x, multiply(x, x))
        return multiply(powers[1], x) if exponent == 3 else powers[int(exponent) - 1]
    return None


def _sign_function(name: str, meaning: str) -> Unary:
    def function(x: ArrayLike) -> Tensor:
        x = asarray(x)
        if x.dtype == bool_:
            raise GradcTypeError(
                f"{function.__name__} takes numbers",
                operands=(note(0, x),),
                hint="use ~x for logical negation, or cast with astype",
            )
        return build(name, x)

    function.__doc__ = f"{meaning}, entry by entry."
    return function


negative = _named(_sign_function("neg", "-x"), "negative", "-x.")
sign = _named(_sign_function("sign", ""), "sign", "-1, 0 or 1 by the sign of x; NaN stays NaN.")


@located
def positive(x: ArrayLike) -> Tensor:
    """+x."""
    return asarray(x)


@located
def abs(x: ArrayLike) -> Tensor:
    """|x|; its derivative at 0 is 0."""
    x = asarray(x)
    return x if x.dtype == bool_ else build("abs", x)


@located
def floor(x: ArrayLike) -> Tensor:
    """The largest integer not above x, as x's type."""
    x = asarray(x)
    return build("floor", x) if x.dtype.is_float else x


@located
def ceil(x: ArrayLike) -> Tensor:
    """The smallest integer not below x, as x's type."""
    x = asarray(x)
    return build("ceil", x) if x.dtype.is_float else x


@located
def square(x: ArrayLike) -> Tensor:
    """x * x."""
    return multiply(x, x)


@located
def reciprocal(x: ArrayLike) -> Tensor:
    """1 / x; of integers: in f64."""
    return divide(1, x)


@located
def isnan(x: ArrayLike) -> Tensor:
    """Whether x is no number."""
    x = asarray(x)
    return build("isnan", x) if x.dtype.is_float else stretch(asarray(False), x.shape)


@located
def isfinite(x: ArrayLike) -> Tensor:
    """Whether x is neither infinite nor NaN."""
    return less(abs(x), float("inf")) if asarray(x).dtype.is_float else equal(x, x)


@located
def isinf(x: ArrayLike) -> Tensor:
    """Whether x is plus or minus infinity."""
    return equal(abs(x), float("inf")) if asarray(x).dtype.is_float else not_equal(x, x)


def _comparison(name: str, python_name: str, symbol: str) -> Binary:
    def function(x: ArrayLike, y: ArrayLike) -> Tensor:
        return build(name, *_operands(x, y))

    return _named(function, python_name, f"x {symbol} y, entry by entry: booleans.")


equal = _comparison("eq", "equal", "==")
not_equal = _comparison("ne", "not_equal", "!=")
less = _comparison("lt", "less", "<")
less_equal = _comparison("le", "less_equal", "<=")
greater = _comparison("gt", "greater", ">")
greater_equal = _comparison("ge", "greater_equal", ">=")


def truth(x: ArrayLike) -> Tensor:
    """x as booleans: whether it is not zero."""
    x = asarray(x)
    return x if x.dtype == bool_ else not_equal(x, 0)


def _logic(name: str) -> Binary:
    def function(x: ArrayLike, y: ArrayLike) -> Tensor:
        return build(name, *broadcast_operands(truth(x), truth(y)))

    return _named(function, name, f"{name} of the truth of x and y; a number is true if not zero.")


logical_and, logical_or, logical_xor = (
    _logic(name) for name in ("logical_and", "logical_or", "logical_xor")
)


@located
def logical_not(x: ArrayLike) -> Tensor:
    """Whether x is false (or zero)."""
    return build("logical_not", truth(x))


@located
def where(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Tensor:
    """x where the condition holds, y elsewhere. A branch not taken has an exact zero gradient."""
    a, b = promote(x, y)
    return build("where", *broadcast_operands(truth(condition), a, b))


@located
def clip(x: ArrayLike, min: ArrayLike = None, max: ArrayLike = None) -> Tensor:
    """x kept within [min, max]; None is no bound. At a bound the derivative is 1."""
    given = [bound for bound in (min, max) if bound is not None]
    common = result_type([x, *given])
    low, high = _limits(common)
    low, high = (low if min is None else min), (high if max is None else max)
    return build("clip", *broadcast_operands(*promote(x, low, high, dtype=common)))


def _limits(dtype: DType) -> tuple[Any, Any]:
    if dtype.is_float:
        return -np.inf, np.inf
    if dtype == bool_:
        raise GradcTypeError("clip takes numbers, not booleans")
    limits = np.iinfo(dtype.numpy)
    return int(limits.min), int(limits.max)


@located
def relu(x: ArrayLike) -> Tensor:
    """x where it is positive, else 0; the derivative at 0 is 0, and a NaN stays."""
    return where(less_equal(x, 0), 0, x)


@located
def log2(x: ArrayLike) -> Tensor:
    """The logarithm to base 2."""
    return multiply(log(x), 1 / _log(2))


@located
def log10(x: ArrayLike) -> Tensor:
    """The logarithm to base 10."""
    return multiply(log(x), 1 / _log(10))


@located
def exp2(x: ArrayLike) -> Tensor:
    """2 to the power x."""
    return exp(multiply(x, _log(2)))


@located
def tan(x: ArrayLike) -> Tensor:
    """The tangent of x in radians."""
    return divide(sin(x), cos(x))


@located
def arctan(x: ArrayLike) -> Tensor:
    """The angle in (-pi/2, pi/2) whose tangent is x."""
    return arctan2(x, 1)


@located
def arcsin(x: ArrayLike) -> Tensor:
    """The angle in [-pi/2, pi/2] whose sine is x: arctan2(x, sqrt((1 - x)(1 + x)))."""
    return arctan2(x, sqrt(multiply(subtract(1, x), add(1, x))))


@located
def arccos(x: ArrayLike) -> Tensor:
    """The angle in [0, pi] whose cosine is x: arctan2(sqrt((1 - x)(1 + x)), x)."""
    return arctan2(sqrt(multiply(subtract(1, x), add(1, x))), x)


@located
def sinh(x: ArrayLike) -> Tensor:
    """(e^x - e^-x) / 2, accurate near 0."""
    return multiply(subtract(expm1(x), expm1(negative(x))), 0.5)


@located
def cosh(x: ArrayLike) -> Tensor:
    """(e^x + e^-x) / 2."""
    return multiply(add(exp(x), exp(negative(x))), 0.5)


@located
def hypot(x: ArrayLike, y: ArrayLike) -> Tensor:
    """sqrt(x^2 + y^2); its derivatives at (0, 0) are 0."""
    squares = add(square(x), square(y))
    return where(equal(squares, 0), 0, sqrt(squares))
