"""What a kernel costs: the bytes it moves and the operations it makes, as expressions of the sizes.

Bytes are counted once an array and kernel: what a kernel reads twice, or has just written, is taken
to be in the caches. Operations are floating-point operations by the costs that the ops state
(an exp counts as about 20), as often as the kernel makes them: what does not change along a loop
is computed outside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field

from gradc.codegen.lower import Cut
from gradc.codegen.row_group import RowGroup
from gradc.codegen.rows import Scheduled, parts_of
from gradc.codegen.schedule import root_of
from gradc.codegen.steps import (
    INSIDE,
    Axes,
    BlockStep,
    ExternalStep,
    FinishedProduct,
    Nest,
    ProductStep,
    Root,
    Step,
    base_root,
    indices_read,
    is_product,
    operand_reads,
    row_label,
    terms_of,
    written,
)
from gradc.codegen.straight import Straight
from gradc.codegen.symmetric import computes_half
from gradc.ir.dims import Dim, Shape, is_nonnegative, product, substitute
from gradc.ir.function import Equation, Value
from gradc.ir.lowering import Contraction, IndexMap, Pointwise, Reduction
from gradc.ir.ops.blocks import rows_of
from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """One kernel's traffic in bytes by array, its operations, and what it computes on the way.

    `inlined` are the values that are computed and not stored, each with its operations.
    """

    reads: Mapping[Value, Dim]
    writes: Mapping[Value, Dim]
    operations: Dim
    inlined: Mapping[Value, Dim]

    @property
    def bytes(self) -> Dim:
        """All traffic."""
        return _sum((*self.reads.values(), *self.writes.values()))


@dataclass(slots=True)
class _Count:
    """A cost as it adds up over the steps of one kernel."""

    reads: dict[Value, Dim] = field(default_factory=dict)
    operations: Dim = 0
    inlined: dict[Value, Dim] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Need:
    """A value that is needed along some axes of a space, `times` at each point.

    `through` is the last equation on the way that reads it at other coordinates: shifted reads of
    one value are several needs.
    """

    value: Value
    axes: Axes
    along: frozenset[int]
    space: Shape
    times: Dim = 1
    through: Equation | None = None

    @property
    def points(self) -> Dim:
        """How often it is needed."""
        return product(self.space[axis] for axis in self.along) * self.times


def cost_of(cut: Cut, step: Scheduled) -> Cost:
    """The cost of the kernel that a step becomes."""
    made = list(dict.fromkeys(v for part in parts_of(step) for v in written(part)))
    held = _held(step, made)
    count = _Count()
    for part in parts_of(step):
        own = _Count()
        _count_step(own, part, cut.stored)
        if isinstance(part, ProductStep) and _is_half(step, part):
            own.operations = own.operations - product(root_of(part.equation).space)
        for value, number in own.reads.items():
            count.reads[value] = _larger(count.reads.get(value, 0), number)
        count.operations = count.operations + own.operations
        count.inlined.update(own.inlined)
    if isinstance(step, BlockStep):
        count.operations = count.operations + _operations_of_blocks(cut, step)
    reads = {value: number for value, number in count.reads.items() if value not in made}
    writes = {value: bytes_of(value) for value in made if value not in held}
    return Cost(reads, writes, count.operations, count.inlined)


def total_of(costs: Sequence[Cost]) -> tuple[Dim, Dim]:
    """The bytes and the operations of all kernels."""
    return _sum(cost.bytes for cost in costs), _sum(cost.operations for cost in costs)


def least_bytes(cut: Cut, costs: Sequence[Cost]) -> Dim:
    """What inputs and results alone need: the inputs that are read once, the results once."""
    most: dict[Value, Dim] = {}
    for cost in costs:
        for value, number in cost.reads.items():
            if value.owner is None:
                most[value] = _larger(most.get(value, 0), number)
    return _sum((*most.values(), *(bytes_of(value) for value in cut.fn.results)))


def bytes_of(value: Value) -> Dim:
    """The size of a whole array."""
    return value.type.size * value.dtype.itemsize


def operations_an_entry(value: Value, stored: Collection[Value]) -> int:
    """What it costs to compute one entry of a value, from what is stored."""
    total, seen, stack = 0, {value}, [value]
    while stack:
        owner = stack.pop().owner
        if owner is None:
            continue
        total += _operations(owner)
        fresh = [v for v in dict.fromkeys(owner.inputs) if v not in seen and v not in stored]
        seen.update(fresh)
        stack.extend(fresh)
    return total


def _operations_of_blocks(cut: Cut, step: BlockStep) -> Dim:
    """What a body computes for all rows, those of what it computes in every block again left out.

    Its operations are those of one block, an expression of the rows in it.
    """
    made = step.equation
    body = cut.bodies[made].cut
    _, operations = total_of([cost_of(body, inner) for inner in body.steps])
    return substitute(operations, {rows_of(made.attrs["body"]): product(made.attrs["lead"])})


def _is_half(step: Scheduled, part: ProductStep) -> bool:
    """Whether only half of a product is computed."""
    rows = row_label(part.equation) if isinstance(step, RowGroup) else None
    return computes_half(part.equation, rows)


def _held(step: Scheduled, made: Collection[Value]) -> frozenset[Value]:
    """The values that never leave the caches or the registers."""
    if isinstance(step, RowGroup):
        return step.local
    if isinstance(step, FinishedProduct):
        return step.passing
    return frozenset(made) - step.kept if isinstance(step, Straight) else frozenset()


def _count_step(count: _Count, step: Step, stored: Collection[Value]) -> None:
    computed = {r.value for r in step.roots if r.kind is None} if isinstance(step, Nest) else set()
    found: dict[_Need, None] = {}
    for space, value, axes in _demands(step):
        _follow(found, _Need(value, axes, _known(axes), space), stored, computed)
    for need in found:
        value, points = need.value, need.points
        if value.owner is None or (value in stored and value not in computed):
            own, whole = points * value.dtype.itemsize, bytes_of(value)
            read_before = value in count.reads  # elsewhere: together they are taken to be all of it
            count.reads[value] = whole if read_before or is_nonnegative(own - whole) else own
            continue
        operations = points * _operations(value.owner)
        count.operations = count.operations + operations
        if value not in computed:
            count.inlined[value] = count.inlined.get(value, 0) + operations
    count.operations = count.operations + _own_operations(step)


def _demands(step: Step) -> Iterator[tuple[Shape, Value, Axes]]:
    """What a step computes or reads at the points of its space."""
    if isinstance(step, Nest):
        for root in (*step.written_roots, *map(base_root, step.scattered)):
            for operand, axes in zip(root.operands, root.reads, strict=True):
                whole = operand.shape, operand, tuple(range(operand.type.rank))
                yield whole if root.kind == "bits" else (_computed(root), operand, axes)
            if root.guard is not None:
                bits, _ = root.guard
                yield bits.shape, bits, tuple(range(bits.type.rank))
        for root in step.scattered:
            yield root.space, *indices_read(root)
        return
    for value in step.equation.inputs:
        yield value.shape, value, tuple(range(value.type.rank))


def _own_operations(step: Step) -> Dim:
    """The additions of a step's reductions, and the products that they add."""
    if isinstance(step, Nest):
        return _sum(map(_reduction_operations, step.written_roots))
    if isinstance(step, ProductStep):
        return _reduction_operations(root_of(step.equation))
    if isinstance(step, ExternalStep):
        return product(step.equation.attrs["lead"])
    if isinstance(step, BlockStep):
        return 0  # see `_operations_of_blocks`
    return step.equation.outputs[0].type.size * len(step.equation.inputs)


