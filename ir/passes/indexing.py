"""Gathers and scatters at places that are known, or known in part.

* What counts 0, 1, 2, ... is not negative, and a valid index where it counts to the axis' length.
* Entries at a few constant places of a short axis are slices, side by side.
* One entry from each row, x[i, column[i]], is written as a gather from the flat array; its adjoint
  is a scatter into one. Both as selections along the row leave every row by itself, so that all of
  a row's work can be done while it is in the cache.

All rules are exact, and every index is still checked to be in range.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import add, mul
from gradc.ir.ops.cast import converted
from gradc.ir.ops.constants import (
    array,
    constant,
    constant_number,
    iota,
    scalar,
    size_value,
    zeros_like,
)
from gradc.ir.ops.indexing import scatter_add, take
from gradc.ir.ops.logic import eq, lt, where
from gradc.ir.ops.slicing import concat, pad, slice_
from gradc.ir.ops.structural import broadcast, reshape, reversed_, sum_, transpose
from gradc.ir.passes.matching import Inputs, attrs_of, input_of, inputs_of, is_number, repeated
from gradc.ir.passes.rewrite import Table, rewrite

_MOST_SLICES = 16
_SHORT_ROW = 64


def simplify_indexing(fn: Function) -> Function:
    """`fn` with the rules above; gathers from rows only become selections beside their adjoint."""
    if not any(made.op in (take, scatter_add) for made in fn.equations):
        return fn
    fn = rewrite(fn, _RULES)
    adjoints = {found for made in fn.equations if (found := _entries_of_rows(made)) is not None}
    if not adjoints:
        return fn
    return rewrite(fn, _RULES_BESIDE_ADJOINTS)


# --- indices that count -----------------------------------------------------------------------


def _never_negative(made: Equation) -> Value | None:
    """where(count < 0, x, y) -> y."""
    condition, _, otherwise = made.inputs
    sides = inputs_of(condition, lt)
    if sides is None or not is_number(sides[1], 0) or _counter(sides[0]) is None:
        return None
    return otherwise


def _take_from_count(made: Equation) -> Value | None:
    """take(0 1 2 ..., i) -> i, where i certainly is in range."""
    x, indices = made.inputs
    if x.owner is None or x.owner.op is not iota:
        return None
    return converted(indices, x.dtype) if _is_within(indices, x.shape[0]) else None


def _is_within(x: Value, length: Dim) -> bool:
    """Whether all entries of x certainly are among 0, 1, ..., length - 1."""
    if x.owner is not None and x.owner.op is constant:
        places = x.owner.attrs["value"].array
        return isinstance(length, int) and bool(((places >= 0) & (places < length)).all())
    counter = _counter(x)
    return counter is not None and counter == length


def _counter(x: Value) -> Dim | None:
    """The length n, if all entries of x are among 0, 1, ..., n - 1."""
    while x.owner is not None:
        if x.owner.op is iota:
            size: Dim = x.owner.attrs["size"]
            return size
        if x.owner.op not in (reshape, broadcast, transpose, slice_, reversed_, take):
            return None
        x = x.owner.inputs[0]
    return None


# --- constant indices -------------------------------------------------------------------------


def _take_constant_places(made: Equation) -> Value | None:
    """take(x, [2, 0]) -> concat(x[2:3], x[0:1]) of a static axis; equal steps give one slice."""
    (x, indices), axis = made.inputs, made.attrs["axis"]
    parts = [_strided(x, axis, *run) for run in _runs(indices, x.shape[axis])]
    if not parts:
        return None
    joined: Value = concat(*parts, axis=axis) if len(parts) > 1 else parts[0]
    result: Value = reshape(joined, shape=made.outputs[0].shape)
    return result


def _scatter_to_constant_places(made: Equation) -> Value | None:
    """scatter_add(base, [2, 0], x) -> base + pad(x[0:1]) + pad(x[1:2]) of a static axis."""
    (base, indices, updates), axis = made.inputs, made.attrs["axis"]
    runs, shape = list(_runs(indices, base.shape[axis], longest=1)), base.shape
    if not runs:
        return None
    flat = reshape(updates, shape=(*shape[:axis], indices.type.size, *shape[axis + 1 :]))
    total, start = (None if is_number(base, 0) else base), 0
    for first, stop, step in runs:
        count = len(range(first, stop, step))
        part = _strided(flat, axis, start, start + count, 1)
        placed: Value = pad(
            part,
            scalar(0, base.dtype),
            low=_along(axis, first, (0,) * base.type.rank),
            high=_along(axis, shape[axis] - stop, (0,) * base.type.rank),
            interior=_along(axis, step - 1, (0,) * base.type.rank),
        )
        total, start = placed if total is None else total + placed, start + count
    return total


def _runs(
    indices: Value, length: Dim, longest: int | None = None
) -> Iterable[tuple[int, int, int]]:
    """Start, stop and step of the constant indices, as many at once as lie at equal steps.

    Steps are at most `longest`; of 1, they make blocks that `pads.py` can lay side by side. There
    is nothing where indices are not constant, too many or not valid.
    """
    if indices.owner is None or indices.owner.op is not constant or not isinstance(length, int):
        return
    places = indices.owner.attrs["value"].array.ravel().tolist()
    if len(places) > _MOST_SLICES or not all(0 <= place < length for place in places):
        return
    start = 0
    while start < len(places):
        step = places[start + 1] - places[start] if start + 1 < len(places) else 1
        stop = start + 1
        if step < 1 or (longest is not None and step > longest):
            step = 1
        while stop < len(places) and places[stop] - places[stop - 1] == step:
            stop += 1
        yield places[start], places[stop - 1] + 1, step
        start = stop


def _along(axis: int, value: Dim, otherwise: Shape) -> Shape:
    return (*otherwise[:axis], value, *otherwise[axis + 1 :])


def _strided(x: Value, axis: int, start: int, stop: int, step: int) -> Value:
    rank = x.type.rank
    part: Value = slice_(
        x,
        starts=_along(axis, start, (0,) * rank),
        stops=_along(axis, stop, x.shape),
        steps=_along(axis, step, (1,) * rank),
    )
    return part


# --- one entry a row --------------------------------------------------------------------------


def _entries_of_rows(made: Equation) -> tuple[Shape, Value] | None:
    """The rows' shape and the columns, if this is a reshape of a scatter of one entry a row."""
    if made.op is not reshape or len(made.attrs["shape"]) != 2:
        return None
    operands = inputs_of(made.inputs[0], scatter_add)
    if operands is None or operands[0].type.rank != 1:
        return None
    columns = _columns(operands[1], made.attrs["shape"])
    return None if columns is None else (made.attrs["shape"], columns)


