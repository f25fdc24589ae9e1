"""Patterns: what rewrite rules ask of values, and how they write numbers."""

from __future__ import annotations

from math import frexp
from typing import Any

import numpy as np
from gradc.ir.dims import Shape
from gradc.ir.function import Equation, Value
from gradc.ir.op import Op
from gradc.ir.ops.cast import cast
from gradc.ir.ops.constants import constant, constant_number, iota, size_value
from gradc.ir.ops.structural import broadcast, reshape, transpose

Inputs = tuple[Value, ...]


def inputs_of(value: Value, op: Op) -> Inputs | None:
    """The inputs of the equation that defines `value`, if that is of `op`."""
    owner = value.owner
    return owner.inputs if owner is not None and owner.op is op else None


def input_of(value: Value, op: Op) -> Value | None:
    """The input of the equation that defines `value`, if that is of `op`, which takes one."""
    owner = value.owner
    return owner.inputs[0] if owner is not None and owner.op is op else None


def attrs_of(value: Value) -> Any:
    """The attributes of the equation that defines `value`."""
    return {} if value.owner is None else value.owner.attrs


def is_derived(made: Equation) -> bool:
    """Whether an equation is part of a derivative, as its span tells: the user did not write it."""
    return made.span is not None and made.span.order > 0


def is_number(value: Value, number: float) -> bool:
    """Whether `value` is known to hold `number` everywhere (the sign of a zero does not count)."""
    return constant_number(value) == number and value.dtype.kind != "b"


def other_operand(operands: Inputs, number: float) -> Value | None:
    """Of two operands the one beside one that holds `number` everywhere."""
    x, y = operands
    if is_number(y, number):
        return x
    return y if is_number(x, number) else None


def scalar_factor(factors: Inputs) -> tuple[Value, Value] | None:
    """The other factor and the scalar, if one factor is a broadcast scalar."""
    for rest, factor in (factors, factors[::-1]):
        source = input_of(factor, broadcast)
        if source is not None and not source.shape:
            return rest, source
    return None


def is_finite(value: Value) -> bool:
    """Whether `value` certainly holds neither a nan nor an infinity."""
    while value.owner is not None and value.owner.op in (broadcast, transpose, reshape):
        (value,) = value.owner.inputs
    if not value.dtype.is_float:
        return True
    if value.owner is None:
        return False
    if value.owner.op is constant:
        return bool(np.isfinite(value.owner.attrs["value"].array).all())
    if value.owner.op is cast:
        return not value.owner.inputs[0].dtype.is_float
    return value.owner.op in (iota, size_value)


def is_power_of_two(number: float) -> bool:
    """Whether multiplying by `number` is exact, short of overflow and underflow."""
    mantissa, exponent = frexp(number)
    return abs(mantissa) == 0.5 and -100 < exponent < 100


def is_moderate(number: float) -> bool:
    """Whether a product with `number` neither overflows nor underflows much sooner than others."""
    return 1e-6 < abs(number) < 1e6


def repeated(x: Value, shape: Shape, axes: tuple[int, ...]) -> Value:
    """`x` broadcast to `shape`; `x` itself if it has it."""
    if x.shape == shape:
        return x
    result: Value = broadcast(x, shape=shape, axes=axes)
    return result