def _reduction_operations(root: Root) -> Dim:
    return product(_computed(root)) * len(root.operands) if root.kind is not None else 0


def _computed(root: Root) -> Shape:
    """The space of a root, of which one entry is computed along the axes where one is selected."""
    return tuple(1 if axis in root.once else d for axis, d in enumerate(root.space))


def _follow(
    found: dict[_Need, None], first: _Need, stored: Collection[Value], computed: Collection[Value]
) -> None:
    """Enter all that a value needs, each with the axes of the space it changes along."""
    stack = [first]
    while stack:
        need = stack.pop()
        if need in found:
            continue
        found[need] = None
        equation = need.value.owner
        if equation is None or (need.value in stored and need.value not in computed):
            continue
        sums = isinstance(equation.op.lower, Reduction | Contraction)
        for operand, axes in operand_reads(equation, need.axes):
            along, times, through = need.along, need.times, need.through
            if sums:
                summed = (d for d, a in zip(operand.shape, axes, strict=True) if a == INSIDE)
                along, times = _known(axes), times * product(summed)
            elif None not in axes:
                along, through = _known(axes), None
            elif isinstance(equation.op.lower, IndexMap):
                through = equation
            stack.append(_Need(operand, axes, along, need.space, times, through))


def _known(axes: Axes) -> frozenset[int]:
    return frozenset(axis for axis in axes if axis is not None and axis != INSIDE)


def _operations(equation: Equation) -> int:
    """The operations of one entry, the operands given."""
    rule = equation.op.lower
    if isinstance(rule, Pointwise):
        return rule.cost
    if isinstance(rule, Reduction | Contraction):
        return max(1, terms_of(equation)) * len(equation.inputs)
    return 0


def reads_repeatedly(user: Value, value: Value) -> bool:
    """Whether the equation of `user` reads one entry of `value` for many of its own."""
    owner = user.owner
    assert owner is not None
    rule = owner.op.lower
    if isinstance(rule, IndexMap):
        return rule.repeats
    if not isinstance(rule, Contraction) or is_product(owner):
        return False
    sides = zip(owner.inputs, (owner.attrs["lhs"], owner.attrs["rhs"]), strict=True)
    every = {*owner.attrs["lhs"], *owner.attrs["rhs"]}
    return any(v is value and every - set(labels) for v, labels in sides)


def _larger(a: Dim, b: Dim) -> Dim:
    """The larger one where that is certain, else their sum."""
    if is_nonnegative(a - b):
        return a
    return b if is_nonnegative(b - a) else a + b


def _sum(parts: Collection[Dim] | Iterator[Dim]) -> Dim:
    total: Dim = 0
    for part in parts:
        total = total + part
    return total
