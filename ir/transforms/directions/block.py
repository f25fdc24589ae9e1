"""Derivatives by many directions at once, in compressed form: sums of blocks among zeros.

The derivative of a value of shape S by an array of directions of shape T is an array of shape
S + T. It is held as a sum of blocks, each zero outside a box. Along each axis of T a block either
has an axis of its own (the directions from a start on), or is *tied* to an axis of S: entry i is
moved by direction `step * i + offset` only, as the diagonal of an identity is, and the block's
value has no axis for it.

    the directions themselves                 ones [3],         tied: d = i
    sin of them                               cos(x) [3],       tied: d = i
    x[1:] of n directions                     ones [n - 1],     tied: d = i + 1
    x[2], a scalar                            ones [1],         directions 2 to 2
    A @ x                                     transpose(A),     all directions

The directions may also be some of those along one axis, by their numbers. A tie says numbers then,
and an axis of directions has an entry for each number that is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Value
from gradc.ir.ops.cast import converted
from gradc.ir.ops.constants import array, constant_number, full, iota
from gradc.ir.ops.logic import eq, where
from gradc.ir.ops.structural import broadcast
from gradc.ir.record import dataclass
from gradc.ir.transforms.directions.uniform import cut, everywhere, placed, repeated, reshaped
from gradc.ir.types import i64


@dataclass(frozen=True, slots=True)
class Space:
    """The directions: an array of them of this shape, or some of `total` ones by their numbers.

    numbers: i64[count]; then `shape` is (count,).
    """

    shape: Shape
    total: Dim
    numbers: Value | None = None

    @property
    def rank(self) -> int:
        """The number of axes of directions."""
        return len(self.shape)


@dataclass(frozen=True, slots=True)
class Tie:
    """Entry i of the value's axis `axis` is moved by direction `step * i + offset` only."""

    axis: int
    step: int
    offset: Dim


