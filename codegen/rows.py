"""Row fusion: steps that share their outer axis run together, a block of rows at a time.

Nests and matrix products over the same rows (samples, observations) that need only the same row of
one another become one `RowGroup`: the outer loop goes over blocks of rows, and inside a block each
step runs over the block's rows only. What lives for one block is stored in a block-sized buffer
that stays in the first caches, data that several steps read comes from memory once, and sums over
the rows are accumulated over the blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gradc.codegen.choices import Choices
from gradc.codegen.schedule import (
    Nest,
    ProductStep,
    Read,
    Schedule,
    Step,
    inlined_reads,
    reads,
    row_label,
    written,
)
from gradc.codegen.straight import Straight, can_write, is_short
from gradc.ir.dims import Dim, product
from gradc.ir.function import Equation, Value

_BLOCK_BYTES = 32 * 1024
_SHORTEST = 128  # fewer rows than this are not worth a loop over blocks

RowStep: TypeAlias = "Nest | ProductStep"


@dataclass(frozen=True, slots=True, eq=False)
class RowGroup:
    """Steps over the same rows, run `block` rows at a time.

    `local` values are read by steps of the group only, so they need memory for one block.
    """

    steps: tuple[RowStep, ...]
    extent: Dim
    block: int
    local: frozenset[Value]


Scheduled: TypeAlias = "Step | RowGroup | Straight"


def group_rows(
    cut: Schedule, results: Collection[Value], choices: Choices
) -> tuple[Scheduled, ...]:
    """The steps with those over the same rows joined, in an order that is still right."""
    steps = cut.steps
    producer = {value: i for i, step in enumerate(steps) for value in written(step)}
    needs = [
        {producer[v] for v in inlined_reads(step, cut.stored)} - {i} for i, step in enumerate(steps)
    ]
    taken: set[int] = set()
    grouped: list[Scheduled] = []
    for first, step in enumerate(steps):
        if first in taken:
            continue
        members = _members(steps, first, needs, taken, cut.stored) if choices.rows else [first]
        joined = tuple(s for i in members if isinstance(s := steps[i], Nest | ProductStep))
        outside = [s for i, s in enumerate(steps) if i not in members]
        group = _joined(joined, outside, cut.stored, results, choices)
        grouped.append(group or step)
        if group is not None:
            taken.update(members)
    return _without_loops(grouped, cut.stored, results) if choices.straight else tuple(grouped)


def _joined(
    steps: tuple[RowStep, ...],
    outside: Sequence[Step],
    stored: Collection[Value],
    results: Collection[Value],
    choices: Choices,
) -> RowGroup | Straight | None:
    """The steps as one, if that is worth it."""
    if choices.straight and len(steps) >= 2 and is_short(steps, with_rows=True):
        kept = _kept(steps, outside, stored, results)
        straight = Straight(steps, _rows(steps[0]), kept)
        if can_write(straight, stored):
            return straight
    if len(steps) < 2 or not _saves_memory(steps, stored):
        return None
    return _group(steps, outside, stored, results, choices.block)


def _without_loops(
    steps: Sequence[Scheduled], stored: Collection[Value], results: Collection[Value]
) -> tuple[Scheduled, ...]:
    """Runs of small steps of known size as straight-line code."""
    found: list[Scheduled] = []
    run: list[RowStep] = []

    def close(position: int) -> None:
        if run:
            others = [s for i, s in enumerate(steps) if not position - len(run) <= i < position]
            outside = [part for other in others for part in parts_of(other)]
            straight = Straight(tuple(run), None, _kept(run, outside, stored, results))
            found.extend([straight] if can_write(straight, stored) else run)
            run.clear()

    for position, step in enumerate(steps):
        small = isinstance(step, Nest | ProductStep) and is_short([step], with_rows=False)
        if not small or not is_short([*run, step], with_rows=False):  # type: ignore[list-item]
            close(position)
        if small:
            assert isinstance(step, Nest | ProductStep)
            run.append(step)
        else:
            found.append(step)
    close(len(steps))
    return tuple(found)


def parts_of(step: Scheduled) -> Sequence[Step]:
    """The steps that a group joins; a step by itself."""
    return step.steps if isinstance(step, RowGroup | Straight) else (step,)


def _kept(
    steps: Sequence[RowStep],
    outside: Sequence[Step],
    stored: Collection[Value],
    results: Collection[Value],
) -> frozenset[Value]:
    """What is read outside the steps, or is a result."""
    needed = {*results, *(v for step in outside for v in inlined_reads(step, stored))}
    return frozenset(v for step in steps for v in written(step) if v in needed)


def _members(
    steps: Sequence[Step],
    first: int,
    needs: Sequence[set[int]],
    taken: Collection[int],
    stored: Collection[Value],
) -> list[int]:
    """The steps that can run with step `first`, in order: all else they need runs before it."""
    rows = _rows(steps[first])
    if rows is None:
        return [first]
    members = [first]
    keeps = _keeps_rows(steps[first])
    for number in range(first + 1, len(steps)):
        step = steps[number]
        if number in taken or _rows(step) != rows:
            continue
        if any(other >= first and other not in members for other in needs[number]):
            continue
        if all(
            keeps[value] and bool(axes) and axes[0] == 0
            for value, axes in _row_reads(step, stored)
            if value in keeps
        ):
            members.append(number)
            keeps |= _keeps_rows(step)
    return members


def _rows(step: Step) -> Dim | None:
    """The number of rows a step loops over outermost; None where it cannot be cut into blocks."""
    if isinstance(step, ProductStep):
        label = row_label(step.equation)
        operands = _operands(step.equation)
        if label is None or not all(_is_small(v, label in labels) for v, labels in operands):
            return None
        return _if_long(next(v.shape[0] for v, labels in operands if label in labels))
    if not isinstance(step, Nest) or not step.space or step.order[0] != 0:
        return None
    if any(root.kind not in (None, "add") and 0 not in root.placement for root in step.roots):
        return None
    return _if_long(step.space[0])


def _is_small(value: Value, has_rows: bool) -> bool:
    """Whether an operand of a product (a row of it) stays in the first cache for all blocks.

    A large one would be packed again for every block.
    """
    size = product(value.shape[1:] if has_rows else value.shape)
    return isinstance(size, int) and size * value.dtype.itemsize <= _BLOCK_BYTES


def _if_long(extent: Dim) -> Dim | None:
    return None if isinstance(extent, int) and extent < _SHORTEST else extent


def _operands(equation: Equation) -> list[tuple[Value, Sequence[int]]]:
    labels = [equation.attrs[name] for name in ("lhs", "rhs", "out")]
    return list(zip((*equation.inputs, *equation.outputs), labels, strict=True))


def _keeps_rows(step: Step) -> dict[Value, bool]:
    """What a step stores, and whether its first axis is the rows (else they are summed over)."""
    if isinstance(step, Nest):
        return {r.value: bool(r.placement) and r.placement[0] == 0 for r in step.roots}
    return {v: row_label(step.equation) in step.equation.attrs["out"] for v in written(step)}


def _row_reads(step: Step, stored: Collection[Value]) -> set[Read]:
    """The stored values a step reads; space axis 0 is the rows."""
    if isinstance(step, Nest):
        own = set(written(step))
        return {r for root in step.roots for r in reads(root, stored) if r[0] not in own}
    label = row_label(step.equation)
    return {
        (value, tuple(0 if x == label else None for x in labels))
        for value, labels in _operands(step.equation)[:2]
    }


def _saves_memory(steps: Sequence[RowStep], stored: Collection[Value]) -> bool:
    """Whether some array with a row axis is read by two of the steps, or made and read by them."""
    seen: set[Value] = set()
    for step in steps:
        found = {value for value, axes in _row_reads(step, stored) if axes and axes[0] == 0}
        if found & seen:
            return True
        seen |= found | set(written(step))
    return False


def _group(
    steps: tuple[RowStep, ...],
    outside: Sequence[Step],
    stored: Collection[Value],
    results: Collection[Value],
    block: int | None,
) -> RowGroup:
    kept = _kept(steps, outside, stored, results)
    rowwise = {value: rows for step in steps for value, rows in _keeps_rows(step).items()}
    local = frozenset(v for v, has_rows in rowwise.items() if has_rows and v not in kept)
    arrays = {v for step in steps for v, axes in _row_reads(step, stored) if axes and axes[0] == 0}
    row_bytes = max((_row_bytes(value) for value in {*arrays, *local}), default=8)
    rows = _rows(steps[0])
    assert rows is not None
    return RowGroup(steps, rows, block or _block_for(row_bytes), local)


def _block_for(row_bytes: int) -> int:
    """As many rows as the first cache holds, from 16 to 64."""
    block = 64
    while block > 16 and block * row_bytes > _BLOCK_BYTES:
        block //= 2
    return block


def _row_bytes(value: Value) -> int:
    """The bytes of one row; a symbolic length counts as 64 entries."""
    length: Dim = product(dim if isinstance(dim, int) else 64 for dim in value.shape[1:])
    assert isinstance(length, int)
    return length * value.dtype.itemsize
