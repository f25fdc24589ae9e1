"""Cut a graph into passes over memory: what is stored, what is inlined, and which loops are shared.

Every value is either *stored* in a buffer or *inlined* into whoever reads it. A stored value is
the `Root` of a loop nest over its iteration space; roots over the same space share one `Nest`
unless one needs the other's finished result. Matrix products and scatters are steps of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gradc.codegen.choices import Choices
from gradc.ir.dims import Dim, Shape, product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import (
    LOOP_KINDS,
    Contraction,
    External,
    IndexMap,
    Literal,
    Pointwise,
    Reduction,
    Scatter,
)

# Costs are in floating-point operations an element; a load or store counts as about four.
_REPEATED_COST = 4  # store a value of this cost rather than compute it once for every copy of it
_SHARED_COST = 8  # store a value of this cost rather than compute it in two nests
_CONE_LIMIT = 200  # instructions inlined into one value
_NEST_LIMIT = 600  # instructions in one nest
_MOST_POINTS = 16  # of the axes that are written out
_MOST_TERMS = 16  # of a sum that is inlined
_VIEW_LIMIT = 40  # index maps inlined into one another


Axes: TypeAlias = "tuple[int | None, ...]"  # the space axis along which each axis is read
INSIDE = -1  # ... or this, for the axis of an inlined sum: all of it is read at each point
Read: TypeAlias = "tuple[Value, Axes]"


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """A stored value and the loop that computes it.

    `space` is the iteration space. Result axis i runs along space axis `placement[i]`; the axes not
    in the placement are reduced with `kind`. `operands` are read at each point, operand j's axis a
    at space axis `reads[j][a]`; the value at a point is the operand (one) or their product (two).
    A pointwise root has one operand: the value itself, computed at the point.
    """

    value: Value
    space: Shape
    placement: tuple[int, ...]
    operands: tuple[Value, ...]
    reads: tuple[tuple[int, ...], ...]
    kind: str | None = None

    @property
    def reduced(self) -> tuple[int, ...]:
        """The space axes that the result does not have."""
        return tuple(a for a in range(len(self.space)) if a not in self.placement)


@dataclass(slots=True, eq=False)
class Nest:
    """Roots that share one loop nest over `space`, its axes in the order they are looped over.

    Short axes of known length beside long ones are not looped over: they are written out.
    """

    space: Shape
    order: tuple[int, ...]
    roots: list[Root] = field(default_factory=list)
    size: int = 0  # instructions
    cost: int = 0  # operations a point
    widest: int = 8  # bytes of the widest element it touches
    reads: set[Read] = field(default_factory=set)

    @property
    def unrolled(self) -> tuple[int, ...]:
        """The axes that are written out."""
        return tuple(a for a in range(len(self.space)) if a not in self.order)

    @property
    def points(self) -> int:
        """How often the body is written out."""
        count = 1
        for axis in self.unrolled:
            extent = self.space[axis]
            assert isinstance(extent, int)
            count *= extent
        return count


@dataclass(frozen=True, slots=True, eq=False)
class ProductStep:
    """A matrix product by the packed kernel."""

    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class ScatterStep:
    """A copy of the base and a serial loop over the updates."""

    equation: Equation


@dataclass(frozen=True, slots=True, eq=False)
class ExternalStep:
    """Calls of a native function from elsewhere."""

    equation: Equation


Step: TypeAlias = "Nest | ProductStep | ScatterStep | ExternalStep"


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Steps in the order they run, and the values that they store."""

    steps: tuple[Step, ...]
    stored: frozenset[Value]


@dataclass(frozen=True, slots=True)
class _Cone:
    """What inlining a value costs: operations, instructions, and index maps on the way."""

    cost: int = 0
    size: int = 0
    views: int = 0
    widest: int = 1  # bytes of the widest element on the way


def schedule(fn: Function, choices: Choices) -> Schedule:
    """Decide what is stored and which loops run, for a function without composite ops."""
    if choices.store == "everything":
        every = frozenset(v for equation in fn.equations for v in equation.outputs)
        _, cones = _choose_stored(fn, every)
        return Schedule(tuple(_form_steps(fn, every, cones, choices)), every)
    stored, cones = _choose_stored(fn, frozenset())
    steps = _form_steps(fn, stored, cones, choices)
    shared = _shared_between_nests(steps, stored, cones) if choices.store == "by cost" else None
    if shared:
        stored, cones = _choose_stored(fn, shared)
        steps = _form_steps(fn, stored, cones, choices)
    return _without_idle_stores(fn, steps, stored)


