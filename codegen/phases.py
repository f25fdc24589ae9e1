"""Cut loops into phases: what functions need, then these functions, then what needs them.

A processor has a few hundred instructions in flight. Where one iteration is longer than that, and
functions in it wait for one another (a logarithm, a quotient, an error function of that), the units
stand idle: the next iteration begins too late. So a long loop runs over blocks of a few hundred
iterations, and over a block one loop, a *phase*, after the other. What a later phase needs of an
earlier one is kept in the first cache; what is cheap is computed again. All stores and sums stand
in the last phase.

What pays is decided by a model of the machine: a loop takes as long as its instructions keep the
units busy, or as long as its longest chain of results, if no more than one iteration is in flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from gradc.codegen.choices import Choices
from gradc.codegen.llvm_segments import is_in_order
from gradc.codegen.machine import RATE, USUAL, costs_of_all
from gradc.ir.loops import Accumulator, Buffer, For, Instruction, Ref, Statement, Store
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType, i64

_BLOCK_BYTES = 16 * 1024  # of what is kept between the phases of a block
_LEAST_BLOCK, _MOST_BLOCK = 64, 512  # iterations
_CHEAP = 3  # instructions: computed again rather than kept
_MOST_CUTS = 8  # of a loop
_PAYS = 0.9  # of the time without phases
_WINDOW = 256  # instructions in flight
_BEGINS = 1 / 64  # of the chain of a phase, an iteration: what passes until the units are busy
_NARROW = 256  # bits of the vectors of which functions are computed two by two


def in_phases(statements: Sequence[Statement], choices: Choices) -> list[Statement]:
    """The statements of a kernel with long loops cut into phases, where that pays.

    Loops over the rows of a block are short, and stay as they are.
    """
    if choices.phases == "never":
        return list(statements)
    found: list[Statement] = []
    for statement in statements:
        if isinstance(statement, For) and statement.lanes > 1:
            found.append(_cut(statement, choices))
        elif isinstance(statement, For) and statement.copies == statement.step == 1:
            found.append(replace(statement, body=in_phases(statement.body, choices)))
        else:
            found.append(statement)
    return found


def _cut(loop: For, choices: Choices) -> For:
    """The loop as a loop over blocks of phases, or as it is."""
    body, by_cost = _Body.of(loop), choices.phases != "always"
    if body is None or (by_cost and body.levels == 1):
        return loop
    whole = _plan(body, ())
    if by_cost and not whole.waits:
        return loop
    best = min((_plan(body, cuts) for cuts in _ways(body.levels)), key=lambda plan: plan.cycles)
    return loop if by_cost and best.cycles > _PAYS * whole.cycles else _write(loop, body, best)


def _ways(levels: int) -> Iterator[range]:
    """Levels after which a loop may be cut: all, and all but the last; of many some."""
    step = -(-levels // _MOST_CUTS)
    yield range(step, levels + 1, step)
    if levels > step and levels % step == 0:  # else that is the same
        yield range(step, levels, step)


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """The instructions of a loop, in order, their costs, and what decides where they may stand.

    `level`: how many functions wait for one another up to a ref. `kept`: what is not computed
    again, but kept for later phases. `ends`: what stores and sums read.
    """

    made: dict[Ref, Instruction]
    costs: Mapping[Ref, tuple[int, int]]
    stores: Sequence[Store]
    level: Mapping[Ref, int]
    kept: frozenset[Ref]
    ends: frozenset[Ref]

    @property
    def levels(self) -> int:
        return max(self.level.values(), default=0)

    @staticmethod
    def of(loop: For) -> _Body | None:
        """None for a loop that cannot be cut, or has no functions."""
        made = {s.result: s for s in loop.body if isinstance(s, Instruction)}
        stores = [s for s in loop.body if isinstance(s, Store)]
        calls = any(instruction.op == "call" for instruction in made.values())
        is_plain = len(made) + len(stores) == len(loop.body)
        is_plain = is_plain and all(a.kind != "bits" for a in loop.accumulators)
        read = {_memory(i.buffer) for i in made.values() if i.buffer is not None}
        if not (calls and is_plain and read.isdisjoint(_memory(s.buffer) for s in stores)):
            return None
        costs = costs_of_all(list(made.values()))
        level: dict[Ref, int] = {}
        again: dict[Ref, int] = {}  # instructions that compute a ref once more
        kept: set[Ref] = set()
        for ref, instruction in made.items():
            operands = instruction.operands
            is_call = instruction.op == "call"
            level[ref] = max([level.get(x, 0) for x in operands], default=0) + is_call
            cost = costs[ref][0] + sum([again.get(x, 0) for x in dict.fromkeys(operands)])
            if is_call or (cost > _CHEAP and ref.dtype is not i64):
                kept.add(ref)
                cost = 1
            again[ref] = cost
        ends = {x for s in stores for x in (s.index, s.value, s.mask) if x is not None}
        ends.update(accumulator.value for accumulator in loop.accumulators)
        return _Body(made, costs, stores, level, frozenset(kept), frozenset(ends))


def _memory(buffer: Buffer) -> object:
    """What is read and written by whoever uses a buffer."""
    return buffer.slot if buffer.kind == "temporary" else buffer


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which phases compute or load a ref, where each that is kept is computed, and the cost.

    Of refs that no phase needs nothing is said; users stand before what they read. `waits`: whether
    a phase takes as long as its chain of results, not as its instructions.
    """

    where: Mapping[Ref, tuple[int, ...]]
    home: Mapping[Ref, int]
    phases: int
    cycles: float = 0.0
    waits: bool = False

    def passes(self, ref: Ref) -> bool:
        """Whether a ref is kept for a later phase."""
        return ref in self.home and self.where[ref][-1] > self.home[ref]


