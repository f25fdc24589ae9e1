"""Write the loops of a nest, and end its reductions where they are complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product as every
from types import MappingProxyType
from typing import TypeAlias

from gradc.codegen.loop_plan import (
    Loop,
    accumulates_in_memory,
    flat_loop,
    lanes_of,
    past_caches,
    plan_loops,
)
from gradc.codegen.reader import Reader
from gradc.codegen.scatter import write_update
from gradc.codegen.steps import Nest, Root, base_root
from gradc.codegen.tables import close_tables, open_tables
from gradc.ir.dims import Dim, is_static, product
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Fill, Ref
from gradc.ir.lowering import Index
from gradc.ir.types import bool_

Point: TypeAlias = "tuple[tuple[int, int], ...]"  # unrolled axes of a result, each with a position
Partial: TypeAlias = "tuple[Root, Point]"

_LEAST_APART = 8  # vectors of a loop; fewer are compared as fast
_MOST_APART = 100  # instructions of its body
_MOST_POINTS = 4  # at which it is written once more


def lower_nest(
    reader: Reader, nest: Nest, vector_bits: int, last: Collection[Value] = frozenset()
) -> None:
    """Write the loops of a nest. What is in `last` nothing reads after it is stored."""
    copy_bases(reader, nest, vector_bits)
    clear(reader, accumulated(reader, nest))
    lanes = lanes_of(nest, vector_bits)
    flat = flat_loop(nest, lanes)
    if flat is not None and _reads_flat(reader, nest, flat):
        loops = [flat]
    else:
        loops = plan_loops(nest, lanes)
    if len(loops) == 1 and nest.points == 1:
        loops = [past_caches(nest, loops[0], _streamed(reader, nest, last))]
    opened = open_tables(reader, nest, loops)
    store_rest(reader, write_nest(reader, nest, loops))
    close_tables(reader, opened, vector_bits)


def _streamed(reader: Reader, nest: Nest, last: Collection[Value]) -> tuple[Buffer, ...]:
    """The buffers of a nest that only stores results, entry after entry, which nothing reads."""
    if any(r.kind is not None or r.starts or r.value not in last for r in nest.roots):
        return ()
    buffers = tuple(reader.buffers[root.value] for root in nest.roots)
    return buffers if all(buffer.kind == "output" for buffer in buffers) else ()


def accumulated(reader: Reader, nest: Nest) -> list[Value]:
    """The values that start from zero: a nest adds to them, or leaves some of their entries out."""
    added = {r.value for p in nest.written for r in p.roots if accumulates_in_memory(r, p.order)}
    return [
        root.value
        for root in nest.roots
        if root.value in added or _leaves_out(nest, root) or _is_partly_read(reader, root)
    ]


def _is_partly_read(reader: Reader, root: Root) -> bool:
    """Whether nobody reads some entries of a sum over the rows: they are left out."""
    is_sum = root.adds_up and not root.scatters and 0 in root.reduced
    return is_sum and root.value in reader.structure.wanted


def _leaves_out(nest: Nest, root: Root) -> bool:
    """Whether the parts of a nest have no points for some entries of the value."""
    entries: Dim = 0
    for part in nest.parts:
        entries = entries + product(part.space[axis] for axis in root.placement)
    return bool(nest.parts) and entries != product(nest.space[axis] for axis in root.placement)


def copy_bases(reader: Reader, nest: Nest, vector_bits: int) -> None:
    """Write the base of each scatter to its result's buffer."""
    for root in map(base_root, nest.scattered):
        axes = tuple(range(len(root.space)))
        lower_nest(reader, Nest(root.space, axes, [root], size=2), vector_bits)


def clear(reader: Reader, values: Sequence[Value]) -> None:
    for value in values:
        reader.k.append(Fill(reader.buffers[value]))


def store_rest(reader: Reader, partials: Mapping[Partial, Ref]) -> None:
    """Store what is left when all loops are closed: reductions over all axes but unrolled ones."""
    k = reader.k
    for (root, point), partial in partials.items():
        at = dict(point)
        index = Index(k, root.value.shape, [k.index(at[axis]) for axis in root.placement])
        k.store(reader.buffers[root.value], index.flat, partial)


def _reads_flat(reader: Reader, nest: Nest, loop: Loop) -> bool:
    """Whether a flat loop never has to divide its position into coordinates: tried, not guessed."""
    trial = reader.with_builder(LoopBuilder())
    write_nest(trial, nest, [loop])
    return not trial.k.divided


def write_parts(
    reader: Reader, parts: Sequence[tuple[Nest, list[Loop]]], rows: tuple[Ref, Ref]
) -> dict[Partial, Ref]:
    """Write the parts of a nest, one after the other inside the loops that they begin with alike.

    So what one point of these loops reads stays in the first cache. Only loops over axes of all
    values, beside the rows, are shared: no sum leaves them.
    """
    k, partials, around = reader.k, dict[Partial, Ref](), dict[int, Ref]()
    with ExitStack() as stack:
        for loop in _shared_loops(parts):
            variable = stack.enter_context(k.loop(k.size(loop.extent), copies=loop.copies))
            around[loop.axes[0]] = variable
        for nest, loops in parts:
            partials |= write_nest(reader, nest, loops[len(around) :], rows, around)
    return partials


