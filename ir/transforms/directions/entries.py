"""Rules of ops that work entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gradc.ir.function import Equation, Value
from gradc.ir.op import Op
from gradc.ir.ops.arithmetic import add, div, mul, neg, sub
from gradc.ir.ops.cast import cast, converted
from gradc.ir.ops.constants import constant_number, full, zeros_like
from gradc.ir.ops.logic import logical_and, ne, where
from gradc.ir.transforms.directions.block import (
    Block,
    Blocks,
    fixed,
)
from gradc.ir.transforms.directions.boxes import combined, united
from gradc.ir.transforms.directions.rule import Flows, Rule, is_zero
from gradc.ir.transforms.directions.uniform import (
    divided,
    times,
)


def _by_entries(work: Callable[[Equation, Value], Value]) -> Rule:
    """The rule of an op of one operand that keeps zeros."""

    def rule(made: Equation, flows: Flows) -> Blocks | None:
        (blocks,) = flows
        if blocks is None:
            return None
        return tuple(replace(block, value=work(made, block.value)) for block in blocks)

    return rule


def _negated(made: Equation, value: Value) -> Value:
    number = constant_number(value)
    result: Value = -value if number is None else full(value.shape, -number, value.dtype)
    return result


def _cast(made: Equation, flows: Flows) -> Blocks | None:
    (blocks,) = flows
    if blocks is None or not made.attrs["dtype"].is_float:
        return None
    dtype = made.attrs["dtype"]
    return tuple(replace(block, value=converted(block.value, dtype)) for block in blocks)


def _add(made: Equation, flows: Flows) -> Blocks | None:
    terms: list[Block] = []
    for i, (x, blocks) in enumerate(zip(made.inputs, flows, strict=True)):
        if blocks is None and not is_zero(x):
            return None
        for block in blocks or ():
            minus = i == 1 and made.op is sub
            value = _negated(made, block.value) if minus else block.value
            terms.append(replace(block, value=value))
    return combined(terms)


def _mul(made: Equation, flows: Flows) -> Blocks | None:
    (x, y), (of_x, of_y) = made.inputs, flows
    if of_x is not None and of_y is not None:
        return None if of_x and of_y else ()
    blocks, other = (of_x, y) if of_x is not None else (of_y, x)
    return tuple(
        replace(block, value=times(block.value, fixed(other, block))) for block in blocks or ()
    )


def _div(made: Equation, flows: Flows) -> Blocks | None:
    blocks, moved = flows
    if blocks is None or moved is not None:
        return None
    y = made.inputs[1]
    return tuple(replace(block, value=divided(block.value, fixed(y, block))) for block in blocks)


def _where(made: Equation, flows: Flows) -> Blocks | None:
    chosen, *branches = flows
    if chosen is not None:
        return _where_moved(made, flows)
    condition, x, y = made.inputs
    of_x, of_y = branches
    if (of_x is None and not is_zero(x)) or (of_y is None and not is_zero(y)):
        return None
    first, second = list(of_x or ()), list(of_y or ())
    found = []
    for block in first:
        mate = next((b for b in second if _same_box(b, block)), None)
        if mate is not None:
            second.remove(mate)
        other = zeros_like(block.value) if mate is None else mate.value
        found.append(replace(block, value=where(fixed(condition, block), block.value, other)))
    for block in second:
        zeros = zeros_like(block.value)
        found.append(replace(block, value=where(fixed(condition, block), zeros, block.value)))
    return combined(found)


def _where_moved(made: Equation, flows: Flows) -> Blocks | None:
    """A condition that is false outside its block, a branch that no direction moves, and one."""
    chosen, of_x, of_y = flows
    _, x, y = made.inputs
    if of_x is not None or (of_y is None and not is_zero(y)) or not chosen:
        return None
    (mask,) = chosen
    blocks = of_y or ()
    one = united(blocks) if blocks else replace(mask, value=full(mask.value.shape, 0, x.dtype))
    if one is None or not _same_box(one, mask):
        return None
    return (replace(one, value=where(mask.value, fixed(x, mask), one.value)),)


def _same_box(a: Block, b: Block) -> bool:
    return (a.places, a.starts, a.value.shape) == (b.places, b.starts, b.value.shape)


def _ne(made: Equation, flows: Flows) -> Blocks | None:
    blocks, moved = flows
    if not blocks or moved is not None or not is_zero(made.inputs[1]):
        return None
    one = united(blocks)
    return None if one is None else (replace(one, value=ne(one.value, zeros_like(one.value))),)


def _logical_and(made: Equation, flows: Flows) -> Blocks | None:
    moved = [(blocks, i) for i, blocks in enumerate(flows) if blocks]
    if len(moved) != 1 or flows.count(None) != 1:
        return None
    ((blocks, i),) = moved
    other = made.inputs[1 - i]
    return tuple(replace(b, value=logical_and(fixed(other, b), b.value)) for b in blocks)


ENTRY_RULES: Mapping[Op, Rule] = {
    neg: _by_entries(_negated),
    cast: _cast,
    add: _add,
    sub: _add,
    mul: _mul,
    div: _div,
    where: _where,
    ne: _ne,
    logical_and: _logical_and,
}
