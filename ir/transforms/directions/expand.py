"""From compressed form to the whole derivative: blocks among zeros, ties on diagonals."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.dims import Shape
from gradc.ir.function import Value
from gradc.ir.ops.constants import constant_number, full
from gradc.ir.ops.logic import where
from gradc.ir.transforms.directions.block import Block, Blocks, Tie, diagonal, loosened
from gradc.ir.transforms.directions.boxes import assembled
from gradc.ir.transforms.directions.uniform import repeated

_SHORT = 64  # the length of a diagonal that is written as a square


def expanded(blocks: Blocks, like: Value, space: Shape) -> Value:
    """The whole derivative of a value: [*S, *space]."""
    blocks = _loose_where_short(blocks)
    by_ties: dict[tuple[Tie | None, ...], list[Block]] = {(None,) * len(space): []}
    for block in blocks:
        by_ties.setdefault(block.ties, []).append(block)
    total: Value | None = None
    before: list[tuple[Tie | None, ...]] = []
    for ties, group in by_ties.items():
        if not group:
            continue
        untied = (d for d, t in zip(space, ties, strict=True) if t is None)
        lengths = (*like.shape, *untied)
        value = assembled((0,) * len(lengths), lengths, group)
        total = _with_diagonals(value, ties, (*like.shape, *space), total, before)
        before.append(ties)
    return full((*like.shape, *space), 0, like.dtype) if total is None else total


def _loose_where_short(blocks: Blocks) -> Blocks:
    """Short ties are loosened: of a known number, and beside blocks that have axes of their own."""
    mixed = any(all(tie is None for tie in block.ties) for block in blocks)
    found = []
    for block in blocks:
        for tie in block.ties if mixed or constant_number(block.value) is not None else ():
            length = None if tie is None else block.lengths[tie.axis]
            if tie is not None and isinstance(length, int) and length <= _SHORT:
                block = loosened(block, tie.axis)
        found.append(block)
    return tuple(found)


def _with_diagonals(
    value: Value,
    ties: tuple[Tie | None, ...],
    shape: Shape,
    total: Value | None,
    before: Sequence[tuple[Tie | None, ...]],
) -> Value:
    """`total` plus a value [*S, untied directions] that is zero off its ties."""
    if all(tie is None for tie in ties):
        return value if total is None else total + value
    rank = len(shape) - len(ties)
    untied = (rank + direction for direction, tie in enumerate(ties) if tie is None)
    wide = repeated(value, shape, (*range(rank), *untied))
    for direction, tie in enumerate(ties):
        if tie is None:
            continue
        length, count = shape[tie.axis], shape[rank + direction]
        mask = diagonal(length, count, tie.step, tie.offset)
        condition = repeated(mask, shape, (tie.axis, rank + direction))
        alone = total is None or all(_never_meet(ties, other) for other in before)
        last = total if total is not None and alone and ties.count(None) == len(ties) - 1 else None
        other = full(shape, 0, value.dtype) if last is None else last
        chosen: Value = where(condition, wide, other)
        if last is not None:
            return chosen
        wide = chosen
    return wide if total is None else total + wide


def _never_meet(a: tuple[Tie | None, ...], b: tuple[Tie | None, ...]) -> bool:
    """Whether no entry is moved by the same direction through both."""
    for one, other in zip(a, b, strict=True):
        if one is None or other is None or (one.axis, one.step) != (other.axis, other.step):
            continue
        distance = one.offset - other.offset
        if isinstance(distance, int) and distance != 0:
            return True
    return False
