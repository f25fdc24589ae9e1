"""Products and norms, all of them contractions of two operands over labelled axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import Dim
from gradc.ir.types import bool_, i64
from gradc.tensor.axes import as_axis, distinct_axes
from gradc.tensor.operands import (
    ArrayLike,
    asarray,
    assume_shape,
    build,
    cast,
    note,
    notes,
    promote,
    reshape_to,
    same_length,
)
from gradc.tensor.pointwise import abs, equal, multiply, not_equal, sqrt, square, where
from gradc.tensor.reductions import max, sum
from gradc.tensor.shaping import ravel, transpose
from gradc.tensor.sizes import display
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor


@located
def matmul(a: ArrayLike, b: ArrayLike) -> Tensor:
    """`a @ b`: the last axis of a with the last but one of b; the axes before broadcast."""
    x, y = asarray(a), asarray(b)
    if not x.ndim or not y.ndim:
        raise GradcTypeError("a scalar has no matrix product", operands=notes((x, y)), hint="use *")
    rows, inner, columns = 0, 1, 2
    batch = tuple(range(3, 3 + _batch_rank(x, y)))
    lhs = (*batch[len(batch) - (x.ndim - 2) :], rows, inner) if x.ndim > 1 else (inner,)
    rhs = (*batch[len(batch) - (y.ndim - 2) :], inner, columns) if y.ndim > 1 else (inner,)
    out = (*batch, *((rows,) if x.ndim > 1 else ()), *((columns,) if y.ndim > 1 else ()))
    _check_inner(x, y)
    return contract(x, y, lhs, rhs, out, "matmul")


def _batch_rank(x: Tensor, y: Tensor) -> int:
    return sorted((x.ndim - 2, y.ndim - 2, 0))[-1]


def _check_inner(x: Tensor, y: Tensor) -> None:
    last, first = x.shape[-1], y.shape[-2 if y.ndim > 1 else 0]
    if same_length(last, first) is not None:
        return
    which = "the only axis" if y.ndim == 1 else "the last but one axis"
    left, right = x.name or "the left operand", y.name or "the right operand"
    raise GradcValueError(
        "these shapes cannot be multiplied",
        label=f"the last axis of {left} is {last}, {which} of {right} is {first}",
        operands=notes((x, y)),
        hint=_transposing_hint(x, y),
    )


def _transposing_hint(x: Tensor, y: Tensor) -> str:
    """Which transpose would make the product fit, if one does."""
    first = y.shape[-2 if y.ndim > 1 else 0]
    if x.ndim == 2 and x.shape[0] == first:
        return f"did you mean `{x.name or 'a'}.T @ {y.name or 'b'}`?"
    if y.ndim == 2 and x.shape[-1] == y.shape[1]:
        return f"did you mean `{x.name or 'a'} @ {y.name or 'b'}.T`?"
    return ""


@located
def dot(a: ArrayLike, b: ArrayLike) -> Tensor:
    """NumPy's dot: the last axis of a with the last but one of b, all other axes side by side."""
    x, y = asarray(a), asarray(b)
    if not x.ndim or not y.ndim:
        return multiply(x, y)
    return tensordot(x, y, ((x.ndim - 1,), (y.ndim - 2 if y.ndim > 1 else 0,)))


