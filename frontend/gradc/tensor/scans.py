"""Cumulative sums and products, linear recurrences and sorting: along one axis, entry after entry.

`axis` is an integer; in `cumsum` and `cumprod` None takes all entries in row-major order.
"""

from __future__ import annotations

from typing import Any

from gradc.ir.types import bool_, i64
from gradc.tensor.axes import as_axis
from gradc.tensor.indexing import take_along_axis
from gradc.tensor.operands import ArrayLike, asarray, broadcast_arrays, build, cast, promote
from gradc.tensor.pointwise import equal, where
from gradc.tensor.reductions import accumulator
from gradc.tensor.shaping import ravel
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor


def _along(x: ArrayLike, axis: Any, dtype: Any) -> tuple[Tensor, int]:
    """The numbers to accumulate, and the axis; all of them where it is None or there is none."""
    x = asarray(x)
    x = cast(x, accumulator(x, dtype))
    if axis is None or (x.ndim == 0 and axis in (0, -1)):
        return ravel(x), 0
    return x, as_axis(axis, x.ndim, x)


@located
def cumsum(x: ArrayLike, axis: Any = None, dtype: Any = None) -> Tensor:
    """The sums of the entries up to each one; of integers: in i64."""
    x, found = _along(x, axis, dtype)
    return build("cumsum", x, axis=found)


@located
def cumprod(x: ArrayLike, axis: Any = None, dtype: Any = None) -> Tensor:
    """The products of the entries up to each one; right beside zeros at every order."""
    x, found = _along(x, axis, dtype)
    counting = build("iota", size=x.shape[found], dtype=i64)
    position = build("broadcast", counting, shape=x.shape, axes=(found,))
    nothing = -0.0 if x.dtype.is_float else 0  # x + -0.0 is x, of both zeros, too
    return build("recurrence", x, where(equal(position, 0), x, nothing), axis=found)


@located
def linear_recurrence(a: ArrayLike, b: ArrayLike, axis: int = -1) -> Tensor:
    """r[i] = a[i] * r[i - 1] + b[i] along an axis, with r[0] = b[0]; a[0] is not read."""
    multipliers, terms = broadcast_arrays(*promote(a, b))
    if terms.dtype == bool_:
        multipliers, terms = cast(multipliers, i64), cast(terms, i64)
    found = as_axis(axis, terms.ndim, terms)
    return build("recurrence", multipliers, terms, axis=found)


@located
def argsort(x: ArrayLike, axis: int = -1) -> Tensor:
    """The positions of the entries in ascending order, as i64: of equal ones the first comes first,
    and NaN last."""
    x = asarray(x)
    return build("argsort", x, axis=as_axis(axis, x.ndim, x))


@located
def sort(x: ArrayLike, axis: int = -1) -> Tensor:
    """The entries in ascending order; a tangent moves with its entry, the first of equal ones."""
    x = asarray(x)
    order = argsort(x, axis)
    if x.ndim == 1:
        return build("take", x, order, axis=0)
    return take_along_axis(x, order, axis)
