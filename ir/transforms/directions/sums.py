"""Rules of sums, of products, and of scans.

A tie to an axis that is summed becomes an axis of directions. Scans make of one entry many along
their axis, so that they want all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradc.ir.function import Equation, Value
from gradc.ir.op import Op
from gradc.ir.ops.constants import constant_number, full
from gradc.ir.ops.contract import contract
from gradc.ir.ops.scans import cumsum, recurrence
from gradc.ir.ops.slicing import pad
from gradc.ir.ops.structural import (
    other_axes,
    reversed_,
    sum_,
)
from gradc.ir.transforms.directions.block import (
    Block,
    Blocks,
    Place,
    Tie,
    filled_out,
    fixed,
    loosened,
    renumbered,
)
from gradc.ir.transforms.directions.boxes import each
from gradc.ir.transforms.directions.rule import Flows, Rule
from gradc.ir.transforms.directions.uniform import (
    cut,
    repeated,
    summed,
    times,
    transposed,
)


def _open_ties(block: Block, axes: Sequence[int]) -> Block:
    """The block without those ties to axes that go which no direction axis can take the place of.

    A sum over an axis that is tied makes it an axis of directions: only where the tie steps by
    more than one are there directions between, of a number that has to be known.
    """
    for axis in axes:
        direction = block.tied(axis)
        tie = None if direction is None else block.ties[direction]
        if tie and abs(tie.step) > 1 and not isinstance(block.lengths[axis], int):
            block = loosened(block, axis)
    return block


def _freed(block: Block, value: Value, axes: Sequence[int]) -> tuple[Value, tuple[Place, ...]]:
    """The places once ties to `axes` are direction axes of `value`, which has them in order."""
    places = list(block.places)
    position = value.type.rank - sum(
        not isinstance(place, Tie) or place.axis in axes for place in places
    )
    for direction, place in enumerate(block.places):
        if isinstance(place, Tie) and place.axis not in axes:
            continue
        if isinstance(place, Tie):
            first = place.offset + place.step * block.starts[place.axis]
            last = first + place.step * (block.lengths[place.axis] - 1)
            places[direction] = first if place.step > 0 else last
            value = _spread(value, position, place.step)
        position += 1
    return value, tuple(places)


def _spread(value: Value, axis: int, step: int) -> Value:
    """Directions that stand in descending order, or `step` apart, as a plain range."""
    if constant_number(value) is None and step < 0:
        value = reversed_(value, axes=(axis,))
    if abs(step) == 1:
        return value
    none = (0,) * value.type.rank
    gaps = (*none[:axis], abs(step) - 1, *none[axis + 1 :])
    result: Value = pad(value, full((), 0, value.dtype), low=none, high=none, interior=gaps)
    return result


def _sum(made: Equation, flows: Flows) -> Blocks | None:
    axes = made.attrs["axes"]
    kept = other_axes(made.inputs[0].type.rank, axes)

    def reduced(block: Block) -> Block:
        block = _open_ties(block, axes)
        back = []
        for direction, place in enumerate(block.places):
            if not isinstance(place, Tie):
                back.append(block.position(direction))
            elif place.axis in axes:
                back.append(place.axis)
        rest = [axis for axis in range(block.rank) if axis not in back]
        value = transposed(block.value, (*rest, *back))
        value = summed(value, tuple(i for i, axis in enumerate(rest) if axis in axes))
        value, places = _freed(block, value, axes)
        new = replace(block, places=places)
        places = renumbered(new, {axis: i for i, axis in enumerate(kept)})
        return Block(value, places, tuple(block.starts[axis] for axis in kept), block.space)

    return each(flows[0] or (), reduced)


def _contract(made: Equation, flows: Flows) -> Blocks | None:
    labels = (made.attrs["lhs"], made.attrs["rhs"])
    if all(blocks is not None for blocks in flows):
        return None if all(flows) else ()
    moving = 0 if flows[0] is not None else 1
    other = made.inputs[1 - moving]
    out, own, others = made.attrs["out"], labels[moving], labels[1 - moving]
    lengths = dict(zip(labels[0], made.inputs[0].shape, strict=True))
    lengths.update(zip(labels[1], made.inputs[1].shape, strict=True))
    gone = [axis for axis, label in enumerate(own) if label not in out]
    fresh = max((*own, *others, *out), default=-1) + 1

    def multiplied(block: Block) -> Block:
        block = _open_ties(block, gone)
        windows = dict(zip(own, zip(block.starts, block.lengths, strict=True), strict=True))
        starts = tuple(windows[label][0] if label in windows else 0 for label in others)
        counts = tuple(
            windows[label][1] if label in windows else dim
            for label, dim in zip(others, other.shape, strict=True)
        )
        part = cut(other, starts, counts)
        given = [*own, *(fresh + axis for axis in block.behind)]
        back = []
        for direction, place in enumerate(block.places):
            if not isinstance(place, Tie):
                back.append(fresh + block.position(direction))
            elif place.axis in gone:
                back.append(own[place.axis])
        value = _product(block.value, part, given, others, (*out, *back), moving)
        value, places = _freed(block, value, gone)
        new = replace(block, places=places)
        axes = {axis: out.index(label) for axis, label in enumerate(own) if label in out}
        begin = tuple(windows[label][0] if label in windows else 0 for label in out)
        return Block(value, renumbered(new, axes), begin, block.space)

    return each(flows[moving] or (), multiplied)


def _product(
    x: Value, y: Value, of_x: Sequence[int], of_y: Sequence[int], out: Sequence[int], moving: int
) -> Value:
    """The contraction of x and y; of a known number with y, only what is left of it."""
    number = constant_number(x)
    if number is None or any(label not in of_y and label not in out for label in of_x):
        operands, labels = [x, y], [tuple(of_x), tuple(of_y)]
        if moving:
            operands.reverse()
            labels.reverse()
        result: Value = contract(*operands, lhs=labels[0], rhs=labels[1], out=tuple(out))
        return result
    lengths = dict(zip(of_x, x.shape, strict=True)) | dict(zip(of_y, y.shape, strict=True))
    reduced = summed(y, tuple(i for i, label in enumerate(of_y) if label not in out))
    kept = [label for label in of_y if label in out]
    order = sorted(range(len(kept)), key=lambda i: out.index(kept[i]))
    ordered = transposed(reduced, tuple(order))
    at = tuple(out.index(kept[i]) for i in order)
    wide = repeated(ordered, tuple(lengths[label] for label in out), at)
    return times(full(wide.shape, number, wide.dtype), wide)


def _cumsum(made: Equation, flows: Flows) -> Blocks | None:
    axis, shape = made.attrs["axis"], made.inputs[0].shape

    def summed_up(block: Block) -> Block:
        block = filled_out(loosened(block, axis), [axis], shape)
        return replace(block, value=cumsum(block.value, axis=axis))

    return each(flows[0] or (), summed_up)


def _recurrence(made: Equation, flows: Flows) -> Blocks | None:
    """Linear in what enters at each step, if the factors are at rest."""
    factors, blocks = flows
    a, b = made.inputs
    axis = made.attrs["axis"]
    if factors is not None or blocks is None:
        return None

    def run(block: Block) -> Block:
        block = filled_out(loosened(block, axis), [axis], b.shape)
        return replace(block, value=recurrence(fixed(a, block), block.value, axis=axis))

    return each(blocks, run)


SUM_RULES: Mapping[Op, Rule] = {
    sum_: _sum,
    contract: _contract,
    cumsum: _cumsum,
    recurrence: _recurrence,
}
