"""Row fusion: nests that share their outer axis run together, a block of rows at a time.

Nests over the same rows (samples, observations) that need only the same row of one another become
one `RowGroup`: the outer loop goes over blocks of rows, and inside a block each nest runs over the
block's rows only. What lives for one block is stored in a block-sized buffer that stays in the
first caches, data that several nests read comes from memory once, and sums over the rows are
accumulated over the blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gradc.codegen.schedule import Nest, Root, Schedule, Step, inlined_reads, reads
from gradc.ir.dims import Dim, product
from gradc.ir.function import Value

_BLOCK_BYTES = 32 * 1024
_SHORTEST = 128  # fewer rows than this are not worth a loop over blocks


@dataclass(frozen=True, slots=True, eq=False)
class RowGroup:
    """Nests whose first axis is the same rows, run `block` rows at a time.

    `local` values are read by nests of the group only, so they need memory for one block.
    """

    nests: tuple[Nest, ...]
    extent: Dim
    block: int
    local: frozenset[Value]


def group_rows(cut: Schedule, results: Collection[Value]) -> tuple[Step | RowGroup, ...]:
    """The steps with nests over the same rows joined, in an order that is still right."""
    steps = list(cut.steps)
    producer = {value: i for i, step in enumerate(steps) for value in _values(step)}
    needs = [
        {producer[v] for v in inlined_reads(step, cut.stored)} - {i} for i, step in enumerate(steps)
    ]
    taken: set[int] = set()
    grouped: list[Step | RowGroup] = []
    for first, step in enumerate(steps):
        if first in taken:
            continue
        members = _members(steps, first, needs, taken, cut.stored)
        if len(members) < 2 or not _saves_memory([steps[i] for i in members], cut.stored):
            grouped.append(step)
            continue
        taken.update(members)
        nests = tuple(steps[i] for i in members)
        assert all(isinstance(nest, Nest) for nest in nests)
        outside = [s for i, s in enumerate(steps) if i not in members]
        grouped.append(_group(nests, outside, cut.stored, results))  # type: ignore[arg-type]
    return tuple(grouped)


def _members(
    steps: Sequence[Step],
    first: int,
    needs: Sequence[set[int]],
    taken: Collection[int],
    stored: Collection[Value],
) -> list[int]:
    """The nests that can run with step `first`, in order: all else they need runs before it."""
    start = steps[first]
    if not _has_rows(start):
        return [first]
    assert isinstance(start, Nest)
    members = [first]
    for number in range(first + 1, len(steps)):
        step = steps[number]
        if number in taken or not _has_rows(step) or not isinstance(step, Nest):
            continue
        if step.space[0] != start.space[0]:
            continue
        inside = needs[number] & set(members)
        if any(other >= first for other in needs[number] - inside):
            continue
        produced = {root.value: root for i in inside for root in steps[i].roots}  # type: ignore[union-attr]
        if all(_reads_same_row(root, produced, stored) for root in step.roots):
            members.append(number)
    return members


def _has_rows(step: Step) -> bool:
    """Whether a nest loops over rows outermost, and any reduction over the rows is a sum."""
    if not isinstance(step, Nest) or not step.space or step.order[0] != 0:
        return False
    extent = step.space[0]
    if isinstance(extent, int) and extent < _SHORTEST:
        return False
    return all(root.kind in (None, "add") or 0 in root.placement for root in step.roots)


def _reads_same_row(root: Root, produced: dict[Value, Root], stored: Collection[Value]) -> bool:
    """Whether the root reads what the group produces at its own row only."""
    for value, axes in reads(root, stored):
        source = produced.get(value)
        if source is None:
            continue
        if not source.placement or source.placement[0] != 0:
            return False  # a result summed over the rows, or one that has them elsewhere
        if not axes or axes[0] != 0:
            return False
    return True


def _saves_memory(nests: Sequence[Step], stored: Collection[Value]) -> bool:
    """Whether some array with a row axis is read by two of the nests, or made and read by them."""
    seen: set[Value] = set()
    for nest in nests:
        assert isinstance(nest, Nest)
        own = {root.value for root in nest.roots}
        found = {
            value
            for root in nest.roots
            for value, axes in reads(root, stored)
            if axes and axes[0] == 0 and value not in own
        }
        if found & seen:
            return True
        seen |= found | own
    return False


def _group(
    nests: tuple[Nest, ...],
    outside: Sequence[Step],
    stored: Collection[Value],
    results: Collection[Value],
) -> RowGroup:
    read_outside = {v for step in outside for v in inlined_reads(step, stored)}
    local = frozenset(
        root.value
        for nest in nests
        for root in nest.roots
        if root.placement
        and root.placement[0] == 0
        and root.value not in read_outside
        and root.value not in results
    )
    row_bytes = max(
        (_row_bytes(value) for nest in nests for value in _arrays(nest, stored)), default=8
    )
    block = 64
    while block > 16 and block * row_bytes > _BLOCK_BYTES:
        block //= 2
    return RowGroup(nests, nests[0].space[0], block, local)


def _arrays(nest: Nest, stored: Collection[Value]) -> set[Value]:
    return {v for root in nest.roots for v, axes in reads(root, stored) if axes and axes[0] == 0}


def _row_bytes(value: Value) -> int:
    """The bytes of one row; a symbolic length counts as 64 entries."""
    length: Dim = product(dim if isinstance(dim, int) else 64 for dim in value.shape[1:])
    assert isinstance(length, int)
    return length * value.dtype.itemsize


def _values(step: Step) -> list[Value]:
    if isinstance(step, Nest):
        return [root.value for root in step.roots]
    return list(step.equation.outputs)
