"""Sums whose terms are known zeros but for a few: only the others are computed.

The derivative of a minimum is `where(x == min(x), g, 0)`. If it is multiplied along other axes and
summed, as in the gradient of k-means by the centres, nearly all of the work would go into zeros. So
the conditions are collected first, as bits, and what is added is computed where a bit is set. How
many entries share a minimum, which the derivative divides by, is the number of these bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradc.codegen.steps import Read, operand_reads
from gradc.ir.dims import product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Bits, IndexMap, Pointwise, SelectedSum
from gradc.ir.op import Op
from gradc.ir.ops.cast import cast
from gradc.ir.ops.indexing import take
from gradc.ir.ops.logic import eq, isnan, logical_and, logical_or, where
from gradc.ir.ops.reductions import max_, min_
from gradc.ir.ops.structural import broadcast, other_axes, sum_
from gradc.ir.passes.matching import input_of, inputs_of, is_number
from gradc.ir.record import dataclass
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results
from gradc.ir.types import ArrayType, i64

BITS = 64  # of an integer
_FEWEST = 8  # entries of which about one is selected; of fewer, the zeros are hardly work
_SMALL = 1024  # terms of a sum that is written as it stands


@dataclass(frozen=True, slots=True)
class _Selection:
    """The terms of a sum: `operand` where the condition holds, else zero.

    The condition's axis i is the operand's axis `along[i]`; it holds about once along the operand's
    axes `once`.
    """

    condition: Value
    operand: Value
    along: tuple[int, ...]
    once: tuple[int, ...]


def select_terms(fn: Function) -> Function:
    """The function with sums whose terms are mostly zeros as `selected_sum`."""
    found = {made: terms for made in fn.equations if (terms := _selection(made)) is not None}
    if not found:
        return fn
    chosen = {terms.condition: terms.along.index(terms.once[-1]) for terms in found.values()}
    collected: dict[Value, Value] = {}
    values: dict[Value, Value] = {}
    for made in fn.equations:
        inputs = [values.get(value, value) for value in made.inputs]
        with at(made.span):
            counted = input_of(made.inputs[0], cast) if made.op is sum_ else None
            if made in found:
                values[made.outputs[0]] = _selected(made, found[made], collected, values)
            elif counted in collected and chosen[counted] in made.attrs["axes"]:
                count = cast(popcount(collected[counted]), dtype=made.outputs[0].dtype)
                values[made.outputs[0]] = sum_(count, axes=made.attrs["axes"])
            else:
                again = rebuild_equation(made, inputs).outputs
                values.update(zip(made.outputs, again, strict=True))
            for condition in chosen.keys() & {*made.outputs}:
                collected[condition] = bits(values[condition], axis=chosen[condition])
    return with_results(fn, [values[value] for value in fn.results])


def _selected(
    made: Equation, terms: _Selection, collected: dict[Value, Value], values: dict[Value, Value]
) -> Value:
    """The sum of the terms that are no zeros."""
    selected: Value = selected_sum(
        collected[terms.condition],
        _where_it_holds(terms, values),
        axes=made.attrs["axes"],
        along=terms.along,
        once=terms.once,
        chosen=terms.along.index(terms.once[-1]),
    )
    return selected


def _selection(made: Equation) -> _Selection | None:
    """The terms of a sum of which few are no zeros, where these are work along other axes."""
    parts = inputs_of(made.inputs[0], where) if made.op is sum_ else None
    if parts is None or not is_number(parts[2], 0):
        return None
    condition, along = _source(parts[0])
    once = tuple(along[axis] for axis in _once(condition))
    shape = parts[1].shape
    few = product(shape[axis] for axis in once)
    others = product(shape[axis] for axis in other_axes(len(shape), along))
    size = product(shape)
    if not once or others == 1 or (isinstance(few, int) and few < _FEWEST):
        return None
    if (isinstance(size, int) and size <= _SMALL) or _may_fail(parts[1]):
        return None
    return _Selection(condition, parts[1], along, once)


def _may_fail(value: Value) -> bool:
    """Whether an entry is looked up on the way, by an index that the call has to check."""
    seen, stack = {value}, [value]
    while stack:
        made = stack.pop().owner
        if made is None or not isinstance(made.op.lower, Pointwise | IndexMap):
            continue
        if made.op is take:
            return True
        stack += [x for x in made.inputs if x not in seen]
        seen.update(made.inputs)
    return False


def _source(value: Value) -> tuple[Value, tuple[int, ...]]:
    """What a value is a broadcast of, and the axes where that lies."""
    source = input_of(value, broadcast)
    if source is None or value.owner is None:
        return value, tuple(range(value.type.rank))
    return source, value.owner.attrs["axes"]


def _once(condition: Value) -> tuple[int, ...]:
    """The axes along which a condition holds for about one entry; none where that is not known."""
    for op in (logical_or, logical_and):
        sides = inputs_of(condition, op) or ()
        known = [_once(side) for side in sides]
        if op is logical_or:  # an entry that is nan is rare, or all are
            known = [known[1 - i] for i, x in enumerate(sides) if input_of(x, isnan) is not None]
        if any(known):
            return max(known, key=len)
    for x, y in (lambda s: (s, s[::-1]))(inputs_of(condition, eq) or (condition, condition)):
        extremum = _source(x)[0].owner
        if extremum is not None and extremum.op in (max_, min_) and extremum.inputs[0] is y:
            axes: tuple[int, ...] = extremum.attrs["axes"]
            return axes
    return ()


def _where_it_holds(terms: _Selection, values: dict[Value, Value]) -> Value:
    """The operand as it is where the condition holds: what it selects by it is known.

    `values` stand for those before.
    """
    condition = (terms.condition, terms.along)
    done: dict[Read, Value] = {}
    stack: list[Read] = [(terms.operand, tuple(range(terms.operand.type.rank)))]
    while stack:
        value, axes = item = stack[-1]
        made = value.owner
        if item in done or made is None or len(made.outputs) > 1 or None in axes:
            done.setdefault(item, values.get(value, value))
            stack.pop()
            continue
        transparent = isinstance(made.op.lower, Pointwise | IndexMap)
        reads = operand_reads(made, axes) if transparent else []
        if made.op is where and reads and _is(reads[0], condition):
            reads = [reads[1]]
        waiting = [read for read in reads if read not in done]
        if waiting:
            stack.extend(waiting)
            continue
        inputs = [done[read] for read in reads]
        if made.op is where and len(inputs) == 1:
            done[item] = inputs[0]
        elif any(values.get(r[0], r[0]) is not x for r, x in zip(reads, inputs, strict=True)):
            done[item] = rebuild_equation(made, inputs).outputs[0]
        else:
            done[item] = values.get(value, value)
        stack.pop()
    return done[terms.operand, tuple(range(terms.operand.type.rank))]


def _is(read: Read, condition: Read) -> bool:
    """Whether what is read is the condition, repeated or not."""
    source, lies = _source(read[0])
    return source is condition[0] and tuple(read[1][axis] for axis in lies) == condition[1]


def _infer_bits(condition: ArrayType, *, axis: int) -> ArrayType:
    shape = list(condition.shape)
    shape[axis] = (shape[axis] + (BITS - 1)) // BITS
    return i64[tuple(shape)]


def _infer_popcount(collected: ArrayType) -> ArrayType:
    return collected


def _infer_sum(
    collected: ArrayType, x: ArrayType, *, axes: Sequence[int], **attrs: Any
) -> ArrayType:
    return x.with_shape(tuple(x.shape[axis] for axis in other_axes(x.rank, tuple(axes))))


def _never(*arguments: Any, **attrs: Any) -> Any:
    raise NotImplementedError("terms are selected when loops are made, after all derivatives")


_number = Pointwise(lambda k, x: k.unary("popcount", x))

bits = Op("bits", _infer_bits, _never, _never, _never, _never, Bits())
popcount = Op("popcount", _infer_popcount, _never, _never, _never, _never, _number)
selected_sum = Op("selected_sum", _infer_sum, _never, _never, _never, _never, SelectedSum())
