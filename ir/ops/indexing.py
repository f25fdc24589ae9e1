"""Reading and writing at computed positions along one axis: `take`, `scatter_add`, `scatter_set`.

`checked_indices` are positions whose range is known before anything is read or written at them.

Positions run from 0 to the axis' length - 1; any other makes the call fail. `scatter_add` is the
adjoint of `take`: entries that are read many times collect all cotangents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, product
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import STATUS_INDEX_OUT_OF_RANGE, Ref
from gradc.ir.lowering import Alignment, Index, IndexMap, Operand, Pointwise, Scatter
from gradc.ir.op import Cotangent, Masked, Op
from gradc.ir.ops.cast import converted
from gradc.ir.ops.constants import filled, full, iota, size_value, zeros_like
from gradc.ir.ops.kinds import in_front
from gradc.ir.ops.logic import eq, ge, logical_and, lt, where
from gradc.ir.ops.structural import broadcast, check_axis, reshape, transpose
from gradc.ir.types import ArrayType, TypeRuleError, i64

Array = np.ndarray[Any, Any]


def _check(name: str, x: ArrayType, indices: ArrayType, axis: int) -> None:
    check_axis(name, x, axis)
    if indices.dtype.kind != "i":
        raise TypeRuleError(f"{name}: integer indices were expected, not {indices}")


def _taken(x: ArrayType, indices: ArrayType, axis: int) -> ArrayType:
    return x.with_shape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _check_range(name: str, indices: Array, length: int, axis: int) -> None:
    outside = indices[(indices < 0) | (indices >= length)]
    if outside.size:
        raise IndexError(
            f"{name}: the index {outside.flat[0]} is out of range for axis {axis} with length "
            f"{length}; indices from 0 to {length - 1} are valid"
        )


def _moved(x: Value, source: int, target: int) -> Value:
    """x with one axis moved to another place."""
    order = [axis for axis in range(x.type.rank) if axis != source]
    order.insert(target, source)
    result: Value = transpose(x, permutation=tuple(order)) if source != target else x
    return result


# --- batches in which every example has its own indices -----------------------------------------


def _joined(x: Value, axis: int) -> Value:
    """[b, *left, n, *right] -> [*left, b*n, *right], where `axis` is that of n without b."""
    moved = _moved(x, 0, axis)
    left, right = moved.shape[:axis], moved.shape[axis + 2 :]
    length = product(moved.shape[axis : axis + 2])
    result: Value = reshape(moved, shape=(*left, length, *right))
    return result


def _joined_indices(indices: Value, size: Dim, length: Dim) -> Value:
    """Indices [b, ...] into each example's axis as indices into the joined axis.

    One that is out of range becomes -1, so that it does not reach into another example.
    """

    def everywhere(dim: Dim) -> Value:
        scalar = full((), dim, i64) if isinstance(dim, int) else size_value(dim=dim)
        return filled(indices.shape, scalar)

    own = converted(indices, i64)
    valid = logical_and(ge(own, 0), lt(own, everywhere(length)))
    example = broadcast(iota(size=size, dtype=i64), shape=indices.shape, axes=(0,))
    result: Value = where(valid, own + example * everywhere(length), -1)
    return result


# --- take --------------------------------------------------------------------------------------


def _infer_take(x: ArrayType, indices: ArrayType, *, axis: int) -> ArrayType:
    _check("take", x, indices, axis)
    return _taken(x, indices, axis)


def _evaluate_take(x: Array, indices: Array, *, axis: int) -> Array:
    _check_range("take", indices, x.shape[axis], axis)
    return np.take(x, indices, axis)


def _jvp_take(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, axis: int
) -> Any:
    t, _ = tangents
    return None if t is None else take(t, primals[1], axis=axis)


def _vjp_take(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axis: int
) -> tuple[Cotangent, None]:
    x, indices = primals
    zeros = full(x.shape, 0, cotangent.dtype)
    return scatter_add(zeros, indices, cotangent, axis=axis), None


def _batch_take(inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axis: int) -> Any:
    x, indices = inputs
    if not batched[1]:
        return take(x, indices, axis=axis + 1)
    if not batched[0]:
        return _moved(take(x, indices, axis=axis), axis, 0)
    joined = _joined_indices(indices, size, x.shape[axis + 1])
    return _moved(take(_joined(x, axis), joined, axis=axis), axis, 0)


def _read_take(k: LoopBuilder, index: Index, operands: Sequence[Operand], *, axis: int) -> Ref:
    x, indices = operands
    behind = axis + indices.type.rank
    coordinates = index.coordinates
    position = k.cast(indices(*coordinates[axis:behind]), i64)
    valid = k.in_range(position, k.size(x.type.shape[axis]))
    k.require(valid, STATUS_INDEX_OUT_OF_RANGE)
    read = partial(x, *coordinates[:axis], position, *coordinates[behind:])
    return k.guard(valid, read, k.const(0, x.type.dtype))


def _align_take(x: ArrayType, indices: ArrayType, *, axis: int) -> tuple[Alignment, Alignment]:
    behind = axis + indices.rank
    right = range(behind, behind + x.rank - axis - 1)
    return (*range(axis), None, *right), tuple(range(axis, behind))


take: Op = Op(
    name="take",
    infer=_infer_take,
    evaluate=_evaluate_take,
    jvp=_jvp_take,
    vjp=_vjp_take,
    batch=_batch_take,
    lower=IndexMap(_read_take, _align_take, repeats=True),
)


# --- checked_indices ---------------------------------------------------------------------------


def _infer_checked(indices: ArrayType, *, length: Dim) -> ArrayType:
    if indices.dtype.kind != "i":
        raise TypeRuleError(f"checked_indices: integer indices were expected, not {indices}")
    return ArrayType(i64, indices.shape)


def _evaluate_checked(indices: Array, *, length: int) -> Array:
    _check_range("checked_indices", indices, length, 0)
    return indices.astype(np.int64)


def _write_checked(k: LoopBuilder, index: Ref, *, length: Dim) -> Ref:
    position = k.cast(index, i64)
    k.require(k.in_range(position, k.size(length)), STATUS_INDEX_OUT_OF_RANGE)
    return position


def _know_checked(k: LoopBuilder, position: Ref, *, length: Dim) -> None:
    k.know_in_range(position, k.size(length))


checked_indices: Op = Op(
    name="checked_indices",
    infer=_infer_checked,
    evaluate=_evaluate_checked,
    jvp=lambda *_, **__: None,
    vjp=lambda *_, **__: (None,),
    batch=lambda inputs, batched, size, **attrs: checked_indices(*inputs, **attrs),
    lower=Pointwise(_write_checked, cost=3, prepared=_know_checked),
)


# --- scatter_add, scatter_set ------------------------------------------------------------------


def _scatter(
    name: str,
    write: Callable[[Array, Array, Array], None],
    vjp: Callable[..., tuple[Cotangent, None, Cotangent]],
    kind: str,
) -> Op:
    """An op that writes updates into a base at positions along `axis`; linear in base and updates.

    `write(base, positions, updates)` does it in place along the first axis.
    """

    def infer(base: ArrayType, indices: ArrayType, updates: ArrayType, *, axis: int) -> ArrayType:
        _check(name, base, indices, axis)
        expected = _taken(base, indices, axis)
        if updates != expected:
            raise TypeRuleError(
                f"{name}: indices {indices} along axis {axis} of {base} need updates of type "
                f"{expected}, not {updates}"
            )
        return base

    def evaluate(base: Array, indices: Array, updates: Array, *, axis: int) -> Array:
        _check_range(name, indices, base.shape[axis], axis)
        return _scattered(write, base, indices, updates, axis)

    def jvp(
        primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, axis: int
    ) -> Any:
        (base, indices, updates), (to_base, _, to_updates) = primals, tangents
        if (to_base is None and to_updates is None) or not result.dtype.is_float:
            return None
        moving = zeros_like(base) if to_base is None else to_base
        added = zeros_like(updates) if to_updates is None else to_updates
        return op(moving, indices, added, axis=axis)

    def batch(inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axis: int) -> Any:
        base, updates = (in_front(inputs[i], batched[i], size) for i in (0, 2))
        if not batched[1]:
            return op(base, inputs[1], updates, axis=axis + 1)
        return _scattered_by_row(op, base, inputs[1], updates, axis)

    lower = Scatter(kind)
    op = Op(name, infer, evaluate, jvp, vjp, batch, lower)
    return op


def _scattered(
    write: Callable[[Array, Array, Array], None],
    base: Array,
    indices: Array,
    updates: Array,
    axis: int,
) -> Array:
    """A copy of the base into which `write` has put the updates."""
    result = base.copy()
    behind = range(axis, axis + indices.ndim)
    rows = np.moveaxis(updates, list(behind), list(range(indices.ndim)))
    rest = rows.shape[indices.ndim :]
    write(np.moveaxis(result, axis, 0), indices.ravel(), rows.reshape(indices.size, *rest))
    return result


def _scattered_by_row(op: Op, base: Value, indices: Value, updates: Value, axis: int) -> Value:
    """Each row of a batch with indices of its own: one scatter into all rows joined to one axis."""
    size, length = base.shape[0], base.shape[axis + 1]
    joined = _joined_indices(indices, size, length)
    rows = op(_joined(base, axis), joined, _moved(updates, 0, axis), axis=axis)
    left, right = rows.shape[:axis], rows.shape[axis + 1 :]
    split = reshape(rows, shape=(*left, size, length, *right))
    return _moved(split, axis, 0)


def _vjp_scatter_add(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axis: int
) -> tuple[Cotangent, None, Cotangent]:
    if not result.dtype.is_float:
        return None, None, None
    return cotangent, None, take(cotangent, primals[1], axis=axis)


def _vjp_scatter_set(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axis: int
) -> tuple[Cotangent, None, Cotangent]:
    """To the base what is not overwritten; to the updates that stay, the last of each position."""
    if not result.dtype.is_float:
        return None, None, None
    base, indices, updates = primals
    to_base = scatter_set(cotangent, indices, zeros_like(updates), axis=axis)
    behind = tuple(range(axis, axis + indices.type.rank))
    stays = broadcast(_last_of_each(indices, base.shape[axis]), shape=updates.shape, axes=behind)
    return to_base, None, Masked(stays, take(cotangent, indices, axis=axis))


def _last_of_each(indices: Value, length: Dim) -> Value:
    """For every index whether none behind it is equal: numbers are scattered and read back."""
    numbers = reshape(iota(size=indices.type.size, dtype=i64), shape=indices.shape)
    written = scatter_set(full((length,), -1, i64), indices, numbers, axis=0)
    result: Value = eq(take(written, indices, axis=0), numbers)
    return result


def _set_last(base: Array, positions: Array, updates: Array) -> None:
    """Of repeated positions only the last is written: NumPy leaves their order open."""
    _, from_behind = np.unique(positions[::-1], return_index=True)
    last = positions.size - 1 - from_behind
    base[positions[last]] = updates[last]


scatter_add: Op = _scatter("scatter_add", np.add.at, _vjp_scatter_add, "add")
scatter_set: Op = _scatter("scatter_set", _set_last, _vjp_scatter_set, "set")
