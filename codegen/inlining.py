"""What is stored and what is inlined, by what it costs to compute a value where it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from gradc.codegen.steps import (
    FEWEST_ROWS,
    Nest,
    Step,
    can_inline,
    extents_of,
    first_operands,
    is_product,
    is_short,
    joined_rows,
    terms_of,
)
from gradc.ir.dims import Dim
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import (
    Blocks,
    Contraction,
    External,
    IndexMap,
    Literal,
    Pointwise,
    Reduction,
    Routine,
)
from gradc.ir.record import dataclass
from gradc.ir.types import bool_

# Costs are in floating-point operations an element; a load or store counts as about four.
_REPEATED_COST = 4  # store a value of this cost rather than compute it once for every copy of it
_SHARED_COST = 8  # store a value of this cost rather than compute it in two nests
_TWICE_COST = 12  # store a value of this cost rather than compute it for two neighbours
_FEW = 4  # instructions that are written again rather than what they compute loaded
_CONE_LIMIT = 200  # instructions inlined into one value
_VIEW_LIMIT = 40  # index maps inlined into one another
_LONG_ROW = 17  # entries: shorter rows of known length may be written out


@dataclass(slots=True, eq=False)
class Cone:
    """What inlining a value costs: operations, instructions, and index maps on the way.

    `hardest`: the operations of its costliest op of floats, from which functions are known.
    """

    cost: int = 0
    size: int = 0
    views: int = 0
    widest: int = 1  # bytes of the widest element on the way
    hardest: int = 0

    @staticmethod
    def of(equation: Equation, cones: Mapping[Value, Cone], stored: Collection[Value]) -> Cone:
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
            return Cone(cost + rule.cost, size, views, widest, max(hardest, own))
        if isinstance(rule, IndexMap | Literal):
            return Cone(cost, size, views + 1, widest, hardest)
        terms = max(1, terms_of(equation)) if isinstance(rule, Reduction | Contraction) else 1
        return Cone(terms * (cost + 2), terms * (size + 1), views + 1, widest, hardest)


def choose_stored(
    fn: Function, forced: Collection[Value], shared: Collection[Value] = ()
) -> tuple[frozenset[Value], dict[Value, Cone]]:
    """The values that get a buffer, and what it costs to inline each of the others.

    Those that several nests share get one if they cost much beside what has one before them.
    """
    stored: set[Value] = {*forced, *fn.results} - set(fn.parameters)
    cones: dict[Value, Cone] = {}
    moved: dict[Value, Equation] = {}
    for equation in fn.equations:
        rule = equation.op.lower
        if isinstance(rule, Pointwise):
            is_stored = rule.prepared is not None
        else:
            needed = [*_needed_in_memory(equation, cones), *_too_long_for_terms(equation, cones)]
            needed += _read_by_neighbours(equation, cones, stored, moved)
            stored.update(value for value in needed if value.owner is not None)
            is_stored = not can_inline(equation)
        cone = Cone.of(equation, cones, stored)
        if equation.outputs[0] in shared and not _is_cheap(equation.outputs[0], cone):
            is_stored = True
        if is_stored or cone.size > _CONE_LIMIT or cone.views > _VIEW_LIMIT:
            stored.update(equation.outputs)
        for value in equation.outputs:
            cones[value] = cone
    return frozenset(stored), cones


def _is_cheap(value: Value, cone: Cone) -> bool:
    """Whether to compute a value again costs less than to load it: a condition is a byte."""
    if value.dtype is bool_:
        return cone.cost < _SHARED_COST
    return cone.cost < _REPEATED_COST and cone.size <= _FEW


def _too_long_for_terms(equation: Equation, cones: dict[Value, Cone]) -> set[Value]:
    """The operands of an inlined sum whose code would be written once a term, beyond the limit."""
    if not isinstance(equation.op.lower, Reduction | Contraction):
        return set()
    terms = terms_of(equation)
    return {v for v in equation.inputs if v in cones and terms * cones[v].size > _CONE_LIMIT}


def _read_by_neighbours(
    equation: Equation,
    cones: Mapping[Value, Cone],
    stored: Collection[Value],
    moved: dict[Value, Equation],
) -> Iterator[Value]:
    """What an index map reads of its row at another place than a map before it did, in `moved`.

    Differences of neighbours, and derivatives of these, would compute it twice for each entry.
    """
    if not moves_in_rows(equation):
        return
    stack = list(equation.inputs)
    while stack:
        value = stack.pop()
        if value not in cones or value in stored or cones[value].cost < _TWICE_COST:
            continue
        if moved.setdefault(value, equation) is not equation:
            yield value
        elif value.owner is not None and isinstance(value.owner.op.lower, Pointwise):
            stack += value.owner.inputs


def moves_in_rows(equation: Equation) -> bool:
    """Whether an index map moves entries along a long axis behind that of many rows."""
    rule, shape = equation.op.lower, equation.outputs[0].shape
    if not isinstance(rule, IndexMap) or rule.repeats or len(shape) < 2:
        return False
    if not _is_long(shape[0], FEWEST_ROWS):
        return False
    kept = rule.align(*(x.type for x in equation.inputs), **equation.attrs)
    return any(
        len(axes) == len(shape)
        and axes[0] == 0
        and any(
            axis is None and _is_long(d, _LONG_ROW) for axis, d in zip(axes, shape, strict=True)
        )
        for axes in kept
    )


def _is_long(extent: Dim, least: int) -> bool:
    return not isinstance(extent, int) or extent >= least


def _needed_in_memory(equation: Equation, cones: dict[Value, Cone]) -> Iterator[Value]:
    """The operands that an equation reads often, or through pointers."""
    rule = equation.op.lower
    if isinstance(rule, IndexMap):
        if rule.repeats:
            yield from (v for v in _repeated(equation) if is_costly(v, cones))
        yield from joined_rows(equation)
    elif isinstance(rule, Routine):
        if rule.repeats:
            yield from (v for v in equation.inputs if is_costly(v, cones))
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
            if packed or (repeated and is_costly(value, cones)):
                yield value


def is_costly(value: Value, cones: Mapping[Value, Cone]) -> bool:
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


def shared_between_nests(
    steps: Sequence[Step], stored: Collection[Value], cones: dict[Value, Cone]
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
