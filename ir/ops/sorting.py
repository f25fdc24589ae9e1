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
    """Merge half 1's runs [start, middle) and [middle, stop) into half 0; of equals the left first.

    From both ends at once, up to the middle of the result: two chains of dependent reads hide half
    of their time. The left run is at least as long as each of them, so it is never exhausted.
    """
    one = k.index(1)
    middle = k.binary("min", k.add(start, width), row.length)
    stop = k.binary("min", k.add(middle, width), row.length)
    final, last = k.sub(row.length, one), k.sub(stop, one)
    taken = [Buffer(name, ArrayType(i64, (1,)), "scratch") for name in ("lefts", "rights")]
    for counter in taken:
        k.store(counter, k.index(0), k.index(0))
    half = k.floordiv(k.add(k.sub(stop, start), one), k.index(2))
    with k.loop(half) as step:
        lefts, rights = (k.load(counter, k.index(0), stable=False) for counter in taken)
        right = k.add(middle, k.sub(step, lefts))
        a = row.read(1, k.add(start, lefts))
        b = row.read(1, k.binary("min", right, final))
        from_right = k.binary("and", k.compare("lt", right, stop), row.is_before(b, a))
        row.write(0, k.add(start, step), k.select(from_right, b, a))
        _count_unless(k, taken[0], lefts, from_right)
        right = k.sub(last, rights)
        a = row.read(1, k.sub(k.sub(middle, one), k.sub(step, rights)))
        b = row.read(1, right)
        from_left = k.binary("or", k.compare("lt", right, middle), row.is_before(b, a))
        row.write(0, k.sub(last, step), k.select(from_left, a, b))
        _count_unless(k, taken[1], rights, from_left)


def _count_unless(k: LoopBuilder, counter: Buffer, count: Ref, condition: Ref) -> None:
    """The counter holds `count`, one more where the condition does not hold."""
    more = k.select(condition, k.index(0), k.index(1))
    k.store(counter, k.index(0), k.add(count, more))


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
