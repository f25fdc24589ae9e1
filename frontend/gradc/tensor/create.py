"""Variables, constants, and arrays made of nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import Dim, SizeExpr
from gradc.ir.function import parameter
from gradc.ir.types import ArrayType, DType, f64, i64
from gradc.tensor.operands import ArrayLike, as_dtype, asarray, build, cast, promote, stretch
from gradc.tensor.sizes import as_dim, as_shape
from gradc.tensor.source import located, users_line
from gradc.tensor.variable import Tensor

MAX_ENTRIES = 2**27  # of a constant: a gibibyte of f64


def tensor(name: str | None = None, dtype: Any = f64, shape: Any = ()) -> Tensor:
    """A variable. `shape` holds one length an axis.

    A length is an integer, a size name ("n", "2*n+1"), or None for any. Equal size names mean equal
    lengths, in all variables of a function.
    """
    if name is not None and not isinstance(name, str):
        raise GradcTypeError(f"a variable's name is text, not {name!r}")
    kind = ArrayType(as_dtype(dtype), as_shape(shape))
    return Tensor(parameter(kind, name, users_line()))


def scalar(name: str | None = None, dtype: Any = f64) -> Tensor:
    """A variable without axes."""
    return tensor(name, dtype, ())


def vector(name: str | None = None, dtype: Any = f64, shape: Any = (None,)) -> Tensor:
    """A variable with one axis."""
    return _of_rank(1, name, dtype, shape)


def matrix(name: str | None = None, dtype: Any = f64, shape: Any = (None, None)) -> Tensor:
    """A variable with two axes."""
    return _of_rank(2, name, dtype, shape)


def row(name: str | None = None, dtype: Any = f64) -> Tensor:
    """A variable of shape (1, any)."""
    return tensor(name, dtype, (1, None))


def col(name: str | None = None, dtype: Any = f64) -> Tensor:
    """A variable of shape (any, 1)."""
    return tensor(name, dtype, (None, 1))


@located
def constant(x: ArrayLike, dtype: Any = None) -> Tensor:
    """The array `x`, whose elements are known now."""
    return asarray(x, dtype)


@located
def astype(x: ArrayLike, dtype: Any) -> Tensor:
    """`x` with elements of `dtype`; a float becomes an integer by dropping its fraction."""
    return cast(asarray(x), as_dtype(dtype))


@located
def full(shape: Any, fill_value: ArrayLike, dtype: Any = None) -> Tensor:
    """An array filled with one number, or with the broadcast of an array."""
    return stretch(asarray(fill_value, dtype), as_shape(shape))


def zeros(shape: Any, dtype: Any = f64) -> Tensor:
    """An array of zeros."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = f64) -> Tensor:
    """An array of ones."""
    return full(shape, 1, dtype)


@located
def full_like(x: ArrayLike, fill_value: ArrayLike, dtype: Any = None) -> Tensor:
    """An array with the shape of `x`, and its element type unless `dtype` is given."""
    x = asarray(x)
    return full(x.shape, fill_value, dtype or x.dtype)


def zeros_like(x: ArrayLike, dtype: Any = None) -> Tensor:
    """Zeros with the shape of `x`."""
    return full_like(x, 0, dtype)


def ones_like(x: ArrayLike, dtype: Any = None) -> Tensor:
    """Ones with the shape of `x`."""
    return full_like(x, 1, dtype)


@located
def arange(start: ArrayLike, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """`start, start + step, ...` before `stop`, as `numpy.arange`; bounds are numbers or sizes.

    With a size among the bounds, the step is an integer.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    bounds = (start, stop, step)
    if not any(isinstance(bound, SizeExpr | str) for bound in bounds):
        if any(isinstance(bound, Tensor) for bound in bounds):
            raise GradcTypeError(
                "the length of an arange must be known from sizes, not from values",
                hint="use x.shape[0], or a size name like 'n'",
            )
        _check_length(*bounds)
        return asarray(np.arange(*bounds), dtype)
    first, last = (as_dim(b) if isinstance(b, str) else b for b in (start, stop))
    return _arange_over_sizes(first, last, step, i64 if dtype is None else as_dtype(dtype))


def _check_length(start: Any, stop: Any, step: Any) -> None:
    """Raise GradcValueError for bounds without a length, or with one that no memory holds."""
    try:
        count = (stop - start) / step
    except (TypeError, ZeroDivisionError) as error:
        raise GradcValueError(
            f"arange: from {start!r} to {stop!r} in steps of {step!r}: {error}",
            hint="bounds and step are numbers, and the step is not 0",
        ) from error
    if not count <= MAX_ENTRIES:
        raise GradcValueError(
            f"arange: more than {MAX_ENTRIES:,} entries are too many for a constant",
            hint="give it a size, which a call makes known: gt.arange('n')",
        )


@located
def eye(n: Any, m: Any = None, k: int = 0, dtype: Any = f64) -> Tensor:
    """Ones where column = row + k, zeros elsewhere; n rows, m columns (default n)."""
    rows = as_dim(n)
    columns = rows if m is None else as_dim(m)
    i, j = build("iota", size=rows, dtype=i64), build("iota", size=columns, dtype=i64)
    shape = (rows, columns)
    i = build("broadcast", i, shape=shape, axes=(0,))
    j = build("broadcast", j, shape=shape, axes=(1,))
    if k:
        i = build("add", i, stretch(asarray(k), shape))
    return cast(build("eq", i, j), as_dtype(dtype))


def identity(n: Any, dtype: Any = f64) -> Tensor:
    """The identity matrix with n rows."""
    return eye(n, dtype=dtype)


@located
def linspace(start: ArrayLike, stop: ArrayLike, num: int = 50, dtype: Any = None) -> Tensor:
    """`num` numbers from `start` to `stop`, both included, evenly spaced."""
    if not isinstance(num, int) or num < 0:
        raise GradcTypeError(f"linspace: num is an integer that is not negative, not {num!r}")
    if num > MAX_ENTRIES:
        raise GradcValueError(f"linspace: more than {MAX_ENTRIES:,} entries are too many")
    first, last = promote(start, stop, dtype=f64 if dtype is None else as_dtype(dtype))
    weights = np.linspace(0.0, 1.0, num)
    first, last = (stretch(x, (num,)) for x in (first, last))
    low, high = asarray(1.0 - weights, first.dtype), asarray(weights, first.dtype)
    return build("add", build("mul", first, low), build("mul", last, high))


def _arange_over_sizes(start: Dim, stop: Dim, step: int, dtype: DType) -> Tensor:
    if not isinstance(step, int) or step == 0:
        raise GradcTypeError(f"arange over a size needs a non-zero integer step, not {step!r}")
    span = stop - start if step > 0 else start - stop
    length = (span + (abs(step) - 1)) // abs(step)
    numbers = build("iota", size=length, dtype=i64)
    if step != 1:
        numbers = build("mul", numbers, stretch(asarray(step), (length,)))
    if start != 0:
        numbers = build("add", numbers, stretch(asarray(start), (length,)))
    return cast(numbers, dtype)


def _of_rank(rank: int, name: str | None, dtype: Any, shape: Any) -> Tensor:
    made = tensor(name, dtype, shape)
    if made.ndim != rank:
        raise GradcTypeError(f"this variable has {rank} axes, and its shape was given as {shape!r}")
    return made
