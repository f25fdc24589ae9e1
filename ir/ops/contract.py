"""The contraction of two operands (einsum), and the matrix products that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Value
from gradc.ir.lowering import Contraction
from gradc.ir.op import Cotangent, Op
from gradc.ir.ops.kinds import quiet, sum_terms
from gradc.ir.ops.structural import reshape, transpose
from gradc.ir.types import ArrayType, TypeRuleError

Array = np.ndarray[Any, Any]
Labels = tuple[int, ...]


def _infer(a: ArrayType, b: ArrayType, *, lhs: Labels, rhs: Labels, out: Labels) -> ArrayType:
    """a[lhs], b[rhs] -> [out], with one length a label.

    Of booleans the product is `and`, the sum `or`.
    """
    _check_labels(a, b, lhs, rhs, out)
    if a.dtype != b.dtype:
        raise TypeRuleError(f"contract: operands of one dtype were expected, not {a} and {b}")
    lengths: dict[int, Dim] = dict(zip(lhs, a.shape, strict=True))
    for axis, (label, length) in enumerate(zip(rhs, b.shape, strict=True)):
        if lengths.setdefault(label, length) != length:
            raise TypeRuleError(
                f"contract: axis {lhs.index(label)} of {a} has the length {lengths[label]}, but "
                f"axis {axis} of {b}, which is multiplied with it, has the length {length}"
            )
    return a.with_shape(tuple(lengths[label] for label in out))


def _check_labels(a: ArrayType, b: ArrayType, lhs: Labels, rhs: Labels, out: Labels) -> None:
    for what, labels in (("lhs", lhs), ("rhs", rhs), ("out", out)):
        if not isinstance(labels, tuple) or not all(type(label) is int for label in labels):
            raise TypeRuleError(f"contract: {what} is a tuple of integers, not {labels!r}")
        if len(set(labels)) != len(labels):
            raise TypeRuleError(f"contract: a label repeats in {what}={labels}")
    if (len(lhs), len(rhs)) != (a.rank, b.rank):
        raise TypeRuleError(
            f"contract: one label an axis was expected; {a} has lhs={lhs}, {b} has rhs={rhs}"
        )
    for label in {*lhs, *rhs, *out}:
        if (label in lhs) + (label in rhs) + (label in out) < 2:
            raise TypeRuleError(
                f"contract: the label {label} stands only once in lhs={lhs}, rhs={rhs}, out={out}; "
                "sum over an axis of one operand before"
            )


def _evaluate(a: Array, b: Array, *, lhs: Labels, rhs: Labels, out: Labels) -> Array:
    """As one product of (stacked) matrices: batch, rows, inner, columns."""
    batch = tuple(label for label in lhs if label in rhs and label in out)
    rows = tuple(label for label in lhs if label not in rhs)
    inner = tuple(label for label in lhs if label in rhs and label not in out)
    columns = tuple(label for label in rhs if label not in lhs)
    lengths = dict(zip((*lhs, *rhs), (*a.shape, *b.shape), strict=True))

    def stacked(x: Array, labels: Labels, *groups: Labels) -> Array:
        order = [labels.index(label) for group in groups for label in group]
        sizes = [prod(lengths[label] for label in group) for group in groups]
        return np.transpose(x, order).reshape(sizes)

    product = stacked(a, lhs, batch, rows, inner) @ stacked(b, rhs, batch, inner, columns)
    found = (*batch, *rows, *columns)
    unstacked = product.reshape([lengths[label] for label in found])
    return np.transpose(unstacked, [found.index(label) for label in out])


def _jvp(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], **labels: Labels
) -> Value | None:
    if not result.dtype.is_float:
        return None
    (a, b), (da, db) = primals, tangents
    factors = ((da, b), (a, db))
    return sum_terms(
        contract(x, y, **labels) for x, y in factors if x is not None and y is not None
    )


def _vjp(
    primals: Sequence[Value],
    result: Value,
    cotangent: Value,
    *,
    lhs: Labels,
    rhs: Labels,
    out: Labels,
) -> tuple[Cotangent, Cotangent]:
    """The result takes an operand's place: the labels are permuted, nothing is transposed."""
    if not result.dtype.is_float:
        return None, None
    a, b = primals
    return (
        contract(cotangent, b, lhs=out, rhs=rhs, out=lhs),
        contract(a, cotangent, lhs=lhs, rhs=out, out=rhs),
    )


