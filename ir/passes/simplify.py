"""Algebra: identities of arithmetic, of selection and of conversion.

What may change, and what may not:

* A result that is not a nan stays the same real number, up to the sign of a zero (x + 0 -> x) and
  the rounding of the last bits (x ** 3 -> x * x * x, a sum of n equal terms -> n times the term).
* A nan or an infinity is never made to vanish: x * 0 -> 0 and x - x -> 0 hold for integers, and for
  floats that are known to be finite (constants, counters, converted integers), and nowhere else.
* The sum over an axis along which a value is repeated is the value times the axis' length: for
  values that are not finite over an axis of length 0, that is nan and not 0.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from gradc.ir.dims import product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import abs_, add, div, maximum, minimum, mul, neg, pow_, sub
from gradc.ir.ops.cast import cast, converted
from gradc.ir.ops.constants import (
    constant_number,
    filled,
    full_like,
    ones_like,
    size_value,
    zeros_like,
)
from gradc.ir.ops.elementwise import exp, sqrt
from gradc.ir.ops.logic import logical_and, logical_not, logical_or, where
from gradc.ir.ops.structural import broadcast, other_axes, sum_
from gradc.ir.passes.matching import (
    attrs_of,
    input_of,
    inputs_of,
    is_derived,
    is_finite,
    is_moderate,
    is_number,
    is_power_of_two,
    other_operand,
    repeated,
)
from gradc.ir.passes.rewrite import NUMBER, Table, needs, rewrite
from gradc.ir.types import DType


def simplify_algebra(fn: Function) -> Function:
    """`fn` with the identities of the tables below applied."""
    return rewrite(fn, _RULES)


# --- sums ----------------------------------------------------------------------------------------


@needs(NUMBER)
def _add_zero(made: Equation) -> Value | None:
    return other_operand(made.inputs, 0)


@needs(neg)
def _add_negative(made: Equation) -> Value | None:
    """x + (-y) -> x - y."""
    x, y = made.inputs
    if (negated := input_of(y, neg)) is not None:
        return x - negated
    if (negated := input_of(x, neg)) is not None:
        return y - negated
    return None


def _add_itself(made: Equation) -> Value | None:
    """x + x -> x * 2, exactly."""
    x, y = made.inputs
    return x * full_like(x, 2) if x is y else None


@needs(NUMBER)
def _subtract_zero(made: Equation) -> Value | None:
    x, y = made.inputs
    if is_number(y, 0):
        return x
    return -y if is_number(x, 0) else None


@needs(neg)
def _subtract_negative(made: Equation) -> Value | None:
    """x - (-y) -> x + y."""
    x, y = made.inputs
    negated = input_of(y, neg)
    return None if negated is None else x + negated


def _subtract_itself(made: Equation) -> Value | None:
    x, y = made.inputs
    return zeros_like(x) if x is y and is_finite(x) else None


# --- products ------------------------------------------------------------------------------------


@needs(NUMBER)
def _multiply_by_number(made: Equation) -> Value | None:
    """x * 1 -> x; x * -1 -> -x; x * 0 -> 0 for a finite x; 3 * x -> x * 3."""
    x, y = made.inputs
    number = constant_number(y)
    if number is None:
        return None if constant_number(x) is None else y * x
    if number == 1:
        return x
    if number == -1:
        return -x
    if number == 0 and is_finite(x):
        return zeros_like(x)
    return y if constant_number(x) == 1 else None


@needs(neg)
def _multiply_negatives(made: Equation) -> Value | None:
    """(-x) * (-y) -> x * y; (-x) * 3 -> x * -3; (-x) * y -> -(x * y)."""
    x, y = made.inputs
    minus_x, minus_y = input_of(x, neg), input_of(y, neg)
    if minus_x is not None and minus_y is not None:
        return minus_x * minus_y
    if minus_x is not None:
        number = constant_number(y)
        return -(minus_x * y) if number is None else minus_x * full_like(y, -number)
    return None if minus_y is None else -(x * minus_y)


@needs(mul, NUMBER)
def _multiply_twice(made: Equation) -> Value | None:
    """(x * a) * b -> x * (a * b), where a or b is a power of two, so that nothing is rounded."""
    x, y = made.inputs
    factors = inputs_of(x, mul)
    if factors is None or not x.dtype.is_float:
        return None
    first = constant_number(factors[1])
    second = None if first is None else constant_number(y)
    if first is None or second is None:
        return None
    exact = is_power_of_two(first) or is_power_of_two(second)
    if not exact or not _is_normal(first * second, x.dtype):
        return None
    return factors[0] * full_like(x, first * second)


@needs(mul)
def _multiply_by_number_last(made: Equation) -> Value | None:
    """(x * a) * y -> (x * y) * a for a power of two, in derivatives: there such numbers meet."""
    if not is_derived(made) or not made.outputs[0].dtype.is_float:
        return None
    for scaled, y in (made.inputs, made.inputs[::-1]):
        factors = inputs_of(scaled, mul)
        number = None if factors is None else constant_number(factors[1])
        if factors is None or number is None or constant_number(y) is not None:
            continue
        if is_moderate(number) and is_power_of_two(number):
            return (factors[0] * y) * full_like(y, number)
    return None


@needs(mul, NUMBER)
def _scale_before_broadcast(made: Equation) -> Value | None:
    """(x * broadcast(s)) * c -> x * broadcast(s * c): a number multiplies the smaller array."""
    product, y = made.inputs
    number = constant_number(y)
    factors = None if number is None else _with_broadcast(product)
    if number is None or factors is None or not is_moderate(number):
        return None
    x, source, axes = factors
    return x * repeated(source * full_like(source, number), x.shape, axes)


@needs(mul, broadcast)
def _join_repeated_factors(made: Equation) -> Value | None:
    """(x * broadcast(s)) * broadcast(t) -> x * broadcast(s * t), in derivatives.

    Where s and t lie along the same axes, or one of them is a scalar.
    """
    if not is_derived(made) or not made.outputs[0].dtype.is_float:
        return None
    for scaled, factor in (made.inputs, made.inputs[::-1]):
        t = input_of(factor, broadcast)
        if t is None or constant_number(factor) is not None:
            continue
        factors = _with_broadcast(scaled)
        if factors is None:
            continue
        x, s, axes = factors
        along = attrs_of(factor)["axes"]
        if axes and along and axes != along:
            continue
        shape = s.shape if axes else t.shape
        joined = repeated(s, shape, ()) * repeated(t, shape, ()) if s.shape != t.shape else s * t
        return x * repeated(joined, x.shape, axes or along)
    return None


def _with_broadcast(product: Value) -> tuple[Value, Value, tuple[int, ...]] | None:
    """x, s and axes of a product x * broadcast(s, axes) of floats, where s is no number."""
    factors = inputs_of(product, mul)
    if factors is None or not product.type.dtype.is_float:
        return None
    for x, factor in (factors, factors[::-1]):
        source = input_of(factor, broadcast)
        if source is not None and constant_number(factor) is None:
            return x, source, attrs_of(factor)["axes"]
    return None


@needs(NUMBER)
def _divide_by_number(made: Equation) -> Value | None:
    """x / 1 -> x; x / -1 -> -x; x / 4 -> x * 0.25 (exact for powers of two)."""
    x, y = made.inputs
    number = constant_number(y)
    if number is None:
        return None
    if number == 1:
        return x
    if number == -1:
        return -x
    if is_power_of_two(number):
        return x * full_like(x, 1 / number)
    return None


@needs(neg)
def _divide_negatives(made: Equation) -> Value | None:
    """(-x) / (-y) -> x / y; (-x) / y and x / (-y) -> -(x / y)."""
    x, y = made.inputs
    minus_x, minus_y = input_of(x, neg), input_of(y, neg)
    if minus_x is None and minus_y is None:
        return None
    quotient: Value = div(x if minus_x is None else minus_x, y if minus_y is None else minus_y)
    return quotient if minus_x is not None and minus_y is not None else -quotient


def _is_normal(number: float, dtype: DType) -> bool:
    limits = np.finfo(dtype.numpy)
    return isfinite(number) and float(limits.tiny) <= abs(number) <= float(limits.max)


@needs((neg, sub, mul))
def _negate(made: Equation) -> Value | None:
    """-(-x) -> x; -(x - y) -> y - x; -(x * 3) -> x * -3."""
    (x,) = made.inputs
    if (inner := input_of(x, neg)) is not None:
        return inner
    if (terms := inputs_of(x, sub)) is not None:
        return terms[1] - terms[0]
    factors = inputs_of(x, mul)
    number = None if factors is None else constant_number(factors[1])
    if factors is not None and number is not None and x.dtype.is_float:
        return factors[0] * full_like(x, -number)
    return None


@needs(NUMBER)
def _small_power(made: Equation) -> Value | None:
    """x ** 0, 1, 2, 3, 4, -1, -2 and 0.5, 1.5, -0.5 by multiplication, division and sqrt."""
    x, y = made.inputs
    exponent = constant_number(y)
    if exponent == 0:
        return ones_like(x)
    if exponent == 1:
        return x
    if exponent in (2, 3, 4):
        square = x * x
        return square if exponent == 2 else square * (x if exponent == 3 else square)
    if not x.dtype.is_float:
        return None
    if exponent in (-1, -2):
        result: Value = div(ones_like(x), x if exponent == -1 else x * x)
        return result
    return _half_power(x, exponent)


def _half_power(x: Value, exponent: float | None) -> Value | None:
    """x ** 0.5, 1.5 and -0.5 by a square root."""
    if exponent not in (0.5, 1.5, -0.5):
        return None
    root: Value = sqrt(x)
    if exponent == 1.5:
        return x * root
    inverse: Value = div(ones_like(x), root)
    return root if exponent == 0.5 else inverse


@needs(sqrt)
def _multiply_equal_roots(made: Equation) -> Value | None:
    """sqrt(x) * sqrt(x) -> x, where x is certainly not negative: a nan does not vanish."""
    x, y = made.inputs
    if x is not y:
        return None
    source = input_of(x, sqrt)
    return source if source is not None and _is_nonnegative(source) else None


def _is_nonnegative(x: Value) -> bool:
    """Whether no entry of x is below zero (an entry may be a nan)."""
    factors = inputs_of(x, mul)
    if factors is not None:
        return factors[0] is factors[1]
    return x.owner is not None and x.owner.op in (exp, abs_, sqrt)


# --- selection -----------------------------------------------------------------------------------


def _choose(made: Equation) -> Value | None:
    """A `where` whose branches are one value, or whose condition is known."""
    condition, x, y = made.inputs
    if x is y:
        return x
    known = constant_number(condition)
    if known is None:
        return None
    return x if known else y


@needs(NUMBER)
def _choose_equal_numbers(made: Equation) -> Value | None:
    _, x, y = made.inputs
    a, b = constant_number(x), constant_number(y)
    same = a is not None and a == b and repr(a) == repr(b)
    return x if same else None


@needs(logical_not)
def _choose_otherwise(made: Equation) -> Value | None:
    """where(not c, x, y) -> where(c, y, x)."""
    condition, x, y = made.inputs
    opposite = input_of(condition, logical_not)
    if opposite is None:
        return None
    result: Value = where(opposite, y, x)
    return result


@needs(where)
def _choose_again(made: Equation) -> Value | None:
    """where(c, where(c, x, y), z) -> where(c, x, z), and the same on the other side."""
    condition, x, y = made.inputs
    first, second = inputs_of(x, where), inputs_of(y, where)
    if first is not None and first[0] is condition:
        x = first[1]
    if second is not None and second[0] is condition:
        y = second[2]
    if x is made.inputs[1] and y is made.inputs[2]:
        return None
    result: Value = where(condition, x, y)
    return result


def _same_operands(made: Equation) -> Value | None:
    x, y = made.inputs
    return x if x is y else None


@needs(NUMBER)
def _connective_with_constant(made: Equation) -> Value | None:
    x, y = made.inputs
    neutral = made.op is logical_and
    for known, other in ((x, y), (y, x)):
        number = constant_number(known)
        if number is not None:
            return other if bool(number) == neutral else known
    return None


@needs(logical_not)
def _not_not(made: Equation) -> Value | None:
    return input_of(made.inputs[0], logical_not)


@needs((neg, abs_))
def _absolute(made: Equation) -> Value | None:
    """abs(-x) and abs(abs(x)) -> abs(x)."""
    (x,) = made.inputs
    inner = input_of(x, neg)
    if inner is not None:
        result: Value = abs_(inner)
        return result
    return x if input_of(x, abs_) is not None else None


# --- conversion and reduction --------------------------------------------------------------------


def _cast_of_cast(made: Equation) -> Value | None:
    """A conversion to the type a value has; or after one that kept every number exactly."""
    (x,), dtype = made.inputs, made.attrs["dtype"]
    if x.dtype is dtype:
        return x
    source = input_of(x, cast)
    if source is None or not np.can_cast(source.dtype.numpy, x.dtype.numpy, "safe"):
        return None
    exact = not (source.dtype.name == "i64" and x.dtype.is_float)
    return converted(source, dtype) if exact else None


@needs(NUMBER)
def _sum_of_broadcast(made: Equation) -> Value | None:
    """The sum over axes along which x is repeated -> x times their lengths."""
    (x,), axes = made.inputs, made.attrs["axes"]
    source = input_of(x, broadcast)
    if source is None:
        return None
    own = attrs_of(x)["axes"]
    missing = tuple(axis for axis in axes if axis not in own)
    if not missing:
        return None
    kept = other_axes(x.type.rank, missing)
    shape = tuple(x.shape[axis] for axis in kept)
    placed = tuple(kept.index(axis) for axis in own)
    count: Value = size_value(dim=product(x.shape[axis] for axis in missing))
    scaled = source * filled(source.shape, converted(count, x.dtype))
    narrow = repeated(scaled, shape, placed)
    rest = tuple(kept.index(axis) for axis in axes if axis in own)
    result: Value = sum_(narrow, axes=rest) if rest else narrow
    return result


_RULES = Table(
    {
        add: (_add_zero, _add_negative, _add_itself),
        sub: (_subtract_zero, _subtract_negative, _subtract_itself),
        mul: (
            _multiply_by_number,
            _multiply_negatives,
            _multiply_twice,
            _multiply_by_number_last,
            _multiply_equal_roots,
            _scale_before_broadcast,
            _join_repeated_factors,
        ),
        div: (_divide_by_number, _divide_negatives),
        neg: (_negate,),
        pow_: (_small_power,),
        abs_: (_absolute,),
        maximum: (_same_operands,),
        minimum: (_same_operands,),
        where: (_choose, _choose_equal_numbers, _choose_otherwise, _choose_again),
        logical_and: (_same_operands, _connective_with_constant),
        logical_or: (_same_operands, _connective_with_constant),
        logical_not: (_not_not,),
        cast: (_cast_of_cast,),
        sum_: (_sum_of_broadcast,),
    }
)
