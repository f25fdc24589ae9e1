"""Row fusion: steps that share their outer axis run together, a block of rows at a time.

Nests and matrix products over the same rows (samples, observations) that need only the same row of
one another become one `RowGroup`: the outer loop goes over blocks of rows, and inside a block each
step runs over the block's rows only. What lives for one block is stored in a block-sized buffer
that stays in the first caches, data that several steps read comes from memory once, and sums over
the rows are accumulated over the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TypeAlias

from gradc.codegen.choices import Choices
from gradc.codegen.loop_plan import USUAL_LENGTH
from gradc.codegen.product import can_finish
from gradc.codegen.row_group import (
    RowData,
    RowGroup,
    batch_labels,
    is_of_unknown_size,
    lay_out,
    with_short_rows,
)
from gradc.codegen.row_layouts import BLOCK_BYTES, entries_of
from gradc.codegen.schedule import nest_of, root_of
from gradc.codegen.steps import (
    FEWEST_ROWS,
    FinishedProduct,
    Nest,
    ProductStep,
    Read,
    Root,
    Schedule,
    Step,
    free_sides,
    inlined_reads,
    reads_of,
    row_label,
    scatters_rows,
    written,
)
from gradc.codegen.straight import Run, Straight, can_write, is_short, is_small, rows_in_front
from gradc.codegen.strips import may_have_strips, nest_in_strips
from gradc.ir.dims import Dim, product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Contraction
from gradc.ir.record import dataclass
from gradc.ir.structure import Structure, structure_of

_SHORT_SIDE = 16  # rows and columns of a product that loops do well
_AHEAD, _BETWEEN = 1024, 256  # steps after the first, the last of a group that may join it


Scheduled: TypeAlias = "Step | RowGroup | Straight | FinishedProduct"


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """The steps with what each needs: by number, the steps that store what it reads.

    `behind` are these, what they need, and so on, among the _AHEAD steps before it: a bit for each,
    the highest for the step just before. `rows`: see `_rows`.
    """

    steps: Sequence[Step]
    stored: Collection[Value]
    results: Collection[Value]
    needs: Sequence[set[int]]
    behind: Sequence[int]
    rows: Sequence[Dim | None]
    read_by: Mapping[Value, set[int]]
    finishes: Mapping[int, int]  # products of unknown size that a nest finishes, and that nest
    structure: Callable[[], Structure]  # found when it is first asked for

    def stays_apart(self, number: int, members: Collection[int]) -> bool:
        """Whether a step is kept out of a group for the sake of a product that a nest finishes.

        If the product is large, that saves more than to share its rows: it joins no group, and its
        nest none with a product of unknown size.
        """
        if number in self.finishes:
            return True
        if not self.finishes:
            return False
        every = {*members, number}
        products = any(is_of_unknown_size(self.steps[n]) for n in every)
        return products and not every.isdisjoint(self.finishes.values())

    def kept(self, members: Collection[int]) -> frozenset[Value]:
        """What some steps store that other steps read, or that is a result."""
        inside = set(members)
        return frozenset(
            value
            for number in members
            for value in written(self.steps[number])
            if value in self.results or not self.read_by.get(value, set()) <= inside
        )


def group_rows(cut: Schedule, fn: Function, choices: Choices) -> tuple[Scheduled, ...]:
    """The steps with those over the same rows joined, in an order that is still right."""
    known = _analyse(cut, fn)
    taken: set[int] = set()
    placed: list[tuple[Sequence[int], Scheduled]] = []
    for first, step in enumerate(cut.steps):
        if first in taken:
            continue
        members, before = _members(known, first, taken) if choices.rows else ([first], [])
        group = _joined(known, members, choices)
        if group is None:
            members, before = [first], []
        placed += [((number,), cut.steps[number]) for number in before]
        placed.append((members, group or step))
        taken.update(members, before)
    return _without_loops(known, placed) if choices.straight else tuple(s for _, s in placed)


def parts_of(step: Scheduled) -> Sequence[Step]:
    """The steps that a group joins; a step by itself."""
    return step.steps if isinstance(step, RowGroup | Straight | FinishedProduct) else (step,)


def _analyse(cut: Schedule, fn: Function) -> _Cut:
    producer = {value: i for i, step in enumerate(cut.steps) for value in written(step)}
    needs: list[set[int]] = []
    behind: list[int] = []
    read_by: dict[Value, set[int]] = {}
    for number, step in enumerate(cut.steps):
        found = inlined_reads(step, cut.stored)
        needs.append({producer[value] for value in found} - {number})
        behind.append(_with_all_behind(needs[number], behind, number - _AHEAD))
        for value in found:
            read_by.setdefault(value, set()).add(number)
    finishes = dict(_finished(cut, read_by))
    rows = [_rows(step) for step in cut.steps]
    structure = cache(partial(structure_of, fn))
    results = set(fn.results)
    return _Cut(cut.steps, cut.stored, results, needs, behind, rows, read_by, finishes, structure)


def _with_all_behind(numbers: Iterable[int], behind: Sequence[int], since: int) -> int:
    """Steps and all that they need from step `since` on, which is bit 0."""
    found = 0
    for number in numbers:
        if number >= since:
            found |= behind[number] >> _AHEAD + since - number | 1 << number - since
    return found


def _finished(cut: Schedule, read_by: Mapping[Value, set[int]]) -> Iterator[tuple[int, int]]:
    """The products of unknown size that a nest can finish, each with the nest."""
    for number, step in enumerate(cut.steps):
        if isinstance(step, ProductStep) and is_of_unknown_size(step):
            reader = min(read_by.get(step.equation.outputs[0], ()), default=number)
            nest = cut.steps[reader]
            if isinstance(nest, Nest) and can_finish(step, nest, cut.stored):
                yield number, reader


def _joined(known: _Cut, members: Sequence[int], choices: Choices) -> RowGroup | Straight | None:
    """The steps as one, if that is worth it."""
    steps = tuple(known.steps[number] for number in members)
    rows = _rows(steps[0])
    if rows is None or (len(steps) < 2 and not _mixes_spaces(steps[0])):
        return None
    small = [step for step in steps if is_small(step)]
    if choices.straight and len(small) == len(steps) and is_short(small, known.stored):
        straight = Straight(tuple(small), rows, known.kept(members))
        if can_write(straight, known.stored):
            return straight
    return _group(known, members, choices) if _saves_memory(known, steps) else None


def _mixes_spaces(step: Step) -> bool:
    """Whether a step's values have different numbers of entries at a point of its loops."""
    return isinstance(step, Nest) and len({root.space for root in step.roots}) > 1