Place: TypeAlias = "Tie | Dim"  # a tie, or the first of the directions that have an axis


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the derivative of a value (shape S) by the directions of `space`.

    value: the axes of S, cut to the box in which the block is other than zero, then one for each
        untied axis of `space`, in their order.
    places: what each axis of `space` is: a tie, or the first direction of its axis in `value`.
    starts: where the box begins along each axis of S.
    """

    value: Value
    places: tuple[Place, ...]
    starts: Shape
    space: Space

    @property
    def rank(self) -> int:
        """The number of axes of S."""
        return len(self.starts)

    @property
    def lengths(self) -> Shape:
        """How long the box is along each axis of S."""
        return self.value.shape[: self.rank]

    @property
    def counts(self) -> Shape:
        """How many directions there are along each axis of theirs."""
        return self.value.shape[self.rank :]

    @property
    def behind(self) -> tuple[int, ...]:
        """The axes of `value` that are directions."""
        return tuple(range(self.rank, self.value.type.rank))

    @property
    def origin(self) -> Shape:
        """Where the box begins along each axis of `value`."""
        return (*self.starts, *(p for p in self.places if not isinstance(p, Tie)))

    @property
    def ties(self) -> tuple[Tie | None, ...]:
        """The ties by axes of `space`; None where directions have an axis of their own."""
        return tuple(p if isinstance(p, Tie) else None for p in self.places)

    def tied(self, axis: int) -> int | None:
        """The axis of `space` that is tied to an axis of S."""
        for direction, place in enumerate(self.places):
            if isinstance(place, Tie) and place.axis == axis:
                return direction
        return None

    def position(self, direction: int) -> int:
        """The axis of `value` that an axis of `space` has, or would have."""
        return self.rank + sum(not isinstance(place, Tie) for place in self.places[:direction])


Blocks: TypeAlias = "tuple[Block, ...]"


def identity(direction: Value, space: Space) -> Blocks:
    """The derivative of the directions by themselves."""
    rank = direction.type.rank
    if space.numbers is not None and rank != 1:
        return whole(_units(direction, space.numbers), space)
    ties = tuple(Tie(axis, 1, 0) for axis in range(rank))
    ones = full(direction.shape, 1, direction.dtype)
    return settled(Block(ones, ties, (0,) * rank, space))


def _units(direction: Value, numbers: Value) -> Value:
    """The unit arrays with these numbers: [*S, count]."""
    count = numbers.shape[0]
    unit = diagonal(direction.type.size, count, 1, 0, numbers)
    return reshaped(converted(unit, direction.dtype), (*direction.shape, count))


def whole(value: Value, space: Space) -> Blocks:
    """The block of all directions and all entries; `value` has the shape S + space."""
    starts = (0,) * (value.type.rank - space.rank)
    return settled(Block(value, (0,) * space.rank, starts, space))


def settled(block: Block) -> Blocks:
    """The block in its simplest form: none if it is empty, and no tie to an axis of length 1."""
    if any(isinstance(dim, int) and dim == 0 for dim in block.value.shape):
        return ()
    for direction, place in enumerate(block.places):
        if isinstance(place, Tie) and block.lengths[place.axis] == 1:
            if block.space.numbers is not None:
                return (loosened(block, place.axis),)
            at = block.position(direction)
            shape = (*block.value.shape[:at], 1, *block.value.shape[at:])
            first = place.offset + place.step * block.starts[place.axis]
            block = replaced(block, direction, first, reshaped(block.value, shape))
    return (block,)


def replaced(block: Block, direction: int, place: Place, value: Value) -> Block:
    """The block with another value, and another place for one axis of `space`."""
    places = (*block.places[:direction], place, *block.places[direction + 1 :])
    return replace(block, value=value, places=places)


def loosened(block: Block, axis: int) -> Block:
    """The same block, in which directions tied to an axis have an axis of their own."""
    direction = block.tied(axis)
    if direction is None:
        return block
    tie = block.ties[direction]
    assert tie is not None
    start, count = _reach(block, direction, tie)
    at = block.position(direction)
    shape = (*block.value.shape[:at], count, *block.value.shape[at:])
    others = tuple(i for i in range(len(shape)) if i != at)
    first = tie.offset + tie.step * block.starts[axis] - start
    wide = repeated(block.value, shape, others)
    value = _on_diagonal(wide, axis, at, tie.step, first, block.space.numbers)
    return replaced(block, direction, start, value)


def _reach(block: Block, direction: int, tie: Tie) -> tuple[Dim, Dim]:
    """The first and the number of directions that a tie reaches; all of them where that is open."""
    length, first = block.lengths[tie.axis], tie.offset + tie.step * block.starts[tie.axis]
    if block.space.numbers is not None:
        return 0, block.space.shape[direction]
    if not isinstance(length, int) and abs(tie.step) != 1:
        return 0, block.space.shape[direction]
    span = (length - 1) * abs(tie.step)
    return (first if tie.step > 0 else first - span), span + 1


def _on_diagonal(
    value: Value, axis: int, directions: int, step: int, first: Dim, numbers: Value | None
) -> Value:
    """`value` where the number along `directions` is step * that along `axis` + first, or 0."""
    length, count = value.shape[axis], value.shape[directions]
    number = constant_number(value)
    if (
        numbers is None
        and isinstance(count, int)
        and isinstance(length, int)
        and isinstance(first, int)
    ):
        hits = step * np.arange(length)[:, None] + first == np.arange(count)
        if number is not None:
            ones = array(number * hits.astype(float), value.dtype)
            return repeated(ones, value.shape, (axis, directions))
        mask = array(hits)
    else:
        mask = diagonal(length, count, step, first, numbers)
    condition = repeated(mask, value.shape, (axis, directions))
    result: Value = where(condition, value, full(value.shape, 0, value.dtype))
    return result


def diagonal(length: Dim, count: Dim, step: int, first: Dim, numbers: Value | None = None) -> Value:
    """bool [length, count]: whether the column, or its number, is step * the row + first."""
    row, shape = iota(size=length, dtype=i64), (length, count)
    moved = row if step == 1 else row * step
    if first != 0:
        moved = moved + everywhere((length,), first)
    rows = broadcast(moved, shape=shape, axes=(0,))
    column = iota(size=count, dtype=i64) if numbers is None else numbers
    columns = broadcast(column, shape=shape, axes=(1,))
    result: Value = eq(rows, columns)
    return result


def filled_out(block: Block, axes: Iterable[int], shape: Shape) -> Block:
    """The same block, whose box is as long as S, of this `shape`, along the given untied axes."""
    lengths = list(block.value.shape)
    before: list[Dim] = [0] * len(lengths)
    starts = list(block.starts)
    for axis in axes:
        before[axis], lengths[axis] = starts[axis], shape[axis]
        starts[axis] = 0
    value = placed(block.value, tuple(before), tuple(lengths))
    return replace(block, value=value, starts=tuple(starts))


def renumbered(block: Block, axes: Mapping[int, int]) -> tuple[Place, ...]:
    """The places, where axes of S have new numbers."""
    return tuple(
        replace(place, axis=axes[place.axis]) if isinstance(place, Tie) else place
        for place in block.places
    )


def fixed(x: Value, block: Block) -> Value:
    """An operand that no direction moves, at the entries of a block: of the value's shape."""
    own = cut(x, block.starts, block.lengths)
    return repeated(own, block.value.shape, tuple(range(block.rank)))
