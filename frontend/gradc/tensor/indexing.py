"""Reading and replacing parts of an array: `x[...]`, `x.at[...]`, `take`."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import GradcIndexError, GradcTypeError
from gradc.ir.dims import Dim, Shape, product
from gradc.ir.record import dataclass
from gradc.ir.types import i64
from gradc.tensor.axes import as_axis
from gradc.tensor.index_parts import IndexParts, take_apart
from gradc.tensor.operands import (
    ArrayLike,
    as_dtype,
    asarray,
    broadcast_arrays,
    build,
    cast,
    note,
    reshape_to,
)
from gradc.tensor.pointwise import add, equal, less, multiply, where
from gradc.tensor.shaping import broadcast_to, expand_dims, moveaxis, ravel, transpose
from gradc.tensor.sizes import as_dim, display
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor


@located
def getitem(x: ArrayLike, index: Any) -> Tensor:
    """`x[index]` by NumPy's rules; a boolean mask is refused.

    On an axis whose length is not known, `x[2:7]` does not clamp: a call with fewer than 7 elements
    is an error. Index arrays may count from the end; out of range is an error at the call.
    """
    x = asarray(x)
    parts = take_apart(x, index)
    view = _view(_sliced(x, parts), parts)
    if not parts.arrays:
        return view
    plan = _gather_plan(view, parts)
    taken = build("take", plan.merged, plan.indices, axis=plan.axis)
    return moveaxis(taken, *plan.moved_back) if plan.moved_back else taken


@located
def set_at(x: ArrayLike, index: Any, values: ArrayLike) -> Tensor:
    """`x` with `x[index]` replaced by the broadcast of `values`; of duplicates the last wins."""
    return _updated(asarray(x), index, values, "scatter_set")


@located
def add_at(x: ArrayLike, index: Any, values: ArrayLike) -> Tensor:
    """`x` with the broadcast of `values` added to `x[index]`; duplicates all add."""
    return _updated(asarray(x), index, values, "scatter_add")


@located
def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None) -> Tensor:
    """The elements (along `axis`) at `indices`, an array of integers of any rank."""
    x = asarray(x)
    if axis is None:
        x, axis = ravel(x), 0
    found = as_axis(axis, x.ndim, x)
    return getitem(x, (*(slice(None),) * found, asarray(indices)))


@located
def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int = -1) -> Tensor:
    """`result[..., i, ...] = x[..., indices[..., i, ...], ...]` along one axis."""
    x, indices = asarray(x), asarray(indices)
    if x.ndim != indices.ndim:
        raise GradcTypeError(
            "take_along_axis: the indices have as many axes as the array",
            operands=(note(0, x), note(1, indices)),
        )
    found = as_axis(axis, x.ndim, x)
    places: list[Tensor] = []
    for i, length in enumerate(indices.shape):
        counting = build("iota", size=length, dtype=i64)
        shape = tuple(length if j == i else 1 for j in range(x.ndim))
        places.append(indices if i == found else reshape_to(counting, shape))
    return getitem(x, tuple(places))


@located
def one_hot(indices: ArrayLike, num_classes: Any, dtype: Any = "f64") -> Tensor:
    """Ones at `result[..., indices[...]]`, zeros elsewhere; a new last axis of `num_classes`."""
    indices = asarray(indices)
    classes = build("iota", size=as_dim(num_classes), dtype=i64)
    return cast(equal(expand_dims(indices, -1), classes), as_dtype(dtype))


def _updated(x: Tensor, index: Any, values: ArrayLike, scatter: str) -> Tensor:
    parts = take_apart(x, index)
    sliced = _sliced(x, parts)
    view = _view(sliced, parts)
    updates = _as_updates(values, x)
    if parts.arrays:
        view = _scattered(view, parts, updates, scatter)
    else:
        updates = broadcast_to(updates, view.shape)
        view = updates if scatter == "scatter_set" else add(view, updates)
    return _written(x, parts, reshape_to(view, sliced.shape))


def _as_updates(values: ArrayLike, x: Tensor) -> Tensor:
    updates = asarray(values)
    if x.dtype.kind != "f" and updates.dtype.kind == "f":
        raise GradcTypeError(
            f"floats cannot be put into an array of {x.dtype}",
            operands=(note(0, x), note("values", updates)),
            hint="cast one of them with astype",
        )
    return cast(updates, x.dtype)


def _flipped_axes(parts: IndexParts) -> tuple[int, ...]:
    return tuple(axis for axis, run in enumerate(parts.runs) if run.flipped)


def _is_whole(x: Tensor, parts: IndexParts) -> bool:
    return all(run.is_whole(n) for run, n in zip(parts.runs, x.shape, strict=True))


def _sliced(x: Tensor, parts: IndexParts) -> Tensor:
    """The strided block that the runs read."""
    flipped = _flipped_axes(parts)
    block = build("reverse", x, axes=flipped) if flipped else x
    if _is_whole(x, parts):
        return block
    return build(
        "slice",
        block,
        starts=tuple(run.start for run in parts.runs),
        stops=tuple(run.stop for run in parts.runs),
        steps=tuple(run.step for run in parts.runs),
    )


def _view(sliced: Tensor, parts: IndexParts) -> Tensor:
    """The block with axes dropped and added."""
    return reshape_to(sliced, tuple(1 if a is None else sliced.shape[a] for a in parts.layout))


def _written(x: Tensor, parts: IndexParts, block: Tensor) -> Tensor:
    """`x` with the block that the runs read replaced."""
    flipped = _flipped_axes(parts)
    if not _is_whole(x, parts):
        base = build("reverse", x, axes=flipped) if flipped else x
        starts = tuple(run.start for run in parts.runs)
        steps = tuple(run.step for run in parts.runs)
        block = build("update_slice", base, block, starts=starts, steps=steps)
    return build("reverse", block, axes=flipped) if flipped else block


@dataclass(frozen=True, slots=True)
class _GatherPlan:
    """A gather over several axes as one over a merged axis.

    order: the permutation that brings the indexed axes together, at `axis`.
    merged: the view permuted, the indexed axes flattened into one.
    moved_back: (from, to) positions that put the index axes where NumPy has them, or ().
    """

    order: tuple[int, ...]
    apart: Shape
    merged: Tensor
    axis: int
    indices: Tensor
    moved_back: tuple[tuple[int, ...], ...]


def _gather_plan(view: Tensor, parts: IndexParts) -> _GatherPlan:
    axes = [axis for axis, _ in parts.arrays]
    lengths = [view.shape[axis] for axis in axes]
    first = axes[0]
    others = [axis for axis in range(view.ndim) if axis not in axes]
    order = (*others[:first], *axes, *others[first:])
    apart = transpose(view, order)
    behind = apart.shape[first + len(axes) :]
    merged = reshape_to(apart, (*apart.shape[:first], product(lengths), *behind))
    arrays = broadcast_arrays(*(array for _, array in parts.arrays))
    indices = _flat_index(arrays, lengths)
    here = tuple(range(first, first + indices.ndim))
    there = tuple(range(parts.position, parts.position + indices.ndim))
    moved_back = () if here == there or not here else (here, there)
    return _GatherPlan(order, apart.shape, merged, first, indices, moved_back)


def _flat_index(arrays: list[Tensor], lengths: list[Dim]) -> Tensor:
    """The row-major position of indices into axes of the given lengths."""
    flat = _from_front(arrays[0], lengths[0], single=len(arrays) == 1)
    for array, length in zip(arrays[1:], lengths[1:], strict=True):
        flat = add(multiply(flat, length), _from_front(array, length, single=False))
    return flat


def _from_front(array: Tensor, length: Dim, single: bool) -> Tensor:
    """An index array with negative entries counted from the front.

    An index into a merged axis can be in range though one of its parts is not, so each part is
    looked up in 0, 1, ..., length - 1: out of range is then an error at the call.
    """
    owner = array.value.owner
    if owner is not None and owner.op.name == "constant":
        numbers = owner.attrs["value"].array
        if isinstance(length, int):
            return asarray(_checked(numbers, length))
        if single and (numbers >= 0).all():
            return array
    wrapped = where(less(array, 0), add(array, length), array)
    return wrapped if single else build("take", _counting(length), wrapped, axis=0)


def _counting(length: Dim) -> Tensor:
    return build("iota", size=length, dtype=i64)


def _checked(numbers: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    outside = (numbers < -length) | (numbers >= length)
    if outside.any():
        raise GradcIndexError(
            f"the index {int(numbers[outside].flat[0])} is out of range",
            label=f"the axis has length {display(length)}",
        )
    return np.where(numbers < 0, numbers + length, numbers).astype(np.int64)


def _scattered(view: Tensor, parts: IndexParts, updates: Tensor, scatter: str) -> Tensor:
    """The view with the gathered elements replaced or added to."""
    plan = _gather_plan(view, parts)
    shape = plan.merged.shape
    target = (*shape[: plan.axis], *plan.indices.shape, *shape[plan.axis + 1 :])
    if plan.moved_back:
        here, there = plan.moved_back
        moved = list(target)
        lengths = [moved.pop(here[0]) for _ in here]
        moved[there[0] : there[0]] = lengths
        updates = moveaxis(broadcast_to(updates, tuple(moved)), there, here)
    else:
        updates = broadcast_to(updates, target)
    changed = build(scatter, plan.merged, plan.indices, updates, axis=plan.axis)
    apart = reshape_to(changed, plan.apart)
    return transpose(apart, tuple(plan.order.index(axis) for axis in range(view.ndim)))