def _without_idle_stores(
    fn: Function, steps: Sequence[Step], stored: Collection[Value]
) -> Schedule:
    """The schedule without stores of values that only their own nest reads, at the same point."""
    needed = {*fn.results, *(v for step in steps for v in inlined_reads(step, stored))}
    idle: set[Value] = set()
    for step in steps:
        if isinstance(step, Nest):
            idle |= {r.value for r in step.roots if r.kind is None and r.value not in needed}
            step.roots = [root for root in step.roots if root.value not in idle]
    return Schedule(tuple(steps), frozenset(stored) - idle)


def is_product(equation: Equation) -> bool:
    """Whether a contraction is a product for the packed kernel: both sides have free axes."""
    if terms_of(equation):
        return False
    extents = _extents(equation)
    rows, columns = _free_sides(equation)
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
        summed = [extent for label, extent in _extents(equation).items() if label not in out]
    count = 1
    for extent in summed:
        if not isinstance(extent, int):
            return 0
        count *= extent
    most = _MOST_TERMS
    if isinstance(equation.op.lower, Contraction) and count > 1:
        sides = [product(side) for side in _free_sides(equation)]
        if not any(isinstance(side, int) and side <= _MOST_TERMS for side in sides):
            most = 4  # both sides are long: the packed kernel is better
    return count if count <= most else 0


def _extents(equation: Equation) -> dict[int, Dim]:
    """The length of each label of a contraction."""
    a, b = equation.inputs
    found: dict[int, Dim] = dict(zip(equation.attrs["lhs"], a.shape, strict=True))
    return found | dict(zip(equation.attrs["rhs"], b.shape, strict=True))


def _free_sides(equation: Equation) -> tuple[list[Dim], list[Dim]]:
    """The lengths of the result's labels that only the left, only the right operand has."""
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    extents = _extents(equation)
    return (
        [extents[x] for x in out if x in lhs and x not in rhs],
        [extents[x] for x in out if x in rhs and x not in lhs],
    )


def _choose_stored(
    fn: Function, forced: Collection[Value]
) -> tuple[frozenset[Value], dict[Value, _Cone]]:
    """The values that get a buffer, and what it costs to inline each of the others."""
    stored: set[Value] = {*forced, *fn.results} - set(fn.parameters)
    cones: dict[Value, _Cone] = {}
    for equation in fn.equations:
        rule = equation.op.lower
        for value in _needed_in_memory(equation, cones):
            if value.owner is not None:
                stored.add(value)
        stored |= _too_long_for_terms(equation, cones)
        parts = [cones[v] for v in dict.fromkeys(equation.inputs) if v in cones and v not in stored]
        cost = sum(p.cost for p in parts)
        size = 1 + sum(p.size for p in parts)
        views = max((p.views for p in parts), default=0)
        (result,) = equation.outputs
        sizes = [v.dtype.itemsize for v in (result, *equation.inputs)]
        widest = max((*sizes, *(p.widest for p in parts)))
        if isinstance(rule, Pointwise):
            cone = _Cone(cost + rule.cost, size, views, widest)
        elif isinstance(rule, IndexMap | Literal):
            cone = _Cone(cost, size, views + 1, widest)
        else:
            terms = max(1, terms_of(equation)) if isinstance(rule, Reduction | Contraction) else 1
            cone = _Cone(terms * (cost + 2), terms * (size + 1), views + 1, widest)
        if not _can_inline(equation) or cone.size > _CONE_LIMIT or cone.views > _VIEW_LIMIT:
            stored.add(result)
        cones[result] = cone
    return frozenset(stored), cones


def _too_long_for_terms(equation: Equation, cones: dict[Value, _Cone]) -> set[Value]:
    """The operands of an inlined sum whose code would be written once a term, beyond the limit."""
    if not isinstance(equation.op.lower, Reduction | Contraction):
        return set()
    terms = terms_of(equation)
    return {v for v in equation.inputs if v in cones and terms * cones[v].size > _CONE_LIMIT}


def _can_inline(equation: Equation) -> bool:
    rule = equation.op.lower
    if isinstance(rule, Contraction | Reduction):
        return terms_of(equation) > 0
    return isinstance(rule, Pointwise | IndexMap | Literal)


def _needed_in_memory(equation: Equation, cones: dict[Value, _Cone]) -> Iterator[Value]:
    """The operands that an equation reads often, or through pointers."""
    rule = equation.op.lower
    if isinstance(rule, IndexMap):
        if rule.repeats:
            yield from (v for v in _repeated(equation) if _is_costly(v, cones))
    elif isinstance(rule, Scatter):
        yield from (v for v in equation.inputs[1:] if _is_costly(v, cones))
    elif isinstance(rule, External):  # arrays are passed by address
        yield from (v for v in equation.inputs if len(v.shape) > len(equation.attrs["lead"]))
    elif isinstance(rule, Contraction):
        packed, extents = is_product(equation), _extents(equation)
        for value, own in zip(
            equation.inputs, (equation.attrs["lhs"], equation.attrs["rhs"]), strict=True
        ):
            repeated = any(x not in own and not is_short(d) for x, d in extents.items())
            if packed or (repeated and _is_costly(value, cones)):
                yield value


