"""A loop nest: which loops are vectors, and where reductions end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product as every
from typing import TypeAlias

from gradc.codegen.reader import Reader
from gradc.codegen.rows import in_layout
from gradc.codegen.steps import INSIDE, Axes, Nest, Root
from gradc.ir.dims import Dim, is_static, product
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Fill, Ref
from gradc.ir.lowering import Index

Point: TypeAlias = "tuple[tuple[int, int], ...]"  # unrolled axes of a result, each with a position
Partial: TypeAlias = "tuple[Root, Point]"


@dataclass(frozen=True, slots=True)
class _Loop:
    """One loop over an axis of the space (all axes, for a flat loop over contiguous data)."""

    axes: tuple[int, ...]
    extent: Dim
    lanes: int = 1
    copies: int = 1


def lower_nest(reader: Reader, nest: Nest, vector_bits: int) -> None:
    """Write the loops of a nest."""
    clear(reader, accumulated(nest))
    lanes = lanes_of(nest, vector_bits)
    flat = _flat_loop(nest, lanes)
    if flat is not None and _reads_flat(reader, nest, flat):
        loops = [flat]
    else:
        loops = plan_loops(nest, lanes)
    store_rest(reader, write_nest(reader, nest, loops))


def accumulated(nest: Nest) -> list[Value]:
    """The values that a nest adds to in memory, which start from zero."""
    return [r.value for r in nest.roots if _accumulates_in_memory(r, nest.order)]


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


def lanes_of(nest: Nest, vector_bits: int) -> int:
    """As many lanes as the widest element that is touched allows."""
    return max(1, vector_bits // (8 * nest.widest))


def _flat_loop(nest: Nest, lanes: int) -> _Loop | None:
    """One loop over the whole space, if no root tells its axes apart."""
    axes = tuple(range(len(nest.space)))
    natural = list(nest.order) == sorted(nest.order) and all(
        all(r == axes for r in root.reads) and root.reduced in ((), axes) for root in nest.roots
    )
    if len(axes) < 2 or not natural:
        return None
    extent = product(nest.space)
    return _Loop(axes, extent, _fit(lanes, extent), _copies(nest))


def _reads_flat(reader: Reader, nest: Nest, loop: _Loop) -> bool:
    """Whether a flat loop never has to divide its position into coordinates: tried, not guessed."""
    trial = reader.with_builder(LoopBuilder())
    write_nest(trial, nest, [loop])
    return not trial.k.divided


def plan_loops(nest: Nest, lanes: int, columns: Collection[Value] = frozenset()) -> list[_Loop]:
    """The loops over the axes that are not unrolled, and which of them is the vector.

    `columns` are stored with their first axis last, see `RowGroup`.
    """
    long = [a for a in nest.order if not _is_short(nest.space[a], lanes)]
    vector = min(
        reversed(long), key=lambda axis: _cost_of_vector(nest, axis, lanes, columns), default=None
    )
    if vector is None and nest.order:
        vector = nest.order[-1]
    innermost = bool(nest.order) and vector == nest.order[-1]
    copies = _copies(nest) if innermost else 1
    shared = innermost and _shares_over_rows(nest)
    loops = []
    for position, axis in enumerate(nest.order):
        extent = nest.space[axis]
        if axis == vector:
            loops.append(_Loop((axis,), extent, _fit(lanes, extent), 1 if shared else copies))
        else:
            before_vector = position + 2 == len(nest.order)
            loops.append(_Loop((axis,), extent, 1, 4 if shared and before_vector else 1))
    return loops


def _cost_of_vector(nest: Nest, axis: int, lanes: int, columns: Collection[Value]) -> float:
    """About the instructions a point takes if `axis` is the vector.

    Neighbours in memory are one load; entries that lie apart are gathered; what does not vary in
    the innermost loop is loaded outside it. A sum over the vector inside which other axes are
    looped over is taken across the lanes each time. Beside a short vector much of the work is that
    of its row alone, which is scalar.
    """
    inner, extent = nest.order[-1], nest.space[axis]
    beside_short = isinstance(extent, int) and extent <= 2 * lanes
    total = nest.size * (2.0 if beside_short else 1.0)
    for value, along in nest.reads:
        axes = in_layout(along, value in columns)
        load = 0.5 if axis not in axes else 1.0 if axes[-1] == axis else 8.0
        load *= _entries(value, along)
        total += load if inner in axes or None in axes else 0.1 * load
    for root in nest.roots:
        if axis in root.placement:
            placement = in_layout(root.placement, root.value in columns)
            store = 1.0 if placement[-1] == axis else 8.0
            total += store if inner in root.placement else 0.1 * store
        elif any(a in root.placement for a in nest.order[nest.order.index(axis) + 1 :]):
            total += 10.0
    if not isinstance(extent, int):
        return total
    return total * (-(-extent // lanes) * lanes) / extent


def _entries(value: Value, along: Axes) -> int:
    """How many entries of a value are read at each point."""
    count = product(d for d, a in zip(value.shape, along, strict=True) if a == INSIDE)
    assert isinstance(count, int)
    return count


def _is_short(extent: Dim, lanes: int) -> bool:
    return isinstance(extent, int) and extent <= lanes // 2


def _fit(lanes: int, extent: Dim) -> int:
    """No more lanes than the next power of two above a known extent."""
    while isinstance(extent, int) and lanes > 1 and lanes // 2 >= extent:
        lanes //= 2
    return lanes


def _copies(nest: Nest) -> int:
    """Vectors side by side: enough to hide latency, few enough for the registers."""
    cost = nest.cost * nest.points
    if cost <= 8:
        return 4
    return 2 if cost <= 16 else 1


def _shares_over_rows(nest: Nest) -> bool:
    """Whether rows share loads: a product with a vector, a sum of rows."""
    return (
        len(nest.order) > 1
        and nest.size * nest.points <= 40
        and all(root.kind == "add" and len(root.operands) == 2 for root in nest.roots)
    )


def _accumulates_in_memory(root: Root, order: tuple[int, ...]) -> bool:
    """Whether a reduced axis is looped over outside an axis of the result."""
    reduced = [i for i, axis in enumerate(order) if axis in root.reduced]
    placed = [i for i, axis in enumerate(order) if axis in root.placement]
    return bool(reduced and placed) and reduced[0] < placed[-1]


def write_nest(
    reader: Reader, nest: Nest, loops: list[_Loop], rows: tuple[Ref, Ref] | None = None
) -> dict[Partial, Ref]:
    """Write the loops, outermost first; each root's partial result leaves them from the inside.

    `rows` are the first row and the number of rows of a block. Gives the results that are left when
    all loops are closed.
    """
    k = reader.k
    reader.begin([root.value for root in nest.roots if root.kind is None])
    coordinates: dict[int, Ref] = {}
    open_loops: list[ExitStack] = []
    flat: Ref | None = None
    for loop in loops:
        stack = ExitStack()
        in_block = rows is not None and loop.axes == (0,)
        extent = rows[1] if rows is not None and in_block else k.size(loop.extent)
        variable = stack.enter_context(k.loop(extent, lanes=loop.lanes, copies=loop.copies))
        open_loops.append(stack)
        if len(loop.axes) > 1:
            flat = variable
        elif rows is not None and reader.block is not None and in_block:
            coordinates[0] = k.add(rows[0], variable)
            reader.block.rows[coordinates[0]] = variable
        else:
            coordinates[loop.axes[0]] = variable
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
    return partials


def _values(
    reader: Reader, nest: Nest, coordinates: Mapping[int, Ref], flat: Ref | None
) -> dict[Partial, Ref]:
    """What each root stores or accumulates inside the loops, at each point of the unrolled axes."""
    k = reader.k
    unrolled = nest.unrolled if flat is None else ()
    extents = [nest.space[axis] for axis in unrolled]
    assert is_static(extents)
    found: dict[Partial, Ref] = {}
    for point in every(*map(range, extents)):
        at = {**coordinates, **{a: k.index(i) for a, i in zip(unrolled, point, strict=True)}}
        for root in nest.roots:
            value = _value_at(reader, root, at, flat)
            kept = tuple(
                (a, i) for a, i in zip(unrolled, point, strict=True) if a in root.placement
            )
            before = found.get((root, kept))
            found[root, kept] = (
                value if before is None else k.combine(str(root.kind), before, value)
            )
    return found


def _value_at(reader: Reader, root: Root, coordinates: Mapping[int, Ref], flat: Ref | None) -> Ref:
    """The operand, or the product of the operands, at a point of the space."""
    found = [
        reader.at(
            operand,
            Index(reader.k, operand.shape, flat=flat)
            if flat is not None
            else Index(reader.k, operand.shape, [coordinates[a] for a in axes]),
        )
        for operand, axes in zip(root.operands, root.reads, strict=True)
    ]
    return found[0] if len(found) == 1 else reader.product(*found)


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
        index = Index(k, root.value.shape, [at[a] for a in root.placement])
    mode = "add" if _accumulates_in_memory(root, nest.order) else "set"
    k.store(*reader.place(root.value, index), value, mode)
