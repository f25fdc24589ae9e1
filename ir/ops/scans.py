"""Scans along an axis, where each entry is made of the one before: `cumsum`, `recurrence`.

    cumsum(x)_i = x_0 + ... + x_i
    recurrence(a, b)_i = a_i r_{i-1} + b_i,  r_0 = b_0     (a_0 is not read)

The recurrence is closed under differentiation, of any order and beside zeros, without a quotient:
with (Sr)_i = r_{i-1}, (Sr)_0 = 0,

    dr = recurrence(a, S r da + db),
    b' = the recurrence of c from the last entry to the first, with a_{i+1} for a_i;  a' = b' S r,

so that a cumulative product, which is recurrence(x, (x_0, 0, 0, ...)), is right where x is zero.
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
from gradc.ir.lowering import Index, Operand, Result, Routine
from gradc.ir.op import Cotangent, Masked, Op
from gradc.ir.ops.constants import iota, scalar
from gradc.ir.ops.kinds import check_equal, in_front, linear, quiet, sum_terms
from gradc.ir.ops.logic import gt
from gradc.ir.ops.slicing import pad, slice_
from gradc.ir.ops.structural import broadcast, check_axis, reversed_
from gradc.ir.types import ArrayType, TypeRuleError, i64

Array = np.ndarray[Any, Any]


def _check(name: str, x: ArrayType, axis: int) -> None:
    check_axis(name, x, axis)
    if x.dtype.kind == "b":
        raise TypeRuleError(f"{name}: an array of numbers was expected, not {x}; cast it first")


# --- loops -------------------------------------------------------------------------------------


def _write_scan(
    k: LoopBuilder, operands: Sequence[Operand], store: Result, axis: int, *, first: int
) -> None:
    """store[i] = operands[0][i] * store[i - 1] + operands[1][i], or store[i - 1] + operands[0][i].

    Operand `first` gives entry 0. Along the last axis the entry before is kept in a register;
    along another the loop over the axes behind is the inner one, and reads the row before.
    """
    type = store.buffer.type
    inner = type.shape[axis + 1 :]
    zero = k.index(0)
    register = None if inner else Buffer("last", ArrayType(type.dtype, (1,)), "scratch")
    with ExitStack() as stack:
        outer = [stack.enter_context(k.loop(k.size(n))) for n in type.shape[:axis]]

        def entry(i: Ref, behind: Sequence[Ref], *, is_first: bool) -> None:
            at = Index(k, type.shape, (*outer, i, *behind))
            if is_first:
                value = operands[first].read(at)
            else:
                before = Index(k, type.shape, (*outer, k.sub(i, k.index(1)), *behind))
                last = store.load(before) if register is None else _unstable(k, register, zero)
                value = _step(k, last, [x.read(at) for x in operands])
            store(at, value)
            if register is not None:
                k.store(register, zero, value)

        def line(i: Ref, *, is_first: bool) -> None:
            with ExitStack() as loops:
                lanes = [1] * (len(inner) - 1) + [store.lanes]
                spans = zip(inner, lanes, strict=False)
                behind = [loops.enter_context(k.loop(k.size(n), lanes=w)) for n, w in spans]
                entry(i, behind, is_first=is_first)

        length = k.size(type.shape[axis])
        with k.loop(k.binary("min", length, k.index(1))) as i:  # nothing is read where it is empty
            line(i, is_first=True)
        with k.loop(length, k.index(1)) as i:
            line(i, is_first=False)


def _unstable(k: LoopBuilder, buffer: Buffer, index: Ref) -> Ref:
    return k.load(buffer, index, stable=False)


def _step(k: LoopBuilder, last: Ref, entries: Sequence[Ref]) -> Ref:
    """last + x, or a * last + b."""
    if len(entries) == 1:
        return k.add(last, entries[0])
    a, b = entries
    return k.add(k.mul(a, last), b)


# --- cumsum ------------------------------------------------------------------------------------


def _infer_cumsum(x: ArrayType, *, axis: int) -> ArrayType:
    _check("cumsum", x, axis)
    return x


def _transpose_cumsum(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axis: int
) -> tuple[Cotangent]:
    """The sums from each entry to the end."""
    return (reversed_(cumsum(reversed_(cotangent, axes=(axis,)), axis=axis), axes=(axis,)),)


cumsum: Op = linear(
    "cumsum",
    infer=_infer_cumsum,
    evaluate=quiet(lambda x, *, axis: np.cumsum(x, axis, dtype=x.dtype)),
    transpose=_transpose_cumsum,
    batch=lambda inputs, batched, size, *, axis: cumsum(*inputs, axis=axis + 1),
    lower=Routine(lambda k, xs, store, *, axis: _write_scan(k, xs, store, axis, first=0)),
)


# --- recurrence --------------------------------------------------------------------------------


def _infer_recurrence(a: ArrayType, b: ArrayType, *, axis: int) -> ArrayType:
    check_equal("recurrence", a, b)
    _check("recurrence", a, axis)
    return a


def _evaluate_recurrence(a: Array, b: Array, *, axis: int) -> Array:
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    result = b.astype(np.result_type(a, b))
    for i in range(1, len(b)):
        result[i] = a[i] * result[i - 1] + b[i]
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def _before(x: Value, axis: int) -> Value:
    """(Sx)_i = x_{i-1} along the axis, and 0 in front."""
    rank = x.type.rank
    none = (0,) * rank
    low = tuple(int(i == axis) for i in range(rank))
    longer = pad(x, scalar(0, x.dtype), low=low, high=none, interior=none)
    moved: Value = slice_(longer, starts=none, stops=x.shape, steps=(1,) * rank)
    return moved


def _jvp_recurrence(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], *, axis: int
) -> Value | None:
    (a, _), (da, db) = primals, tangents
    entering = sum_terms((None if da is None else _before(result, axis) * da, db))
    return None if entering is None else recurrence(a, entering, axis=axis)


def _vjp_recurrence(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axis: int
) -> tuple[Cotangent, Cotangent]:
    a, _ = primals
    if not a.dtype.is_float:
        return None, None
    backward = _before(reversed_(a, axes=(axis,)), axis)
    onward = recurrence(backward, reversed_(cotangent, axes=(axis,)), axis=axis)
    of_b = reversed_(onward, axes=(axis,))
    position = broadcast(iota(size=a.shape[axis], dtype=i64), shape=a.shape, axes=(axis,))
    return Masked(gt(position, 0), of_b * _before(result, axis)), of_b


def _batch_recurrence(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axis: int
) -> Any:
    many = (in_front(x, b, size) for x, b in zip(inputs, batched, strict=True))
    return recurrence(*many, axis=axis + 1)


recurrence: Op = Op(
    name="recurrence",
    infer=_infer_recurrence,
    evaluate=quiet(_evaluate_recurrence),
    jvp=_jvp_recurrence,
    vjp=_vjp_recurrence,
    batch=_batch_recurrence,
    lower=Routine(lambda k, xs, store, *, axis: _write_scan(k, xs, store, axis, first=1)),
)