def _is_costly(value: Value, cones: Mapping[Value, _Cone]) -> bool:
    return value in cones and cones[value].cost >= _REPEATED_COST


def _repeated(equation: Equation) -> Iterator[Value]:
    """The operands of an index map whose entries may be read for several entries of the result."""
    rule = equation.op.lower
    assert isinstance(rule, IndexMap)
    alignments = rule.align(*(v.type for v in equation.inputs), **equation.attrs)
    rank = equation.outputs[0].type.rank
    for value, axes in zip(equation.inputs, alignments, strict=True):
        if None in axes or len(set(axes)) < rank:
            yield value


def _shared_between_nests(
    steps: Sequence[Step], stored: Collection[Value], cones: dict[Value, _Cone]
) -> frozenset[Value]:
    """Costly values that are inlined into more than one nest; of a chain of them the last."""
    nests = [step for step in steps if isinstance(step, Nest)]
    seen_in: dict[Value, int] = {}
    costly: set[Value] = set()
    for number, nest in enumerate(nests):
        for value in _inlined_values(nest, stored):
            if seen_in.setdefault(value, number) != number and cones[value].cost >= _SHARED_COST:
                costly.add(value)
    return frozenset(v for nest in nests for v in _inlined_values(nest, stored, costly) & costly)


def _inlined_values(
    nest: Nest, stored: Collection[Value], stop: Collection[Value] = ()
) -> set[Value]:
    """The values whose code stands in a nest, except what only values in `stop` need."""
    own = {root.value for root in nest.roots}
    found: set[Value] = set()
    stack = [v for root in nest.roots for v in _first_operands(root)]
    while stack:
        value = stack.pop()
        if value.owner is None or value in found or (value in stored and value not in own):
            continue
        if value not in own:
            found.add(value)
        if value not in stop and (value not in own or _can_inline(value.owner)):
            stack.extend(value.owner.inputs)
    return found


def _first_operands(root: Root) -> Sequence[Value]:
    """What a root reads to start with: for a pointwise root the inputs of the value itself."""
    if root.operands == (root.value,) and root.value.owner is not None:
        return root.value.owner.inputs
    return root.operands


# --- nests -------------------------------------------------------------------------------------


def _form_steps(
    fn: Function, stored: Collection[Value], cones: dict[Value, _Cone], choices: Choices
) -> list[Step]:
    steps: list[Step] = []
    producer: dict[Value, int] = {}
    nests_of: dict[tuple[Shape, tuple[int, ...], int], int] = {}
    for equation in fn.equations:
        (value,) = equation.outputs
        if value not in stored:
            continue
        rule = equation.op.lower
        if isinstance(rule, External):
            producer[value] = len(steps)
            steps.append(ExternalStep(equation))
            continue
        if isinstance(rule, Scatter) or (isinstance(rule, Contraction) and is_product(equation)):
            kind = ScatterStep if isinstance(rule, Scatter) else ProductStep
            producer[value] = len(steps)
            steps.append(kind(equation))
            continue
        root = root_of(equation)
        order = _loop_order(root)
        earliest = _earliest_step(root, stored, producer, steps)
        # Scalars that need nothing must not wait for those that need a finished loop.
        key = (root.space, order, 0 if root.space else earliest)
        size = cones[value].size
        place = nests_of.get(key, -1)
        shares = choices.share and root.space  # scalars wait for no loop but their own operands
        nest = steps[place] if shares and place >= earliest else None
        if not isinstance(nest, Nest) or (nest.size + size) * nest.points > _NEST_LIMIT:
            nest, place = Nest(root.space, order, widest=1), len(steps)
            steps.append(nest)
            nests_of[key] = place
        nest.roots.append(root)
        nest.reads |= reads(root, stored)
        nest.size += size
        nest.cost += cones[value].cost
        nest.widest = max(nest.widest, cones[value].widest)
        producer[value] = place
    return steps


def root_of(equation: Equation) -> Root:
    """The iteration space of a stored value, and how it is computed there."""
    (value,) = equation.outputs
    rule = equation.op.lower
    if _can_inline(equation):
        axes = tuple(range(value.type.rank))
        return Root(value, value.shape, axes, (value,), (axes,))
    if isinstance(rule, Reduction):
        (operand,) = equation.inputs
        every = tuple(range(operand.type.rank))
        kept = tuple(a for a in every if a not in equation.attrs["axes"])
        return Root(value, operand.shape, kept, (operand,), (every,), LOOP_KINDS[rule.kind])
    return _contraction_root(equation)


