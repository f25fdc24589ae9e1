"""Functions that move data and change shapes, with NumPy's and the Array API's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import Dim, Shape, product
from gradc.tensor.axes import as_axes, as_axis, distinct_axes
from gradc.tensor.operands import (
    ArrayLike,
    asarray,
    assume_shape,
    broadcast_shapes,
    build,
    note,
    notes,
    promote,
    reshape_to,
    same_length,
    stretch,
)
from gradc.tensor.operands import broadcast_arrays as _broadcast_arrays
from gradc.tensor.sizes import as_dim, as_shape, display
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor


@located
def broadcast_to(x: ArrayLike, shape: Any) -> Tensor:
    """`x` stretched to `shape`: axes of length 1, and new axes in front."""
    x, target = asarray(x), as_shape(shape)
    offset = len(target) - x.ndim
    fits = offset >= 0 and all(
        have == 1 or same_length(want, have) is not None
        for have, want in zip(x.shape, target[offset:], strict=True)
    )
    if not fits:
        raise GradcValueError(
            f"this array cannot be broadcast to ({display(target)})", operands=(note(0, x),)
        )
    return stretch(x, target)


@located
def broadcast_arrays(*arrays: ArrayLike) -> list[Tensor]:
    """The arrays stretched to their common shape."""
    return _broadcast_arrays(*(asarray(x) for x in arrays))


@located
def reshape(x: ArrayLike, shape: Any) -> Tensor:
    """`x` with its elements, in row-major order, in another shape; one length may be -1."""
    x = asarray(x)
    lengths = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    unknown = [i for i, length in enumerate(lengths) if isinstance(length, int) and length == -1]
    if len(unknown) > 1:
        raise GradcValueError(f"reshape: only one length may be -1, in {lengths}")
    known = tuple(as_dim(1 if i in unknown else length) for i, length in enumerate(lengths))
    if unknown:
        known = tuple(
            _rest(x, product(known), lengths) if i in unknown else dim
            for i, dim in enumerate(known)
        )
    if isinstance(x.size, int) and isinstance(product(known), int) and x.size != product(known):
        raise GradcValueError(
            f"{display(x.size)} elements cannot be given the shape ({display(known)})",
            operands=(note(0, x),),
        )
    return reshape_to(x, known)


def _rest(x: Tensor, known: Dim, lengths: Sequence[Any]) -> Dim:
    """The length that -1 stands for."""
    if known == 0:
        raise GradcValueError(f"reshape: -1 can be any length beside a length 0, in {lengths}")
    if isinstance(known, int) and isinstance(x.size, int) and x.size % known:
        raise GradcValueError(
            f"{x.size} elements cannot be divided into {known}: no length for -1 in {lengths}",
            operands=(note(0, x),),
        )
    return x.size // known


def reshape_method(x: Tensor, *shape: Any) -> Tensor:
    """`x.reshape(2, 3)` as well as `x.reshape((2, 3))`."""
    return reshape(x, shape[0] if len(shape) == 1 else shape)


@located
def ravel(x: ArrayLike) -> Tensor:
    """The elements in row-major order, with one axis."""
    x = asarray(x)
    return reshape_to(x, (x.size,))


@located
def transpose(x: ArrayLike, axes: Sequence[int] | None = None) -> Tensor:
    """`x` with its axes permuted; reversed without `axes`."""
    array = asarray(x)
    order = tuple(range(array.ndim))
    wanted = order[::-1] if axes is None else distinct_axes(axes, array.ndim, array)
    if len(wanted) != array.ndim:
        raise GradcValueError(
            f"transpose: {tuple(axes or ())} is no permutation of the axes",
            operands=(note(0, array),),
        )
    return array if wanted == order else build("transpose", array, permutation=wanted)


def permute_dims(x: ArrayLike, axes: Sequence[int]) -> Tensor:
    """`x` with its axes permuted: result axis i is x's axis `axes[i]`."""
    return transpose(x, axes)


def transpose_method(x: Tensor, *axes: Any) -> Tensor:
    """`x.transpose(1, 0)` as well as `x.transpose((1, 0))` and `x.transpose()`."""
    if len(axes) == 1 and not isinstance(axes[0], int):
        return transpose(x, axes[0])
    return transpose(x, axes or None)


@located
def matrix_transpose(x: ArrayLike) -> Tensor:
    """`x` with its last two axes exchanged."""
    return swapaxes(x, -1, -2)


@located
def swapaxes(x: ArrayLike, axis1: int, axis2: int) -> Tensor:
    """`x` with two axes exchanged."""
    x = asarray(x)
    first, second = as_axis(axis1, x.ndim, x), as_axis(axis2, x.ndim, x)
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return transpose(x, order)


@located
def moveaxis(x: ArrayLike, source: Any, destination: Any) -> Tensor:
    """`x` with axes moved to other positions; the others keep their order."""
    x = asarray(x)
    sources = source if isinstance(source, tuple | list) else (source,)
    destinations = destination if isinstance(destination, tuple | list) else (destination,)
    if len(sources) != len(destinations):
        raise GradcValueError("moveaxis: source and destination name the same number of axes")
    moved = distinct_axes(sources, x.ndim, x)
    targets = distinct_axes(destinations, x.ndim, x)
    order = [axis for axis in range(x.ndim) if axis not in moved]
    for target, axis in sorted(zip(targets, moved, strict=True)):
        order.insert(target, axis)
    return transpose(x, order)


@located
def expand_dims(x: ArrayLike, axis: Any) -> Tensor:
    """`x` with new axes of length 1 at the positions `axis` of the result."""
    x = asarray(x)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    new = as_axes(axis, x.ndim + count)
    lengths = iter(x.shape)
    return reshape_to(x, tuple(1 if i in new else next(lengths) for i in range(x.ndim + count)))


