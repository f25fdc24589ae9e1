"""The steps a graph is cut into, and what each of them reads: the data of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field
from typing import TypeAlias, TypeVar

from gradc.ir.dims import Dim, Shape, product
from gradc.ir.function import Equation, Value
from gradc.ir.lowering import Contraction, IndexMap, Literal, Pointwise, Reduction, Scatter
from gradc.ir.record import dataclass

_MOST_TERMS = 16  # of a sum that is inlined
FEWEST_ROWS = 128  # fewer are not worth a loop over blocks of rows
_FEWEST_ALONG = 8  # entries of a batch along which vectors run

# The space axis along which each axis of a value is read; None: at some other coordinate.
Axes: TypeAlias = "tuple[int | None, ...]"
INSIDE = -1  # stands for the axis of an inlined sum: all of it is read at each point
ANYWHERE = -1  # stands for the axis of a scatter's result along which indices say the place
Read: TypeAlias = "tuple[Value, Axes]"
T = TypeVar("T")
_PER_ENTRY = Pointwise | IndexMap | Literal  # an entry needs few others, whatever the shapes


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """A stored value and the loop that computes it.

    `space` is the iteration space. Result axis i runs along space axis `placement[i]`; the axes not
    in the placement are reduced with `kind`. `operands` are read at each point, operand j's axis a
    at space axis `reads[j][a]`; the value at a point is the operand (one) or their product (two).
    A pointwise root has one operand: the value itself, computed at the point. A root may also
    compute a part of the value only, the block that begins at `starts`: its operand is that part.
    A scatter's operand is its updates; its kind is "add" or "set", and its points are visited so
    that each entry of the result takes its updates in their order. One of the kind "bits" collects
    conditions along an axis of its operand. Of a sum with a `guard`, bits that are read along these
    space axes, points are added where one is set, which is about once along the axes `once`.
    """

    value: Value
    space: Shape
    placement: tuple[int, ...]
    operands: tuple[Value, ...]
    reads: tuple[tuple[int, ...], ...]
    kind: str | None = None
    starts: Shape = ()
    guard: Read | None = None
    once: tuple[int, ...] = ()

    @property
    def reduced(self) -> tuple[int, ...]:
        """The space axes that the result does not have."""
        return tuple(a for a in range(len(self.space)) if a not in self.placement)

    @property
    def adds_up(self) -> bool:
        """Whether its reduction may go on from what is in memory, where it begins with zeros."""
        return self.kind in ("add", "or")

    @property
    def scatters(self) -> bool:
        """Whether indices say where in the value a point is stored or added."""
        return ANYWHERE in self.placement

    def written_out(self, order: Sequence[int]) -> tuple[int, ...]:
        """The axes that are not among the loops."""
        return tuple(a for a in range(len(self.space)) if a not in order)


@dataclass(slots=True, eq=False)
class Nest:
    """Roots that share one loop nest over the axes `order` of their spaces, in this order.

    Short axes of known length beside long ones are not looped over: they are written out, each
    root's its own. `space` is the largest of their spaces. It may be a box of a larger space: then
    `origin` is its first point. A nest that has `parts` is written as these, boxes of its space.
    """

    space: Shape
    order: tuple[int, ...]
    roots: list[Root] = field(default_factory=list)
    size: int = 0  # instructions
    cost: int = 0  # operations a point
    widest: int = 8  # bytes of the widest element it touches
    hardest: int = 0  # operations of its costliest op of floats
    reads: set[Read] = field(default_factory=set)
    origin: tuple[int, ...] = ()
    parts: tuple[Nest, ...] = ()

    @property
    def written(self) -> tuple[Nest, ...]:
        """The nests that are written for it."""
        return self.parts or (self,)

    @property
    def written_roots(self) -> list[Root]:
        """The roots of those nests."""
        return [root for nest in self.written for root in nest.roots]

    def begin(self, axis: int) -> int:
        """The first coordinate along an axis."""
        return self.origin[axis] if self.origin else 0

    @property
    def loops(self) -> Shape:
        """The lengths of the loops."""
        return tuple(self.space[axis] for axis in self.order)

    @property
    def points(self) -> int:
        """How often the body is written out."""
        count = product(d for axis, d in enumerate(self.space) if axis not in self.order)
        assert isinstance(count, int)
        return count

    @property
    def scattered(self) -> list[Root]:
        """The roots that update a copy of their base in place."""
        return [root for root in self.roots if root.scatters]

    @property
    def selects(self) -> bool:
        """Whether the nest computes a sum of which few terms are computed."""
        return any(root.guard is not None for root in self.roots)

    @property
    def has_own_loops(self) -> bool:
        """Whether its one root is written in loops of its kind: it selects, or collects bits."""
        return self.selects or any(root.kind == "bits" for root in self.roots)

    def add(self, root: Root) -> None:
        """Write a root in these loops, too."""
        self.roots.append(root)
        if len(root.space) > len(self.space):
            self.space = root.space


@dataclass(frozen=True, slots=True, eq=False)
class ProductStep:
    """A matrix product by the packed kernel."""

    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class ExternalStep:
    """Calls of a native function from elsewhere."""

    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class RoutineStep:
    """Loops that an op writes itself."""

    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class BlockStep:
    """A program of its own, run for one block of rows after the other."""

    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class FinishedProduct:
    """A matrix product, and the nest that runs over each part of it that is complete.

    The product is computed in the memory of `place`, a value of the nest, if nothing else reads it.
    """

    product: ProductStep
    nest: Nest
    place: Value | None

    @property
    def steps(self) -> tuple[ProductStep, Nest]:
        return self.product, self.nest

    @property
    def passing(self) -> frozenset[Value]:
        """The product, if it has no memory of its own."""
        return frozenset(self.product.equation.outputs) if self.place else frozenset()


Step: TypeAlias = "Nest | ProductStep | ExternalStep | RoutineStep | BlockStep"


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Steps in the order they run, and the values that they store."""

    steps: tuple[Step, ...]
    stored: frozenset[Value]


