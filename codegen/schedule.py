"""Cut a graph into passes over memory: what is stored, what is inlined, and which loops are shared.

Every value is either *stored* in a buffer or *inlined* into whoever reads it. A stored value is
the `Root` of a loop nest over its iteration space; roots over the same space share one `Nest`
unless one needs the other's finished result. Matrix products are steps of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

from gradc.codegen.choices import Choices
from gradc.codegen.places import Places
from gradc.codegen.steps import (
    INSIDE,
    BlockStep,
    ExternalStep,
    Nest,
    ProductStep,
    Root,
    RoutineStep,
    Schedule,
    Step,
    can_inline,
    extents_of,
    first_operands,
    inlined_reads,
    is_product,
    is_short,
    joined_rows,
    reads,
    reads_and_ways,
    scatter_root,
    scatters_rows,
    terms_of,
)
from gradc.ir.dims import Shape, is_static
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import (
    LOOP_KINDS,
    Bits,
    Blocks,
    Contraction,
    External,
    IndexMap,
    Literal,
    Placed,
    Pointwise,
    Reduction,
    Routine,
    Scatter,
    SelectedSum,
)
from gradc.ir.record import dataclass
from gradc.ir.types import bool_

# What is a step by itself, whatever is around it.
_ALONE: Mapping[type[Any], Callable[[Equation], Step]] = MappingProxyType(
    {External: ExternalStep, Routine: RoutineStep, Blocks: BlockStep}
)

# Costs are in floating-point operations an element; a load or store counts as about four.
_REPEATED_COST = 4  # store a value of this cost rather than compute it once for every copy of it
_SHARED_COST = 8  # store a value of this cost rather than compute it in two nests
_FEW = 4  # instructions that are written again rather than what they compute loaded
_CONE_LIMIT = 200  # instructions inlined into one value
_NEST_LIMIT = 600  # instructions in one nest
_MOST_POINTS = 16  # of the axes that are written out
_MOST_JOINED = 256  # entries of a result that is written as one, whatever it is joined of
_MANY_ROWS = 128  # of a scatter
_VIEW_LIMIT = 40  # index maps inlined into one another


@dataclass(slots=True, eq=False)
class _Cone:
    """What inlining a value costs: operations, instructions, and index maps on the way.

    `hardest`: the operations of its costliest op of floats, from which functions are known.
    """

    cost: int = 0
    size: int = 0
    views: int = 0
    widest: int = 1  # bytes of the widest element on the way
    hardest: int = 0

    @staticmethod
    def of(equation: Equation, cones: Mapping[Value, _Cone], stored: Collection[Value]) -> _Cone:
        """The cone of an equation's outputs, on those of the operands that are not stored, too."""
        rule, cost, size, views, hardest = equation.op.lower, 0, 1, 0, 0
        widest = max([value.type.dtype.itemsize for value in equation.outputs])
        for value in dict.fromkeys(equation.inputs):
            part = None if value in stored else cones.get(value)
            if part is None:
                widest = max(widest, value.type.dtype.itemsize)
                continue
            cost, size = cost + part.cost, size + part.size
            if part.views > views:
                views = part.views
            if part.hardest > hardest:
                hardest = part.hardest
            if part.widest > widest:
                widest = part.widest
        if isinstance(rule, Pointwise):
            own = rule.cost if equation.outputs[0].type.dtype.is_float else 0
            return _Cone(cost + rule.cost, size, views, widest, max(hardest, own))
        if isinstance(rule, IndexMap | Literal):
            return _Cone(cost, size, views + 1, widest, hardest)
        terms = max(1, terms_of(equation)) if isinstance(rule, Reduction | Contraction) else 1
        return _Cone(terms * (cost + 2), terms * (size + 1), views + 1, widest, hardest)


def schedule(fn: Function, choices: Choices, forced: frozenset[Value] = frozenset()) -> Schedule:
    """Decide what is stored, beside what is `forced`, and which loops run.

    The function has no composite ops.
    """
    if choices.store == "everything":
        every = frozenset(v for equation in fn.equations for v in equation.outputs)
        _, cones = _choose_stored(fn, every)
        return Schedule(tuple(_form_steps(fn, every, cones, choices)), every)
    stored, cones = _choose_stored(fn, forced)
    steps = _form_steps(fn, stored, cones, choices)
    shared = _shared_between_nests(steps, stored, cones) if choices.store == "by cost" else None
    if shared:
        stored, cones = _choose_stored(fn, forced, shared)
        steps = _form_steps(fn, stored, cones, choices, shared - stored)
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


