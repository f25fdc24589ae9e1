"""Reductions over axes: `prod`, `max`, `min`, `any`, `all`, `argmax`, `argmin` (and `sum`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf, nan
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, floor_divide, product
from gradc.ir.function import Requirement, Value
from gradc.ir.lowering import Composite, Reduction
from gradc.ir.op import Cotangent, Masked, Op
from gradc.ir.ops.cast import converted
from gradc.ir.ops.conditions import at_least
from gradc.ir.ops.constants import full, iota, ones_like, size_value, zeros_like
from gradc.ir.ops.kinds import no_cotangents, no_tangent, quiet
from gradc.ir.ops.logic import eq, isnan, logical_and, logical_or, ne, where
from gradc.ir.ops.slicing import pad, slice_
from gradc.ir.ops.structural import (
    broadcast,
    check_axes,
    check_axis,
    other_axes,
    reshape,
    reversed_,
    shifted,
    sum_,
    transpose,
)
from gradc.ir.types import ArrayType, DType, TypeRuleError, bool_, i64

__all__ = ["all_", "any_", "argmax", "argmin", "max_", "min_", "prod", "sum_", "widened"]

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]

_BLOCK = 16  # entries of a product that a tree multiplies where their number is a symbol


def widened(reduced: Value, like: Value, axes: Axes) -> Value:
    """A value without `axes`, repeated along them to the shape of `like`."""
    kept = other_axes(like.type.rank, axes)
    result: Value = broadcast(reduced, shape=like.shape, axes=kept)
    return result


def _reduced(name: str, x: ArrayType, axes: Axes, kinds: str, expected: str) -> ArrayType:
    """The type of x without `axes`, if its dtype is of one of the `kinds`."""
    check_axes(name, x, axes)
    if x.dtype.kind not in kinds:
        raise TypeRuleError(f"{name}: an array of {expected} was expected, not {x}; cast it first")
    return x.with_shape(tuple(x.shape[axis] for axis in other_axes(x.rank, axes)))


# --- prod --------------------------------------------------------------------------------------


def _infer_prod(x: ArrayType, *, axes: Axes) -> ArrayType:
    return _reduced("prod", x, axes, "fi", "numbers")


def _jvp_prod(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, axes: Axes
) -> Any:
    """sum_i t_i prod_{j != i} x_j"""
    (x,), (t,) = primals, tangents
    return None if t is None else sum_(products_of_others(x, axes) * t, axes=axes)


def _vjp_prod(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axes: Axes
) -> tuple[Cotangent]:
    (x,) = primals
    return (widened(cotangent, x, axes) * products_of_others(x, axes),)


def products_of_others(x: Value, axes: Axes) -> Value:
    """For every entry the product over `axes` of all other entries; x's type.

    Never a quotient prod(x) / x: it would be wrong beside zeros, there and in all its derivatives.
    A static number m of entries takes O(m) operations, a symbolic one O(m + (m / 256)^2).
    """
    if len(axes) == 1 and axes[0] == x.type.rank - 1:
        return _others_in_row(x)
    order = (*other_axes(x.type.rank, axes), *axes)
    moved = transpose(x, permutation=order)
    rows = other_axes(x.type.rank, axes)
    length = product(x.shape[axis] for axis in axes)
    flat = reshape(moved, shape=(*(x.shape[axis] for axis in rows), length))
    back = reshape(_others_in_row(flat), shape=moved.shape)
    result: Value = transpose(back, permutation=tuple(order.index(i) for i in range(len(order))))
    return result


def _others_in_row(x: Value, levels: int = 2) -> Value:
    """`products_of_others` along the last axis; `levels` of blocks where its length is a symbol."""
    length = x.shape[-1]
    if isinstance(length, int):
        return _others_by_tree(x, length)
    return _others_by_blocks(x, length, levels) if levels else _others_by_square(x)


def _others_by_blocks(x: Value, length: Dim, levels: int) -> Value:
    """The others in an entry's own block of static length, times the product of other blocks."""
    count = floor_divide(length + _BLOCK - 1, _BLOCK)
    batch = x.shape[:-1]
    blocks = reshape(_with_ones(x, count * _BLOCK - length), shape=(*batch, count, _BLOCK))
    products = prod(blocks, axes=(blocks.type.rank - 1,))
    of_block = widened(_others_in_row(products, levels - 1), blocks, (blocks.type.rank - 1,))
    others = _others_by_tree(blocks, _BLOCK) * of_block
    return _first(reshape(others, shape=(*batch, count * _BLOCK)), length)