def is_product(equation: Equation) -> bool:
    """Whether a contraction is a product for the packed kernel: both sides have free axes.

    A batch whose products lie entry beside entry is none: loops with vectors along it do it.
    """
    if terms_of(equation) or _lies_entry_by_entry(equation):
        return False
    extents = extents_of(equation)
    rows, columns = free_sides(equation)
    if not rows or not columns or is_short(product(rows)) or is_short(product(columns)):
        return False
    a, _ = equation.inputs
    work: Dim = 1
    for extent in extents.values():
        work = work * extent
    return a.dtype.is_float and not (isinstance(work, int) and work <= 512)


def terms_of(equation: Equation) -> int:
    """The number of entries a reduction or contraction combines, if it is inlined; else 0.

    A product that sums over nothing has one term, and is inlined as index maps are.
    """
    if isinstance(equation.op.lower, Reduction):
        shape = equation.inputs[0].shape
        summed = [shape[axis] for axis in equation.attrs["axes"]]
    else:
        out = equation.attrs["out"]
        summed = [extent for label, extent in extents_of(equation).items() if label not in out]
    count = 1
    for extent in summed:
        if not isinstance(extent, int):
            return 0
        count *= extent
    most = _MOST_TERMS
    if isinstance(equation.op.lower, Contraction) and count > 1:
        sides = [product(side) for side in free_sides(equation)]
        short = 4 if _lies_entry_by_entry(equation) else _MOST_TERMS
        if not any(isinstance(side, int) and side <= short for side in sides):
            most = 4  # both sides are long: the packed kernel, or a tile of sums, is better
    return count if count <= most else 0


def _lies_entry_by_entry(equation: Equation) -> bool:
    """Whether the last axis of all three arrays is one batch axis, and not known to be short."""
    lhs, rhs, out = (equation.attrs[name][-1:] for name in ("lhs", "rhs", "out"))
    if not out or not lhs == rhs == out:
        return False
    extent = equation.outputs[0].shape[-1]
    return not isinstance(extent, int) or extent >= _FEWEST_ALONG


