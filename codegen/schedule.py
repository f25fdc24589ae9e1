"""Cut a graph into passes over memory: what is stored, what is inlined, and which loops are shared.

Every value is either *stored* in a buffer or *inlined* into whoever reads it. A stored value is
the `Root` of a loop nest over its iteration space; roots over the same space share one `Nest`
unless one needs the other's finished result. Matrix products are steps of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import Any

from gradc.codegen.choices import Choices
from gradc.codegen.inlining import Cone, choose_stored, is_costly, shared_between_nests
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
    inlined_reads,
    is_product,
    is_short,
    reads,
    reads_and_ways,
    scatter_root,
    scatters_rows,
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
    Placed,
    Reduction,
    Routine,
    Scatter,
    SelectedSum,
)

# What is a step by itself, whatever is around it.
_ALONE: Mapping[type[Any], Callable[[Equation], Step]] = MappingProxyType(
    {External: ExternalStep, Routine: RoutineStep, Blocks: BlockStep}
)

_NEST_LIMIT = 600  # instructions in one nest
_MOST_POINTS = 16  # of the axes that are written out
_MOST_JOINED = 256  # entries of a result that is written as one, whatever it is joined of
_MANY_ROWS = 128  # of a scatter


def schedule(fn: Function, choices: Choices, forced: frozenset[Value] = frozenset()) -> Schedule:
    """Decide what is stored, beside what is `forced`, and which loops run.

    The function has no composite ops.
    """
    if choices.store == "everything":
        every = frozenset(v for equation in fn.equations for v in equation.outputs)
        _, cones = choose_stored(fn, every)
        return Schedule(tuple(_form_steps(fn, every, cones, choices)), every)
    stored, cones = choose_stored(fn, forced)
    steps = _form_steps(fn, stored, cones, choices)
    shared = shared_between_nests(steps, stored, cones) if choices.store == "by cost" else None
    if shared:
        stored, cones = choose_stored(fn, forced, shared)
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


# --- nests -------------------------------------------------------------------------------------


def _form_steps(
    fn: Function,
    stored: Collection[Value],
    cones: dict[Value, Cone],
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
            cone = cones.get(root.operands[0], Cone(size=1)) if root.starts else cones[value]
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
    equation: Equation, stored: Collection[Value], cones: Mapping[Value, Cone]
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
    costly = [r for r in found if is_costly(r.operands[0], cones)]
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