def _contraction_root(equation: Equation) -> Root:
    """A contraction as a sum of products: looped in the order of the operand that has most axes."""
    (value,) = equation.outputs
    a, b = equation.inputs
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    extents = _extents(equation)
    first, second = (lhs, rhs) if len(lhs) >= len(rhs) else (rhs, lhs)
    labels = [*first, *(label for label in second if label not in first)]
    if not all(is_short(extents[label]) for label in labels[len(first) :]):
        labels = [*out, *(label for label in labels if label not in out)]  # sums innermost
    at = {label: i for i, label in enumerate(labels)}
    return Root(
        value,
        tuple(extents[label] for label in labels),
        tuple(at[label] for label in out),
        (a, b),
        (tuple(at[label] for label in lhs), tuple(at[label] for label in rhs)),
        "or" if value.dtype.kind == "b" else "add",
    )


def is_short(extent: Dim) -> bool:
    """Whether an axis is written out rather than looped over, where other axes are long."""
    return isinstance(extent, int) and 1 <= extent <= 4


def _unrolled(space: Shape) -> tuple[int, ...]:
    """The short axes of known length, if there are others, and if they are few."""
    short = [a for a, extent in enumerate(space) if is_short(extent)]
    points = 1
    for axis in short:
        points *= int(str(space[axis]))
    return tuple(short) if len(short) < len(space) and points <= _MOST_POINTS else ()


def _loop_order(root: Root) -> tuple[int, ...]:
    """The axes in loop order: as in memory, but reduced axes innermost unless it is a sum."""
    unrolled = _unrolled(root.space)
    axes = tuple(a for a in range(len(root.space)) if a not in unrolled)
    if root.kind in (None, "add") and not _has_short_result(root):
        return axes
    placed = [a for a in axes if a in root.placement]
    return (*placed, *(a for a in axes if a not in root.placement))


def _has_short_result(root: Root) -> bool:
    """Whether a sum over leading axes has so few results that they fit in registers."""
    if not root.reduced or not root.placement or max(root.placement) < min(root.reduced):
        return False
    trailing = [root.space[a] for a in root.placement if a > min(root.reduced)]
    return all(isinstance(d, int) and d <= 4 for d in trailing)


def _earliest_step(
    root: Root, stored: Collection[Value], producer: dict[Value, int], steps: Sequence[Step]
) -> int:
    """The first step that may compute `root`: after those whose finished results it reads."""
    earliest = 0
    identity = tuple(range(len(root.space)))
    for value, aligned in reads(root, stored):
        place = producer.get(value)
        if place is None:
            continue
        step = steps[place]
        pointwise = (
            isinstance(step, Nest)
            and step.space == root.space
            and aligned == identity
            and any(r.value is value and r.kind is None for r in step.roots)
        )
        earliest = max(earliest, place if pointwise else place + 1)
    return earliest


def reads(root: Root, stored: Collection[Value]) -> set[Read]:
    """The stored values and parameters a root reads, each with the space axis of each of its axes.

    None stands for an axis that is read at some other coordinate.
    """
    found: set[Read] = set()
    seen: set[Read] = set()
    stack: list[Read] = []
    for operand, along in zip(root.operands, root.reads, strict=True):
        if operand is root.value and operand.owner is not None:
            stack.extend(operand_reads(operand.owner, along))
        else:
            stack.append((operand, along))
    while stack:
        item = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        value, axes = item
        if value.owner is None or value in stored:
            found.add(item)
        else:
            stack.extend(operand_reads(value.owner, axes))
    return found


def operand_reads(equation: Equation, axes: Axes) -> list[Read]:
    """The operands of an inlined equation whose result's axes lie on these space axes."""
    rule = equation.op.lower
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


def inlined_reads(step: Step, stored: Collection[Value]) -> set[Value]:
    """The stored values that a step reads, directly or through what is inlined into it."""
    if isinstance(step, Nest):
        own = {root.value for root in step.roots}
        stack = [v for root in step.roots for v in _first_operands(root)]
    else:
        own = set()
        stack = list(step.equation.inputs)
    found: set[Value] = set()
    seen: set[Value] = set()
    while stack:
        value = stack.pop()
        if value in seen or value.owner is None:
            continue
        seen.add(value)
        if value in stored and value not in own:
            found.add(value)
        elif value not in own or _can_inline(value.owner):
            stack.extend(value.owner.inputs)
    return found


def written(step: Step) -> list[Value]:
    """The values that a step stores."""
    if isinstance(step, Nest):
        return [root.value for root in step.roots]
    return list(step.equation.outputs)


def row_label(equation: Equation) -> int | None:
    """The label of a product that is the first axis of everything that has it."""
    parts: list[tuple[int, ...]] = [equation.attrs[name] for name in ("lhs", "rhs", "out")]
    for label in dict.fromkeys(part[0] for part in reversed(parts) if part):
        if all(part[0] == label for part in parts if label in part):
            return label
    return None
