"""Values from nothing: constants, 0 1 2 ..., the value of a dimension, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.lowering import Index, IndexMap, Literal, Pointwise
from gradc.ir.op import Op
from gradc.ir.ops.kinds import in_front, no_cotangents, no_tangent
from gradc.ir.ops.structural import broadcast
from gradc.ir.types import ArrayType, ConstantData, DType, TypeRuleError, constant_data, i64


def _infer_constant(*, value: ConstantData) -> ArrayType:
    """-> the type of `value`"""
    return value.type


def _infer_iota(*, size: Dim, dtype: DType) -> ArrayType:
    """-> dtype[size]"""
    if dtype.kind == "b":
        raise TypeRuleError("iota: counts in integers or floats, not in bool")
    if isinstance(size, int) and size < 0:
        raise TypeRuleError(f"iota: a length is not negative, as {size} is")
    return ArrayType(dtype, (size,))


def _infer_size_value(*, dim: Dim) -> ArrayType:
    """-> i64"""
    return ArrayType(i64)


def _read_iota(
    k: LoopBuilder, index: Index, operands: Sequence[Any], *, size: Dim, dtype: DType
) -> Ref:
    return k.cast(index.coordinates[0], dtype)


def _batch_constant(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, value: ConstantData
) -> Value:
    return in_front(constant(value=value), False, size)


def _batch_iota(
    inputs: Sequence[Value], batched: Sequence[bool], batch_size: Dim, **attrs: Any
) -> Value:
    return in_front(iota(**attrs), False, batch_size)


def _batch_size_value(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, dim: Dim
) -> Value:
    return in_front(size_value(dim=dim), False, size)


constant = Op(
    name="constant",
    infer=_infer_constant,
    evaluate=lambda *, value: value.array,
    jvp=no_tangent,
    vjp=no_cotangents,
    batch=_batch_constant,
    lower=Literal(),
)

iota = Op(
    name="iota",
    infer=_infer_iota,
    evaluate=lambda *, size, dtype: np.arange(size).astype(dtype.numpy),
    jvp=no_tangent,
    vjp=no_cotangents,
    batch=_batch_iota,
    lower=IndexMap(_read_iota, align=lambda *, size, dtype: ()),
)

size_value = Op(
    name="size_value",
    infer=_infer_size_value,
    evaluate=lambda *, dim: np.int64(dim),
    jvp=no_tangent,
    vjp=no_cotangents,
    batch=_batch_size_value,
    lower=Pointwise(lambda k, *, dim: k.size(dim)),
)


def array(elements: Any, dtype: DType | None = None) -> Value:
    """A constant with the elements of anything `np.asarray` takes."""
    made: Value = constant(value=constant_data(elements, dtype))
    return made


def scalar(value: float, dtype: DType) -> Value:
    """A constant without axes. Raises TypeRuleError for an integer that the dtype cannot hold."""
    try:
        return array(value, dtype)
    except OverflowError as error:
        raise TypeRuleError(f"constant: {value} does not fit into {dtype}") from error


def full(shape: Shape, value: float, dtype: DType) -> Value:
    """An array of `shape` that holds `value` everywhere."""
    return filled(shape, scalar(value, dtype))


def filled(shape: Shape, value: Value) -> Value:
    """An array of `shape` that holds the scalar `value` everywhere."""
    if not shape:
        return value
    made: Value = broadcast(value, shape=tuple(shape), axes=())
    return made


def full_like(x: Value, value: float) -> Value:
    """An array of x's type that holds `value` everywhere."""
    return full(x.shape, value, x.dtype)


def zeros_like(x: Value) -> Value:
    """An array of x's type that holds zeros."""
    return full_like(x, 0)


def ones_like(x: Value) -> Value:
    """An array of x's type that holds ones."""
    return full_like(x, 1)


def constant_number(x: Value) -> int | float | None:
    """The number that x holds everywhere, where that is known from its definition; else None.

    Known are constants with equal elements, and what `broadcast` makes of them.
    """
    owner = x.owner
    while owner is not None and owner.op is broadcast:
        owner = owner.inputs[0].owner
    if owner is None or owner.op is not constant:
        return None
    held: ConstantData = owner.attrs["value"]
    if not held.type.shape:
        scalar = held.number
        return None if scalar != scalar else scalar
    elements = held.array
    if elements.size == 0 or not (elements == elements.flat[0]).all():
        return None
    number: int | float = elements.flat[0].item()
    return number
