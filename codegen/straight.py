"""Straight-line code: small arrays of known shape are held in registers, entry by entry.

Steps whose loops are short and of known length are written without loops: every entry is a scalar
of its own, reductions are chains of additions, and only what is read elsewhere is stored. If the
steps share an outer axis of rows, that axis is one vector loop around the straight-line code, a
row a lane: the way of many small independent problems.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product as every

from gradc.codegen.reader import Elements, Reader, UnknownElementError
from gradc.codegen.schedule import root_of
from gradc.codegen.steps import Nest, ProductStep, Root, row_label
from gradc.ir.dims import Dim, is_static
from gradc.ir.function import Equation, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.lowering import Index

_MOST_INSTRUCTIONS = 6000
_LONGEST_ROW_AXIS = 12  # entries of a row lie apart in memory: longer axes are better vectors
_MOST_ENTRIES = 36  # of one value without rows: more are better computed by vectors

Small = Nest | ProductStep


@dataclass(frozen=True, slots=True, eq=False)
class Straight:
    """Steps written without inner loops; `rows` is the extent of the vector loop around them.

    `kept` are the values that other steps read, or that are results: they are stored.
    """

    steps: tuple[Small, ...]
    rows: Dim | None
    kept: frozenset[Value]

    @property
    def roots(self) -> list[Root]:
        """The values to compute, in order; axis 0 of each space is the rows, if there are rows."""
        return [root for step in self.steps for root in _roots(step, self.rows is not None)]

    @property
    def widest(self) -> int:
        """The bytes of the widest element."""
        return max(s.widest if isinstance(s, Nest) else _itemsize(s) for s in self.steps)


def is_short(steps: Sequence[Small], with_rows: bool) -> bool:
    """Whether the steps are small enough to be written without loops."""
    total = 0
    for step in steps:
        entries = 0
        for root in _roots(step, with_rows):
            inner = root.space[1:] if with_rows else root.space
            if not is_static(inner) or 0 in inner:
                return False
            count = 1
            for extent in inner:
                count *= extent
            if with_rows and max(inner, default=1) > _LONGEST_ROW_AXIS:
                return False
            if not with_rows and count > _MOST_ENTRIES:
                return False
            entries = max(entries, count)
        total += entries * (step.size if isinstance(step, Nest) else 2)
    return total <= _MOST_INSTRUCTIONS


def can_write(group: Straight, stored: Collection[Value]) -> bool:
    """Whether every entry is read at a position that is known here: tried, not guessed."""
    trial = Reader(LoopBuilder(), _StandIn(), stored, {})
    try:
        lower_straight(trial, group, 512)
    except UnknownElementError:
        return False
    return True


def lower_straight(reader: Reader, group: Straight, vector_bits: int) -> None:
    """Write the entries one after another, inside the loop over the rows if there is one."""
    k = reader.k
    if group.rows is None:
        _write(reader, group, None)
        return
    lanes = max(1, vector_bits // (8 * group.widest))
    with k.loop(k.size(group.rows), lanes=lanes) as row:
        sums = _write(reader, group, row)
        totals = [(root, at, k.reduce(str(root.kind), sums[root, at])) for root, at in sums]
    for root, at, total in totals:
        _store(reader, root.value, at, total)


def _write(
    reader: Reader, group: Straight, row: Ref | None
) -> Mapping[tuple[Root, tuple[int, ...]], Ref]:
    """Write all entries and store those that are kept; those to be summed over the rows return."""
    roots = group.roots
    reader.begin([root.value for root in roots if root.kind is None])
    reader.elements = Elements(row)
    sums: dict[tuple[Root, tuple[int, ...]], Ref] = {}
    for root in roots:
        entries = _entries(reader, root, row)
        if row is not None and 0 not in root.placement:
            sums.update({(root, at): entry for at, entry in entries.items()})
            continue
        if root.kind is not None:
            reader.elements.of[root.value] = entries
        if root.value in group.kept:
            for at, entry in entries.items():
                _store(reader, root.value, at, entry, row)
    return sums


def _entries(reader: Reader, root: Root, row: Ref | None) -> dict[tuple[int, ...], Ref]:
    """The entries of a root's value (of one row of it), by their coordinates within the row."""
    k, first = reader.k, 0 if row is None else 1
    inner = root.space[first:]
    assert is_static(inner)
    found: dict[tuple[int, ...], Ref] = {}
    for point in every(*(range(extent) for extent in inner)):
        coordinates = [*(() if row is None else (row,)), *(k.index(i) for i in point)]
        values = [
            reader.at(operand, Index(k, operand.shape, [coordinates[a] for a in axes]))
            for operand, axes in zip(root.operands, root.reads, strict=True)
        ]
        value = values[0] if len(values) == 1 else reader.product(*values)
        at = tuple(point[a - first] for a in root.placement if a >= first)
        found[at] = value if at not in found else k.combine(str(root.kind), found[at], value)
    return found


def _store(
    reader: Reader, value: Value, at: tuple[int, ...], entry: Ref, row: Ref | None = None
) -> None:
    k = reader.k
    coordinates = [*(() if row is None else (row,)), *(k.index(i) for i in at)]
    k.store(reader.buffers[value], Index(k, value.shape, coordinates).flat, entry)


def _roots(step: Small, with_rows: bool) -> list[Root]:
    if isinstance(step, Nest):
        return step.roots
    root = root_of(step.equation)
    return [rows_in_front(root, step.equation)] if with_rows else [root]


def rows_in_front(root: Root, equation: Equation) -> Root:
    """The root of a product with the axis of its rows as the first of its space."""
    label = row_label(equation)
    labels = (equation.attrs["lhs"], equation.attrs["rhs"])
    first = next(
        axes[own.index(label)] for own, axes in zip(labels, root.reads, strict=True) if label in own
    )
    order = [first, *(a for a in range(len(root.space)) if a != first)]
    at = {axis: i for i, axis in enumerate(order)}
    return Root(
        root.value,
        tuple(root.space[a] for a in order),
        tuple(at[a] for a in root.placement),
        root.operands,
        tuple(tuple(at[a] for a in axes) for axes in root.reads),
        root.kind,
    )


def _itemsize(step: ProductStep) -> int:
    return step.equation.outputs[0].dtype.itemsize


class _StandIn(dict[Value, Buffer]):
    """A buffer for any value, for code that is written only to see whether it can be."""

    def __missing__(self, value: Value) -> Buffer:
        return self.setdefault(value, Buffer("trial", value.type, "input"))
