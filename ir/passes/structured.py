"""Contractions with an operand of known structure: diagonal, symmetric, or repeated along axes.

The rules are identities of real numbers, as those of `contractions.py`: products with the zeros of
an identity matrix are left out, so that where infinities met them there may be no nan.
"""

from __future__ import annotations

from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Equation, Value
from gradc.ir.ops.arithmetic import mul
from gradc.ir.ops.cast import cast, converted
from gradc.ir.ops.constants import filled, full, iota, size_value, zeros_like
from gradc.ir.ops.contract import contract
from gradc.ir.ops.indexing import scatter_add, take
from gradc.ir.ops.logic import eq, ge, logical_and, lt, where
from gradc.ir.ops.slicing import pad, slice_, span
from gradc.ir.ops.structural import broadcast, sum_, transpose
from gradc.ir.passes.matching import Inputs, attrs_of, input_of, inputs_of, is_number, repeated
from gradc.ir.record import dataclass
from gradc.ir.symmetry import is_symmetric
from gradc.ir.types import i64

Labels = tuple[int, ...]


def product_without_sum(made: Equation) -> Value | None:
    """A contraction that sums nothing is a product of its operands, each repeated."""
    lhs, rhs, out = _labels(made)
    if not made.outputs[0].dtype.is_float or not {*lhs, *rhs} <= set(out):
        return None
    shape = made.outputs[0].shape
    a, b = made.inputs
    return spread(a, lhs, out, shape) * spread(b, rhs, out, shape)


def spread(x: Value, labels: Labels, out: Labels, shape: Shape) -> Value:
    """`x`, whose axes have these labels, as an array of `shape` with axes labelled `out`."""
    places = [out.index(label) for label in labels]
    order = tuple(sorted(range(len(places)), key=lambda axis: places[axis]))
    ordered = x if order == tuple(range(len(order))) else transpose(x, permutation=order)
    return repeated(ordered, shape, tuple(sorted(places)))


def repeat_after_contraction(made: Equation) -> Value | None:
    """An axis of the result along which an operand is repeated is made last, by a broadcast."""
    lhs, rhs, out = _labels(made)
    for position, own, other in ((0, lhs, rhs), (1, rhs, lhs)):
        source = input_of(made.inputs[position], broadcast)
        if source is None:
            continue
        kept = tuple(own[axis] for axis in attrs_of(made.inputs[position])["axes"])
        gone = {label for label in own if label not in kept and label not in other}
        if not gone:
            continue
        narrow = _narrowed(made.inputs[position], own, gone)
        rest = tuple(label for label in own if label not in gone)
        left = tuple(label for label in out if label not in gone)
        sides = ((narrow, rest), (made.inputs[1 - position], other))
        (a, first), (b, second) = sides if position == 0 else sides[::-1]
        product: Value = contract(a, b, lhs=first, rhs=second, out=left)
        placed = tuple(out.index(label) for label in left)
        return repeated(product, made.outputs[0].shape, placed)
    return None


def _narrowed(wide: Value, labels: Labels, gone: set[int]) -> Value:
    """A broadcast value without those axes along which it is repeated."""
    source, axes = wide.owner.inputs[0] if wide.owner else wide, attrs_of(wide)["axes"]
    kept = [axis for axis, label in enumerate(labels) if label not in gone]
    shape = tuple(wide.shape[axis] for axis in kept)
    return repeated(source, shape, tuple(kept.index(axis) for axis in axes))


@dataclass(frozen=True, slots=True)
class _Diagonal:
    """A square matrix that is zero off its diagonal; `weights` lie there, or ones."""

    weights: Value | None = None


