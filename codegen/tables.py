"""Sums at indices in several tables: neighbours that add to one entry do not wait for each other.

Where many observations have one index after the other (they are sorted by it, or few indices are
frequent), each addition in place waits until the one before is stored: about 13 cycles, in which a
whole vector of observations would be done. So lanes take turns among up to four tables, which are
added up at the end. That costs a few instructions an entry: a call does it where its array is small
and there are many indices for each of its entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradc.codegen.loop_plan import Loop
from gradc.codegen.reader import Reader, Tables
from gradc.codegen.steps import ANYWHERE, Nest, Root, indices_read
from gradc.ir.dims import product
from gradc.ir.function import Value
from gradc.ir.loops import Buffer, Ref
from gradc.ir.types import ArrayType, bool_

_MOST_TABLES = 4  # of all sums of a nest: each has an address in a register
_TABLE_BYTES = 8 * 1024
_FEWEST = 10  # indices for each entry along the axis


def open_tables(reader: Reader, nest: Nest, loops: Sequence[Loop]) -> dict[Value, Tables]:
    """Clear the tables of the sums of a nest, in which its loops may add from here on."""
    lanes = max((loop.lanes for loop in loops), default=1)
    roots = [root for root in nest.scattered if _repeats_in_lanes(root, loops)]
    count = min(lanes, _MOST_TABLES // max(1, len(roots)))
    found: dict[Value, Tables] = {}
    for root in roots if count > 1 else ():
        most = _TABLE_BYTES // root.value.dtype.itemsize
        apart = _pays(reader, root, most)
        if reader.k.known(apart) is False:
            continue
        others = _others(reader.buffers[root.value], most, count)
        found[root.value] = others, apart
        zero = reader.k.const(root.value.dtype.numpy.type(0).item(), root.value.dtype)
        with reader.k.loop(_entries(reader, root.value, apart), lanes=lanes, copies=2) as i:
            for other in others:
                reader.k.store(other, i, zero)
    reader.tables.update(found)
    return found


def _others(buffer: Buffer, length: int, count: int) -> tuple[Buffer, ...]:
    """All tables but the array itself."""
    kind = ArrayType(buffer.type.dtype, (length,))
    return tuple(Buffer(f"{buffer.name}.{n}", kind, "scratch") for n in range(1, count))


def close_tables(reader: Reader, opened: dict[Value, Tables], vector_bits: int) -> None:
    """Add the tables up."""
    k = reader.k
    for value, (others, apart) in opened.items():
        assert apart is not None
        lanes = max(1, vector_bits // (8 * value.dtype.itemsize))
        with k.loop(_entries(reader, value, apart), lanes=lanes) as i:
            buffers = (reader.buffers[value], *others)
            sums = [k.load(buffer, i, stable=False) for buffer in buffers]
            while len(sums) > 1:
                sums = [k.add(a, b) for a, b in _pairs(sums)]
            k.store(buffers[0], i, sums[0])
        del reader.tables[value]


def _pairs(terms: Sequence[Ref]) -> Iterator[tuple[Ref, Ref]]:
    return zip(terms[::2], terms[1::2], strict=True)


def _repeats_in_lanes(root: Root, loops: Sequence[Loop]) -> bool:
    """Whether the lanes of a vector may add to one entry."""
    _, along = indices_read(root)
    return root.kind == "add" and any(loop.lanes > 1 and loop.axes[0] in along for loop in loops)


def _pays(reader: Reader, root: Root, most: int) -> Ref:
    """Whether a call finds the array small, and many indices for each of its entries."""
    k, (_, along) = reader.k, indices_read(root)
    small = k.compare("le", k.size(root.value.type.size), k.index(most))
    length = root.value.shape[root.placement.index(ANYWHERE)]
    count = product(root.space[axis] for axis in along)
    often = k.compare("le", k.size(_FEWEST * length), k.size(count))
    return k.both(small, often) or k.const(True, bool_)


def _entries(reader: Reader, value: Value, apart: Ref) -> Ref:
    """How many entries of each table are used."""
    return reader.k.select(apart, reader.k.size(value.type.size), reader.k.index(0))