def _choose_stored(
    fn: Function, forced: Collection[Value], shared: Collection[Value] = ()
) -> tuple[frozenset[Value], dict[Value, _Cone]]:
    """The values that get a buffer, and what it costs to inline each of the others.

    Those that several nests share get one if they cost much beside what has one before them.
    """
    stored: set[Value] = {*forced, *fn.results} - set(fn.parameters)
    cones: dict[Value, _Cone] = {}
    for equation in fn.equations:
        rule = equation.op.lower
        if isinstance(rule, Pointwise):
            is_stored = rule.prepared is not None
        else:
            needed = (*_needed_in_memory(equation, cones), *_too_long_for_terms(equation, cones))
            stored.update(value for value in needed if value.owner is not None)
            is_stored = not can_inline(equation)
        cone = _Cone.of(equation, cones, stored)
        if equation.outputs[0] in shared and not _is_cheap(equation.outputs[0], cone):
            is_stored = True
        if is_stored or cone.size > _CONE_LIMIT or cone.views > _VIEW_LIMIT:
            stored.update(equation.outputs)
        for value in equation.outputs:
            cones[value] = cone
    return frozenset(stored), cones


def _is_cheap(value: Value, cone: _Cone) -> bool:
    """Whether to compute a value again costs less than to load it: a condition is a byte."""
    if value.dtype is bool_:
        return cone.cost < _SHARED_COST
    return cone.cost < _REPEATED_COST and cone.size <= _FEW


def _too_long_for_terms(equation: Equation, cones: dict[Value, _Cone]) -> set[Value]:
    """The operands of an inlined sum whose code would be written once a term, beyond the limit."""
    if not isinstance(equation.op.lower, Reduction | Contraction):
        return set()
    terms = terms_of(equation)
    return {v for v in equation.inputs if v in cones and terms * cones[v].size > _CONE_LIMIT}


def _needed_in_memory(equation: Equation, cones: dict[Value, _Cone]) -> Iterator[Value]:
    """The operands that an equation reads often, or through pointers."""
    rule = equation.op.lower
    if isinstance(rule, IndexMap):
        if rule.repeats:
            yield from (v for v in _repeated(equation) if _is_costly(v, cones))
        yield from joined_rows(equation)
    elif isinstance(rule, Routine):
        if rule.repeats:
            yield from (v for v in equation.inputs if _is_costly(v, cones))
    elif isinstance(rule, External):  # arrays are passed by address
        yield from (v for v in equation.inputs if len(v.shape) > len(equation.attrs["lead"]))
    elif isinstance(rule, Blocks):
        yield from (v for v in equation.inputs if v.shape)
    elif isinstance(rule, Contraction):
        packed, extents = is_product(equation), extents_of(equation)
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
    stack = [v for root in nest.roots for v in first_operands(root)]
    while stack:
        value = stack.pop()
        if value.owner is None or value in found or (value in stored and value not in own):
            continue
        if value not in own:
            found.add(value)
        if value not in stop and (value not in own or can_inline(value.owner)):
            stack.extend(value.owner.inputs)
    return found


# --- nests -------------------------------------------------------------------------------------