def product_with_diagonal(made: Equation) -> Value | None:
    """sum_j D[i, j] b[..., j, ...] -> b[..., i, ...], times the weights on the diagonal of D."""
    lhs, rhs, out = _labels(made)
    for position, own, other in ((0, lhs, rhs), (1, rhs, lhs)):
        summed = [label for label in own if label in other and label not in out]
        free = [label for label in own if label not in other]
        if len(own) != 2 or len(summed) != 1 or len(free) != 1:
            continue
        diagonal = _diagonal(made.inputs[position])
        if diagonal is None:
            continue
        shape = made.outputs[0].shape
        renamed = tuple(free[0] if label == summed[0] else label for label in other)
        product = spread(made.inputs[1 - position], renamed, out, shape)
        if diagonal.weights is None:
            return product
        return product * spread(diagonal.weights, (free[0],), out, shape)
    return None


def product_with_padded(made: Equation) -> Value | None:
    """Terms with zeros that pad an operand along a summed axis are left out of the sum."""
    lhs, rhs, out = _labels(made)
    for position, own, other in ((0, lhs, rhs), (1, rhs, lhs)):
        operands = inputs_of(made.inputs[position], pad)
        if operands is None or not is_number(operands[1], 0):
            continue
        x, padding = operands[0], attrs_of(made.inputs[position])
        widths = zip(padding["low"], padding["high"], padding["interior"], strict=True)
        summed = [label in other and label not in out for label in own]
        bare = [width == (0, 0, 0) for width in widths]
        if all(bare) or not all(a or b for a, b in zip(summed, bare, strict=True)):
            continue
        y = made.inputs[1 - position]
        starts, stops, steps = [0] * y.type.rank, list(y.shape), [1] * y.type.rank
        for axis, label in enumerate(own):
            if not bare[axis]:
                at, step = other.index(label), padding["interior"][axis] + 1
                starts[at], steps[at] = padding["low"][axis], step
                stops[at] = padding["low"][axis] + span(x.shape[axis], step)
        rest = slice_(y, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))
        a, b = (x, rest) if position == 0 else (rest, x)
        result: Value = contract(a, b, lhs=lhs, rhs=rhs, out=out)
        return result
    return None


def product_with_one_hot(made: Equation) -> Value | None:
    """Products with ones at i[n] in row n, and zeros elsewhere, are gathers and scatters.

    sum_k H[n, k] b[k, ...] -> b[i[n], ...]; sum_n H[n, k] b[n, ...] -> scatter_add(0, i, b). A row
    whose i is no column has zeros only.
    """
    lhs, rhs, out = _labels(made)
    for position, own, other in ((0, lhs, rhs), (1, rhs, lhs)):
        summed = [label for label in own if label in other and label not in out]
        free = [label for label in own if label not in other]
        places = _one_hot(made.inputs[position]) if len(own) == 2 else None
        if places is None or len(summed) != 1 or len(free) != 1:
            continue
        b, shape = made.inputs[1 - position], made.inputs[position].shape
        places = converted(places, i64)
        axis = other.index(summed[0])
        rest = tuple(free[0] if label == summed[0] else label for label in other)
        valid = _is_valid(places, shape[1])
        clipped = where(valid, places, zeros_like(places))
        if summed[0] == own[1]:
            taken = take(b, clipped, axis=axis)
            picked = where(repeated(valid, taken.shape, (axis,)), taken, zeros_like(taken))
        else:
            added = where(repeated(valid, b.shape, (axis,)), b, zeros_like(b))
            zeros = full((*b.shape[:axis], shape[1], *b.shape[axis + 1 :]), 0, b.dtype)
            picked = scatter_add(zeros, clipped, added, axis=axis)
        return spread(picked, rest, out, made.outputs[0].shape)
    return None


def _one_hot(x: Value) -> Value | None:
    """The columns i, if x[n, k] is 1 where k = i[n] and 0 elsewhere, and i does not just count."""
    condition = input_of(x, cast)
    for count, wide in _orders(None if condition is None else inputs_of(condition, eq)):
        places = input_of(wide, broadcast)
        along = (attrs_of(count).get("axes"), attrs_of(wide).get("axes"))
        if places is not None and _is_count(count) and along == ((1,), (0,)):
            return None if places.owner is not None and places.owner.op is iota else places
    return None