def extents_of(equation: Equation) -> dict[int, Dim]:
    """The length of each label of a contraction."""
    a, b = equation.inputs
    found: dict[int, Dim] = dict(zip(equation.attrs["lhs"], a.shape, strict=True))
    return found | dict(zip(equation.attrs["rhs"], b.shape, strict=True))


def free_sides(equation: Equation) -> tuple[list[Dim], list[Dim]]:
    """The lengths of the result's labels that only the left, only the right operand has."""
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    extents = extents_of(equation)
    return (
        [extents[x] for x in out if x in lhs and x not in rhs],
        [extents[x] for x in out if x in rhs and x not in lhs],
    )


def is_short(extent: Dim) -> bool:
    """Whether an axis is written out rather than looped over, where other axes are long."""
    return isinstance(extent, int) and 1 <= extent <= 4


def joined_rows(equation: Equation) -> Iterator[Value]:
    """The rows at indices that are joined end to end: apart, all lanes of a vector have one."""
    rule, (value,) = equation.op.lower, equation.outputs
    if not isinstance(rule, IndexMap) or rule.joins is None or value.type.rank < 2:
        return
    places = rule.joins(*(x.type for x in equation.inputs), **equation.attrs)
    if not is_short(value.shape[-1]) and any(place[-1] != 0 for place in places):
        yield from filter(_is_of_rows, equation.inputs)


def _is_of_rows(value: Value) -> bool:
    """Whether a value is made of rows at indices."""
    made = value.owner
    if made is None or not isinstance(made.op.lower, IndexMap) or not made.op.lower.repeats:
        return False
    table, *_ = made.op.lower.align(*(x.type for x in made.inputs), **made.attrs)
    return None in table and table[-1] is not None


def can_inline(equation: Equation) -> bool:
    rule = equation.op.lower
    if isinstance(rule, _PER_ENTRY):
        return True
    return isinstance(rule, Contraction | Reduction) and terms_of(equation) > 0


def prepares(value: Value) -> Callable[..., None] | None:
    """The rule of a value that is stored before a loop reads it: see `Pointwise.prepared`."""
    rule = None if value.owner is None else value.owner.op.lower
    return rule.prepared if isinstance(rule, Pointwise) else None


def first_operands(root: Root) -> Sequence[Value]:
    """What a root reads to start with: for a pointwise root the inputs of the value itself."""
    if (root.scatters or root.operands == (root.value,)) and root.value.owner is not None:
        return root.value.owner.inputs
    return root.operands if root.guard is None else (root.guard[0], *root.operands)


def scatter_root(equation: Equation) -> Root:
    """A scatter as a loop over its updates."""
    (value,) = equation.outputs
    _, indices, updates = equation.inputs
    rule, axis = equation.op.lower, equation.attrs["axis"]
    assert isinstance(rule, Scatter)
    axes, behind = tuple(range(updates.type.rank)), axis + indices.type.rank
    placement = (*axes[:axis], ANYWHERE, *axes[behind:])
    return Root(value, updates.shape, placement, (updates,), (axes,), rule.kind)


def scatters_rows(root: Root) -> bool:
    """Whether each row of a scatter's space goes to one row of the result."""
    return root.placement[:1] == (ANYWHERE,) and root.reduced == (0,)


def base_root(root: Root) -> Root:
    """The copy of its base that a scatter updates."""
    assert root.value.owner is not None
    base = root.value.owner.inputs[0]
    axes = tuple(range(base.type.rank))
    return Root(root.value, base.shape, axes, (base,), (axes,))


def reads(root: Root, stored: Collection[Value]) -> set[Read]:
    """The stored values and parameters a root reads, each with the space axis of each of its axes.

    None stands for an axis that is read at some other coordinate.
    """
    return reads_and_ways(root, stored)[0]


