"""Which matrices are certainly their own transposes.

By real numbers: a product with the transpose of its own factor, `X.T @ (w * X)`, is symmetric
though its entries may differ from their mirror images by rounding.
"""

from __future__ import annotations

from gradc.ir.function import Equation, Value
from gradc.ir.lowering import Pointwise
from gradc.ir.ops.arithmetic import add, div, mul, neg
from gradc.ir.ops.contract import contract
from gradc.ir.ops.logic import eq
from gradc.ir.ops.structural import broadcast, transpose
from gradc.ir.passes.matching import input_of

_DEPTH = 4  # ops that the tests look through


def is_symmetric(x: Value, depth: int = _DEPTH) -> bool:
    """Whether a matrix is certainly its own transpose."""
    if x.type.rank != 2 or x.shape[0] != x.shape[1] or x.owner is None:
        return False
    made = x.owner
    if made.op is broadcast:
        return not made.inputs[0].shape
    if made.op is contract:
        return is_symmetric_product(made, depth)
    if made.op is add and _are_transposes(*made.inputs):
        return True
    if made.op is eq or made.op is mul:
        first, second = (input_of(side, broadcast) for side in made.inputs)
        if first is not None and first is second and first.type.rank == 1:
            return True
    if not isinstance(made.op.lower, Pointwise) or not depth:
        return False
    return all(is_symmetric(value, depth - 1) for value in made.inputs)


def is_symmetric_product(made: Equation, depth: int = _DEPTH) -> bool:
    """Whether a contraction is certainly symmetric: X.T @ X, X.T @ (w * X), X @ S @ X.T."""
    lhs, rhs, out = (made.attrs[name] for name in ("lhs", "rhs", "out"))
    if len(out) != 2 or {*out} <= {*lhs} or {*out} <= {*rhs}:
        return False
    a, b = made.inputs
    swapped = {out[0]: out[1], out[1]: out[0]}
    if tuple(swapped.get(label, label) for label in lhs) == rhs:
        row, column = (own.index(next(x for x in own if x in out)) for own in (lhs, rhs))
        if _unscaled(a, row) is _unscaled(b, column):
            return True
    return depth > 0 and (
        _is_between_transposes(a, lhs, b, rhs, depth)
        or _is_between_transposes(b, rhs, a, lhs, depth)
    )


def _unscaled(x: Value, axis: int) -> Value:
    """`x` without the factors that are the same for all entries along an axis."""
    while (made := x.owner) is not None and made.op in (mul, div, neg):
        first, *others = made.inputs
        if all(_is_repeated(other, axis) for other in others):
            x = first
        elif made.op is mul and _is_repeated(first, axis):
            (x,) = others
        else:
            return x
    return x


def _is_repeated(x: Value, axis: int) -> bool:
    return x.owner is not None and x.owner.op is broadcast and axis not in x.owner.attrs["axes"]


def _is_between_transposes(
    product: Value, own: tuple[int, ...], x: Value, other: tuple[int, ...], depth: int
) -> bool:
    """Whether `product`, whose labels `own` meet `other` of `x`, is x @ S for a symmetric S."""
    made = product.owner
    if made is None or made.op is not contract or x.type.rank != 2:
        return False
    lhs, rhs, out = (made.attrs[name] for name in ("lhs", "rhs", "out"))
    summed = [label for label in own if label in other]
    if len(summed) != 1 or len(out) != 2:
        return False
    free = 1 - other.index(summed[0])  # the axis of x that is one of the result
    meeting = out[own.index(summed[0])]
    for (factor, labels), (middle, axes) in (
        ((made.inputs[0], lhs), (made.inputs[1], rhs)),
        ((made.inputs[1], rhs), (made.inputs[0], lhs)),
    ):
        if factor is x and meeting in axes and meeting not in labels and labels[free] in out:
            return labels[1 - free] in axes and is_symmetric(middle, depth - 1)
    return False


def _are_transposes(x: Value, y: Value) -> bool:
    return input_of(x, transpose) is y or input_of(y, transpose) is x