def _is_valid(places: Value, length: Dim) -> Value:
    """Whether each of the places lies in an axis of that length."""
    end = filled(places.shape, size_value(dim=length))
    result: Value = logical_and(ge(places, zeros_like(places)), lt(places, end))
    return result


def sum_of_diagonal(made: Equation) -> Value | None:
    """The sum, over one axis or both, of a product of matrices on its diagonal.

    sum_j I[i, j] (sum_k a[i, k] b[j, k]) -> sum_k a[i, k] b[i, k]: no other entry is computed.
    """
    for matrix, mask in _orders(inputs_of(made.inputs[0], mul)):
        operands, condition = inputs_of(matrix, contract), input_of(mask, cast)
        if operands is None or condition is None or not _is_on_diagonal(condition):
            continue
        lhs, rhs, (row, column) = (attrs_of(matrix)[name] for name in ("lhs", "rhs", "out"))
        if len({row, column} & set(lhs)) != 1 or len({row, column} & set(rhs)) != 1:
            continue
        first, second = (
            tuple(row if label == column else label for label in labels) for labels in (lhs, rhs)
        )
        diagonal: Value = contract(*operands, lhs=first, rhs=second, out=(row,))
        result: Value = sum_(diagonal, axes=(0,)) if len(made.attrs["axes"]) == 2 else diagonal
        return result
    return None


def _diagonal(x: Value) -> _Diagonal | None:
    """The diagonal of a matrix that is known to be zero elsewhere."""
    condition = input_of(x, cast)
    if condition is not None:
        return _Diagonal() if _is_on_diagonal(condition) else None
    for factor, matrix in _orders(inputs_of(x, mul)):
        inner = input_of(matrix, cast)
        if inner is not None and _is_on_diagonal(inner):
            return _weighted(factor)
    branches = inputs_of(x, where)
    if branches is None or not is_number(branches[2], 0) or not _is_on_diagonal(branches[0]):
        return None
    return _weighted(branches[1])


def _weighted(factor: Value) -> _Diagonal | None:
    """The diagonal with these factors, if they are the same along rows, or along columns."""
    source = input_of(factor, broadcast)
    if source is None or source.type.rank > 1:
        return None
    return _Diagonal(repeated(source, factor.shape[:1], ()) if not source.shape else source)


def _is_on_diagonal(condition: Value) -> bool:
    """Whether a condition on a square matrix is that the row is the column."""
    sides = inputs_of(condition, eq)
    if sides is None or condition.type.rank != 2 or condition.shape[0] != condition.shape[1]:
        return False
    axes = [attrs_of(side)["axes"] for side in sides if _is_count(side)]
    return sorted(axes) == [(0,), (1,)]


def _is_count(x: Value) -> bool:
    """Whether x counts 0, 1, 2, ... along an axis and is repeated along the others."""
    source = input_of(x, broadcast)
    return source is not None and source.owner is not None and source.owner.op is iota


def summed_axis_first(made: Equation) -> Value | None:
    """A symmetric operand is read with the axis first that the other operand has.

    So products that differ only in that become one. (X.T @ X is symmetric, and so is what is made
    of it entry by entry.)
    """
    lhs, rhs, out = _labels(made)
    a, b = made.inputs
    if _is_to_be_turned(lhs, rhs) and is_symmetric(a):
        result: Value = contract(a, b, lhs=lhs[::-1], rhs=rhs, out=out)
        return result
    if _is_to_be_turned(rhs, lhs) and is_symmetric(b):
        turned: Value = contract(a, b, lhs=lhs, rhs=rhs[::-1], out=out)
        return turned
    return None


def _is_to_be_turned(own: Labels, other: Labels) -> bool:
    return len(own) == 2 and own[0] not in other and own[1] in other


def _orders(pair: Inputs | None) -> tuple[Inputs, ...]:
    return () if pair is None else (pair, pair[::-1])


def _labels(made: Equation) -> tuple[Labels, Labels, Labels]:
    return made.attrs["lhs"], made.attrs["rhs"], made.attrs["out"]
