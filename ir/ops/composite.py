"""Ops whose derivative is better stated than derived: `logsumexp` and its gradient, `softmax`.

Both are written in other ops before scheduling, with one maximum m and one sum of exponentials:

    e_i = exp(x_i - m),  logsumexp(x) = m + log(sum_j e_j),  softmax(x)_i = e_i / sum_j e_j.

Infinities are limits, never inf - inf: entries of +inf share the weight 1 among them; where all
are -inf (or none is there) logsumexp is -inf and every weight 0. A nan makes all of it nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.lowering import Composite
from gradc.ir.op import Cotangent, Op
from gradc.ir.ops.elementwise import exp, log
from gradc.ir.ops.kinds import quiet
from gradc.ir.ops.logic import eq, gt, where
from gradc.ir.ops.reductions import max_, widened
from gradc.ir.ops.structural import check_axes, other_axes, shifted, sum_
from gradc.ir.types import ArrayType, TypeRuleError

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]


def _check(name: str, x: ArrayType, axes: Axes) -> None:
    check_axes(name, x, axes)
    if not x.dtype.is_float:
        raise TypeRuleError(f"{name}: an array of floats was expected, not {x}; cast it first")


def _exponentials(x: Value, axes: Axes) -> tuple[Value, Value, Value]:
    """exp(x - m), their sum, and m: the maximum, or 0 where that is -inf or nan.

    Where m is +inf, entries of +inf count 1 and all others 0.
    """
    highest = max_(x, axes=axes, allow_empty=True)
    shift = where(gt(highest, -inf), highest, 0.0)
    wide = widened(shift, x, axes)
    e = exp(where(eq(x, wide), 0.0, x - wide))
    return e, sum_(e, axes=axes), shift


def _exponentials_of_array(x: Array, axes: Axes) -> tuple[Array, Array, Array]:
    """`_exponentials` on NumPy; the reduced axes are kept with length 1."""
    highest = np.max(x, axis=axes, keepdims=True, initial=-inf)
    shift = np.where(highest > -inf, highest, x.dtype.type(0))
    e = np.exp(np.where(x == shift, x.dtype.type(0), x - shift))
    return e, np.sum(e, axis=axes, keepdims=True), shift


def _batch(op: Callable[[], Op]) -> Callable[..., Any]:
    def batch(inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axes: Axes) -> Any:
        return op()(*inputs, axes=shifted(axes))

    return batch


# --- logsumexp ---------------------------------------------------------------------------------


def _infer_logsumexp(x: ArrayType, *, axes: Axes) -> ArrayType:
    _check("logsumexp", x, axes)
    return x.with_shape(tuple(x.shape[axis] for axis in other_axes(x.rank, axes)))


def _evaluate_logsumexp(x: Array, *, axes: Axes) -> Array:
    _, total, shift = _exponentials_of_array(x, axes)
    return np.squeeze(np.log(total) + shift, axes)


def _expand_logsumexp(x: Value, *, axes: Axes) -> Value:
    _, total, shift = _exponentials(x, axes)
    result: Value = log(total) + shift
    return result


def _jvp_logsumexp(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, axes: Axes
) -> Any:
    (x,), (t,) = primals, tangents
    return None if t is None else sum_(softmax(x, axes=axes) * t, axes=axes)


def _vjp_logsumexp(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axes: Axes
) -> tuple[Cotangent]:
    (x,) = primals
    return (widened(cotangent, x, axes) * softmax(x, axes=axes),)


logsumexp: Op = Op(
    name="logsumexp",
    infer=_infer_logsumexp,
    evaluate=quiet(_evaluate_logsumexp),
    jvp=_jvp_logsumexp,
    vjp=_vjp_logsumexp,
    batch=_batch(lambda: logsumexp),
    lower=Composite(_expand_logsumexp),
)


# --- softmax -----------------------------------------------------------------------------------


def _infer_softmax(x: ArrayType, *, axes: Axes) -> ArrayType:
    _check("softmax", x, axes)
    return x


def _evaluate_softmax(x: Array, *, axes: Axes) -> Array:
    e, total, _ = _exponentials_of_array(x, axes)
    return e / np.where(total == 0, total.dtype.type(1), total)


def _expand_softmax(x: Value, *, axes: Axes) -> Value:
    e, total, _ = _exponentials(x, axes)
    return e / widened(where(eq(total, 0.0), 1.0, total), x, axes)


def _along_result(result: Value, direction: Value, axes: Axes) -> Value:
    """y * (t - sum(y * t)): the Jacobian diag(y) - y y^T is symmetric."""
    mean = sum_(result * direction, axes=axes)
    return result * (direction - widened(mean, result, axes))


def _jvp_softmax(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, axes: Axes
) -> Value | None:
    (t,) = tangents
    return None if t is None else _along_result(result, t, axes)


def _vjp_softmax(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axes: Axes
) -> tuple[Cotangent]:
    return (_along_result(result, cotangent, axes),)


softmax: Op = Op(
    name="softmax",
    infer=_infer_softmax,
    evaluate=quiet(_evaluate_softmax),
    jvp=_jvp_softmax,
    vjp=_vjp_softmax,
    batch=_batch(lambda: softmax),
    lower=Composite(_expand_softmax),
)
