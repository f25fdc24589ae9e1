"""Scatter: each point of the updates changes an entry of the result, where its index says."""

from __future__ import annotations

from collections.abc import Mapping

from gradc.codegen.reader import NO_TABLES, Reader
from gradc.codegen.steps import ANYWHERE, Root, indices_read
from gradc.ir.loops import STATUS_INDEX_OUT_OF_RANGE, Ref, Store
from gradc.ir.lowering import Index
from gradc.ir.types import i64


def write_update(
    reader: Reader, root: Root, value: Ref, coordinates: Mapping[int, Ref], flat: Ref | None
) -> None:
    """Add or set the entry that belongs to a point of the space, if its index is in range."""
    k, (indices, along) = reader.k, indices_read(root)
    by_flat = Index(k, indices.shape, flat=flat)
    own = by_flat if flat is not None else Index(k, indices.shape, [coordinates[a] for a in along])
    row = k.cast(reader.at(indices, own), i64)
    length = k.size(root.value.shape[root.placement.index(ANYWHERE)])
    valid = k.in_range(row, length)
    k.require(valid, STATUS_INDEX_OUT_OF_RANGE)
    at = [row if axis == ANYWHERE else coordinates[axis] for axis in root.placement]
    with k.masked(valid):
        place, buffer = Index(k, root.value.shape, at).flat, reader.buffers[root.value]
        tables = reader.tables.get(root.value, NO_TABLES)
        k.append(Store(buffer, place, value, str(root.kind), k.mask, True, *tables))
