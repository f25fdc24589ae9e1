"""Straight-line code: small arrays of known shape are held in registers, entry by entry.

Steps whose loops are short and of known length are written without loops: every entry is a scalar
of its own, reductions are chains of additions, and only what is read elsewhere is stored. If the
steps share an outer axis of rows, that axis is one vector loop around the straight-line code, a
row a lane: the way of many small independent problems.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import field
from typing import TypeGuard

from gradc.codegen.entries import (
    TrialBuffers,
    distinct_entries,
    entry_count,
    work_of,
    write_entries,
)
from gradc.codegen.reader import Reader, UnknownElementError
from gradc.codegen.schedule import root_of
from gradc.codegen.steps import Nest, ProductStep, Root, row_label
from gradc.codegen.straight_rows import write_rows
from gradc.ir.dims import Dim, is_static
from gradc.ir.function import Equation, Value, equations_behind
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.lowering import Contraction, IndexMap, Literal, Pointwise, Reduction
from gradc.ir.record import dataclass

_MOST_INSTRUCTIONS = 6000
_MOST_ROW_ENTRIES = 64  # of one value, and of one axis: longer rows are better vectors
_LONGEST_ROW_AXIS = 16
_MOST_ENTRIES = 36  # of one value without rows: more are better computed by vectors
_MOST_SPARSE = 256  # the same where most are zeros in known places
_LITTLE_WORK = 300  # instructions: less than that is no matter
_OVERHEAD = 20  # instructions of a loop
_LANES = 8
_MOST_POINTS = 128  # of one sum, or sum of products, without rows

Small = Nest | ProductStep
_PER_ENTRY = Pointwise | Literal


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
        return _whole([r for step in self.steps for r in _roots(step, self.rows is not None)])

    @property
    def widest(self) -> int:
        """The bytes of the widest element."""
        return max(s.widest if isinstance(s, Nest) else _itemsize(s) for s in self.steps)


def is_small(step: object) -> TypeGuard[Small]:
    """Whether a step may be straight-line code: what changes entries in place is not."""
    if isinstance(step, Nest):
        return not step.scattered and not step.has_own_loops
    return isinstance(step, ProductStep)


def is_short(steps: Sequence[Small], stored: Collection[Value]) -> bool:
    """Whether steps over the same rows are small enough to be written without inner loops."""
    parts = [root for step in steps for root in _roots(step, True)]
    roots = _whole(parts)
    if not all(_is_short_row(root) for root in roots) or not _is_complete(parts):
        return False
    made = {root.value for root in roots}
    rows = roots[0].space[0]
    computed = equations_behind(made, stored)
    return sum(work_of(equation, rows) for equation in computed) <= _MOST_INSTRUCTIONS


def _is_short_row(root: Root) -> bool:
    """Whether a row of a root's space is small."""
    inner = root.space[1:]
    count = entry_count(inner)
    if count is None or not is_static(inner):
        return False
    return count <= _MOST_ROW_ENTRIES and max(inner, default=1) <= _LONGEST_ROW_AXIS


def _whole(roots: Sequence[Root]) -> list[Root]:
    """The roots, with one for a whole value in place of those of its parts, after all of them."""
    found: dict[object, Root] = {}
    for root in roots:
        if root.starts:
            axes, value = tuple(range(root.value.type.rank)), root.value
            found.pop(value, None)
            found[value] = Root(value, value.shape, axes, (value,), (axes,))
        else:
            found[root] = root
    return list(found.values())


def _is_complete(roots: Sequence[Root]) -> bool:
    """Whether of every value that is computed part by part all parts are there."""
    entries: dict[Value, int] = {}
    for root in roots:
        if root.starts:
            if root.starts[0] != 0 or root.space[0] != root.value.shape[0]:
                return False  # a part of the rows
            entries[root.value] = entries.get(root.value, 0) + (entry_count(root.space[1:]) or 0)
    return all(count == entry_count(value.shape[1:]) for value, count in entries.items())