def reads_and_ways(
    root: Root, stored: Collection[Value]
) -> tuple[set[Read], dict[Axes, set[Value]]]:
    """What a root reads, see `reads`, and all values on the way to that, by their axes."""
    found: set[Read] = set()
    seen: dict[Axes, set[Value]] = {}
    stack: list[Read] = []
    if root.scatters:  # the base is copied before the loops
        found |= {(value, (None,) * len(axes)) for value, axes in reads(base_root(root), stored)}
        stack.append(indices_read(root))
    if root.guard is not None:
        stack.append(root.guard)
    for operand, along in zip(root.operands, root.reads, strict=True):
        if operand is root.value and operand.owner is not None:
            stack.extend(operand_reads(operand.owner, along))
        else:
            stack.append((operand, along))
    while stack:
        first, axes = stack.pop()
        known = seen.setdefault(axes, set())
        values = [first]
        while values:
            value = values.pop()
            if value in known:
                continue
            known.add(value)
            owner = value.owner
            if owner is None or value in stored:
                found.add((value, axes))
            elif isinstance(owner.op.lower, Pointwise):  # most of them
                values += owner.inputs
            else:
                stack += operand_reads(owner, axes)
    return found, seen


def indices_read(root: Root) -> tuple[Value, tuple[int, ...]]:
    """The indices of a scatter, and the space axes along which they are read."""
    assert root.value.owner is not None
    indices, axis = root.value.owner.inputs[1], root.placement.index(ANYWHERE)
    return indices, tuple(range(axis, axis + indices.type.rank))


def operand_reads(equation: Equation, axes: Axes) -> list[Read]:
    """The operands of an inlined equation whose result's axes lie on these space axes."""
    rule = equation.op.lower
    if isinstance(rule, Pointwise):
        return [(value, axes) for value in equation.inputs]
    if isinstance(rule, IndexMap):
        types = (value.type for value in equation.inputs)
        alignments = rule.align(*types, **equation.attrs)
        return [
            (value, tuple(None if a is None else axes[a] for a in alignment))
            for value, alignment in zip(equation.inputs, alignments, strict=True)
        ]
    if isinstance(rule, Contraction):
        at = dict(zip(equation.attrs["out"], axes, strict=True))
        labels = (equation.attrs["lhs"], equation.attrs["rhs"])
        return [
            (value, tuple(at.get(label, INSIDE) for label in own))
            for value, own in zip(equation.inputs, labels, strict=True)
        ]
    if isinstance(rule, Reduction):
        (operand,) = equation.inputs
        kept = iter(axes)
        summed = equation.attrs["axes"]
        rank = operand.type.rank
        return [(operand, tuple(INSIDE if a in summed else next(kept) for a in range(rank)))]
    return [(value, axes) for value in equation.inputs]


def reads_of(nest: Nest, stored: Collection[Value]) -> set[Read]:
    """What a nest reads that it does not compute itself: see `reads`, for axes that it loops over.

    `stored` is what it was formed with, without values of its own that need not be stored. What is
    read through these may be told in another order of the axes that are written out.
    """
    own = {root.value for root in nest.roots}
    return {
        read
        for read in nest.reads
        if read[0] not in own and (read[0] in stored or read[0].owner is None)
    }


def inlined_reads(step: Step, stored: Collection[Value]) -> set[Value]:
    """The stored values that a step reads, directly or through what is inlined into it."""
    if isinstance(step, Nest):
        return {value for value, _ in reads_of(step, stored) if value.owner is not None}
    found: set[Value] = set()
    seen: set[Value] = set()
    stack = list(step.equation.inputs)
    while stack:
        value = stack.pop()
        if value in seen or value.owner is None:
            continue
        seen.add(value)
        if value in stored:
            found.add(value)
        else:
            stack.extend(value.owner.inputs)
    return found


def written(step: Step) -> list[Value]:
    """The values that a step stores."""
    if isinstance(step, Nest):
        return list(dict.fromkeys(root.value for root in step.roots))
    return list(step.equation.outputs)


def in_layout(axes: tuple[T, ...], by_columns: bool) -> tuple[T, ...]:
    """What belongs to each axis of a value, in the order of its buffer."""
    return (*axes[1:], *axes[:1]) if by_columns else axes


def row_label(equation: Equation) -> int | None:
    """The label of a product that is the first axis of everything that has it."""
    parts: list[tuple[int, ...]] = [equation.attrs[name] for name in ("lhs", "rhs", "out")]
    for label in dict.fromkeys(part[0] for part in reversed(parts) if part):
        if all(part[0] == label for part in parts if label in part):
            return label
    return None
