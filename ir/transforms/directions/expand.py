"""From compressed form to the whole derivative: blocks among zeros, ties on diagonals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

from gradc.ir.dims import Shape
from gradc.ir.function import Value
from gradc.ir.ops.constants import constant_number, full
from gradc.ir.ops.logic import logical_and, where
from gradc.ir.transforms.directions.block import Block, Blocks, Space, Tie, diagonal, loosened
from gradc.ir.transforms.directions.boxes import assembled
from gradc.ir.transforms.directions.uniform import repeated

_SHORT = 64  # the length of a diagonal that is written as a square


def expanded(blocks: Blocks, like: Value, space: Space) -> Value:
    """The whole derivative of a value: [*S, *space]."""
    blocks = _loose_where_short(blocks)
    by_ties: dict[tuple[Tie | None, ...], list[Block]] = {(None,) * space.rank: []}
    for block in blocks:
        by_ties.setdefault(block.ties, []).append(block)
    total: Value | None = None
    before: list[tuple[Tie | None, ...]] = []
    for ties, group in by_ties.items():
        if not group:
            continue
        untied = (d for d, t in zip(space.shape, ties, strict=True) if t is None)
        lengths = (*like.shape, *untied)
        value = assembled((0,) * len(lengths), lengths, group)
        total = _with_diagonals(value, ties, (*like.shape, *space.shape), total, before, space)
        before.append(ties)
    return full((*like.shape, *space.shape), 0, like.dtype) if total is None else total


def _loose_where_short(blocks: Blocks) -> Blocks:
    """Short diagonals are loosened, where they are numbers or are joined with what is no diagonal.

    Several diagonals beside one another stay what they are: one selection each.
    """
    mixed = any(all(tie is None for tie in block.ties) for block in blocks)
    known = all(constant_number(block.value) is not None for block in blocks)
    if not mixed and not known:
        return blocks
    found = []
    for block in blocks:
        ties = [tie for tie in block.ties if tie is not None]
        length = block.lengths[ties[0].axis] if len(ties) == 1 else None
        short = isinstance(length, int) and length <= _SHORT
        found.append(loosened(block, ties[0].axis) if short else block)
    return tuple(found)


def _with_diagonals(
    value: Value,
    ties: tuple[Tie | None, ...],
    shape: Shape,
    total: Value | None,
    before: Sequence[tuple[Tie | None, ...]],
    space: Space,
) -> Value:
    """`total` plus a value [*S, untied directions] that is zero off its ties."""
    if all(tie is None for tie in ties):
        return value if total is None else total + value
    rank = len(shape) - len(ties)
    untied = (rank + direction for direction, tie in enumerate(ties) if tie is None)
    wide = repeated(value, shape, (*range(rank), *untied))
    mask = reduce(logical_and, _diagonals(ties, shape, space.numbers))
    alone = total is not None and all(_never_meet(ties, other) for other in before)
    other = total if total is not None and alone else full(shape, 0, value.dtype)
    chosen: Value = where(mask, wide, other)
    return chosen if total is None or alone else total + chosen


def _diagonals(
    ties: tuple[Tie | None, ...], shape: Shape, numbers: Value | None
) -> Iterator[Value]:
    """For each tie where in an array [*S, *space] it holds."""
    rank = len(shape) - len(ties)
    for direction, tie in enumerate(ties, rank):
        if tie is not None:
            mask = diagonal(shape[tie.axis], shape[direction], tie.step, tie.offset, numbers)
            yield repeated(mask, shape, (tie.axis, direction))


def _never_meet(a: tuple[Tie | None, ...], b: tuple[Tie | None, ...]) -> bool:
    """Whether no entry is moved by the same direction through both."""
    for one, other in zip(a, b, strict=True):
        if one is None or other is None or (one.axis, one.step) != (other.axis, other.step):
            continue
        distance = one.offset - other.offset
        if isinstance(distance, int) and distance != 0:
            return True
    return False