@cache
def _numbers(phases: int) -> tuple[int, ...]:
    """The phases of a set, which is given as bits."""
    return tuple(i for i in range(phases.bit_length()) if phases >> i & 1)


def _plan(body: _Body, cuts: Sequence[int]) -> _Plan:
    """The phases of a loop that is cut after these levels of functions."""
    last = len(cuts)
    needs: dict[Ref, int] = dict.fromkeys(body.ends, 1 << last)  # sets of phases, as bits
    where: dict[Ref, tuple[int, ...]] = {}
    home: dict[Ref, int] = {}
    for ref, instruction in reversed(body.made.items()):
        if ref not in needs:
            continue
        needed = computed = needs[ref]
        if ref in body.kept:
            is_call = instruction.op == "call"
            first = (needed & -needed).bit_length() - 1
            home[ref] = sum(c < body.level[ref] for c in cuts) if is_call else first
            computed = 1 << home[ref]
        where[ref] = _numbers(needed | computed)
        for operand in instruction.operands:
            needs[operand] = needs.get(operand, 0) | computed
    plan = _Plan(where, home, last + 1)
    times = _times(body, plan)
    begins = _BEGINS * sum(chain for _, _, chain in times) if cuts else 0.0
    cycles = begins + sum(max(busy, waits) for busy, waits, _ in times)
    return replace(plan, cycles=cycles, waits=any(waits > busy for busy, waits, _ in times))


def _times(body: _Body, plan: _Plan) -> list[tuple[float, float, int]]:
    """Cycles of each phase, an iteration: while units are busy, while they wait; its chain."""
    lengths, longest = [0] * plan.phases, [0] * plan.phases
    behind: list[dict[Ref, int]] = [{} for _ in lengths]  # the chain of what waits for a ref
    for ref, phases in plan.where.items():
        home = plan.home.get(ref, plan.phases)
        for phase in phases:
            (own, latency), waiting, is_loaded = body.costs[ref], behind[phase], home < phase
            own, latency = USUAL if is_loaded else (own + (phases[-1] > home), latency)
            lengths[phase] += own
            chain = waiting.get(ref, 0) + latency
            longest[phase] = max(longest[phase], chain)
            for x in () if is_loaded else body.made[ref].operands:
                waiting[x] = max(waiting.get(x, 0), chain)
    return [
        (length / RATE, chain * min(1.0, length / _WINDOW), chain)
        for length, chain in zip(lengths, longest, strict=True)
    ]