@located
def vdot(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The sum of products of all elements."""
    return dot(ravel(a), ravel(b))


@located
def inner(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The last axes multiplied and summed."""
    x, y = asarray(a), asarray(b)
    return tensordot(x, y, ((-1,), (-1,))) if x.ndim and y.ndim else multiply(x, y)


@located
def vecdot(a: ArrayLike, b: ArrayLike, axis: int = -1) -> Tensor:
    """The products along one axis summed, the other axes broadcast."""
    return sum(multiply(a, b), axis)


@located
def outer(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The products of every element of a with every element of b."""
    return tensordot(ravel(a), ravel(b), 0)


@located
def tensordot(a: ArrayLike, b: ArrayLike, axes: Any = 2) -> Tensor:
    """The sum of products over pairs of axes: k (the last k with the first k), or two lists."""
    x, y = asarray(a), asarray(b)
    left, right = _contracted_axes(x, y, axes)
    lhs, rhs = list(range(x.ndim)), list(range(x.ndim, x.ndim + y.ndim))
    for i, j in zip(left, right, strict=True):
        rhs[j] = lhs[i]
    out = [label for i, label in enumerate(lhs) if i not in left]
    out += [label for j, label in enumerate(rhs) if j not in right]
    return contract(x, y, tuple(lhs), tuple(rhs), tuple(out), "tensordot")


def _contracted_axes(x: Tensor, y: Tensor, axes: Any) -> tuple[Sequence[int], Sequence[int]]:
    if isinstance(axes, int):
        if not 0 <= axes <= x.ndim or axes > y.ndim:
            raise GradcValueError(
                f"tensordot: {axes} axes cannot be summed over", operands=notes((x, y))
            )
        return range(x.ndim - axes, x.ndim), range(axes)
    first, second = ((pair,) if isinstance(pair, int) else tuple(pair) for pair in axes)
    if len(first) != len(second):
        raise GradcValueError(f"tensordot: {axes!r} pairs {len(first)} with {len(second)} axes")
    return distinct_axes(first, x.ndim, x), distinct_axes(second, y.ndim, y)


def contract(
    x: Tensor,
    y: Tensor,
    lhs: tuple[int, ...],
    rhs: tuple[int, ...],
    out: tuple[int, ...],
    name: str,
) -> Tensor:
    """The sum of products over the labels that are not in `out`; one label, one length.

    An axis of length 1 stands for any length of its label. Labels that only one operand has, and
    that are not in `out`, are summed in it first.
    """
    x, y = promote(x, y)
    logical = x.dtype == bool_
    if logical:
        x, y = cast(x, i64), cast(y, i64)
    lengths = _label_lengths((x, y), (lhs, rhs), name)
    x, lhs = _prepared(x, lhs, lengths, {*rhs, *out})
    y, rhs = _prepared(y, rhs, lengths, {*lhs, *out})
    x, lhs = _prepared(x, lhs, lengths, {*rhs, *out})
    present = {*lhs, *rhs}
    kept = tuple(label for label in out if label in present)
    result = build("contract", x, y, lhs=lhs, rhs=rhs, out=kept)
    if kept != out:  # labels whose length is 1 everywhere
        shape = tuple(lengths[label] for label in out)
        result = reshape_to(result, shape)
    return not_equal(result, 0) if logical else result


def _label_lengths(
    arrays: tuple[Tensor, Tensor], labels: tuple[tuple[int, ...], ...], name: str
) -> dict[int, Dim]:
    lengths: dict[int, Dim] = {}
    for x, names in zip(arrays, labels, strict=True):
        for axis, label in enumerate(names):
            found, length = lengths.get(label, 1), x.shape[axis]
            common = same_length(found, length) if 1 not in (found, length) else None
            if common is None and 1 not in (found, length):
                raise GradcValueError(
                    f"{name}: axes that are multiplied have different lengths",
                    label=f"{display(found)} against {display(length)}",
                    operands=notes(arrays),
                )
            lengths[label] = length if found == 1 else common or found
    return lengths


def _prepared(
    x: Tensor, labels: tuple[int, ...], lengths: dict[int, Dim], elsewhere: set[int]
) -> tuple[Tensor, tuple[int, ...]]:
    """The operand without axes of length 1 and without labels that nobody else has."""
    kept = [i for i in range(x.ndim) if x.shape[i] != 1]
    x = reshape_to(x, tuple(x.shape[i] for i in kept))
    labels = tuple(labels[i] for i in kept)
    x = assume_shape(x, tuple(lengths[label] for label in labels))
    lonely = tuple(i for i, label in enumerate(labels) if label not in elsewhere)
    if not lonely:
        return x, labels
    rest = tuple(label for label in labels if label in elsewhere)
    return build("sum", x, axes=lonely), rest


@located
def diagonal(x: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements with equal indices on two axes, as the last axis of the result."""
    x = asarray(x)
    first, second = distinct_axes((axis1, axis2), x.ndim, x)
    if offset:
        raise GradcValueError("diagonal: only the main diagonal (offset 0) can be taken")
    n, m = x.shape[first], x.shape[second]
    length = _diagonal_length(n, m)
    if length is None:
        raise GradcValueError(
            "diagonal: the two axes have different lengths",
            label=f"{display(n)} against {display(m)}",
            operands=(note(0, x),),
        )
    others = [axis for axis in range(x.ndim) if axis not in (first, second)]
    last = transpose(x, (*others, first, second))
    if not isinstance(n, int) or not isinstance(m, int):
        last = assume_shape(last, (*last.shape[:-2], length, length))
        m = length
    flat = reshape_to(last, (*last.shape[:-2], last.shape[-2] * last.shape[-1]))
    places = multiply(build("iota", size=length, dtype=i64), m + 1)
    return build("take", flat, places, axis=flat.ndim - 1)


def _diagonal_length(n: Dim, m: Dim) -> Dim | None:
    if isinstance(n, int) and isinstance(m, int):
        return n if n < m else m
    return same_length(n, m)


@located
def trace(x: ArrayLike, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of the diagonal."""
    return sum(diagonal(x, 0, axis1, axis2), -1)


@located
def norm(x: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The Euclidean norm over the axes, or `ord` 1 or inf; the derivative at 0 is 0."""
    x = asarray(x)
    if ord == 1:
        return sum(abs(x), axis, keepdims=keepdims)
    if ord == float("inf"):
        return max(abs(x), axis, keepdims)
    if ord not in (None, 2, "fro") or (ord == 2 and axis is None and x.ndim > 1):
        raise GradcValueError(f"norm: ord={ord!r} is not known here; there are None, 1 and inf")
    squares = sum(square(x if x.dtype.is_float else cast_to_float(x)), axis, keepdims=keepdims)
    return where(equal(squares, 0), 0, sqrt(squares))


def cast_to_float(x: Tensor) -> Tensor:
    """`x` in f64."""
    return asarray(x, "f64")


@located
def tril(x: ArrayLike, k: int = 0) -> Tensor:
    """The array with zeros above the k-th diagonal of its last two axes."""
    return _triangle(asarray(x), k, lower=True)


@located
def triu(x: ArrayLike, k: int = 0) -> Tensor:
    """The array with zeros below the k-th diagonal of its last two axes."""
    return _triangle(asarray(x), k, lower=False)


def _triangle(x: Tensor, k: int, lower: bool) -> Tensor:
    as_axis(-2, x.ndim, x)
    shape = x.shape[-2:]
    rows, columns = (build("iota", size=n, dtype=i64) for n in shape)
    rows = build("broadcast", rows + k, shape=shape, axes=(0,))
    columns = build("broadcast", columns, shape=shape, axes=(1,))
    return where(columns <= rows if lower else columns >= rows, x, 0)
