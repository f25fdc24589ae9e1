"""The order of entries: `argsort`, by merging runs of doubling length. Sorting is a `take` by it.

The order is stable, and a nan comes last, as NumPy has it. A permutation is an integer, through
which no derivative flows; that of the sorted entries is the same permutation of their tangents.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.lowering import Composite, Index, Operand, Result, Routine
from gradc.ir.op import Op
from gradc.ir.ops.kinds import no_cotangents, no_tangent
from gradc.ir.ops.slicing import slice_
from gradc.ir.ops.structural import check_axis, inverse, reshape, transpose
from gradc.ir.types import ArrayType, TypeRuleError, i64

Array = np.ndarray[Any, Any]

_DOUBLINGS = 62  # a run of 2**62 entries is longer than any array


# --- orders: the permutation, twice --------------------------------------------------------------


def _infer_orders(x: ArrayType) -> ArrayType:
    """[..., n] -> i64[..., 2, n]"""
    if x.rank == 0:
        raise TypeRuleError("orders: a scalar has no axis to sort along")
    return ArrayType(i64, (*x.shape[:-1], 2, x.shape[-1]))


def _evaluate_orders(x: Array) -> Array:
    order = np.argsort(x, axis=-1, kind="stable")
    return np.stack([order, order], axis=-2).astype(np.int64)


class _Row:
    """One line of the array: its keys, and the two permutations of its positions."""

    def __init__(
        self, k: LoopBuilder, keys: Operand, store: Result, outer: Sequence[Ref], length: Ref
    ) -> None:
        self._k, self._keys, self._store = k, keys, store
        self._outer, self.length = tuple(outer), length

    def position(self, half: int, at: Ref) -> Index:
        return Index(
            self._k, self._store.buffer.type.shape, (*self._outer, self._k.index(half), at)
        )

    def write(self, half: int, at: Ref, value: Ref) -> None:
        self._store(self.position(half, at), value)

    def read(self, half: int, at: Ref) -> Ref:
        return self._store.load(self.position(half, at))

    def is_before(self, a: Ref, b: Ref) -> Ref:
        """Whether the key at position a sorts strictly before the one at b; a nan is last."""
        k = self._k
        x, y = (self._keys(*self._outer, at) for at in (a, b))
        if not x.dtype.is_float:
            if x.dtype.kind == "b":
                x, y = k.cast(x, i64), k.cast(y, i64)
            return k.compare("lt", x, y)
        last = k.binary("and", k.unary("isnan", y), k.unary("not", k.unary("isnan", x)))
        return k.binary("or", k.compare("lt", x, y), last)


def _write_orders(k: LoopBuilder, operands: Sequence[Operand], store: Result) -> None:
    """Runs of length w, sorted, become runs of length 2 w: from half 1 into half 0, and back."""
    (keys,) = operands
    shape = keys.type.shape
    width = Buffer("width", ArrayType(i64, (1,)), "scratch")
    zero, length = k.index(0), k.size(shape[-1])
    with ExitStack() as stack:
        outer = [stack.enter_context(k.loop(k.size(n))) for n in shape[:-1]]
        row = _Row(k, keys, store, outer, length)
        with k.loop(length, lanes=store.lanes) as i:
            row.write(0, i, i)
            row.write(1, i, i)
        k.store(width, zero, k.index(1))
        with k.loop(k.index(_DOUBLINGS)):
            w = k.load(width, zero, stable=False)
            with k.when(k.compare("lt", w, length)):
                twice = k.add(w, w)
                count = k.floordiv(k.add(length, k.sub(twice, k.index(1))), twice)
                with k.loop(count) as run:
                    _merge(k, row, k.mul(run, twice), w)
                with k.loop(length, lanes=store.lanes) as i:
                    row.write(1, i, row.read(0, i))
                k.store(width, zero, twice)


def _merge(k: LoopBuilder, row: _Row, start: Ref, width: Ref) -> None:
    """Merge half 1's runs [start, middle) and [middle, stop) into half 0; of equals the left one.

    The left run has `taken` of the entries written; what is read beyond a run is not used.
    """
    zero, one = k.index(0), k.index(1)
    middle = k.binary("min", k.add(start, width), row.length)
    stop = k.binary("min", k.add(middle, width), row.length)
    final = k.sub(row.length, one)
    taken = Buffer("taken", ArrayType(i64, (1,)), "scratch")
    k.store(taken, zero, zero)
    with k.loop(stop, start) as at:
        count = k.load(taken, zero, stable=False)
        left = k.add(start, count)
        right = k.add(middle, k.sub(k.sub(at, start), count))
        a = row.read(1, k.binary("min", left, final))
        b = row.read(1, k.binary("min", right, final))
        right_is_next = k.binary("and", k.compare("lt", right, stop), row.is_before(b, a))
        from_right = k.binary("or", k.compare("ge", left, middle), right_is_next)
        row.write(0, at, k.select(from_right, b, a))
        k.store(taken, zero, k.add(count, k.select(from_right, zero, one)))


orders: Op = Op(
    name="orders",
    infer=_infer_orders,
    evaluate=_evaluate_orders,
    jvp=no_tangent,
    vjp=no_cotangents,
    batch=lambda inputs, batched, size: orders(*inputs),
    lower=Routine(_write_orders, repeats=True),
)


# --- argsort -----------------------------------------------------------------------------------


def _infer_argsort(x: ArrayType, *, axis: int) -> ArrayType:
    check_axis("argsort", x, axis)
    return x.with_dtype(i64)


def _batch_argsort(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axis: int
) -> Any:
    return argsort(*inputs, axis=axis + 1)


def _expand_argsort(x: Value, *, axis: int) -> Value:
    """The first of the two permutations, along the last axis and back."""
    rank = x.type.rank
    order = (*(i for i in range(rank) if i != axis), axis)
    moved = transpose(x, permutation=order)
    both = orders(moved)
    stops = (*moved.shape[:-1], 1, moved.shape[-1])
    half = slice_(both, starts=(0,) * (rank + 1), stops=stops, steps=(1,) * (rank + 1))
    found: Value = transpose(reshape(half, shape=moved.shape), permutation=inverse(order))
    return found


argsort: Op = Op(
    name="argsort",
    infer=_infer_argsort,
    evaluate=lambda x, *, axis: np.argsort(x, axis, kind="stable").astype(np.int64),
    jvp=no_tangent,
    vjp=no_cotangents,
    batch=_batch_argsort,
    lower=Composite(_expand_argsort),
)
