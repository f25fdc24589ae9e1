"""Sums of blocks: boxes around them, and blocks that fit into one box joined to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TypeAlias

from gradc.ir.dims import Dim, Shape, is_nonnegative, is_static, volume
from gradc.ir.function import Value
from gradc.ir.ops.constants import full
from gradc.ir.ops.slicing import concat
from gradc.ir.transforms.directions.block import (
    Block,
    Blocks,
    Tie,
    settled,
)
from gradc.ir.transforms.directions.uniform import placed

_WASTE = 1.25  # how much larger than its parts a box may be that holds them together


def least(a: Dim, b: Dim) -> Dim | None:
    """The smaller one, if that is certain."""
    if is_nonnegative(b - a):
        return a
    return b if is_nonnegative(a - b) else None


def most(a: Dim, b: Dim) -> Dim | None:
    """The larger one, if that is certain."""
    if is_nonnegative(a - b):
        return a
    return b if is_nonnegative(b - a) else None


def hull(blocks: Sequence[Block]) -> tuple[Shape, Shape] | None:
    """Origin and lengths of the smallest box around all; None where it is not certain."""
    origin, lengths = blocks[0].origin, blocks[0].value.shape
    for block in blocks[1:]:
        low, high = [], []
        own = zip(block.origin, block.value.shape, strict=True)
        for (start, length), (a, count) in zip(own, zip(origin, lengths, strict=True), strict=True):
            low.append(least(a, start))
            high.append(most(a + count, start + length))
        if any(end is None for end in (*low, *high)):
            return None
        found = [(a, b) for a, b in zip(low, high, strict=True) if a is not None and b is not None]
        origin = tuple(a for a, _ in found)
        lengths = tuple(b - a for a, b in found)
    return origin, lengths


def united(blocks: Sequence[Block], waste: float = float("inf")) -> Block | None:
    """All blocks in one box; None where their ties or boxes differ too much.

    waste: how many times larger than all of them together the box may be.
    """
    first = blocks[0]
    if len(blocks) == 1:
        return first
    if any(block.ties != first.ties for block in blocks):
        return None
    box = hull(blocks)
    if box is None:
        return None
    origin, lengths = box
    if waste < float("inf"):
        same = all(block.origin == origin and block.value.shape == lengths for block in blocks)
        if not same and not is_static(lengths):
            return None
        if volume(lengths) > waste * sum(volume(block.value.shape) for block in blocks):
            return None
    value = assembled(origin, lengths, blocks)
    rest = iter(origin[first.rank :])
    places = tuple(p if isinstance(p, Tie) else next(rest) for p in first.places)
    return Block(value, places, origin[: first.rank], first.space)


def assembled(origin: Shape, lengths: Shape, blocks: Sequence[Block]) -> Value:
    """The sum of blocks in a box around them, zeros where there is none."""
    pieces = [(block.origin, block.value) for block in blocks]
    return _assembled(origin, lengths, pieces)


_Pieces: TypeAlias = "Sequence[tuple[Shape, Value]]"


def _assembled(origin: Shape, lengths: Shape, pieces: _Pieces) -> Value:
    """Where no piece lies across a cut, the parts on both sides are joined; else pieces add up."""
    for axis in range(len(lengths)):
        runs = _runs(axis, pieces)
        if runs and (len(runs) > 1 or runs[0] != (origin[axis], origin[axis] + lengths[axis])):
            return _joined(axis, runs, origin, lengths, pieces)
    return _total(
        placed(value, tuple(a - b for a, b in zip(at, origin, strict=True)), lengths)
        for at, value in pieces
    )


def _runs(axis: int, pieces: _Pieces) -> list[tuple[Dim, Dim]]:
    """Where pieces lie along an axis, start and stop, ascending; those that overlap as one.

    Nothing where the order is not certain.
    """
    spans = [(at[axis], at[axis] + value.shape[axis]) for at, value in pieces]
    if len(set(spans)) == 1:
        return spans[:1]
    known = [(a, b) for a, b in spans if isinstance(a, int) and isinstance(b, int)]
    if len(known) < len(spans):
        return []
    found: list[tuple[int, int]] = []
    for start, stop in sorted(known):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return list(found)


def _joined(
    axis: int,
    runs: Sequence[tuple[Dim, Dim]],
    origin: Shape,
    lengths: Shape,
    pieces: _Pieces,
) -> Value:
    """The parts of a box along an axis, and zeros between them."""

    def with_entry(shape: Shape, entry: Dim) -> Shape:
        return (*shape[:axis], entry, *shape[axis + 1 :])

    def part(start: Dim, stop: Dim) -> Value:
        own = [p for p in pieces if len(runs) == 1 or start <= p[0][axis] < stop]  # type: ignore[operator]
        return _assembled(with_entry(origin, start), with_entry(lengths, stop - start), own)

    if len(runs) == 1:
        ((start, stop),) = runs
        low = with_entry((0,) * len(lengths), start - origin[axis])
        return placed(part(start, stop), low, lengths)
    dtype, parts, at = pieces[0][1].dtype, [], origin[axis]
    for start, stop in runs:
        if start != at:
            parts.append(full(with_entry(lengths, start - at), 0, dtype))
        parts.append(part(start, stop))
        at = stop
    end = origin[axis] + lengths[axis]
    if at != end:
        parts.append(full(with_entry(lengths, end - at), 0, dtype))
    joined: Value = concat(*parts, axis=axis)
    return joined


def _total(values: Iterable[Value]) -> Value:
    return reduce(lambda a, b: a + b, values)


def combined(blocks: Iterable[Block], most: int = 24) -> Blocks:
    """The sum of blocks, those that fit well into one box as one."""
    found: list[Block] = []
    for block in blocks:
        found = _with_block(found, block)
    if len(found) <= most:
        return tuple(found)
    by_ties: dict[tuple[Tie | None, ...], list[Block]] = {}
    for block in found:
        by_ties.setdefault(block.ties, []).append(block)
    groups = ((united(group), group) for group in by_ties.values())
    return tuple(b for one, group in groups for b in ([one] if one is not None else group))


def _with_block(found: list[Block], block: Block) -> list[Block]:
    """A sum with one block more, united with those that it fits."""
    kept = list(found)
    while True:
        for i, other in enumerate(kept):
            one = united([other, block], _WASTE)
            if one is not None:
                del kept[i]
                block = one
                break
        else:
            return [*kept, block]


def each(blocks: Blocks, work: Callable[[Block], Block]) -> Blocks:
    return combined(b for block in blocks for b in settled(work(block)))