@located
def squeeze(x: ArrayLike, axis: Any = None) -> Tensor:
    """`x` without axes of length 1: those named, or all whose length is statically 1."""
    x = asarray(x)
    if axis is None:
        gone = tuple(i for i, length in enumerate(x.shape) if length == 1)
    else:
        gone = as_axes(axis, x.ndim, x)
        for i in gone:
            if x.shape[i] != 1:
                raise GradcValueError(
                    f"squeeze: axis {i} has length {display(x.shape[i])}, not 1",
                    operands=(note(0, x),),
                )
    return reshape_to(x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@located
def concat(arrays: Sequence[ArrayLike], axis: int | None = 0) -> Tensor:
    """The arrays one after the other along an axis (None: flattened first)."""
    parts = _parts("concat", arrays)
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    if any(x.ndim != parts[0].ndim or not x.ndim for x in parts):
        raise GradcValueError(
            "concat: arrays of equal rank, 1 at least, are wanted",
            operands=notes(parts),
            hint="use stack to join along a new axis",
        )
    found = as_axis(axis, parts[0].ndim, parts[0])
    shape = list(parts[0].shape)
    for x in parts[1:]:
        for i, length in enumerate(x.shape):
            common = length if i == found else same_length(shape[i], length)
            if common is None:
                raise GradcValueError(
                    f"concat: all axes but {found} must have equal lengths",
                    label=f"axis {i}: {display(shape[i])} against {display(length)}",
                    operands=notes(parts),
                )
            shape[i] = common
    parts = [assume_shape(x, (*shape[:found], x.shape[found], *shape[found + 1 :])) for x in parts]
    return parts[0] if len(parts) == 1 else build("concat", *parts, axis=found)


@located
def stack(arrays: Sequence[ArrayLike], axis: int = 0) -> Tensor:
    """Arrays of one shape along a new axis."""
    parts = _parts("stack", arrays)
    shape = _stacked_shape(parts)
    found = as_axis(axis, len(shape) + 1)
    parts = [assume_shape(x, shape) for x in parts]
    return concat([expand_dims(x, found) for x in parts], found)


def _stacked_shape(parts: Sequence[Tensor]) -> Shape:
    same_rank = all(x.ndim == parts[0].ndim for x in parts)
    ones = same_rank and any(
        (a == 1) != (b == 1) for x in parts for a, b in zip(x.shape, parts[0].shape, strict=True)
    )
    if not same_rank or ones:
        raise GradcValueError("stack: arrays of one shape are wanted", operands=notes(parts))
    return broadcast_shapes(*parts)


def _parts(name: str, arrays: Any) -> list[Tensor]:
    if isinstance(arrays, Tensor) or not isinstance(arrays, tuple | list) or not arrays:
        raise GradcTypeError(f"{name} takes a list or tuple of one array at least")
    return promote(*arrays)


@located
def flip(x: ArrayLike, axis: Any = None) -> Tensor:
    """`x` with the order of elements reversed along the axes (None: all)."""
    x = asarray(x)
    axes = as_axes(axis, x.ndim, x)
    return build("reverse", x, axes=axes) if axes else x


@located
def pad(
    x: ArrayLike, pad_width: Any, mode: str = "constant", constant_values: ArrayLike = 0
) -> Tensor:
    """`x` with `constant_values` (a scalar) around it.

    `pad_width`: an integer, (before, after), or one (before, after) an axis; sizes are allowed.
    """
    array = asarray(x)
    if mode != "constant":
        raise GradcValueError(f"pad: the mode {mode!r} is not known; there is 'constant'")
    low, high = _pad_widths(pad_width, array)
    (fill,) = promote(constant_values, dtype=array.dtype)
    if fill.shape:
        raise GradcTypeError("pad: constant_values is a scalar", operands=(note(3, fill),))
    if not array.ndim:
        return array
    return build("pad", array, fill, low=low, high=high, interior=(0,) * array.ndim)


def _pad_widths(pad_width: Any, x: Tensor) -> tuple[Shape, Shape]:
    pairs = pad_width if isinstance(pad_width, tuple | list) else (pad_width, pad_width)
    if pairs and not isinstance(pairs[0], tuple | list):
        pairs = (pairs,)
    pairs = tuple(pairs) * x.ndim if len(pairs) == 1 else tuple(pairs)
    if len(pairs) != x.ndim or any(len(pair) not in (1, 2) for pair in pairs):
        raise GradcValueError(
            f"pad: {pad_width!r} is not a width, a pair, or one pair an axis",
            operands=(note(0, x),),
        )
    return tuple(as_dim(pair[0]) for pair in pairs), tuple(as_dim(pair[-1]) for pair in pairs)


@located
def repeat(x: ArrayLike, repeats: int, axis: int | None = None) -> Tensor:
    """Each element `repeats` times, one copy after the other."""
    x, times = asarray(x), as_dim(repeats)
    if axis is None:
        x, axis = ravel(x), 0
    found = as_axis(axis, x.ndim, x)
    shape = x.shape
    spread = stretch(expand_dims(x, found + 1), (*shape[: found + 1], times, *shape[found + 1 :]))
    return reshape_to(spread, (*shape[:found], shape[found] * times, *shape[found + 1 :]))


@located
def tile(x: ArrayLike, repetitions: Any) -> Tensor:
    """The whole array repeated along its axes."""
    x, times = asarray(x), as_shape(repetitions)
    rank = max(x.ndim, len(times))
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - x.ndim) + x.shape
    pairs = list(zip(times, shape, strict=True))
    spread = reshape_to(x, tuple(d for _, n in pairs for d in (1, n)))
    spread = stretch(spread, tuple(d for pair in pairs for d in pair))
    return reshape_to(spread, tuple(t * n for t, n in pairs))