def _select_in_rows(made: Equation) -> Value | None:
    """scatter_add(base, i * k + column[i], x[i]) as rows -> base + where(j == column[i], x[i], 0).

    j counts the k entries of a row.
    """
    found = _entries_of_rows(made)
    operands = inputs_of(made.inputs[0], scatter_add)
    if found is None or operands is None:
        return None
    shape, columns = found
    base, _, updates = operands
    wide = repeated(reshape(updates, shape=shape[:1]), shape, (0,))
    chosen: Value = where(_is_chosen(columns, shape), wide, zeros_like(wide))
    if is_number(base, 0):
        return chosen
    rows: Value = reshape(base, shape=shape)
    return rows + chosen


def _sum_of_selection(made: Equation) -> Value | None:
    """take(x as one axis, i * k + column[i]) -> sum_j where(j == column[i], x[i, j], 0).

    Not for rows that are known to be long: the gather is less work. In others it is little beside
    the adjoint, which is a selection of whole rows, too.
    """
    flat, indices = made.inputs
    x = input_of(flat, reshape)
    if x is None or x.type.rank != 2 or flat.type.rank != 1 or x.dtype.kind == "b":
        return None
    if isinstance(x.shape[1], int) and x.shape[1] > _SHORT_ROW:
        return None
    columns = _columns(indices, x.shape)
    if columns is None:
        return None
    selected = where(_is_chosen(columns, x.shape), x, zeros_like(x))
    result: Value = reshape(sum_(selected, axes=(1,)), shape=indices.shape)
    return result


