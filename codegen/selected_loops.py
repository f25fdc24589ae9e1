"""The loops that collect conditions as bits, and those of a sum of the terms that they select.

Conditions are tested in vectors, and collected, up to 64 of them, as the bits of an integer: by the
lanes along their own axis, or in the lanes of vectors along another one. The loop over the bits
that are set is a scalar one; the axes along which the condition does not vary, which make the work
of a term, are looped over inside, in vectors again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product as every

from gradc.codegen.loop_plan import Loop, cost_of_load, fit, lanes_of
from gradc.codegen.nest import value_at
from gradc.codegen.reader import Reader
from gradc.codegen.selected import BITS
from gradc.codegen.steps import INSIDE, Nest, Root, in_layout, is_short
from gradc.ir.dims import Dim, is_static, product
from gradc.ir.function import Value
from gradc.ir.loops import Ref
from gradc.ir.lowering import Index
from gradc.ir.record import dataclass

_TESTED = 4  # vectors of conditions side by side
_MOST_COPIES = 4  # vectors of a term


def cost_of_bits(nest: Nest, lanes: int, columns: Collection[Value]) -> float:
    """About the instructions that the conditions of a row take; unknown lengths count as 64."""
    (root,) = nest.roots
    lengths = (d if isinstance(d, int) else 64 for d in root.operands[0].shape[1:])
    points = product(lengths)
    assert isinstance(points, int)
    return points * min(_cost_of_test(nest, axis, lanes, columns) for axis in root.reads[0])


def _cost_of_test(nest: Nest, axis: int, lanes: int, columns: Collection[Value]) -> float:
    """About the instructions of one condition if `axis` is the vector."""
    (root,) = nest.roots
    loads = sum(cost_of_load(axis, in_layout(at, v in columns)) for v, at in nest.reads)
    extent = root.operands[0].shape[root.reads[0].index(axis)]
    is_narrow = isinstance(extent, int) and extent < lanes
    return (nest.size + loads) * (lanes if is_narrow else 1)


def lower_bits(
    reader: Reader,
    nest: Nest,
    vector_bits: int,
    columns: Collection[Value] = frozenset(),
    rows: tuple[Ref, Ref] | None = None,
) -> None:
    """Write the loops that collect conditions.

    `rows` are the first row and the number of rows of a block; `columns` are stored with their
    first axis last.
    """
    (root,) = nest.roots
    (condition,), (along,) = root.operands, root.reads
    chosen, lanes = along.index(INSIDE), lanes_of(nest, vector_bits)
    tested = min(along, key=lambda axis: _cost_of_test(nest, axis, lanes, columns))
    extent = condition.shape[along.index(tested)]
    vector = Loop((tested,), extent, fit(lanes, extent), _TESTED)
    reader.begin(())
    writer = _Writer(reader, root.space, rows, {})
    k = reader.k
    with ExitStack() as stack:
        for axis, dim in enumerate(root.space):
            if axis != tested:
                stack.enter_context(writer.loop(Loop((axis,), dim)))
        if tested != INSIDE:
            stack.enter_context(writer.loop(vector, in_block=True))
        within = vector if tested == INSIDE else Loop((INSIDE,), condition.shape[chosen])
        with writer.part(within, writer.at[chosen]) as place:
            at = [place if axis == INSIDE else writer.at[axis] for axis in along]
            bits = k.reduce("bits", reader.at(condition, Index(k, condition.shape, at)))
        index = Index(k, root.value.shape, [writer.at[axis] for axis in range(len(root.space))])
        k.store(*reader.place(root.value, index), bits)


def lower_selected(
    reader: Reader, nest: Nest, vector_bits: int, rows: tuple[Ref, Ref] | None = None
) -> None:
    """Write the loops of a sum of selected terms, which add to what is in memory."""
    (root,) = nest.roots
    assert root.guard is not None
    bits, along = root.guard
    chosen = _axes_of_condition(root)[along.index(None)]
    inner, unrolled = _loops_of_term(nest, lanes_of(nest, vector_bits))
    reader.begin(())
    writer = _Writer(reader, root.space, rows, {})
    k = reader.k
    with ExitStack() as stack:
        for axis in sorted(axis for axis in along if axis is not None):
            stack.enter_context(writer.loop(Loop((axis,), root.space[axis])))
        stack.enter_context(writer.loop(Loop((chosen,), bits.shape[along.index(None)])))
        at = [writer.at[chosen if axis is None else axis] for axis in along]
        those = reader.at(bits, Index(k, bits.shape, at))
        whole = Loop((chosen,), root.space[chosen])
        writer.at[chosen] = stack.enter_context(writer.part(whole, writer.at[chosen], those))
        for loop in inner:
            stack.enter_context(writer.loop(loop))
        writer.add(root, unrolled)


def _axes_of_condition(root: Root) -> tuple[int, ...]:
    assert root.value.owner is not None
    along: tuple[int, ...] = root.value.owner.attrs["along"]
    return along


def _loops_of_term(nest: Nest, lanes: int) -> tuple[list[Loop], list[int]]:
    """The loops over the axes of a term, and the short axes, which are written out."""
    (root,) = nest.roots
    along = _axes_of_condition(root)
    rest = [axis for axis in range(len(root.space)) if axis not in along]
    unrolled = [axis for axis in rest if is_short(root.space[axis])]
    inner = [Loop((axis,), root.space[axis]) for axis in rest if axis not in unrolled]
    if inner:
        extent = inner[-1].extent
        own = fit(lanes, extent)
        whole = extent // own if isinstance(extent, int) else 1
        copies = max(1, whole) if whole <= _MOST_COPIES else 1
        inner[-1] = Loop(inner[-1].axes, extent, own, copies)
    return inner, unrolled


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes loops over the axes of a space; `at` are the coordinates that are known."""

    reader: Reader
    space: Sequence[Dim]
    rows: tuple[Ref, Ref] | None
    at: dict[int, Ref]

    @contextmanager
    def loop(self, loop: Loop, in_block: bool = False) -> Iterator[None]:
        """One loop over an axis of the space; `in_block`: rows are read by columns."""
        k, (axis,) = self.reader.k, loop.axes
        if loop.extent == 1:
            self.at[axis] = k.index(0)
            yield
            return
        first, extent = (None, k.size(loop.extent)) if axis or not self.rows else self.rows
        with k.loop(extent, lanes=loop.lanes, copies=loop.copies) as i:
            self.at[axis] = i if first is None else k.add(first, i)
            if in_block and first is not None and self.reader.block is not None:
                self.reader.block.rows[self.at[axis]] = i
            yield

    @contextmanager
    def part(self, loop: Loop, part: Ref, bits: Ref | None = None) -> Iterator[Ref]:
        """The loop over the part of an axis whose conditions are the bits of one integer."""
        k = self.reader.k
        first = k.mul(part, k.index(BITS))
        last = k.binary("min", k.size(loop.extent), k.add(first, k.index(BITS)))
        with k.loop(last, first, lanes=loop.lanes, copies=loop.copies, bits=bits) as i:
            yield i

    def add(self, root: Root, unrolled: Sequence[int]) -> None:
        """Add the terms of a point, one for each entry of the axes that are written out."""
        k = self.reader.k
        extents = [self.space[axis] for axis in unrolled]
        assert is_static(extents)
        for point in every(*map(range, extents)):
            at = self.at | {a: k.index(i) for a, i in zip(unrolled, point, strict=True)}
            term = value_at(self.reader, root, at, None)
            index = Index(k, root.value.shape, [at[axis] for axis in root.placement])
            k.store(*self.reader.place(root.value, index), term, "add")
