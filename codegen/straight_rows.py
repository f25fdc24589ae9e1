"""Straight-line code with a row a lane: one vector loop over the rows, its body without loops."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product as every

import numpy as np
from gradc.codegen.reader import Elements, Reader, Table
from gradc.codegen.steps import Root
from gradc.ir.dims import Dim, is_static
from gradc.ir.function import Value
from gradc.ir.loops import Ref
from gradc.ir.lowering import Index


def write_rows(
    reader: Reader, rows: Dim, roots: Sequence[Root], kept: Collection[Value], lanes: int
) -> None:
    """Write what the roots compute, whose spaces have the rows first; `kept` values are stored."""
    k = reader.k
    with k.loop(k.size(rows), lanes=max(1, lanes)) as row:
        sums = _write(reader, roots, kept, row)
        totals = [(root, at, k.reduce(str(root.kind), sums[root, at])) for root, at in sums]
    for root, at, total in totals:
        _store(reader, root.value, at, total)


def _write(
    reader: Reader, roots: Sequence[Root], kept: Collection[Value], row: Ref
) -> Mapping[tuple[Root, tuple[int, ...]], Ref]:
    """Write all entries and store those that are kept; those to be summed over the rows return."""
    reader.begin([root.value for root in roots if root.kind is None])
    reader.elements = Elements(row)
    sums: dict[tuple[Root, tuple[int, ...]], Ref] = {}
    for root in roots:
        entries = _entries(reader, root, row)
        if 0 not in root.placement:
            sums.update({(root, at): entry for at, entry in entries.items()})
            continue
        if root.kind is not None:
            reader.elements.of[root.value] = _table(entries, root)
        if root.value in kept:
            for at, entry in entries.items():
                _store(reader, root.value, at, entry, row)
    return sums


def _entries(reader: Reader, root: Root, row: Ref) -> dict[tuple[int, ...], Ref]:
    """The entries of a row of a root's value, by their coordinates within the row."""
    k, inner = reader.k, root.space[1:]
    assert is_static(inner)
    found: dict[tuple[int, ...], Ref] = {}
    for point in every(*(range(extent) for extent in inner)):
        coordinates = [row, *(k.index(i) for i in point)]
        values = [
            reader.at(operand, Index(k, operand.shape, [coordinates[a] for a in axes]))
            for operand, axes in zip(root.operands, root.reads, strict=True)
        ]
        value = values[0] if len(values) == 1 else reader.product(*values)
        at = tuple(point[a - 1] for a in root.placement if a > 0)
        found[at] = value if at not in found else k.combine(str(root.kind), found[at], value)
    return found


def _table(entries: Mapping[tuple[int, ...], Ref], root: Root) -> Table:
    """The entries of a row of a root's value."""
    shape = [root.space[a] for a in root.placement if a > 0]
    assert is_static(shape)
    table = np.empty(shape, object)
    for at, entry in entries.items():
        table[at] = entry
    return table


def _store(
    reader: Reader, value: Value, at: tuple[int, ...], entry: Ref, row: Ref | None = None
) -> None:
    k = reader.k
    coordinates = [*(() if row is None else (row,)), *(k.index(i) for i in at)]
    k.store(reader.buffers[value], Index(k, value.shape, coordinates).flat, entry)