def sum_of_chosen(made: Equation) -> Value | None:
    """sum_j where(j == column[i], x[i], 0) -> x[i]."""
    operands = inputs_of(made.inputs[0], where)
    if operands is None or made.attrs["axes"] != (1,) or not is_number(operands[2], 0):
        return None
    sides = inputs_of(operands[0], eq)
    count, columns = (input_of(side, broadcast) for side in sides or (made.inputs[0],) * 2)
    if count is None or columns is None or not _counts_along(count, made.inputs[0].shape[1]):
        return None
    source, axes = input_of(operands[1], broadcast), attrs_of(operands[1]).get("axes", ())
    if source is None or 1 in axes or not _is_within(columns, made.inputs[0].shape[1]):
        return None
    return repeated(source, made.outputs[0].shape, axes)


def _is_chosen(columns: Value, shape: Shape) -> Value:
    """Whether an entry is the one of its row that `columns` names."""
    count = iota(size=shape[1], dtype=columns.dtype)
    one_a_row = reshape(columns, shape=shape[:1])
    result: Value = eq(repeated(count, shape, (1,)), repeated(one_a_row, shape, (0,)))
    return result


def _columns(indices: Value, shape: Shape) -> Value | None:
    """The columns, if `indices` are row * k + column, once for each of the rows in order.

    They must be valid for themselves: a column beyond its row would be an entry of the next one.
    """
    if [dim for dim in indices.shape if dim != 1] != [shape[0]]:
        return None
    if indices.owner is not None and indices.owner.op is constant:
        return _constant_columns(indices, shape[1])
    for start, columns in _orders(inputs_of(indices, add)):
        for rows, width in _orders(inputs_of(_without_units(start), mul)):
            if _is_size(width, shape[1]) and _counts_along(rows, shape[0]):
                return columns if _is_within(columns, shape[1]) else None
    return None


def _constant_columns(indices: Value, width: Dim) -> Value | None:
    """The columns of constant indices, if they are one of each row in order."""
    if not isinstance(width, int) or not width or indices.owner is None:
        return None
    rows, columns = np.divmod(indices.owner.attrs["value"].array.ravel(), width)
    in_order = (rows == np.arange(rows.size)).all()
    return array(columns, indices.dtype) if in_order else None


def _counts_along(rows: Value, length: Dim) -> bool:
    """Whether x counts its entries 0, 1, ..., whatever axes of length 1 it has."""
    rows = _without_units(rows)
    return rows.owner is not None and rows.owner.op is iota and rows.shape[0] == length


def _without_units(x: Value) -> Value:
    """What x was before it got axes of length 1, as far as that had one axis."""
    while x.owner is not None and x.owner.op in (reshape, broadcast):
        (source,) = x.owner.inputs
        if source.type.rank != 1 or source.type.size != x.type.size:
            break
        x = source
    return x


def _is_size(x: Value, dim: Dim) -> bool:
    """Whether x holds the value of a dimension everywhere."""
    if isinstance(dim, int):
        return constant_number(x) == dim
    while (source := input_of(x, broadcast)) is not None:
        x = source
    return x.owner is not None and x.owner.op is size_value and attrs_of(x)["dim"] == dim


def _orders(pair: Inputs | None) -> tuple[Inputs, ...]:
    return () if pair is None else (pair, pair[::-1])


_RULES = Table(
    {
        where: (_never_negative,),
        take: (_take_from_count, _take_constant_places),
        scatter_add: (_scatter_to_constant_places,),
    }
)

_RULES_BESIDE_ADJOINTS = Table({reshape: (_select_in_rows,), take: (_sum_of_selection,)})