def _batch(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    size: Dim,
    *,
    lhs: Labels,
    rhs: Labels,
    out: Labels,
) -> Any:
    fresh = max((*lhs, *rhs, *out), default=-1) + 1
    lhs, rhs = ((fresh, *lhs) if batched[0] else lhs, (fresh, *rhs) if batched[1] else rhs)
    return contract(*inputs, lhs=lhs, rhs=rhs, out=(fresh, *out))


contract: Op = Op(
    name="contract",
    infer=_infer,
    evaluate=quiet(_evaluate),
    jvp=_jvp,
    vjp=_vjp,
    batch=_batch,
    lower=Contraction(),
)


_ROW, _COLUMN, _INNER = 0, 1, 2  # labels of matmul; the batch axes follow


def matmul(a: Value, b: Value) -> Value:
    """The matrix product as NumPy defines it; [k] is a row on the left, a column on the right.

    [*B, m, k] @ [*B, k, n] -> [*B, m, n]. Leading axes pair off from the right; one that the other
    operand lacks, or has with the static length 1, is shared by all of its matrices.
    Raises TypeRuleError where the shapes do not fit.
    """
    _check_matmul(a.type, b.type)
    rows: Labels = (_ROW,) if a.type.rank > 1 else ()
    columns: Labels = (_COLUMN,) if b.type.rank > 1 else ()
    batch_a, batch_b = _batch_shape(a.type), _batch_shape(b.type)
    batch: Labels = tuple(range(3, 3 + max(len(batch_a), len(batch_b))))
    a, shared_a = _without_ones(a, batch_a, batch_b, batch)
    b, shared_b = _without_ones(b, batch_b, batch_a, batch)
    product: Value = contract(
        a,
        b,
        lhs=(*shared_a, *rows, _INNER),
        rhs=(*shared_b, _INNER, *columns),
        out=(*batch, *rows, *columns),
    )
    return product


def _batch_shape(x: ArrayType) -> Shape:
    """The lengths in front of the axes that one matrix has."""
    return x.shape[:-2]


def _check_matmul(a: ArrayType, b: ArrayType) -> None:
    if not a.rank or not b.rank:
        raise TypeRuleError(f"matmul: each operand has at least one axis, not {a} @ {b}")
    which = "last but one" if b.rank > 1 else "only"
    if a.dtype != b.dtype:
        raise TypeRuleError(f"matmul: operands of one dtype were expected, not {a} @ {b}; cast one")
    if a.shape[-1] != b.shape[-min(b.rank, 2)]:
        raise TypeRuleError(
            f"matmul: cannot multiply {a} by {b}: the last axis of the left operand has the length "
            f"{a.shape[-1]}, the {which} axis of the right one {b.shape[-min(b.rank, 2)]}"
        )
    for of_a, of_b in zip(reversed(_batch_shape(a)), reversed(_batch_shape(b)), strict=False):
        if of_a != of_b and 1 not in (of_a, of_b):
            raise TypeRuleError(
                f"matmul: cannot multiply {a} by {b}: the leading axes {of_a} and {of_b} differ"
            )


def _without_ones(x: Value, own: Shape, other: Shape, batch: Labels) -> tuple[Value, Labels]:
    """x without the batch axes that the other operand's longer ones stretch; labels of the rest."""
    labels = batch[len(batch) - len(own) :]
    facing = ((1,) * len(own) + other)[len(other) :]
    kept = [i for i, length in enumerate(own) if length != 1 or facing[i] == 1]
    if len(kept) < len(own):
        x = reshape(x, shape=(*(own[i] for i in kept), *x.shape[len(own) :]))
    return x, tuple(labels[i] for i in kept)


def T(x: Value) -> Value:
    """The array with its axes in reverse order, as NumPy's `.T`."""
    result: Value = transpose(x, permutation=tuple(reversed(range(x.type.rank))))
    return result