def _shared_loops(parts: Sequence[tuple[Nest, list[Loop]]]) -> Iterator[Loop]:
    """The loops around all of several parts."""
    if len(parts) < 2:
        return
    for loop, *others in zip(*(loops[:-1] for _, loops in parts), strict=False):
        (axis,) = loop.axes
        alike = all(other == loop for other in others) and loop.lanes == 1
        whole = all(nest.begin(axis) == 0 for nest, _ in parts)
        kept = all(axis in root.placement for nest, _ in parts for root in nest.roots)
        if axis == 0 or not (alike and whole and kept):
            return
        yield loop


def write_nest(
    reader: Reader,
    nest: Nest,
    loops: list[Loop],
    rows: tuple[Ref, Ref] | None = None,
    around: Mapping[int, Ref] = MappingProxyType({}),
) -> dict[Partial, Ref]:
    """Write the loops, outermost first; each root's partial result leaves them from the inside.

    `rows` are the first row and the number of rows of a block, `around` the variables of loops over
    axes of all values that are open already. Gives the results that are left when all loops are
    closed.
    """
    k = reader.k
    reader.begin([r.value for r in nest.roots if r.kind is None and not r.starts])
    coordinates = dict(around)
    open_loops, flat = _opened(reader, nest, loops, rows, coordinates)
    with _apart(reader, nest, loops, coordinates, rows) as points:
        partials = _values(reader, nest, coordinates, flat)
    for loop, stack in zip(reversed(loops), reversed(open_loops), strict=True):
        for (root, point), partial in list(partials.items()):
            if loop.axes[0] in root.placement:
                _store(reader, nest, root, partial, coordinates, point, flat)
                del partials[root, point]
            else:
                assert root.kind is not None
                partials[root, point] = k.reduce(root.kind, partial)
        stack.close()
        if points:
            _write_points(reader, nest, coordinates, loop.axes[0], points)
            points = []
    if around:
        for (root, point), partial in partials.items():
            _store(reader, nest, root, partial, coordinates, point, flat)
        return {}
    return partials


def _opened(
    reader: Reader,
    nest: Nest,
    loops: Sequence[Loop],
    rows: tuple[Ref, Ref] | None,
    coordinates: dict[int, Ref],
) -> tuple[list[ExitStack], Ref | None]:
    """Open the loops: what closes each, and the variable of a flat one.

    The coordinates along the axes of the others are added to `coordinates`.
    """
    k = reader.k
    open_loops: list[ExitStack] = []
    flat: Ref | None = None
    for loop in loops:
        stack = ExitStack()
        in_block = rows is not None and loop.axes == (0,)
        extent = rows[1] if rows is not None and in_block else k.size(loop.extent)
        padded = _padded(reader, nest, loop) if in_block and loop.lanes > 1 else ()
        variable = stack.enter_context(
            k.loop(
                extent,
                lanes=loop.lanes,
                copies=loop.copies,
                streamed=loop.streamed,
                padded=padded,
            )
        )
        open_loops.append(stack)
        if len(loop.axes) > 1:
            flat = variable
        elif rows is not None and reader.block is not None and in_block:
            coordinates[0] = k.add(rows[0], variable)
            reader.block.rows[coordinates[0]] = variable
        else:
            coordinates[loop.axes[0]] = k.add(variable, k.index(nest.begin(loop.axes[0])))
    return open_loops, flat


def _padded(reader: Reader, nest: Nest, loop: Loop) -> tuple[Buffer, ...]:
    """The buffers of a nest in which the rows of a block are neighbours and fill whole vectors.

    They are of one block: nobody reads what lies behind its last row.
    """
    block, width = reader.block, loop.lanes * loop.copies
    assert block is not None
    found = {root.value for root in nest.roots} | {value for value, _ in nest.reads}
    by_rows = [v for v in found & block.local if v.type.rank == 1 or v in block.columns]
    room: dict[Buffer, Dim] = {reader.buffers[value]: block.room for value in by_rows}
    room |= {tile: tile.type.shape[-1] for v, tile in block.tiles.items() if v in found}
    return tuple(b for b, rows in room.items() if isinstance(rows, int) and rows % width == 0)


@contextmanager
def _apart(
    reader: Reader,
    nest: Nest,
    loops: Sequence[Loop],
    coordinates: Mapping[int, Ref],
    rows: tuple[Ref, Ref] | None,
) -> Iterator[list[Ref]]:
    """Write the innermost loop for where its variable is none of the numbers it is compared with.

    So a diagonal among zeros is a row of zeros and one store, see `_write_points`.
    """
    inner = loops[-1] if loops else None
    if inner is None or not _may_be_apart(nest, inner) or (rows is not None and inner.axes == (0,)):
        yield []
        return
    with reader.k.apart(coordinates[inner.axes[0]], _MOST_POINTS) as points:
        yield points


