"""The loops of a nest: their order, which one is the vector, and how many run side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from gradc.codegen.steps import INSIDE, Axes, Nest, Root, in_layout
from gradc.codegen.target import LINE_BYTES
from gradc.ir.dims import Dim, product
from gradc.ir.function import Equation, Value
from gradc.ir.loops import Buffer
from gradc.ir.lowering import Contraction, Pointwise, Reduction
from gradc.ir.record import dataclass

USUAL_LENGTH = 64  # what an unknown length counts as: it fills vectors
_USUAL_BLOCK = 64  # rows
_ACROSS_LANES = 10.0  # instructions of a sum over the lanes of a vector
_ADDED = 3.0  # a store that adds: a load, an addition, a store
_APART = 8.0  # of a vector whose entries lie apart in memory
_FAR = 1.5  # of lines apart by a block of rows, of more than the first cache holds
_FIRST_CACHE = 32 * 1024
_FUNCTION = 20  # operations of `exp`
_BEGUN = 20.0  # instructions of beginning and ending a loop
_MOST_BEGUN = 4  # lanes: wider vectors are masked, and need no loop for the rest
_LONG_BODY = 56  # operations
_WORK_OF_A_BYTE = 0.4  # operations of a vector, in the time in which memory moves a byte
_SHORT_BODY = 12  # operations of a point whose loop is mostly overhead
_MOST_SUMS = 10  # vectors of sums side by side
_LONGEST_TILE = 64  # instructions of a point
_FEWEST_SHARED = 4  # loads that the points of a tile share


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop over an axis of the space (all axes, for a flat loop over contiguous data)."""

    axes: tuple[int, ...]
    extent: Dim
    lanes: int = 1
    copies: int = 1
    streamed: tuple[Buffer, ...] = ()


@dataclass(frozen=True, slots=True)
class _Choice:
    """An order of the loops and the axis that is the vector, with the instructions of a point."""

    order: tuple[int, ...]
    vector: int
    cost: float