def _form_steps(
    fn: Function,
    stored: Collection[Value],
    cones: dict[Value, _Cone],
    choices: Choices,
    again: frozenset[Value] = frozenset(),
) -> list[Step]:
    """The steps that compute what is stored; roots that need the same of `again` share a nest."""
    places = Places()
    steps = places.steps
    nests_of: dict[tuple[Shape, tuple[int, ...], int], int] = {}
    apart = _only_results(fn)
    for equation in _small_first(fn):
        value = equation.outputs[0]
        if value not in stored:
            continue
        alone = _step_alone(equation)
        if alone is not None:
            places.enter(equation.outputs, alone)
            continue
        parts = _parts(equation, stored, cones) if value in apart else []
        for root in parts or [root_of(equation)]:
            order = _loop_order(root)
            read, ways = reads_and_ways(root, stored)
            common = [(v, axes) for axes, values in ways.items() for v in values & again]
            earliest = places.earliest(root, order, read)
            # Scalars that need nothing must not wait for those that need a finished loop.
            space = tuple(root.space[a] for a in order) if root.scatters else root.space
            key = (space, order, 0 if root.space else earliest)
            cone = cones.get(root.operands[0], _Cone(size=1)) if root.starts else cones[value]
            # Scalars wait only for their own operands.
            shares = choices.share and root.space and _is_shared(root)
            beside = places.beside_operands(root, order, [*read, *common])
            place = max(nests_of.get(key, -1), beside)
            nest = steps[place] if shares and place >= earliest else None
            if not isinstance(nest, Nest) or (nest.size + cone.size) * nest.points > _NEST_LIMIT:
                nest, place = Nest(root.space, order, widest=1), len(steps)
                steps.append(nest)
                if _is_shared(root):
                    nests_of[key] = place
            nest.add(root)
            nest.reads |= read
            nest.size += cone.size
            nest.cost += cone.cost
            nest.widest = max(nest.widest, cone.widest)
            nest.hardest = max(nest.hardest, cone.hardest)
            places.producer.update(dict.fromkeys((value, *(v for v, _ in common)), place))
    return steps


def _step_alone(equation: Equation) -> Step | None:
    """The step of an equation that no nest computes."""
    rule = equation.op.lower
    if isinstance(rule, Contraction) and is_product(equation):
        return ProductStep(equation)
    alone = _ALONE.get(type(rule))
    return None if alone is None else alone(equation)


def _small_first(fn: Function) -> list[Equation]:
    """The equations; first those of few entries made of parameters: no nest waits for them."""
    small: set[Value] = set(fn.parameters)
    first: list[Equation] = []
    for equation in fn.equations:
        is_made = small.issuperset(equation.inputs) and can_inline(equation)
        if is_made and all(map(_is_small, equation.outputs)):
            small.update(equation.outputs)
            first.append(equation)
    others = set(fn.equations).difference(first)
    return [*first, *(equation for equation in fn.equations if equation in others)]


def _is_small(value: Value) -> bool:
    return is_static(value.shape) and prod(value.shape) <= _MOST_POINTS


def _parts(
    equation: Equation, stored: Collection[Value], cones: Mapping[Value, _Cone]
) -> list[Root]:
    """A root for each of the arrays that a value is joined of, if several of them are costly.

    Transposes on the way, such as that of Jacobians from columns, only name axes anew.
    """
    (value,) = equation.outputs
    every = tuple(range(value.type.rank))
    found: list[Root] = []
    stack: list[tuple[Value, Shape, tuple[int, ...]]] = [(value, (0,) * len(every), every)]
    while stack:
        part, starts, axes = stack.pop()
        owner = part.owner if part is value or part not in stored else None
        rule = None if owner is None else owner.op.lower
        if owner is not None and isinstance(rule, IndexMap):
            types = [x.type for x in owner.inputs]
            if rule.joins is not None:
                places = rule.joins(*types, **owner.attrs)
                for x, place in zip(owner.inputs, places, strict=True):
                    begins = zip(starts, _along(axes, place), strict=True)
                    stack.append((x, tuple(a + b for a, b in begins), axes))
                continue
            aligned = rule.align(*types, **owner.attrs)
            order = [a for a in aligned[0] if a is not None] if len(aligned) == 1 else []
            if sorted(order) == [*every]:
                stack.append((owner.inputs[0], starts, tuple(axes[a] for a in order)))
                continue
        found.append(Root(value, _along(axes, part.shape), every, (part,), (axes,), None, starts))
    costly = [r for r in found if _is_costly(r.operands[0], cones)]
    return found[::-1] if len(costly) > 1 else []


def _along(axes: Sequence[int], dims: Shape) -> Shape:
    """Dimensions of the axes of a part, by the axes of the whole that these are."""
    return tuple(dims[axes.index(axis)] for axis in range(len(axes)))


def _only_results(fn: Function) -> set[Value]:
    """The large results that nothing reads: their parts may be written one after the other."""
    read = {x for equation in fn.equations for x in equation.inputs}
    sizes = ((v, v.type.size) for v in fn.results if v not in read)
    return {v for v, size in sizes if not isinstance(size, int) or size > _MOST_JOINED}