def _others_by_square(x: Value) -> Value:
    """Row i of an m-by-m square is x with entry i made 1; the product of each row."""
    rank = x.type.rank
    shape = (*x.shape, x.shape[-1])
    numbers = iota(size=x.shape[-1], dtype=i64)
    rows = broadcast(numbers, shape=shape, axes=(rank - 1,))
    columns = broadcast(numbers, shape=shape, axes=(rank,))
    square = broadcast(x, shape=shape, axes=(*range(rank - 1), rank))
    result: Value = prod(where(eq(rows, columns), ones_like(square), square), axes=(rank,))
    return result


def _others_by_tree(x: Value, length: int) -> Value:
    """Products of pairs upwards; downwards, a node's others are its parent's times its sibling."""
    if length <= 1:
        return ones_like(x)
    height = (length - 1).bit_length()
    batch = x.shape[:-1]
    pair_axis = len(batch) + 1
    pairs = [reshape(_with_ones(x, 2**height - length), shape=(*batch, 2 ** (height - 1), 2))]
    for level in range(height - 2, -1, -1):
        products = prod(pairs[-1], axes=(pair_axis,))
        pairs.append(reshape(products, shape=(*batch, 2**level, 2)))
    others = full((*batch, 1), 1, x.dtype)
    for pair in reversed(pairs):
        siblings = reversed_(pair, axes=(pair_axis,))
        parents = broadcast(others, shape=pair.shape, axes=tuple(range(pair_axis)))
        others = reshape(parents * siblings, shape=(*batch, 2 * pair.shape[-2]))
    return _first(others, length)


def _with_ones(x: Value, count: Dim) -> Value:
    """`count` ones behind the last axis."""
    none = (0,) * x.type.rank
    one = full((), 1, x.dtype)
    result: Value = (
        pad(x, one, low=none, high=(*none[1:], count), interior=none) if count != 0 else x
    )
    return result


def _first(x: Value, count: Dim) -> Value:
    """The first entries of the last axis."""
    rank = x.type.rank
    stops = (*x.shape[:-1], count)
    result: Value = slice_(x, starts=(0,) * rank, stops=stops, steps=(1,) * rank)
    return result


def _batch_axes(op: Callable[[], Op]) -> Callable[..., Any]:
    """The batch rule of a reduction over the attribute `axes`."""

    def batch(
        inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axes: Axes, **attrs: Any
    ) -> Any:
        return op()(*inputs, axes=shifted(axes), **attrs)

    return batch


prod: Op = Op(
    name="prod",
    infer=_infer_prod,
    evaluate=quiet(lambda x, *, axes: np.prod(x, axis=axes, dtype=x.dtype)),
    jvp=_jvp_prod,
    vjp=_vjp_prod,
    batch=_batch_axes(lambda: prod),
    lower=Reduction("prod"),
)


# --- max, min ----------------------------------------------------------------------------------


def _extremum(name: str, evaluate: Callable[..., Any], of_nothing: float) -> Op:
    """`max` or `min` over axes; a nan wins, and entries that tie share the derivative equally.

    With a nan among the entries the derivative is nan there and zero elsewhere. No axis may be
    empty, unless `allow_empty` is true: then the value of no floats is `of_nothing`.
    """

    def requires(x: ArrayType, *, axes: Axes, allow_empty: bool = False) -> Iterator[Requirement]:
        for axis in () if allow_empty else axes:
            length = x.shape[axis]
            why = f"{name} over axis {axis} of {x} needs at least one entry there: {length} >= 1"
            yield from at_least(length, 1, why)

    def infer(x: ArrayType, *, axes: Axes, allow_empty: bool = False) -> ArrayType:
        result = _reduced(name, x, axes, "f" if allow_empty else "fi", "numbers")
        list(requires(x, axes=axes, allow_empty=allow_empty))
        return result

    def evaluated(x: Array, *, axes: Axes, allow_empty: bool = False) -> Array:
        result = evaluate(x, axis=axes, **({"initial": of_nothing} if allow_empty else {}))
        return np.asarray(result, x.dtype)

    op = Op(
        name=name,
        infer=infer,
        evaluate=quiet(evaluated),
        jvp=_jvp_extremum,
        vjp=_vjp_extremum,
        batch=_batch_axes(lambda: op),
        lower=Reduction(name),
        requires=requires,
    )
    return op