def _may_be_apart(nest: Nest, loop: Loop) -> bool:
    """Whether the entries at a few points of a vector loop may be written after all others.

    Not if what they are computed from may be replaced in memory, point by point, by then. Nor if
    they are sums, or added at indices: what was added at a point would stay beside what is added.
    """
    axes = tuple(range(len(nest.space)))
    is_short = isinstance(loop.extent, int) and loop.extent < _LEAST_APART * loop.lanes
    if len(loop.axes) > 1 or loop.streamed or loop.lanes == 1 or is_short:
        return False
    if any(root.kind is not None for root in nest.roots):
        return False
    replaced = (value.owner is not None and along == axes for value, along in nest.reads)
    return nest.size * nest.points <= _MOST_APART and not any(replaced)


def _write_points(
    reader: Reader, nest: Nest, coordinates: dict[int, Ref], axis: int, points: Sequence[Ref]
) -> None:
    """Store the entries at which the variable of a loop is one of these numbers: once more."""
    k = reader.k
    for point in points:
        reader.begin([r.value for r in nest.roots if not r.starts])
        at = {**coordinates, axis: point}
        with k.masked(_inside(k, point, axis, nest, coordinates)):
            for (root, kept), value in _values(reader, nest, at, None).items():
                _store(reader, nest, root, value, at, kept, None)


def _inside(
    k: LoopBuilder, point: Ref, axis: int, nest: Nest, coordinates: Mapping[int, Ref]
) -> Ref:
    """Whether a point is one of an axis; how far it lies from an axis of that length says half."""
    length = nest.space[axis]
    base, offset = k.offset(point)
    beside = any(i is base and nest.space[a] == length for a, i in coordinates.items() if a != axis)
    true = k.const(True, bool_)
    low = true if beside and offset >= 0 else k.compare("ge", point, k.index(0))
    high = true if beside and offset <= 0 else k.compare("lt", point, k.size(length))
    return k.both(low, high) or true


def _values(
    reader: Reader, nest: Nest, coordinates: Mapping[int, Ref], flat: Ref | None
) -> dict[Partial, Ref]:
    """What each root stores or accumulates inside the loops, at each point of its own axes.

    Scatters are updated at once: nothing in the nest reads them.
    """
    k = reader.k
    found: dict[Partial, Ref] = {}
    for root in nest.roots:
        own = root.written_out(nest.order) if flat is None else ()
        extents = [root.space[axis] for axis in own]
        assert is_static(extents)
        begins = map(nest.begin, own)
        spans = [range(b, b + extent) for b, extent in zip(begins, extents, strict=True)]
        for point in every(*spans):
            at = {**coordinates, **{a: k.index(i) for a, i in zip(own, point, strict=True)}}
            if _is_partly_read(reader, root) and not reader.is_read(
                root.value, [at[a] for a in root.placement]
            ):
                continue
            value = value_at(reader, root, at, flat)
            if root.scatters:
                write_update(reader, root, value, at, flat)
                continue
            kept = tuple((a, i) for a, i in zip(own, point, strict=True) if a in root.placement)
            before = found.get((root, kept))
            found[root, kept] = (
                value if before is None else k.combine(str(root.kind), before, value)
            )
    return found


def value_at(reader: Reader, root: Root, coordinates: Mapping[int, Ref], flat: Ref | None) -> Ref:
    """The operand, or the product of the operands, at a point of the space."""
    read = reader.term if root.kind == "add" and len(root.operands) == 1 else reader.at
    found = [
        read(
            operand,
            Index(reader.k, operand.shape, flat=flat)
            if flat is not None
            else Index(reader.k, operand.shape, [coordinates[a] for a in axes]),
        )
        for operand, axes in zip(root.operands, root.reads, strict=True)
    ]
    return found[0] if len(found) == 1 else reader.product(*found)


def placed(k: LoopBuilder, root: Root, coordinates: Sequence[Ref]) -> Sequence[Ref]:
    """Coordinates in a root's space as those in its value, of which it may be a part."""
    if not root.starts:
        return coordinates
    pairs = zip(coordinates, root.starts, strict=True)
    return [k.add(i, k.size(start)) if start != 0 else i for i, start in pairs]


def _store(
    reader: Reader,
    nest: Nest,
    root: Root,
    value: Ref,
    coordinates: Mapping[int, Ref],
    point: Point,
    flat: Ref | None,
) -> None:
    k = reader.k
    index = Index(k, root.value.shape, flat=flat)
    if flat is None:
        at = {**coordinates, **{axis: k.index(i) for axis, i in point}}
        index = Index(k, root.value.shape, placed(k, root, [at[a] for a in root.placement]))
    mode = "add" if accumulates_in_memory(root, nest.order) else "set"
    k.store(*reader.place(root.value, index), value, mode)
