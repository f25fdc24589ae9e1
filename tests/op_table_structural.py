"""The table of ops on axes: moves, slices, indexing, reductions, contraction, composites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np
from gradc.ir.dims import parse_dim
from gradc.ir.op import Op
from gradc.ir.ops import (
    composite,
    contract,
    gradient_ops,
    indexing,
    reductions,
    scans,
    slicing,
    sorting,
    structural,
)
from gradc.ir.types import DType, bool_, i32, i64
from op_case import SIZES, Case, Operand

Attrs = Mapping[str, Any]
PAYLOADS: tuple[DType | None, ...] = (None, i64, i32, bool_)
NUMBERS: tuple[DType | None, ...] = (None, i64, i32)
n, m = parse_dim("n"), parse_dim("m")


def rows(
    op: Op,
    expected: Callable[..., Any],
    *shapes: tuple[int | str, ...],
    note: str = "",
    payloads: tuple[DType | None, ...] = PAYLOADS,
    empty: Mapping[str, int] | None = None,
    sizes: Mapping[str, int] = SIZES,
    **attrs: Any,
) -> list[Case]:
    """A case for each payload dtype (None: floats); `empty` None: the sizes with n = 0."""
    symbolic = any(isinstance(dim, str) for shape in shapes for dim in shape)
    nothing = ({**SIZES, "n": 0} if empty is None else empty) if symbolic else None
    return [
        Case(
            op,
            tuple(Operand(shape, -3, 3, dtype) for shape in shapes),
            expected,
            attrs,
            "-".join(filter(None, (note, dtype.name if dtype else ""))),
            sizes,
            nothing or None,
        )
        for dtype in payloads
    ]


def axes_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function whose `axis` is given as `axes`."""
    return lambda x, *, axes: function(x, axis=axes)


def _transpose(x: Any, *, permutation: tuple[int, ...]) -> Any:
    return np.transpose(x, permutation)


def _reshape(x: Any, *, shape: tuple[int, ...]) -> Any:
    return x.reshape(shape)


