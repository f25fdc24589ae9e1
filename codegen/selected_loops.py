"""The loops of a sum of selected terms: conditions as bits, then what is added where one is set.

Conditions are tested in vectors, and collected, up to 64 of them, as the bits of an integer: along
the axis where about one holds, if need be in the lanes of vectors along another axis. The loop over
the bits that are set is a scalar one; the axes along which the condition does not vary, which make
the work of a term, are looped over inside, in vectors again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product as every

from gradc.codegen.loop_plan import Loop, cost_of_load, fit, lanes_of
from gradc.codegen.nest import value_at
from gradc.codegen.reader import Reader
from gradc.codegen.steps import Nest, Root, in_layout, is_short
from gradc.ir.dims import is_static, product
from gradc.ir.function import Value
from gradc.ir.loops import Buffer, Ref
from gradc.ir.lowering import Index
from gradc.ir.record import dataclass
from gradc.ir.types import i64

_BITS = 64  # of an integer
_TESTED = 4  # vectors of conditions side by side
_MOST_COPIES = 4  # vectors of a term


@dataclass(frozen=True, slots=True)
class SelectedPlan:
    """The loops around the conditions, those that test them, and those of a term.

    The bits of an integer are conditions along the axis `chosen`, which are tested by vectors along
    the axis of the loop `tested`. The axes `unrolled` of a term are short: they are written out.
    """

    around: tuple[int, ...]
    chosen: int
    tested: Loop
    inner: tuple[Loop, ...]
    unrolled: tuple[int, ...]


def plan_selected(nest: Nest, lanes: int, columns: Collection[Value] = frozenset()) -> SelectedPlan:
    """The loops of a nest that selects; `columns` are stored with their first axis last."""
    (root,) = nest.roots
    assert root.guard is not None
    along, space = root.guard[1], root.space
    tested = min(sorted(along), key=lambda axis: _cost_of_test(nest, axis, lanes, columns))
    chosen = tested if tested in root.once else root.once[-1]
    around = tuple(axis for axis in sorted(along) if axis not in (chosen, tested))
    rest = [axis for axis in range(len(space)) if axis not in along]
    unrolled = tuple(axis for axis in rest if is_short(space[axis]))
    inner = [Loop((axis,), space[axis]) for axis in rest if axis not in unrolled]
    if inner:
        extent = inner[-1].extent
        own = fit(lanes, extent)
        whole = extent // own if isinstance(extent, int) else 1
        copies = max(1, whole) if whole <= _MOST_COPIES else 1
        inner[-1] = Loop(inner[-1].axes, extent, own, copies)
    test = Loop((tested,), space[tested], fit(lanes, space[tested]), _TESTED)
    return SelectedPlan(around, chosen, test, tuple(inner), unrolled)


def cost_of_tests(nest: Nest, lanes: int, columns: Collection[Value]) -> float:
    """About the instructions that the conditions of a row take; unknown lengths count as 64."""
    (root,) = nest.roots
    assert root.guard is not None
    along = root.guard[1]
    points = product(
        d if isinstance(d, int) else 64 for a, d in enumerate(root.space) if a in along and a != 0
    )
    assert isinstance(points, int)
    return points * min(_cost_of_test(nest, axis, lanes, columns) for axis in along)


def _cost_of_test(nest: Nest, axis: int, lanes: int, columns: Collection[Value]) -> float:
    """About the instructions of one condition if `axis` is the vector."""
    (root,) = nest.roots
    assert root.guard is not None
    along, extent = root.guard[1], root.space[axis]
    reads = [(v, in_layout(at, v in columns)) for v, at in nest.reads if {*at} <= {*along}]
    loads = sum(cost_of_load(axis, at) for _, at in reads)
    is_narrow = isinstance(extent, int) and extent < lanes
    return (nest.size + loads) * (lanes if is_narrow else 1)


def lower_selected(
    reader: Reader,
    nest: Nest,
    vector_bits: int,
    columns: Collection[Value] = frozenset(),
    rows: tuple[Ref, Ref] | None = None,
) -> None:
    """Write the loops, which add to what is in memory.

    `rows` are the first row and the number of rows of a block, `columns` as for `plan_selected`.
    """
    (root,) = nest.roots
    plan = plan_selected(nest, lanes_of(nest, vector_bits), columns)
    reader.begin(())
    writer = _Writer(reader, root, rows, {})
    with ExitStack() as stack:
        for axis in plan.around:
            stack.enter_context(writer.loop(Loop((axis,), root.space[axis])))
        if plan.tested.axes == (plan.chosen,):
            stack.enter_context(writer.selected(plan.tested))
        else:
            stack.enter_context(writer.selected_in_lanes(plan.tested, plan.chosen))
        for loop in plan.inner:
            stack.enter_context(writer.loop(loop))
        writer.add(plan.unrolled)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the loops of a sum; `at` are the coordinates in its space that are known."""

    reader: Reader
    root: Root
    rows: tuple[Ref, Ref] | None
    at: dict[int, Ref]

    @contextmanager
    def loop(self, loop: Loop) -> Iterator[None]:
        """One loop over an axis of the space."""
        (axis,) = loop.axes
        with self.reader.k.loop(self._extent(axis), lanes=loop.lanes, copies=loop.copies) as i:
            self._enter(axis, i)
            yield

    @contextmanager
    def selected(self, loop: Loop) -> Iterator[None]:
        """The loop over those points of an axis where the condition holds."""
        k, (axis,) = self.reader.k, loop.axes
        with self._parts(axis) as (first, last):
            with self._tests(loop, first, last):
                bits = k.reduce("bits", self._condition())
            with k.loop(last, first, bits=bits) as i:
                self._enter(axis, i)
                yield

    @contextmanager
    def selected_in_lanes(self, loop: Loop, chosen: int) -> Iterator[None]:
        """The loops over two axes, for those points of the second where the condition holds.

        About one for each point of the first: so the loop over bits nearly always ends after that.
        """
        k, (axis,) = self.reader.k, loop.axes
        words = Buffer("words", i64[_BITS], "scratch")
        with self._parts(axis) as (first, last), self._parts(chosen) as (low, high):
            with self._tests(loop, first, last) as i:
                with k.loop(high, low) as j:
                    self._enter(chosen, j)
                    bits = k.reduce("bits", self._condition())
                k.store(words, k.sub(i, first), bits)
            with k.loop(last, first) as i:
                self._enter(axis, i)
                bits = k.load(words, k.sub(i, first), stable=False)
                with k.loop(high, low, bits=bits) as j:
                    self._enter(chosen, j)
                    yield

    @contextmanager
    def _parts(self, axis: int) -> Iterator[tuple[Ref, Ref]]:
        """A loop over parts of an axis, each as long as an integer has bits, or shorter."""
        k, extent = self.reader.k, self._extent(axis)
        with k.loop(extent, step=_BITS) as first:
            yield first, k.binary("min", extent, k.add(first, k.index(_BITS)))

    @contextmanager
    def _tests(self, loop: Loop, first: Ref, last: Ref) -> Iterator[Ref]:
        """The vector loop in which conditions are tested."""
        k, (axis,) = self.reader.k, loop.axes
        with k.loop(last, first, lanes=loop.lanes, copies=loop.copies) as i:
            self._enter(axis, i)
            if axis == 0 and self.rows is not None and self.reader.block is not None:
                self.reader.block.rows[self.at[axis]] = i
            yield i

    def add(self, unrolled: Sequence[int]) -> None:
        """Add the terms of a point, one for each entry of the axes that are written out."""
        k, root = self.reader.k, self.root
        extents = [root.space[axis] for axis in unrolled]
        assert is_static(extents)
        for point in every(*map(range, extents)):
            at = self.at | {a: k.index(i) for a, i in zip(unrolled, point, strict=True)}
            term = value_at(self.reader, root, at, None)
            index = Index(k, root.value.shape, [at[axis] for axis in root.placement])
            k.store(*self.reader.place(root.value, index), term, "add")

    def _extent(self, axis: int) -> Ref:
        if axis == 0 and self.rows is not None:
            return self.rows[1]
        return self.reader.k.size(self.root.space[axis])

    def _enter(self, axis: int, variable: Ref) -> None:
        if axis == 0 and self.rows is not None:
            variable = self.reader.k.add(self.rows[0], variable)
        self.at[axis] = variable

    def _condition(self) -> Ref:
        assert self.root.guard is not None
        value, along = self.root.guard
        return self.reader.at(value, Index(self.reader.k, value.shape, [self.at[a] for a in along]))