@dataclass(slots=True, eq=False)
class Run:
    """Steps without rows that are to be written together, and what computes their values."""

    stored: Collection[Value]
    steps: list[Small] = field(default_factory=list)
    made: set[Value] = field(default_factory=set)
    equations: set[Equation] = field(default_factory=set)
    work: int = 0
    in_loops: int = 0  # about the instructions of the steps as loops
    trials: int = 8  # of larger arrays, which take time

    def take(self, step: Small) -> bool:
        """Add a step, if what it computes is small, and not too much together with the others."""
        roots = _roots(step, False)
        made = {root.value for root in roots}
        larger = [r for r in roots if not _is_little(r) and not _joins_little(r)]
        if not all(map(self._is_sparse, larger)):
            return False
        computed = equations_behind(made, self.stored)
        fresh = [equation for equation in computed if equation not in self.equations]
        # Of a sparse array, most of what its equations make is never written.
        own = _LITTLE_WORK if larger else sum(work_of(equation) for equation in fresh)
        work = self.work + own
        if work > _MOST_INSTRUCTIONS or not all(_is_known(equation) for equation in fresh):
            return False
        self.steps.append(step)
        self.made |= made
        self.equations.update(fresh)
        self.work = work
        self.in_loops += _work_in_loops(step)
        return True

    @property
    def pays(self) -> bool:
        """Whether loops of vectors would not be much less work."""
        return self.work <= max(_LITTLE_WORK, 2 * self.in_loops)

    def _is_sparse(self, root: Root) -> bool:
        """Whether most entries of a larger array are zeros in known places, or repetitions."""
        count = entry_count(root.value.shape)
        if root.kind is not None or root.starts or count is None or count > _MOST_SPARSE:
            return False
        if not self.trials:
            return False
        computed = equations_behind([root.value], self.stored)
        if not any(map(_tells_positions, computed)) or any(map(_chooses, computed)):
            return False
        self.trials -= 1
        known = {value for value in self.stored if value is not root.value}
        return 2 * distinct_entries(root.value, known) <= count


def _work_in_loops(step: Small) -> int:
    """About the instructions of a step as loops: a vector takes what a point takes."""
    (root, *_) = _roots(step, False)
    points = entry_count(root.space) or 0
    return _OVERHEAD + -(-points // _LANES) * (step.size if isinstance(step, Nest) else 2)


def _chooses(equation: Equation) -> bool:
    """Whether numbers decide which entries are read."""
    rule = equation.op.lower
    return isinstance(rule, IndexMap) and rule.move is None and bool(equation.inputs)


def _stays_in_row(equation: Equation, made: Collection[Value]) -> bool:
    """Whether a row of a result surely reads operands in the same row, entry by entry."""
    rule = equation.op.lower
    if isinstance(rule, IndexMap):
        owners = [value.owner for value in equation.inputs]
        return all(owner is not None and isinstance(owner.op.lower, Literal) for owner in owners)
    if isinstance(rule, Reduction):
        return equation.outputs[0] in made
    return isinstance(rule, _PER_ENTRY)


def _tells_positions(equation: Equation) -> bool:
    """Whether a result depends on where its entries are: a counter, a pad, joined arrays."""
    return isinstance(equation.op.lower, IndexMap) and len(equation.inputs) != 1


def _is_little(root: Root) -> bool:
    """Whether a root has so few entries, and points, that vectors would not be faster."""
    points = entry_count(root.space)
    entries = entry_count(root.value.shape)
    if points is None or entries is None or root.starts:
        return False
    return entries <= _MOST_ENTRIES and points <= _MOST_POINTS


def _joins_little(root: Root) -> bool:
    """Whether a larger array is joined of parts: in loops, each entry would choose its part."""
    count = entry_count(root.value.shape)
    if count is None or count > _MOST_SPARSE or root.starts:
        return False
    value = root.value
    while value.owner is not None and _rearranges(value.owner):
        (value,) = value.owner.inputs
    return value.owner is not None and _tells_positions(value.owner) and not _chooses(value.owner)


def _rearranges(equation: Equation) -> bool:
    """Whether a result has the entries of its one operand in another order."""
    rule = equation.op.lower
    return isinstance(rule, IndexMap) and rule.move is not None and len(equation.inputs) == 1


def _is_known(equation: Equation) -> bool:
    """Whether an equation's entries can be told apart now."""
    if isinstance(equation.op.lower, Reduction | Contraction):
        return all(is_static(value.shape) for value in equation.inputs)
    return True


def can_write(group: Straight, stored: Collection[Value]) -> bool:
    """Whether every entry is read at a position that is known here: tried where it is not plain."""
    made = {root.value for root in group.roots}
    computed = equations_behind(made, stored)
    if group.rows is None:
        is_plain = not any(map(_chooses, computed))
    else:
        is_plain = all(_stays_in_row(equation, made) for equation in computed)
    if is_plain:
        return True
    trial = Reader(LoopBuilder(), TrialBuffers(), stored, {})
    try:
        lower_straight(trial, group, 512)
    except UnknownElementError:
        return False
    return True


def lower_straight(reader: Reader, group: Straight, vector_bits: int) -> None:
    """Write the entries one after another, inside the loop over the rows if there is one."""
    if group.rows is None:
        _write_entries(reader, group, vector_bits)
    else:
        write_rows(reader, group.rows, group.roots, group.kept, vector_bits // (8 * group.widest))


def _write_entries(reader: Reader, group: Straight, vector_bits: int) -> None:
    """Write and store every entry of what is kept."""
    made = {root.value for root in group.roots}
    kept = [value for value in dict.fromkeys(r.value for r in group.roots) if value in group.kept]
    write_entries(reader, kept, frozenset(reader.stored) - made, vector_bits)


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