def _broadcast(x: Any, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    result = np.empty(shape, x.dtype)
    for position in np.ndindex(*shape):
        result[position] = x[tuple(position[axis] for axis in axes)]
    return result


def _slice(x: Any, *, starts: Any, stops: Any, steps: Any) -> Any:
    for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        x = np.take(x, list(range(start, stop, step)), axis)
    return x


def _pad(x: Any, fill: Any, *, low: Any, high: Any, interior: Any) -> Any:
    for axis, (before, behind, between) in enumerate(zip(low, high, interior, strict=True)):
        entries = list(np.moveaxis(x, axis, 0))
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        filling = [np.full(rest, fill)]
        line = filling * (before if entries else before - between)  # empty counts -between
        for number, entry in enumerate(entries):
            line += [entry] if number == 0 else [*filling * between, entry]
        line += filling * behind
        x = np.moveaxis(np.array(line).reshape(len(line), *rest), 0, axis)
    return x


def _update(x: Any, update: Any, *, starts: Any, steps: Any) -> Any:
    result = x.copy()
    for position in np.ndindex(*update.shape):
        at = zip(starts, position, steps, strict=True)
        result[tuple(start + i * step for start, i, step in at)] = update[position]
    return result


STRUCTURAL = (
    *rows(structural.broadcast, _broadcast, (), shape=(4, 3), axes=(), note="scalar"),
    *rows(structural.broadcast, _broadcast, (), shape=(), axes=(), note="0-d"),
    *rows(structural.broadcast, _broadcast, ("n",), shape=(2, n, n), axes=(1,), note="vector"),
    *rows(structural.broadcast, _broadcast, ("n", 2), shape=(n, 3, 2), axes=(0, 2)),
    *rows(structural.sum_, axes_of(np.sum), ("n", 3), axes=(0,), payloads=NUMBERS),
    *rows(
        structural.sum_,
        axes_of(np.sum),
        (2, "n", 3),
        axes=(0, 2),
        note="two",
        payloads=NUMBERS,
    ),
    *rows(structural.sum_, lambda x, axes: x, ("n", 3), axes=(), note="none", payloads=NUMBERS),
    *rows(structural.sum_, lambda x, axes: x, (), axes=(), note="0-d", payloads=NUMBERS),
    *rows(structural.transpose, _transpose, (2, "n", 3), permutation=(1, 2, 0)),
    *rows(structural.transpose, _transpose, (), permutation=(), note="0-d"),
    *rows(structural.reshape, _reshape, ("n", 3), shape=(3 * n,), note="flat"),
    *rows(structural.reshape, _reshape, ("n", 3), shape=(1, n, 1, 3), note="ones"),
    *rows(structural.reshape, _reshape, ("n", 6), shape=(2, n, 3), note="mixed"),
    *rows(
        structural.reshape, _reshape, ("n", "m"), shape=(6, 2), note="condition", empty={}
    ),
    *rows(structural.reshape, _reshape, (1, 1), shape=(), note="0-d"),
    *rows(structural.reversed_, axes_of(np.flip), ("n", 3), axes=(0,)),
    *rows(structural.reversed_, axes_of(np.flip), ("n", 3), axes=(0, 1), note="both"),
    *rows(structural.reversed_, lambda x, axes: x, (), axes=(), note="0-d"),
    *rows(
        structural.assume_shape,
        lambda x, shape: x,
        ("n", "m"),
        shape=(m + 1, 3),
        empty={},
    ),
)  # fmt: skip

SLICES = (
    *rows(
        slicing.slice_, _slice, ("n", 3), starts=(1, 0), stops=(n - 1, 3), steps=(1, 1),
        note="middle", empty={},
    ),
    *rows(
        slicing.slice_, _slice, ("n", 5), starts=(0, 1), stops=(n, 5), steps=(2, 3),
        note="strided",
    ),
    *rows(
        slicing.slice_, _slice, ("n", "m"), starts=(1, m - 1), stops=(n, m), steps=(2, 2),
        note="from-1",
    ),
    *rows(slicing.slice_, _slice, (5,), starts=(2,), stops=(2,), steps=(3,), note="nothing"),
    *rows(slicing.slice_, _slice, (), starts=(), stops=(), steps=(), note="0-d"),
    *rows(slicing.pad, _pad, ("n", 3), (), low=(1, 0), high=(0, 2), interior=(0, 0)),
    *rows(
        slicing.pad, _pad, ("n", "m"), (), low=(m, 0), high=(n, 1), interior=(2, 1),
        note="interior",
    ),
    *rows(slicing.pad, _pad, ("n",), (), low=(0,), high=(0,), interior=(0,), note="no"),
    *rows(slicing.pad, _pad, (), (), low=(), high=(), interior=(), note="0-d"),
    *rows(
        slicing.update_slice, _update, ("n", 5), (2, 2), starts=(n - 2, 1), steps=(1, 3),
        empty={},
    ),
    *rows(
        slicing.update_slice, _update, (7, "n"), (2, "n"), starts=(1, 0), steps=(4, 1),
        note="rows",
    ),
    *rows(slicing.update_slice, _update, (), (), starts=(), steps=(), note="0-d"),
    *rows(
        slicing.concat,
        lambda *parts, axis: np.concatenate(parts, axis),
        ("n", 2), ("m", 2), ("n", 2),
        axis=0,
    ),
    *rows(
        slicing.concat,
        lambda *parts, axis: np.concatenate(parts, axis),
        ("n", 2), ("n", 0), ("n", "m"),
        axis=1,
        note="columns",
    ),
    *rows(slicing.concat, lambda x, axis: x, ("n",), axis=0, note="one"),
)  # fmt: skip


def _take(x: Any, indices: Any, *, axis: int) -> Any:
    taken = [np.moveaxis(x, axis, 0)[i] for i in indices.flat]
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    stacked = np.array(taken).reshape(*indices.shape, *rest)
    behind = range(indices.ndim)
    return np.moveaxis(stacked, list(behind), [axis + i for i in behind])


def _scatter(x: Any, indices: Any, updates: Any, axis: int, *, adds: bool) -> Any:
    result = np.moveaxis(x.copy(), axis, 0)
    behind = range(indices.ndim)
    moved = np.moveaxis(updates, [axis + i for i in behind], list(behind))
    for position in np.ndindex(*indices.shape):
        row = indices[position]
        result[row] = result[row] + moved[position] if adds else moved[position]
    return np.moveaxis(result, 0, axis)


def indexed(
    op: Op,
    expected: Callable[..., Any],
    shape: tuple[int | str, ...],
    indices: Operand,
    axis: int,
    *,
    note: str = "",
    payloads: tuple[DType | None, ...] = (None, i64),
) -> list[Case]:
    """Cases of `take` or a scatter: the base, indices into its axis, and a scatter's updates."""
    between = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    further = () if op is indexing.take else (between,)
    return [
        Case(
            op,
            (Operand(shape, -3, 3, dtype), indices, *(Operand(s, -3, 3, dtype) for s in further)),
            expected,
            {"axis": axis},
            "-".join(filter(None, (note, dtype.name if dtype else ""))),
        )
        for dtype in payloads
    ]


def _few(dtype: DType, *shape: int | str) -> Operand:
    """Indices into an axis of length 3: with many of them, some are equal."""
    return Operand(shape, 0, 2, dtype)


_CHECKED = tuple(
    Case(
        indexing.checked_indices,
        (_few(dtype, "n", 2),),
        lambda x, length: x.astype(np.int64),
        {"length": 3},
        dtype.name,
    )
    for dtype in (i32, i64)
)

INDEXING = _CHECKED + tuple(
    case
    for op, expected in (
        (indexing.take, _take),
        (
            indexing.scatter_add,
            lambda x, i, u, axis: _scatter(x, i, u, axis, adds=True),
        ),
        (
            indexing.scatter_set,
            lambda x, i, u, axis: _scatter(x, i, u, axis, adds=False),
        ),
    )
    for case in (
        *indexed(op, expected, ("m",), _few(i64, "n"), 0, note="vector"),
        *indexed(op, expected, (2, "m", "n"), _few(i32, 2, 3), 1, note="matrix"),
        *indexed(op, expected, ("n", 3), _few(i64), 1, note="0-d"),
    )
)

REDUCTIONS = (
    *(
        case
        for op, expected in ((reductions.max_, axes_of(np.max)), (reductions.min_, axes_of(np.min)))
        for case in (
            *rows(op, expected, (3, "n"), axes=(0,), payloads=NUMBERS),
            *rows(op, expected, ("n", 2, "m"), axes=(1, 2), note="two", payloads=NUMBERS),
            *rows(op, lambda x, axes: x, ("n",), axes=(), note="none", payloads=NUMBERS),
            *rows(op, lambda x, axes: x, (), axes=(), note="0-d", payloads=NUMBERS),
        )
    ),
    *(
        case
        for axes, note in (((0,), "first"), ((1,), "last"), ((0, 1), "both"), ((), "none"))
        for case in rows(
            reductions.prod,
            axes_of(np.prod),
            ("n", 5),
            axes=axes,
            note=note,
            payloads=NUMBERS,
        )
    ),
    *rows(
        reductions.prod, axes_of(np.prod), (2, "n", "m"), axes=(0, 2),
        note="symbolic",
    )[:1],
    *(
        case
        for op, expected in ((reductions.any_, axes_of(np.any)), (reductions.all_, axes_of(np.all)))
        for axes, note in (((0,), "first"), ((0, 1), "both"), ((), "none"))
        for case in rows(op, expected, ("n", 3), axes=axes, note=note, payloads=(bool_,))
    ),
    *(
        case
        for op, expected in ((reductions.argmax, np.argmax), (reductions.argmin, np.argmin))
        for case in rows(op, expected, (4, "n"), axis=0, payloads=NUMBERS)
    ),
)  # fmt: skip


def _einsum(a: Any, b: Any, *, lhs: Any, rhs: Any, out: Any) -> Any:
    """The contraction, entry by entry."""
    lengths = dict(zip((*lhs, *rhs), (*a.shape, *b.shape), strict=True))
    inner = [label for label in lengths if label not in out]
    result = np.zeros([lengths[label] for label in out], a.dtype)
    for position in np.ndindex(*(lengths[label] for label in (*out, *inner))):
        at = dict(zip((*out, *inner), position, strict=True))
        product = a[tuple(at[i] for i in lhs)] * b[tuple(at[i] for i in rhs)]
        result[tuple(at[i] for i in out)] += product
    return result


CONTRACTIONS = (
    *rows(
        contract.contract, _einsum, ("n", 3), (3, "m"), lhs=(0, 2), rhs=(2, 1), out=(0, 1),
        note="matrices",
    ),
    *rows(
        contract.contract, _einsum, ("n", "m"), ("m",), lhs=(5, 4), rhs=(4,), out=(5,),
        note="matrix-vector",
    ),
    *rows(contract.contract, _einsum, ("n",), ("n",), lhs=(0,), rhs=(0,), out=(), note="dot"),
    *rows(contract.contract, _einsum, ("n",), ("m",), lhs=(0,), rhs=(1,), out=(1, 0), note="outer"),
    *rows(
        contract.contract, _einsum, (2, "n", "m", 3), ("m", 3, 2, 2),
        lhs=(7, 0, 1, 2), rhs=(1, 2, 7, 3), out=(0, 3, 7), note="tensors",
    ),
    *rows(contract.contract, _einsum, ("n", 2), ("n", 2), lhs=(0, 1), rhs=(0, 1), out=(1, 0),
          note="entries"),
    *rows(contract.contract, _einsum, (), (), lhs=(), rhs=(), out=(), note="0-d"),
    *rows(contract.contract, _einsum, (), ("n",), lhs=(), rhs=(0,), out=(0,), note="scalar"),
)  # fmt: skip


def _logsumexp(x: Any, *, axes: tuple[int, ...]) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(np.sum(np.exp(x), axis=axes))


def _softmax(x: Any, *, axes: tuple[int, ...]) -> Any:
    return np.exp(x) / np.sum(np.exp(x), axis=axes, keepdims=True)


COMPOSITES = tuple(
    case
    for op, expected in ((composite.logsumexp, _logsumexp), (composite.softmax, _softmax))
    for case in (
        *rows(op, expected, ("n", 3), axes=(1,), payloads=(None,), note="last"),
        *rows(op, expected, (3, "n"), axes=(1,), payloads=(None,), note="maybe-empty"),
        *rows(op, expected, ("n", 2, "m"), axes=(0, 2), payloads=(None,), note="two"),
        *rows(op, expected, ("n",), axes=(), payloads=(None,), note="none"),
        *rows(op, expected, (), axes=(), payloads=(None,), note="0-d"),
    )
)


def _recurrence(a: Any, b: Any, *, axis: int) -> Any:
    result = np.moveaxis(b.copy(), axis, 0)
    for i in range(1, len(result)):
        result[i] = np.moveaxis(a, axis, 0)[i] * result[i - 1] + result[i]
    return np.moveaxis(result, 0, axis)


def _cumsum(x: Any, *, axis: int) -> Any:
    return (
        np.stack([np.sum(np.take(x, range(i + 1), axis), axis) for i in range(x.shape[axis])], axis)
        if x.shape[axis]
        else x
    )


def _argsort(x: Any, *, axis: int) -> Any:
    """Positions by pairs (entry, position), so that equal entries stay in order."""
    lines = np.moveaxis(x, axis, -1)
    found = np.empty(lines.shape, np.int64)
    for at in np.ndindex(*lines.shape[:-1]):
        found[at] = [i for _, i in sorted((entry, i) for i, entry in enumerate(lines[at].tolist()))]
    return np.moveaxis(found, -1, axis)


def _orders(x: Any) -> Any:
    order = _argsort(x, axis=-1)
    return np.stack([order, order], -2)


SCANS = (
    *rows(scans.cumsum, _cumsum, ("n",), axis=0, payloads=NUMBERS, note="vector"),
    *rows(scans.cumsum, _cumsum, (3, "n"), axis=1, payloads=NUMBERS, note="last"),
    *rows(scans.cumsum, _cumsum, (2, "n", 5), axis=1, payloads=NUMBERS, note="middle"),
    *rows(scans.recurrence, _recurrence, ("n",), ("n",), axis=0, payloads=NUMBERS, note="vector"),
    *rows(scans.recurrence, _recurrence, (3, "n"), (3, "n"), axis=1, payloads=NUMBERS, note="last"),
    *rows(
        scans.recurrence, _recurrence, ("n", 2, "m"), ("n", 2, "m"), axis=0, payloads=NUMBERS,
        note="first",
    ),
    *rows(sorting.argsort, _argsort, ("n",), axis=0, note="vector"),
    *rows(sorting.argsort, _argsort, (2, "n", 3), axis=1, note="middle"),
    *rows(sorting.argsort, _argsort, ("n", 9), axis=1, note="last"),
    *rows(sorting.orders, _orders, ("n",), note="vector"),
    *rows(sorting.orders, _orders, (3, "n"), note="rows"),
)  # fmt: skip


# Of floats only those whose derivative is that of the identity: test_gradient_ops.py has the rest.
INTEGERS: tuple[DType | None, ...] = (i64, i32, bool_)
IDENTITIES = tuple(
    case
    for op, payloads, attrs in (
        (gradient_ops.zero_grad, INTEGERS, {}),
        (gradient_ops.disconnected_grad, INTEGERS, {}),
        (gradient_ops.undefined_grad, INTEGERS, {"reason": "why not"}),
        (gradient_ops.grad_clip, PAYLOADS, {"lower": -inf, "upper": inf}),
        (gradient_ops.grad_scale, PAYLOADS, {"multiplier": 1.0}),
    )
    for shape, note in ((("n", 3), ""), ((), "0-d"))
    for case in rows(op, lambda x, **attrs: x, shape, payloads=payloads, note=note, **attrs)
)

CASES = (
    *STRUCTURAL,
    *SLICES,
    *INDEXING,
    *REDUCTIONS,
    *CONTRACTIONS,
    *COMPOSITES,
    *SCANS,
    *IDENTITIES,
)
