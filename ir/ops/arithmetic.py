"""Arithmetic. Integers wrap around, and their division by zero gives 0; floats follow IEEE 754.

Either operand may be a Python number: it becomes a constant of the other's type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.op import Op
from gradc.ir.ops.constants import constant_number, full_like, ones_like
from gradc.ir.ops.elementwise import log
from gradc.ir.ops.kinds import Cut, Partial, Quotient, elementwise, same_type
from gradc.ir.ops.logic import (
    eq,
    ge,
    gt,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    lt,
    where,
)
from gradc.ir.types import f64

_NAN, _INFINITY = float("nan"), float("inf")
_LARGEST_PRODUCT = 16  # powers up to this one are written as products

add = elementwise(
    "add",
    evaluate=np.add,
    partials=(lambda y, a, b: 1.0, lambda y, a, b: 1.0),
    scalar=lambda k, a, b: k.add(a, b),
)

sub = elementwise(
    "sub",
    evaluate=np.subtract,
    partials=(lambda y, a, b: 1.0, lambda y, a, b: -1.0),
    scalar=lambda k, a, b: k.sub(a, b),
)

mul = elementwise(
    "mul",
    evaluate=np.multiply,
    partials=(lambda y, a, b: b, lambda y, a, b: a),
    scalar=lambda k, a, b: k.mul(a, b),
    multiplies=True,
)

div = elementwise(
    "div",
    evaluate=np.divide,
    partials=(lambda y, a, b: Quotient(1.0, b), lambda y, a, b: Quotient(-y, b)),
    scalar=lambda k, a, b: k.div(a, b),
    cost=4,
    infer=same_type("div", "f"),
)

neg = elementwise(
    "neg",
    evaluate=np.negative,
    partials=(lambda y, x: -1.0,),
    scalar=lambda k, x: k.unary("neg", x),
)

abs_ = elementwise(
    "abs",
    evaluate=np.abs,
    partials=(lambda y, x: sign(x),),
    scalar=lambda k, x: k.unary("abs", x),
)


def _sign_scalar(k: LoopBuilder, x: Ref) -> Ref:
    """1, -1, 0; nan where x is nan."""
    zero, one, minus_one = (k.const(number, x.dtype) for number in (0, 1, -1))
    zero_or_nan = k.select(k.compare("eq", x, zero), zero, x)
    not_positive = k.select(k.compare("lt", x, zero), minus_one, zero_or_nan)
    return k.select(k.compare("gt", x, zero), one, not_positive)


sign: Op = elementwise(
    "sign",
    evaluate=np.sign,
    partials=(lambda y, x: None,),
    scalar=_sign_scalar,
    cost=3,
)


# --- division with rounding down ---------------------------------------------------------------


def _remainder_step(k: LoopBuilder, a: Ref, b: Ref) -> Ref:
    """`a - trunc(a / b) * b`, which is exact; `a` itself where the quotient is 0."""
    quotient = k.unary("trunc", k.div(a, b))
    rest = k.fma(k.unary("neg", quotient), b, a)
    return k.select(k.compare("eq", quotient, k.const(0, a.dtype)), a, rest)


def _remainder_and_borrow(k: LoopBuilder, a: Ref, b: Ref) -> tuple[Ref, Ref]:
    """`m = a - q*b` with |m| <= |b|, and whether its sign says that q is to be one less.

    In f64 a step takes 53 bits of the quotient, and is exact, because the rest is a multiple of
    ulp(q) * ulp(b) no larger than ulp(q) * |b|. Two steps reach quotients up to 2**105; where
    that is not enough, m is nan (NumPy's has no limit).
    """
    wide_a, wide_b = k.cast(a, f64), k.cast(b, f64)
    rest = _remainder_step(k, _remainder_step(k, wide_a, wide_b), wide_b)
    reduced = k.compare("le", k.unary("abs", rest), k.unary("abs", wide_b))
    m = k.cast(k.select(reduced, rest, k.const(_NAN, f64)), a.dtype)
    zero = k.const(0, a.dtype)
    differ = k.binary("xor", k.compare("lt", m, zero), k.compare("lt", b, zero))
    return m, k.binary("and", k.compare("ne", m, zero), differ)


def _remainder_scalar(k: LoopBuilder, a: Ref, b: Ref) -> Ref:
    """The remainder with the sign of b, as NumPy's and Python's `%`; a zero has b's sign too."""
    if not a.dtype.is_float:
        return k.mod(a, b)
    zero = k.const(0, a.dtype)
    m, borrow = _remainder_and_borrow(k, a, b)
    signed_zero = k.binary("copysign", zero, b)
    return k.select(borrow, k.add(m, b), k.select(k.compare("eq", m, zero), signed_zero, m))


def _floor_divide_scalar(k: LoopBuilder, a: Ref, b: Ref) -> Ref:
    """The quotient rounded down, consistent with the remainder; a / b where b is zero."""
    if not a.dtype.is_float:
        return k.floordiv(a, b)
    zero, one = k.const(0, a.dtype), k.const(1, a.dtype)
    m, borrow = _remainder_and_borrow(k, a, b)
    quotient = k.div(k.sub(a, m), b)
    down = k.unary("round", k.select(borrow, k.sub(quotient, one), quotient))
    plain = k.div(a, b)
    signed_zero = k.binary("copysign", zero, plain)
    down = k.select(k.compare("eq", down, zero), signed_zero, down)
    finite = k.compare("lt", k.unary("abs", a), k.const(_INFINITY, a.dtype))
    beyond = k.binary("and", finite, k.unary("isnan", m))  # such a quotient has no fraction
    return k.select(k.binary("or", k.compare("eq", b, zero), beyond), plain, down)


floor_divide = elementwise(
    "floor_divide",
    evaluate=np.floor_divide,
    partials=(lambda y, a, b: None, lambda y, a, b: None),
    scalar=_floor_divide_scalar,
    cost=20,
)

remainder = elementwise(
    "remainder",
    evaluate=np.remainder,
    partials=(lambda y, a, b: 1.0, lambda y, a, b: -floor_divide(a, b)),
    scalar=_remainder_scalar,
    cost=16,
)


# --- the larger, the smaller -------------------------------------------------------------------


def _passing(y: Value, wins: Value, loses: Value, ties: Value) -> Cut:
    """1 for the operand that wins, 0 for the one that loses, 1/2 in a tie; nan beside a nan."""
    unordered = where(ties, full_like(y, 0.5), full_like(y, _NAN))
    return Cut(logical_not(loses), where(wins, ones_like(y), unordered))


maximum = elementwise(
    "maximum",
    evaluate=np.maximum,
    partials=(
        lambda y, a, b: _passing(y, gt(a, b), lt(a, b), eq(a, b)),
        lambda y, a, b: _passing(y, lt(a, b), gt(a, b), eq(a, b)),
    ),
    scalar=lambda k, a, b: k.binary("max", a, b),
)

minimum = elementwise(
    "minimum",
    evaluate=np.minimum,
    partials=(
        lambda y, a, b: _passing(y, lt(a, b), gt(a, b), eq(a, b)),
        lambda y, a, b: _passing(y, gt(a, b), lt(a, b), eq(a, b)),
    ),
    scalar=lambda k, a, b: k.binary("min", a, b),
)


def _clip_x(y: Value, x: Value, low: Value, high: Value) -> Cut:
    """1 inside and at both bounds, 0 outside, nan where x or a bound is nan."""
    outside = logical_or(lt(x, low), gt(x, high))
    return Cut(logical_not(outside), where(isnan(y), y, 1.0))


clip = elementwise(
    "clip",
    evaluate=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    partials=(
        _clip_x,
        lambda y, x, low, high: Cut(logical_and(lt(x, low), le(low, high)), 1.0),
        lambda y, x, low, high: Cut(gt(maximum(x, low), high), 1.0),
    ),
    scalar=lambda k, x, low, high: k.binary("min", k.binary("max", x, low), high),
    cost=2,
)


# --- powers ------------------------------------------------------------------------------------


def _power(x: Any, y: Any) -> Any:
    """x**y; of integers, 0 where y is negative.

    NumPy takes a scalar exponent 0.5 for a square root, which -inf has not: an axis prevents it.
    """
    if x.dtype.kind != "i":
        return np.power(np.atleast_1d(x), np.atleast_1d(y)).reshape(x.shape)
    return np.where(y < 0, x.dtype.type(0), np.power(x, np.maximum(y, 0)))


def _power_base(y: Value, x: Value, p: Value) -> Partial:
    """p * x**(p-1), and 0 at (0, 0); a constant exponent gives the power rule's short forms."""
    exponent = constant_number(p)
    if exponent is None:
        origin = logical_and(eq(x, 0.0), eq(p, 0.0))
        return Cut(logical_not(origin), p * pow_(x, p - 1.0))
    if exponent == 0:
        return None
    if exponent == 1:
        return 1.0
    return x * 2.0 if exponent == 2 else pow_(x, exponent - 1) * exponent


def _power_exponent(y: Value, x: Value, p: Value) -> Partial:
    """x**p * log(x), and 0 where x is 0 and p is not negative."""
    vanishes = logical_and(eq(x, 0.0), ge(p, 0.0))
    return Cut(logical_not(vanishes), y * log(x))


def _power_scalar(k: LoopBuilder, x: Ref, y: Ref) -> Ref:
    """Products, a square root and a reciprocal for small (half-)integer constants, else a call.

    Against `pow`: 1/x**n may be 0 where it would be subnormal.
    """
    if not x.dtype.is_float:
        return _integer_power(k, x, y)
    exponent = k.known(y)
    if exponent is None or exponent % 0.5 or abs(exponent) > _LARGEST_PRODUCT:
        return k.call("pow", x, y)
    one = k.const(1, x.dtype)
    if exponent % 1:  # these powers of -0.0 and -inf are those of +0.0 and inf
        infinity, minus_infinity = (k.const(sign_of * _INFINITY, x.dtype) for sign_of in (1, -1))
        positive_zero = k.add(x, k.const(0.0, x.dtype))
        x = k.select(k.compare("eq", x, minus_infinity), infinity, positive_zero)
    result = _product(k, x, int(abs(exponent)))
    if exponent % 1:
        root = k.unary("sqrt", x)
        result = root if result is None else k.mul(result, root)
    if result is None:
        return one
    return k.div(one, result) if exponent < 0 else result


def _product(k: LoopBuilder, x: Ref, exponent: int) -> Ref | None:
    """`x**exponent` by repeated squaring; None for the empty product."""
    result, square = None, x
    while exponent:
        if exponent & 1:
            result = square if result is None else k.mul(result, square)
        exponent >>= 1
        if exponent:
            square = k.mul(square, square)
    return result


def _integer_power(k: LoopBuilder, x: Ref, y: Ref) -> Ref:
    """`x**y` by repeated squaring, wrapping around; 0 where y is negative."""
    zero, one, two = (k.const(number, x.dtype) for number in (0, 1, 2))
    exponent = k.known(y)
    if exponent is not None and 0 <= exponent <= _LARGEST_PRODUCT:
        result = _product(k, x, int(exponent))
        return one if result is None else result
    result, square, rest = one, x, y
    for _ in range(8 * x.dtype.itemsize - 1):
        odd = k.compare("ne", k.mod(rest, two), zero)
        result = k.select(odd, k.mul(result, square), result)
        rest, square = k.floordiv(rest, two), k.mul(square, square)
    return k.select(k.compare("lt", y, zero), zero, result)


pow_: Op = elementwise(
    "pow",
    evaluate=_power,
    partials=(_power_base, _power_exponent),
    scalar=_power_scalar,
    cost=50,
)
