"""Conversion between element types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.lowering import Pointwise
from gradc.ir.op import Cotangent, Op
from gradc.ir.ops.kinds import quiet
from gradc.ir.types import ArrayType, DType


def _infer(x: ArrayType, *, dtype: DType) -> ArrayType:
    """any[*S] -> dtype[*S]"""
    return x.with_dtype(dtype)


def _jvp(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, dtype: DType
) -> Value | None:
    (t,) = tangents
    return None if t is None or not dtype.is_float else converted(t, dtype)


def _vjp(
    primals: Sequence[Value], result: Value, cotangent: Value, *, dtype: DType
) -> tuple[Cotangent]:
    """The cotangent in x's dtype; of an integer in the result's, and none through an integer."""
    (x,) = primals
    if not dtype.is_float:
        return (None,)
    return (converted(cotangent, x.dtype if x.dtype.is_float else dtype),)


def _batch(inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, dtype: DType) -> Any:
    return cast(*inputs, dtype=dtype)


cast = Op(
    name="cast",
    infer=_infer,
    evaluate=quiet(lambda x, *, dtype: x.astype(dtype.numpy)),
    jvp=_jvp,
    vjp=_vjp,
    batch=_batch,
    lower=Pointwise(lambda k, x, *, dtype: k.cast(x, dtype)),
)


def converted(x: Value, dtype: DType) -> Value:
    """`x` in another element type; `x` itself if it has that type."""
    if x.dtype is dtype:
        return x
    made: Value = cast(x, dtype=dtype)
    return made