def _is_shared(root: Root) -> bool:
    """Whether a root may stand in one nest with others.

    A scatter only if it is one of many rows: nests of few points may need no loops. A sum of
    selected terms has loops of its own, and so have its conditions.
    """
    if root.guard is not None or root.kind == "bits":
        return False
    if not root.scatters:
        return True
    rows = root.space[0] if scatters_rows(root) else 0
    return not isinstance(rows, int) or rows >= _MANY_ROWS


def root_of(equation: Equation) -> Root:
    """The iteration space of a stored value, and how it is computed there."""
    (value,) = equation.outputs
    rule = equation.op.lower
    if isinstance(rule, Scatter):
        return scatter_root(equation)
    if can_inline(equation):
        axes = tuple(range(value.type.rank))
        return Root(value, value.shape, axes, (value,), (axes,))
    if isinstance(rule, Bits):
        axes, chosen = tuple(range(value.type.rank)), equation.attrs["axis"]
        along = tuple(INSIDE if axis == chosen else axis for axis in axes)
        return Root(value, value.shape, axes, tuple(equation.inputs), (along,), "bits")
    if isinstance(rule, SelectedSum):
        collected, operand = equation.inputs
        every, attrs = tuple(range(operand.type.rank)), equation.attrs
        kept = tuple(a for a in every if a not in attrs["axes"])
        along, once = attrs["along"], attrs["once"]
        guard = (collected, tuple(None if i == attrs["chosen"] else a for i, a in enumerate(along)))
        return Root(value, operand.shape, kept, (operand,), (every,), "add", guard=guard, once=once)
    if isinstance(rule, Placed):
        (operand,) = equation.inputs
        axes = tuple(range(operand.type.rank))
        starts = equation.attrs["starts"]
        return Root(value, operand.shape, axes, (operand,), (axes,), None, starts)
    if isinstance(rule, Reduction):
        (operand,) = equation.inputs
        every = tuple(range(operand.type.rank))
        kept = tuple(a for a in every if a not in equation.attrs["axes"])
        return Root(value, operand.shape, kept, (operand,), (every,), LOOP_KINDS[rule.kind])
    return contraction_root(equation)


def contraction_root(equation: Equation) -> Root:
    """A contraction as a sum of products: looped in the order of the operand that has most axes."""
    (value,) = equation.outputs
    a, b = equation.inputs
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    extents = extents_of(equation)
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


def nest_of(root: Root, stored: Collection[Value], order: tuple[int, ...] | None = None) -> Nest:
    """A nest with this root alone: a product as loops, over the axes `order` if they are given."""
    widest = max(value.dtype.itemsize for value in (root.value, *root.operands))
    loops = _loop_order(root) if order is None else order
    found = reads(root, stored)
    return Nest(root.space, loops, [root], size=3, cost=2, widest=widest, reads=found)


def _unrolled(space: Shape) -> tuple[int, ...]:
    """The short axes of known length, if there are others, and if they are few."""
    short = [a for a, extent in enumerate(space) if is_short(extent)]
    points = 1
    for axis in short:
        points *= int(str(space[axis]))
    return tuple(short) if len(short) < len(space) and points <= _MOST_POINTS else ()


def _loop_order(root: Root) -> tuple[int, ...]:
    """The axes in loop order: as in memory, but reduced axes innermost unless it adds up."""
    unrolled = _unrolled(root.space)
    axes = tuple(a for a in range(len(root.space)) if a not in unrolled)
    if root.scatters:  # updates of one entry keep their order
        return axes if unrolled[:1] > root.reduced[-1:] else tuple(range(len(root.space)))
    if (root.kind is None or root.adds_up) and not _has_short_result(root):
        return axes
    placed = [a for a in axes if a in root.placement]
    return (*placed, *(a for a in axes if a not in root.placement))


def _has_short_result(root: Root) -> bool:
    """Whether a sum over leading axes has so few results that they fit in registers."""
    if not root.reduced or not root.placement or max(root.placement) < min(root.reduced):
        return False
    trailing = [root.space[a] for a in root.placement if a > min(root.reduced)]
    return all(isinstance(d, int) and d <= 4 for d in trailing)
