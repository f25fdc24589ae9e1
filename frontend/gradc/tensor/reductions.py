"""Reductions with NumPy's names; `axis` is an integer, a tuple, or None for all axes."""

from __future__ import annotations

from typing import Any

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import Dim, product
from gradc.ir.types import DType, bool_, f64, i64
from gradc.tensor.axes import as_axes, as_axis
from gradc.tensor.operands import ArrayLike, as_dtype, asarray, build, cast, note, reshape_to
from gradc.tensor.pointwise import divide, equal, sqrt, square, subtract, truth, where
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

Axis = Any  # None, an integer, or a sequence of integers


def _reduce(name: str, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    axes = as_axes(axis, x.ndim, x)
    result = build(name, x, axes=axes) if axes else x
    return _kept(result, x, axes) if keepdims else result


def _kept(result: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return reshape_to(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def accumulator(x: Tensor, dtype: Any) -> DType:
    """The type in which sums and products of integers are taken: i64."""
    if dtype is not None:
        return as_dtype(dtype)
    return x.dtype if x.dtype.is_float else i64


def _as_float(x: Tensor) -> Tensor:
    return x if x.dtype.is_float else cast(x, f64)


@located
def sum(x: ArrayLike, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over the axes; of integers: in i64."""
    x = asarray(x)
    return _reduce("sum", cast(x, accumulator(x, dtype)), axis, keepdims)


@located
def prod(x: ArrayLike, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The product over the axes; of integers: in i64."""
    x = asarray(x)
    return _reduce("prod", cast(x, accumulator(x, dtype)), axis, keepdims)


def _count(x: Tensor, axis: Axis) -> Dim:
    return product(x.shape[i] for i in as_axes(axis, x.ndim, x))


@located
def mean(x: ArrayLike, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over the axes; of integers: in f64. Of no elements: NaN."""
    x = asarray(x)
    x = cast(x, as_dtype(dtype)) if dtype is not None else _as_float(x)
    return divide(_reduce("sum", x, axis, keepdims), _count(x, axis))


@located
def var(
    x: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False, correction: Any = None
) -> Tensor:
    """The mean of (x - mean(x))^2 over the axes, divided by count - ddof instead of count.

    `correction` is the Array API's name for `ddof`.
    """
    x = _as_float(asarray(x))
    ddof = ddof if correction is None else correction
    deviation = subtract(x, mean(x, axis, keepdims=True))
    return divide(_reduce("sum", square(deviation), axis, keepdims), _count(x, axis) - ddof)


@located
def std(
    x: ArrayLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False, correction: Any = None
) -> Tensor:
    """The square root of `var`; its derivative is 0 where all elements are equal."""
    variance = var(x, axis, ddof, keepdims, correction)
    return where(equal(variance, 0), 0, sqrt(variance))


def _check_not_empty(name: str, x: Tensor, axes: tuple[int, ...]) -> None:
    if 0 in [x.shape[axis] for axis in axes]:
        raise GradcValueError(
            f"the {name} of no elements does not exist",
            label="an axis that is reduced over has length 0",
            operands=(note(0, x),),
        )


def _extremum(name: str, x: ArrayLike, axis: Axis, keepdims: bool) -> Tensor:
    x = asarray(x)
    _check_not_empty(name, x, as_axes(axis, x.ndim, x))
    if x.dtype == bool_:
        return _reduce({"max": "any", "min": "all"}[name], x, axis, keepdims)
    return _reduce(name, x, axis, keepdims)


@located
def max(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over the axes; a NaN wins. Tied elements share the cotangent equally."""
    return _extremum("max", x, axis, keepdims)


@located
def min(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over the axes; a NaN wins. Tied elements share the cotangent equally."""
    return _extremum("min", x, axis, keepdims)


@located
def any(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether an element is true (or not zero)."""
    return _reduce("any", truth(x), axis, keepdims)


@located
def all(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether every element is true (or not zero)."""
    return _reduce("all", truth(x), axis, keepdims)


def _position(name: str, x: ArrayLike, axis: Axis, keepdims: bool) -> Tensor:
    x = asarray(x)
    if x.dtype == bool_:
        x = cast(x, i64)
    if axis is None:
        rank, x = x.ndim, reshape_to(x, (x.size,))
        _check_not_empty(name, x, (0,))
        result = build(name, x, axis=0)
        return reshape_to(result, (1,) * rank) if keepdims else result
    if isinstance(axis, tuple | list):
        raise GradcTypeError(f"{name} takes one axis or None, not {axis!r}")
    found = as_axis(axis, x.ndim, x)
    _check_not_empty(name, x, (found,))
    result = build(name, x, axis=found)
    return _kept(result, x, (found,)) if keepdims else result


@located
def argmax(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The position (i64) of the first largest element, along one axis or of all."""
    return _position("argmax", x, axis, keepdims)


@located
def argmin(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The position (i64) of the first smallest element, along one axis or of all."""
    return _position("argmin", x, axis, keepdims)


@located
def logsumexp(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over the axes, without overflow."""
    return _reduce("logsumexp", _as_float(asarray(x)), axis, keepdims)


@located
def softmax(x: ArrayLike, axis: Axis = -1) -> Tensor:
    """exp(x) / sum(exp(x)) over the axes, without overflow."""
    x = _as_float(asarray(x))
    axes = as_axes(axis, x.ndim, x)
    return build("softmax", x, axes=axes)


@located
def log_softmax(x: ArrayLike, axis: Axis = -1) -> Tensor:
    """x - logsumexp(x) over the axes."""
    x = _as_float(asarray(x))
    return subtract(x, logsumexp(x, axis, keepdims=True))


@located
def count_nonzero(x: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The number (i64) of elements that are not zero."""
    return sum(truth(x), axis, keepdims=keepdims)
