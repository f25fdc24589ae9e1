"""Array operations that do nothing where nothing is to be done, and keep a known number known.

An array that holds one number everywhere (`constant_number`) stays one when it is cut, moved or
repeated, so that the zeros and ones of seeds never become equations.
"""

from __future__ import annotations

from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Value
from gradc.ir.ops.arithmetic import div, mul
from gradc.ir.ops.cast import converted
from gradc.ir.ops.constants import constant_number, filled, full, size_value
from gradc.ir.ops.slicing import pad, slice_
from gradc.ir.ops.structural import broadcast, reshape, sum_, transpose
from gradc.ir.types import i64


def cut(x: Value, starts: Shape, lengths: Shape) -> Value:
    """The block of x of these `lengths` that begins at `starts`."""
    if x.shape == lengths:
        return x
    number = constant_number(x)
    if number is not None:
        return full(lengths, number, x.dtype)
    stops = tuple(start + length for start, length in zip(starts, lengths, strict=True))
    result: Value = slice_(x, starts=starts, stops=stops, steps=(1,) * len(starts))
    return result


def everywhere(shape: Shape, dim: Dim) -> Value:
    """The value of a dimension, as i64, in all entries."""
    return full(shape, dim, i64) if isinstance(dim, int) else filled(shape, size_value(dim=dim))


def placed(x: Value, low: Shape, shape: Shape) -> Value:
    """x at the position `low` of an array of `shape` that is zero elsewhere."""
    if x.shape == shape:
        return x
    axes = zip(shape, low, x.shape, strict=True)
    high = tuple(length - before - own for length, before, own in axes)
    none = (0,) * len(shape)
    result: Value = pad(x, full((), 0, x.dtype), low=low, high=high, interior=none)
    return result


def repeated(x: Value, shape: Shape, axes: tuple[int, ...]) -> Value:
    """x, whose axes become `axes` of an array of `shape` that repeats it along the others."""
    if x.shape == shape:
        return x
    number = constant_number(x)
    if number is not None:
        return full(shape, number, x.dtype)
    result: Value = broadcast(x, shape=shape, axes=axes)
    return result


def transposed(x: Value, permutation: tuple[int, ...]) -> Value:
    """x with its axes in another order."""
    if permutation == tuple(range(len(permutation))):
        return x
    number = constant_number(x)
    if number is not None:
        return full(tuple(x.shape[axis] for axis in permutation), number, x.dtype)
    result: Value = transpose(x, permutation=permutation)
    return result


def reshaped(x: Value, shape: Shape) -> Value:
    """x in another shape of equal size."""
    if x.shape == shape:
        return x
    number = constant_number(x)
    if number is not None:
        return full(shape, number, x.dtype)
    result: Value = reshape(x, shape=shape)
    return result


def summed(x: Value, axes: tuple[int, ...]) -> Value:
    """The sum over axes; of ones over axes of known length it is their number."""
    if not axes:
        return x
    number, count = constant_number(x), 1
    for axis in axes:
        length: Dim = x.shape[axis]
        count = count * length if isinstance(length, int) else -1
    if number is not None and count >= 0 and abs(number * count) < 2**24:
        rest = tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)
        return full(rest, number * count, x.dtype) if float(number).is_integer() else _sum(x, axes)
    return _sum(x, axes)


def _sum(x: Value, axes: tuple[int, ...]) -> Value:
    result: Value = sum_(x, axes=axes)
    return result


def times(x: Value, y: Value) -> Value:
    """x * y, without multiplying by 1 and -1."""
    for one, other in ((x, y), (y, x)):
        number = constant_number(one)
        if number == 1:
            return other
        if number == -1:
            return -other
    result: Value = mul(x, y)
    return result


def divided(x: Value, y: Value) -> Value:
    """x / y, without dividing by 1."""
    result: Value = x if constant_number(y) == 1 else div(x, y)
    return result


def in_dtype(x: Value, like: Value) -> Value:
    """x in the element type of `like`."""
    return converted(x, like.dtype)