def _without_loops(
    known: _Cut, placed: Sequence[tuple[Sequence[int], Scheduled]]
) -> tuple[Scheduled, ...]:
    """Runs of small steps of known size as straight-line code."""
    found: list[Scheduled] = []
    run = Run(known.stored)
    numbers = {step: number for number, step in enumerate(known.steps)}
    for _, step in placed:
        if not is_small(step):
            found += [*_written_out(known, run, numbers), step]
            run = Run(known.stored)
        elif not run.take(step):
            found += _written_out(known, run, numbers)
            run = Run(known.stored)
            found += [] if run.take(step) else [step]
    return (*found, *_written_out(known, run, numbers))


def _written_out(known: _Cut, run: Run, numbers: Mapping[Step, int]) -> list[Scheduled]:
    members = [numbers[step] for step in run.steps]
    straight = Straight(tuple(run.steps), None, known.kept(members))
    pays = run.steps and run.pays and can_write(straight, known.stored)
    return [straight] if pays else list(run.steps)


def _members(known: _Cut, first: int, taken: Collection[int]) -> tuple[list[int], list[int]]:
    """The steps that can run with step `first`, and those that must be moved before it for that."""
    rows = known.rows[first]
    if rows is None or known.stays_apart(first, ()):
        return [first], []
    members, before = [first], list[int]()
    keeps = _keeps_rows(known.steps[first])
    waiting = 0  # steps that need members and cannot run with them: nor can what needs these
    for number in range(first + 1, min(first + 1 + _AHEAD, len(known.steps))):
        if number > members[-1] + _BETWEEN:
            break
        step = known.steps[number]
        if known.behind[number] >> _AHEAD + first - number & waiting or known.rows[number] != rows:
            continue
        if number in taken or number in before or known.stays_apart(number, members):
            continue
        earlier = _to_move(known, number, first, members)
        if earlier is not None and all(
            keeps[value] and bool(axes) and axes[0] == 0
            for value, axes in _row_reads(step, known.stored)
            if value in keeps
        ):
            before += [n for n in earlier if n not in taken and n not in before]
            members.append(number)
            keeps |= _keeps_rows(step)
        else:
            waiting |= 1 << number - first
    return members, before


def _to_move(known: _Cut, number: int, first: int, members: Collection[int]) -> list[int] | None:
    """What step `number` needs from step `first` on; None if members are among it."""
    behind = _with_all_behind(known.needs[number].difference(members), known.behind, first)
    if any(behind >> member - first & 1 for member in members):
        return None
    return [n for n in range(first, number) if behind >> n - first & 1]


def _rows(step: Step) -> Dim | None:
    """The number of rows a step loops over outermost; None where it cannot be cut into blocks."""
    if isinstance(step, ProductStep):
        label = row_label(step.equation)
        operands = _operands(step.equation)
        apart = {label, *batch_labels(step.equation)}
        small = all(_is_small(value, labels, apart) for value, labels in operands)
        if label is None or not (small or _is_short_product(step.equation)):
            return None
        return _if_long(next(v.shape[0] for v, labels in operands if label in labels))
    if not isinstance(step, Nest) or not step.order or step.order[0] != 0:
        return None
    return _if_long(step.space[0]) if all(map(_can_be_cut, step.roots)) else None


def _can_be_cut(root: Root) -> bool:
    """Whether the rows of a block are a part of a root's work."""
    if root.scatters:
        return scatters_rows(root)
    if root.once[-1:] == (0,):  # 64 rows are the bits of an integer
        return False
    return root.kind is None or root.adds_up or 0 in root.placement