def lanes_of(nest: Nest, vector_bits: int) -> int:
    """As many lanes as the widest element that is touched allows."""
    return max(1, vector_bits // (8 * nest.widest))


def flat_loop(nest: Nest, lanes: int) -> Loop | None:
    """One loop over the whole space, if no root tells its axes apart."""
    axes = tuple(range(len(nest.space)))
    natural = list(nest.order) == sorted(nest.order) and all(
        all(r == axes for r in root.reads) and root.reduced in ((), axes) and not root.starts
        for root in nest.roots
    )
    if len(axes) < 2 or not natural:
        return None
    extent = product(nest.space)
    return Loop(axes, extent, fit(lanes, extent), copies_of(nest, lanes))


def plan_loops(
    nest: Nest,
    lanes: int,
    columns: Collection[Value] = frozenset(),
    in_block: bool = False,
    usual: int = USUAL_LENGTH,
) -> list[Loop]:
    """The loops over the axes that are not unrolled, and which of them is the vector.

    `columns` are stored with their first axis last, see `RowGroup`. `in_block`: axis 0 is the rows
    of a block, which may be looped over inside the other axes. `usual`: what an unknown length
    beside them counts as.
    """
    choice = _choose(nest, lanes, columns, in_block, usual)
    if choice is None:
        return [Loop((axis,), nest.space[axis]) for axis in nest.order]
    order, vector = choice.order, choice.vector
    innermost = vector == order[-1]
    copies = dict.fromkeys(order, 1)
    ends_with_rows = in_block and order[-1] == 0 and len(order) > 1
    streams = in_block and not ends_with_rows and not _adds_in_memory(nest, order)
    if innermost and _shares_over_rows(nest) and not streams:
        copies |= _side_by_side(nest, order, 2 if ends_with_rows else 1)
    elif ends_with_rows and _is_short_sum(nest):
        copies |= _side_by_side(nest, order, 1)
    elif innermost:
        copies[vector] = copies_of(nest, lanes)
    elif not in_block and _shares_over_sums(nest, order, vector):
        copies |= _sums_side_by_side(nest, order, vector)
    elif _is_tile(nest, order, vector):
        copies |= {order[-1]: 4, vector: 2}
    elif _surround_sums(order, vector, in_block):
        copies[0] = _rows_side_by_side(nest)
    elif in_block and vector == 0 and nest.cost * nest.points <= _SHORT_BODY:
        copies[vector] = 4
    return [
        Loop(
            (axis,),
            nest.space[axis],
            fit(lanes, nest.space[axis]) if axis == vector else 1,
            copies[axis],
        )
        for axis in order
    ]


def cost_in_block(
    nest: Nest,
    lanes: int,
    columns: Collection[Value],
    usual: int = USUAL_LENGTH,
    actual: int | None = None,
) -> float:
    """About the instructions a row takes, of loops for unknown lengths that are `usual`.

    A call may find another, `actual` length.
    """
    choice = _choose(nest, lanes, columns, True, usual)
    found = usual if actual is None else actual
    points: Dim = product(d if isinstance(d, int) else found for d in nest.space[1:])
    assert isinstance(points, int)
    if choice is None:
        return points * float(nest.size)
    if actual is None:
        return points * choice.cost
    nest = replace(_with_lengths(nest, actual), size=max(nest.size, _work(nest)))
    cost = _cost(nest, choice.order, choice.vector, lanes, columns, True)
    return points * cost + _cost_of_beginning(nest, choice.order, choice.vector, lanes)


def _cost_of_beginning(nest: Nest, order: Sequence[int], vector: int, lanes: int) -> float:
    """The instructions that beginning and ending the loops inside that over rows takes a row.

    As everywhere they count once a vector: loops of one row are begun for each lane.
    """
    if order[-1] == 0:
        return 0.0
    loops, around = 0, 1
    for axis in order:
        extent = nest.space[axis]
        if axis != 0:
            assert isinstance(extent, int)
            loops, around = loops + around, around * extent
    return _BEGUN * loops * (1 if vector == 0 else min(lanes, _MOST_BEGUN))


def _with_lengths(nest: Nest, length: int) -> Nest:
    """The nest with a number for each unknown length beside the rows."""
    rows, *others = nest.space
    return replace(nest, space=(rows, *(d if isinstance(d, int) else length for d in others)))


def _choose(
    nest: Nest, lanes: int, columns: Collection[Value], in_block: bool, usual: int = USUAL_LENGTH
) -> _Choice | None:
    """The cheapest way; of equal ones the natural order, and the inner axis."""
    if usual < USUAL_LENGTH:
        nest = _with_lengths(nest, usual)
    ways = [(nest.order, vector) for vector in _vectors(nest, lanes)]
    if in_block and _can_end_with_rows(nest):
        ways.append(((*nest.order[1:], 0), 0))
    elif in_block and _can_surround_sums(nest):
        ways.append((_rows_around_sums(nest), 0))
    return min(
        (
            _Choice(order, vector, _cost(nest, order, vector, lanes, columns, in_block))
            for order, vector in ways
        ),
        key=lambda choice: choice.cost,
        default=None,
    )


def _can_end_with_rows(nest: Nest) -> bool:
    """Whether the rows may be the innermost loop: no other axis is reduced."""
    inner = nest.order[1:]
    return bool(inner) and all(a in root.placement for root in nest.roots for a in inner)


def _can_surround_sums(nest: Nest) -> bool:
    """Whether the rows may be a loop around sums alone: all of them over the same axes."""
    summed = {tuple(a for a in root.reduced if a in nest.order) for root in nest.roots}
    return len(nest.order) > 1 and _is_short_sum(nest) and len(summed) == 1 and (0,) not in summed


def _surround_sums(order: Sequence[int], vector: int, in_block: bool) -> bool:
    """Whether vectors of rows, inside other loops, are around sums."""
    return in_block and vector == 0 and 0 in order[1:-1]


def _rows_around_sums(nest: Nest) -> tuple[int, ...]:
    """The loops of a nest with its rows inside all axes but those that are reduced."""
    reduced = nest.roots[0].reduced
    inner = [axis for axis in nest.order[1:] if axis in reduced]
    return (*(axis for axis in nest.order[1:] if axis not in reduced), 0, *inner)


def _vectors(nest: Nest, lanes: int) -> list[int]:
    """The axes that may be the vector, the innermost first: short ones only if all are."""
    axes = list(reversed(nest.order))
    return [axis for axis in axes if not _is_short(nest.space[axis], lanes)] or axes[:1]


def _cost(
    nest: Nest,
    order: tuple[int, ...],
    vector: int,
    lanes: int,
    columns: Collection[Value],
    in_block: bool,
) -> float:
    """About the instructions a point takes if `vector` is the vector.

    Neighbours in memory are one load; entries that lie apart are gathered; what does not vary in
    the innermost loop is loaded outside it. A sum over the vector inside which other axes are
    looped over is taken across the lanes each time. Beside a short vector much of the work is that
    of its row alone, which is scalar.
    """
    inner, extent = order[-1], nest.space[vector]
    beside_short = isinstance(extent, int) and extent <= 2 * lanes
    total = nest.size * (2.0 if beside_short else 1.0)
    for value, along in nest.reads:
        axes = in_layout(along, value in columns)
        load = cost_of_load(vector, axes)
        load *= _entries(value, along)
        if vector not in axes and _surround_sums(order, vector, in_block):
            load /= _rows_side_by_side(nest)
        if in_block and order[0] == 0 == vector != inner and value in columns and _is_far(value):
            load *= _FAR
        total += load if inner in axes or None in axes else 0.1 * load
    for root in nest.roots:
        total += _cost_of_result(root, order, vector, lanes, columns, in_block)
    if not isinstance(extent, int) or extent == 0:
        return total
    return total * (-(-extent // lanes) * lanes) / extent


def _cost_of_result(
    root: Root,
    order: tuple[int, ...],
    vector: int,
    lanes: int,
    columns: Collection[Value],
    in_block: bool,
) -> float:
    """The instructions that storing a root's value, or summing it over the lanes, takes a point."""
    inner = order[-1]
    if root.scatters:
        update = _ADDED if root.kind == "add" else 1.0
        return update if vector in root.placement[-1:] else _APART * update
    if vector in root.placement:
        placement = in_layout(root.placement, root.value in columns)
        store = 1.0 if placement[-1] == vector else _APART
        if accumulates_in_memory(root, order):
            store *= _ADDED
        return store if inner in root.placement else 0.1 * store
    if any(axis in root.placement for axis in order[order.index(vector) + 1 :]):
        return _ACROSS_LANES
    if in_block and vector == 0 and root.placement:
        return _ACROSS_LANES * lanes / _USUAL_BLOCK
    return 0.0


def _is_far(value: Value) -> bool:
    """Whether a block of rows of the value is more than the first cache holds."""
    entries = product(d if isinstance(d, int) else _USUAL_BLOCK for d in value.shape[1:])
    assert isinstance(entries, int)
    return entries * _USUAL_BLOCK * value.dtype.itemsize > _FIRST_CACHE


def cost_of_load(vector: int, axes: Axes) -> float:
    """The instructions of a load, by where the vector lies among the axes in memory.

    Rows of which indices say which lie apart, if the vector is not along them.
    """
    if vector not in axes:
        return _APART if None in axes[:-1] and axes[-1] not in (None, INSIDE) else 0.5
    return 1.0 if axes[-1] == vector else _APART


def accumulates_in_memory(root: Root, order: Sequence[int]) -> bool:
    """Whether a reduced axis is looped over outside an axis of the result."""
    if root.scatters:  # see `copy_bases`
        return False
    if root.guard is not None:
        return True
    reduced = [i for i, axis in enumerate(order) if axis in root.reduced]
    placed = [i for i, axis in enumerate(order) if axis in root.placement]
    return bool(reduced and placed) and reduced[0] < placed[-1]


def _entries(value: Value, along: Axes) -> int:
    """How many entries of a value are read at each point."""
    count = product(d for d, a in zip(value.shape, along, strict=True) if a == INSIDE)
    assert isinstance(count, int)
    return count


def _is_short(extent: Dim, lanes: int) -> bool:
    return isinstance(extent, int) and extent <= lanes // 2


def fit(lanes: int, extent: Dim) -> int:
    """No more lanes than the next power of two above a known extent."""
    while isinstance(extent, int) and lanes > 1 and lanes // 2 >= extent:
        lanes //= 2
    return lanes


def past_caches(nest: Nest, loop: Loop, results: tuple[Buffer, ...]) -> Loop:
    """The loop, its results written past the caches if it waits for memory.

    One that computes for longer than its bytes are on the way gains nothing. Where a line of
    several results takes two vectors, they are written at once, see `llvm_streams`: not if a
    function keeps the second one waiting.
    """
    sizes = [buffer.type.dtype.itemsize for buffer in results]
    moved = 2 * sum(sizes) + sum(value.dtype.itemsize for value, along in nest.reads if along)
    if not results or nest.cost > _WORK_OF_A_BYTE * loop.lanes * moved:
        return loop
    in_halves = len(results) > 1 and loop.lanes * sizes[0] < LINE_BYTES
    if in_halves and nest.hardest >= _FUNCTION:
        return loop
    return replace(loop, streamed=results, copies=max(loop.copies, 1 + in_halves))


def copies_of(nest: Nest, lanes: int) -> int:
    """Vectors side by side: enough to hide latency, few enough for the registers.

    Where a register holds half of what the widest ones hold, the units do an operation of it each
    cycle, and a function at one vector alone keeps them waiting (`llvm_arithmetic.call_wide`).
    """
    if nest.scattered:  # updates are made one by one
        return 1
    if nest.points > 1 and any(None in along[:1] for _, along in nest.reads):
        return 1  # rows at indices are read in whole vectors: see `llvm_rows`
    cost = nest.cost * nest.points
    if cost <= 8:
        return 4
    waits = nest.hardest >= _FUNCTION and 8 * nest.widest * lanes <= 256
    if waits and cost > _LONG_BODY:
        cost = _work(nest) * nest.points
    return 2 if cost <= (_LONG_BODY if waits else 16) else 1


def _work(nest: Nest) -> int:
    """The operations of a point: `nest.cost` counts what several terms need as often.

    Beside sums, which repeat what is inside, that count is good enough.
    """
    read = {value for value, _ in nest.reads}
    seen: set[Equation] = set()
    stack: list[Value] = []
    for root in nest.roots:
        made = root.value.owner
        stack += made.inputs if made and root.operands == (root.value,) else root.operands
    while stack:
        value = stack.pop()
        made = value.owner
        if made is None or made in seen or value in read:
            continue
        if isinstance(made.op.lower, Reduction | Contraction):
            return nest.cost
        seen.add(made)
        stack += made.inputs
    rules = (made.op.lower for made in seen)
    return sum(rule.cost for rule in rules if isinstance(rule, Pointwise))


def _is_tile(nest: Nest, order: Sequence[int], vector: int) -> bool:
    """Whether points of the two innermost loops, side by side, share what they load.

    A distance to each of several centres loads the point's entries and the centre's: of points in
    a vector, and a loop over centres inside, a tile loads each once for all that need it.
    """
    inner = order[-1]
    if order[-2:-1] != (vector,) or nest.size * nest.points > _LONGEST_TILE:
        return False
    if any(root.kind in ("add", "mul") or root.scatters for root in nest.roots):
        return False  # a register of sums for each point
    both = ((vector, inner), (inner, vector))
    shared = (
        sum(_entries(v, along) for v, along in nest.reads if a in along and b not in along)
        for a, b in both
    )
    return all(count >= _FEWEST_SHARED for count in shared)


def _shares_over_rows(nest: Nest) -> bool:
    """Whether rows share loads: a product with a vector, a sum of rows."""
    return (
        len(nest.order) > 1
        and _is_short_sum(nest)
        and all(len(root.operands) == 2 for root in nest.roots)
    )


def _shares_over_sums(nest: Nest, order: Sequence[int], vector: int) -> bool:
    """Whether vectors of sums, an entry for each of a batch of products, share what they load."""
    place, (root, *others) = order.index(vector), nest.roots
    inside = order[place + 1 :]
    summed = {axis for axis in order if axis in root.reduced}
    sums_alone = bool(inside) and set(inside) == summed
    return place > 0 and sums_alone and not others and _shares_over_rows(nest)


def _sums_side_by_side(nest: Nest, order: tuple[int, ...], vector: int) -> dict[int, int]:
    """A tile of such sums: two vectors, of two rows and two columns, or of four rows alone."""
    rest = max(1, _MOST_SUMS // nest.points)
    around = order[: order.index(vector)][-2:]
    found: dict[int, int] = {}
    for axis, most in ((vector, 2), *((axis, 4 // len(around)) for axis in around)):
        found[axis] = _divisor(nest.space[axis], min(most, rest))
        rest //= found[axis]
    return found


def _adds_in_memory(nest: Nest, order: Sequence[int]) -> bool:
    """Whether rows side by side save loads and stores of sums in memory.

    Otherwise the rows of a block are better read one by one: in four streams at once, each as short
    as a row, the hardware fetches nothing ahead (measured: half the speed).
    """
    return any(accumulates_in_memory(root, order) for root in nest.roots)


def _is_short_sum(nest: Nest) -> bool:
    """Whether a nest only adds up, and little code at that."""
    adds = all(root.kind == "add" and not root.scatters for root in nest.roots)
    return adds and nest.size * nest.points <= 40


def _side_by_side(nest: Nest, order: tuple[int, ...], loops: int) -> dict[int, int]:
    """How often the loops around the vector run side by side: a tile of sums in registers."""
    rest = max(1, _MOST_SUMS // nest.points)
    most = min(rest, _MOST_SUMS // 2)
    found: dict[int, int] = {}
    for axis in order[-2 : -2 - loops : -1]:
        found[axis] = _divisor(nest.space[axis], most)
        most = rest = rest // found[axis]
    return found


def _rows_side_by_side(nest: Nest) -> int:
    """Vectors of rows that share what does not vary over the rows."""
    return max(1, min(4, _MOST_SUMS // nest.points))


def _divisor(extent: Dim, most: int) -> int:
    """The most that run side by side without a rest; four where nothing divides the number."""
    if isinstance(extent, int):
        for count in range(most, 1, -1):
            if extent % count == 0:
                return count
    return max(1, min(4, most))