def _write(loop: For, body: _Body, plan: _Plan) -> For:
    """A loop over blocks, inside it the phases."""
    kept = [ref for ref in body.made if plan.passes(ref)]
    block = _block_of(kept)
    places = {
        ref: Buffer(f"kept{number}", ArrayType(ref.dtype, (block,)), "scratch")
        for number, ref in enumerate(kept)
    }
    begin, length, full, end = (Ref(i64, loop.variable.depth) for _ in range(4))
    statements: list[Statement] = [
        Instruction(length, "const", value=block),
        Instruction(full, "add", (begin, length)),
        Instruction(end, "min", (full, loop.stop)),
    ]
    shapes = loop, _of_phase(loop, tuple(places.values()))
    phases = [
        _phase(shapes, body, plan, number, places, (begin, end)) for number in range(plan.phases)
    ]
    totals = [
        Accumulator(old.kind, new.result, old.result, old.initial)
        for old, new in zip(loop.accumulators, phases[-1].accumulators, strict=True)
    ]
    return replace(
        loop,
        variable=begin,
        body=[*statements, *phases],
        accumulators=totals,
        step=block,
        lanes=1,
        copies=1,
        streamed=(),
    )


def _of_phase(loop: For, kept: tuple[Buffer, ...]) -> For:
    """The loop as its phases are shaped: functions are computed in two narrow registers at once.

    Where a mask costs nothing before the last trip, a phase is written once, and what is kept is
    written and read in whole vectors.
    """
    several = 2 if 64 * loop.lanes <= _NARROW else 1
    if is_in_order(loop):
        return replace(loop, lanes=several * loop.lanes, copies=1, padded=kept)
    return replace(loop, copies=max(loop.copies, several))


def _block_of(kept: Sequence[Ref]) -> int:
    """The iterations of a block: as many as the first cache holds of what is kept."""
    block, each = _MOST_BLOCK, sum(ref.dtype.itemsize for ref in kept)
    while block > _LEAST_BLOCK and block * each > _BLOCK_BYTES:
        block //= 2
    return block


def _phase(
    shapes: tuple[For, For],
    body: _Body,
    plan: _Plan,
    phase: int,
    places: Mapping[Ref, Buffer],
    block: tuple[Ref, Ref],
) -> For:
    """The loop of one phase, over the iterations of a block: shaped as a last one, or as others."""
    (loop, shaped), (begin, end) = shapes, block
    depth, is_last = loop.variable.depth + 1, phase == plan.phases - 1
    variable, place = Ref(i64, depth), Ref(i64, depth)
    new = {loop.variable: variable}
    statements: list[Statement] = [Instruction(place, "sub", (variable, begin))]
    inside = [ref for ref in body.made if phase in plan.where.get(ref, ())]
    new.update((ref, Ref(ref.dtype, depth)) for ref in inside)
    for ref in inside:  # what is kept comes first, so that phases that do the same look the same
        if plan.home.get(ref, phase) < phase:
            statements.append(Instruction(new[ref], "load", (place,), buffer=places[ref]))
    for ref in inside:
        if plan.home.get(ref, phase) < phase:
            continue
        instruction = body.made[ref]
        operands = tuple(new.get(x, x) for x in instruction.operands)
        op, value, buffer = instruction.op, instruction.value, instruction.buffer
        statements.append(Instruction(new[ref], op, operands, value, buffer))
        if ref in places:
            statements.append(Store(places[ref], place, new[ref]))
    sums: list[Accumulator] = []
    if is_last:
        statements += [_renamed(store, new) for store in body.stores]
        sums = [
            Accumulator(a.kind, new.get(a.value, a.value), Ref(a.result.dtype, depth - 1))
            for a in loop.accumulators
        ]
    calls = any(isinstance(s, Instruction) and s.op == "call" for s in statements)
    return replace(
        shaped if calls or not is_last else loop,
        variable=variable,
        start=begin,
        stop=end,
        body=statements,
        accumulators=sums,
        streamed=(),
    )


def _renamed(store: Store, new: Mapping[Ref, Ref]) -> Store:
    mask = None if store.mask is None else new.get(store.mask, store.mask)
    index, value = (new.get(x, x) for x in (store.index, store.value))
    return replace(store, index=index, value=value, mask=mask)