def _jvp_extremum(
    primals: Sequence[Value],
    result: Value,
    tangents: Sequence[Value | None],
    *,
    axes: Axes,
    allow_empty: bool = False,
) -> Any:
    (x,), (t,) = primals, tangents
    if t is None:
        return None
    wins = _attains(x, result, axes)
    moved = sum_(where(wins, t, zeros_like(t)), axes=axes)
    unknown = logical_and(_is_nan(result), ne(moved, 0.0))  # a nan that moves, not one at rest
    return where(unknown, nan, moved * _share(wins, axes, t.dtype))


def _vjp_extremum(
    primals: Sequence[Value],
    result: Value,
    cotangent: Value,
    *,
    axes: Axes,
    allow_empty: bool = False,
) -> tuple[Cotangent]:
    (x,) = primals
    wins = _attains(x, result, axes)
    share = where(_is_nan(result), nan, _share(wins, axes, cotangent.dtype))
    wide = widened(cotangent * share, x, axes)
    return (Masked(wins, wide),)


def _attains(x: Value, extremum: Value, axes: Axes) -> Value:
    """Which entries of x equal the extremum over `axes`, or are nan where that is nan."""
    wins: Value = eq(x, widened(extremum, x, axes))
    if x.dtype.is_float:
        wins = logical_or(wins, isnan(x))
    return wins


def _is_nan(y: Value) -> Value:
    result: Value = isnan(y) if y.dtype.is_float else full(y.shape, False, bool_)
    return result


def _share(wins: Value, axes: Axes, dtype: DType) -> Value:
    """1 / (the number of winners)."""
    share: Value = 1.0 / sum_(converted(wins, dtype), axes=axes)
    return share


max_: Op = _extremum("max", np.max, -inf)
min_: Op = _extremum("min", np.min, inf)


# --- any, all ----------------------------------------------------------------------------------


def _logical(name: str, evaluate: Callable[..., Any]) -> Op:
    """`any` or `all` of booleans over axes."""
    op = Op(
        name=name,
        infer=lambda x, *, axes: _reduced(name, x, axes, "b", "booleans"),
        evaluate=lambda x, *, axes: np.asarray(evaluate(x, axis=axes)),
        jvp=no_tangent,
        vjp=no_cotangents,
        batch=_batch_axes(lambda: op),
        lower=Reduction(name),
    )
    return op


any_: Op = _logical("any", np.any)
all_: Op = _logical("all", np.all)


# --- argmax, argmin ----------------------------------------------------------------------------


def _position(name: str, evaluate: Callable[..., Any], reduce: Op) -> Op:
    """The first position of the extremum along one axis (of a nan, if there is one), as i64."""

    def requires(x: ArrayType, *, axis: int) -> Iterator[Requirement]:
        check_axis(name, x, axis)
        length = x.shape[axis]
        why = f"{name} along axis {axis} of {x} needs at least one entry there: {length} >= 1"
        return at_least(length, 1, why)

    def infer(x: ArrayType, *, axis: int) -> ArrayType:
        result = _reduced(name, x, (axis,), "fi", "numbers").with_dtype(i64)
        list(requires(x, axis=axis))
        return result

    def batch(inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axis: int) -> Any:
        return op(*inputs, axis=axis + 1)

    def expand(x: Value, *, axis: int) -> Value:
        """The least position whose entry equals the extremum, or is nan where that is nan."""
        length = x.shape[axis]
        hit = _attains(x, reduce(x, axes=(axis,)), (axis,))
        position = broadcast(iota(size=length, dtype=i64), shape=x.shape, axes=(axis,))
        beyond = broadcast(size_value(dim=length), shape=x.shape, axes=())
        found: Value = min_(where(hit, position, beyond), axes=(axis,))
        return found

    op = Op(
        name=name,
        infer=infer,
        evaluate=lambda x, *, axis: np.asarray(evaluate(x, axis=axis), np.int64),
        jvp=no_tangent,
        vjp=no_cotangents,
        batch=batch,
        lower=Composite(expand),
        requires=requires,
    )
    return op


argmax: Op = _position("argmax", np.argmax, max_)
argmin: Op = _position("argmin", np.argmin, min_)
