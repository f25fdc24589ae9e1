"""Rules of sums, of products, and of scans.

A tie to an axis that is summed becomes an axis of directions. Scans make of one entry many along
their axis, so that they want all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradc.ir.dims import is_nonnegative
from gradc.ir.function import Equation, Value
from gradc.ir.op import Op
from gradc.ir.ops.constants import constant_number, full, zeros_like
from gradc.ir.ops.contract import contract
from gradc.ir.ops.indexing import take
from gradc.ir.ops.logic import ge, logical_and, lt, where
from gradc.ir.ops.scans import cumsum, recurrence
from gradc.ir.ops.slicing import pad
from gradc.ir.ops.structural import (
    other_axes,
    reversed_,
    sum_,
)
from gradc.ir.record import dataclass
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
    everywhere,
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
        if tie is None:
            continue
        if block.space.numbers is not None:
            is_open = abs(tie.step) > 1 or not is_nonnegative(block.lengths[axis] - 1)
            is_open = is_open and not _reaches_all(block, tie)
        else:
            is_open = abs(tie.step) > 1 and not isinstance(block.lengths[axis], int)
        if is_open:
            block = loosened(block, axis)
    return block


def _reaches_all(block: Block, tie: Tie) -> bool:
    """Whether each direction moves an entry of its own, in their order or the other way round."""
    first = tie.offset + tie.step * block.starts[tie.axis]
    total = block.space.total
    whole = (first, tie.step) in ((0, 1), (total - 1, -1))
    return whole and block.lengths[tie.axis] == total


@dataclass(frozen=True, slots=True)
class _Pick:
    """Of a tied axis the entries that directions of given numbers move.

    positions: i64[count], in the block. inside: where there is one; None: everywhere.
    """

    positions: Value
    inside: Value | None

    def of(self, x: Value, axis: int) -> Value:
        """The entries of x, a number each; anything where there is none."""
        number = constant_number(x)
        if number is None:
            result: Value = take(x, self.positions, axis=axis)
            return result
        shape = (*x.shape[:axis], *self.positions.shape, *x.shape[axis + 1 :])
        return full(shape, number, x.dtype)

    def only(self, x: Value, axis: int) -> Value:
        """The same, zero where there is none."""
        found = self.of(x, axis)
        if self.inside is None:
            return found
        mask = repeated(self.inside, found.shape, (axis,))
        result: Value = where(mask, found, zeros_like(found))
        return result


def _picks(block: Block, axes: Sequence[int]) -> Mapping[int, _Pick]:
    """What is picked of the tied ones among `axes`, where directions are given by numbers."""
    numbers = block.space.numbers
    found: dict[int, _Pick] = {}
    for tie in block.ties:
        if numbers is None or tie is None or tie.axis not in axes:
            continue
        first = everywhere(numbers.shape, tie.offset + tie.step * block.starts[tie.axis])
        at = numbers - first if tie.step == 1 else first - numbers
        if _reaches_all(block, tie):
            found[tie.axis] = _Pick(numbers if tie.step == 1 else at, None)
            continue
        end = everywhere(numbers.shape, block.lengths[tie.axis])
        inside = logical_and(ge(at, zeros_like(at)), lt(at, end))
        found[tie.axis] = _Pick(where(inside, at, zeros_like(at)), inside)
    return found


def _picked(block: Block, picks: Mapping[int, _Pick]) -> Block:
    """The block with the entries that are picked along each of these axes."""
    for axis, pick in picks.items():
        block = replace(block, value=pick.only(block.value, axis))
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
        if isinstance(place, Tie) and block.space.numbers is not None:
            places[direction] = 0
        elif isinstance(place, Tie):
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
        block = _picked(block, _picks(block, axes))
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
        picks = _picks(block, gone)
        for axis, pick in picks.items():
            if own[axis] in others:
                part = pick.of(part, others.index(own[axis]))
        block = _picked(block, picks)
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