def _is_short_product(equation: Equation) -> bool:
    """Whether a product that is summed over the rows gives so few entries that loops do it well."""
    sides = [product(side) for side in free_sides(equation)]
    summed = row_label(equation) not in equation.attrs["out"]
    return summed and all(isinstance(side, int) and side <= _SHORT_SIDE for side in sides)


def _in_loops(known: _Cut, step: Step, short: bool = False) -> Step:
    """A product as loops, where they do it well: in strips, if many of its terms do not count.

    They do it also where unknown lengths turn out to be `short`.
    """
    made = _product_of(step)
    if made is not None and may_have_strips(made):
        strips = nest_in_strips(made, known.structure(), known.stored)
        if strips is not None:
            return strips
    if isinstance(step, ProductStep) and (
        _is_short_product(step.equation) or (short and is_of_unknown_size(step))
    ):
        return nest_of(rows_in_front(root_of(step.equation), step.equation), known.stored)
    return step


def _product_of(step: Step) -> Equation | None:
    """The product over rows that a step computes, if it does nothing else."""
    if isinstance(step, Nest) and len(step.roots) == 1:
        made = step.roots[0].value.owner
        if made is None or not isinstance(made.op.lower, Contraction) or row_label(made) is None:
            return None
        return made
    return step.equation if isinstance(step, ProductStep) else None


def _is_small(value: Value, labels: Sequence[int], apart: Collection[int | None]) -> bool:
    """Whether an operand of one product of one row stays in the first cache for all blocks.

    A large one would be packed again for every block. `apart`: the labels of rows and products.
    """
    own = [d for label, d in zip(labels, value.shape, strict=True) if label not in apart]
    return entries_of(own, USUAL_LENGTH) * value.dtype.itemsize <= BLOCK_BYTES


def _if_long(extent: Dim) -> Dim | None:
    return None if isinstance(extent, int) and extent < FEWEST_ROWS else extent


def _operands(equation: Equation) -> list[tuple[Value, Sequence[int]]]:
    labels = [equation.attrs[name] for name in ("lhs", "rhs", "out")]
    return list(zip((*equation.inputs, *equation.outputs), labels, strict=True))


def _keeps_rows(step: Step) -> dict[Value, bool]:
    """What a step stores, and whether its first axis is the rows (else they are summed over)."""
    if isinstance(step, Nest):
        return {r.value: bool(r.placement) and r.placement[0] == 0 for r in step.roots}
    return {v: row_label(step.equation) in step.equation.attrs["out"] for v in written(step)}


def _row_reads(step: Step, stored: Collection[Value]) -> set[Read]:
    """The stored values a step reads; space axis 0 is the rows."""
    if isinstance(step, Nest):
        return reads_of(step, stored)
    label = row_label(step.equation)
    return {
        (value, tuple(0 if x == label else None for x in labels))
        for value, labels in _operands(step.equation)[:2]
    }


def _saves_memory(known: _Cut, steps: Sequence[Step]) -> bool:
    """Whether some array with a row axis is read by two of the steps, or made and read by them."""
    seen: set[Value] = set()
    for step in steps:
        reading = _row_reads(step, known.stored)
        found = {value for value, axes in reading if axes and axes[0] == 0}
        if found & seen:
            return True
        seen |= found | set(written(step))
    return False


def _group(known: _Cut, members: Sequence[int], choices: Choices) -> RowGroup:
    given = [known.steps[number] for number in members]
    steps = [_in_loops(known, step) for step in given]
    kept = known.kept(members)
    rowwise = {value: rows for step in steps for value, rows in _keeps_rows(step).items()}
    local = frozenset(v for v, has_rows in rowwise.items() if has_rows and v not in kept)
    arrays = {
        value
        for step in steps
        for value, axes in _row_reads(step, known.stored)
        if axes and axes[0] == 0
    }
    rows = _rows(steps[0])
    assert rows is not None
    data = RowData(rows, known.stored, local, frozenset(arrays), frozenset(rowwise))
    group = lay_out(steps, data, choices)
    if _multiplies_matrices(known, group.steps):
        group = replace(group, structure=known.structure())
    loops = [_in_loops(known, step, short=True) for step in given]
    return with_short_rows(group, loops, data, choices)


def _multiplies_matrices(known: _Cut, steps: Iterable[Step]) -> bool:
    """Whether loops multiply rows by what was computed before them, along axes of known length."""
    nests = [step for step in steps if isinstance(step, Nest)]
    return any(map(partial(_sums_products, known.stored), nests)) and any(
        value.owner is not None and 0 not in axes
        for nest in nests
        for value, axes in _row_reads(nest, known.stored)
        if any(isinstance(extent, int) and extent > 1 for extent in value.shape)
    )


def _sums_products(stored: Collection[Value], nest: Nest) -> bool:
    """Whether a nest computes a contraction, or has one written out in what it computes."""
    stack = [root.value for root in nest.roots]
    seen: set[Value] = set()
    while stack:
        made = stack.pop().owner
        if made is None:
            continue
        if isinstance(made.op.lower, Contraction):
            return True
        new = {value for value in made.inputs if value not in stored} - seen
        seen |= new
        stack += new
    return False
