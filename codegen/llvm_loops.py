"""Loops with lanes and copies: whole groups of iterations first, then what is left.

A loop is written as one to three segments, each a loop (or nothing but its body, where it runs
once). On machines with masked memory instructions, what is left after the unrolled main loop runs
in one masked loop; elsewhere in a loop of full vectors and one masked vector. So the code of a nest
grows by a factor of two for each level with copies, and not at all where the trip count is known
to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradc.codegen.llvm_arithmetic import arithmetic, fold_lanes_of, fold_tree, identity, select
from gradc.codegen.llvm_spread import Affine, Axes, Entry, KernelState, Spread, project, union
from gradc.codegen.llvm_text import is_number, literal, llvm_type
from gradc.ir.loops import Accumulator, For, Statement


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a loop's iterations: `lanes * copies` of them a trip.

    `trips` is their number where it is known; `once`: at most one trip is left.
    """

    lanes: int
    copies: int
    masked: bool = False
    trips: int | None = None
    once: bool = False

    @property
    def width(self) -> int:
        return self.lanes * self.copies


def plan(lanes: int, copies: int, count: int | None, has_masked_memory: bool) -> list[Segment]:
    """How to run `count` iterations (None: not known)."""
    if count is not None:
        return _static_plan(lanes, copies, max(count, 0), has_masked_memory)
    main = [Segment(lanes, copies)] if copies > 1 else []
    if lanes == 1:
        return [*main, Segment(1, 1)]
    if copies > 1 and has_masked_memory:
        return [*main, Segment(lanes, 1, masked=True)]
    return [*main, Segment(lanes, 1), Segment(lanes, 1, masked=True, once=True)]


def _static_plan(lanes: int, copies: int, count: int, has_masked_memory: bool) -> list[Segment]:
    trips, rest = divmod(count, lanes * copies)
    vectors, tail = divmod(rest, lanes)
    main = [Segment(lanes, copies, trips=trips)] if trips else []
    if not tail:
        return [*main, Segment(lanes, vectors, trips=1)] if vectors else main
    if vectors and main and has_masked_memory:
        return [*main, Segment(lanes, 1, masked=True, trips=vectors + 1)]
    full = [Segment(lanes, vectors, trips=1)] if vectors else []
    return [*main, *full, Segment(lanes, 1, masked=True, trips=1)]


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop that is being written: its statement, its bounds, its nesting depth."""

    statement: For
    start: str
    stop: str
    depth: int


def write_loop(
    k: KernelState, statement: For, block: Callable[[KernelState, Sequence[Statement]], None]
) -> None:
    """Write the loop; afterwards the results of its accumulators have values."""
    if statement.lanes > 1 and k.lanes > 1:
        raise ValueError("a loop with lanes stands inside another loop with lanes")
    if statement.lanes & (statement.lanes - 1):
        raise ValueError(f"the number of lanes is a power of two, not {statement.lanes}")
    start = k.scalar(statement.start, "the start of a loop")
    stop = k.scalar(statement.stop, "the end of a loop")
    if statement.start in k.natural:
        k.natural.add(statement.variable)
    loop = _Loop(statement, start, stop, k.depth + 1)
    k.depth += 1
    totals = [_beginning(k, statement, a) for a in statement.accumulators]
    position = start
    for segment in _segments(k, loop):
        end = _end(k, loop, segment, position)
        totals = _write_segment(k, loop, segment, (position, end), totals, block)
        position = end
    k.depth -= 1
    for accumulator, total in zip(statement.accumulators, totals, strict=True):
        k.values[accumulator.result] = _result(k, statement, accumulator, total)


def _segments(k: KernelState, loop: _Loop) -> list[Segment]:
    statement, count = loop.statement, None
    if is_number(loop.start) and is_number(loop.stop):
        count = -((int(loop.start) - int(loop.stop)) // statement.step)
    return plan(statement.lanes, statement.copies, count, k.module.target.has_masked_memory)


def _end(k: KernelState, loop: _Loop, segment: Segment, position: str) -> str:
    """Where a segment ends: at the stop, or after the last whole group before it."""
    if segment.masked or segment.width == 1:
        return loop.stop
    if segment.trips is not None:
        return k.w.add(position, str(segment.trips * segment.width))
    w, width = k.w, segment.width
    count = w.sub(loop.stop, position)
    if position != "0" or loop.statement.stop not in k.natural:
        count = w.intrinsic("llvm.smax.i64", "i64", [("i64", count), ("i64", "0")])
    if width & (width - 1) == 0:
        whole = w.let(f"and i64 {count}, {-width}")
    else:
        whole = w.sub(count, w.let(f"urem i64 {count}, {width}"))
    return w.add(position, whole)


# --- accumulators --------------------------------------------------------------------------------


def _is_plain(statement: For) -> bool:
    return statement.lanes == 1 and statement.copies == 1


def _beginning(k: KernelState, statement: For, accumulator: Accumulator) -> Spread:
    """What is there before the first iteration; a plain loop begins with the initial value."""
    if accumulator.initial is not None and _is_plain(statement):
        return k.values[accumulator.initial]
    dtype = accumulator.value.dtype
    return Spread((), (literal(identity(accumulator.kind, dtype), dtype),))


def _registers(
    k: KernelState, accumulator: Accumulator, total: Spread, axes: Axes, wide: bool, copies: int
) -> list[str]:
    """The accumulators at a segment's start: copy 0 goes on, the others start from the identity."""
    dtype = accumulator.value.dtype
    zero = literal(identity(accumulator.kind, dtype), dtype, k.lanes if wide else 1)
    outer = axes[:-1] if copies > 1 else axes
    found: list[str] = []
    for entry in project(total, outer):
        found.append(k.vector(dtype, entry, total.is_vector) if wide else _plain(entry))
        found.extend([zero] * (copies - 1))
    return found


def _plain(entry: Entry) -> str:
    assert isinstance(entry, str)
    return entry


def _result(k: KernelState, statement: For, accumulator: Accumulator, total: Spread) -> Spread:
    """The lanes combined, and then the initial value, if it is not in yet."""
    kind, dtype = accumulator.kind, accumulator.value.dtype
    if statement.lanes > 1 and total.is_vector:
        entries = [_plain(entry) for entry in total.entries]
        folded = fold_lanes_of(k.w, kind, dtype, statement.lanes, entries)
        total = Spread(total.axes, tuple(folded))
    if accumulator.initial is None or _is_plain(statement):
        return total
    pair = (k.values[accumulator.initial], total)
    axes, wide = union(pair), any(spread.varies_over_lanes for spread in pair)
    rows = zip(*(project(spread, axes) for spread in pair), strict=True)
    combined = [
        arithmetic(
            k.w,
            kind,
            dtype,
            k.lanes if wide else 1,
            [
                k.vector(dtype, entry, spread.is_vector) if wide else _plain(entry)
                for entry, spread in zip(row, pair, strict=True)
            ],
        )
        for row in rows
    ]
    return Spread(axes, tuple(combined), wide)


# --- one segment ---------------------------------------------------------------------------------


def _write_segment(
    k: KernelState,
    loop: _Loop,
    segment: Segment,
    bounds: tuple[str, str],
    totals: list[Spread],
    block: Callable[[KernelState, Sequence[Statement]], None],
) -> list[Spread]:
    """Write one segment; gives what is accumulated after it, the copies combined."""
    w, accumulators = k.w, loop.statement.accumulators
    outside = k.axes, k.lanes, k.mask
    before, w.lines = w.lines, []
    entrance, head, variable = w.block, w.label("loop"), bounds[0]
    repeats = not segment.once and segment.trips != 1
    if repeats:
        variable = w.name()
    if repeats or segment.trips is None:
        w.block = head
    _enter(k, loop, segment, variable)
    block(k, loop.statement.body)
    layouts = [_layout(k, loop, segment, a, t) for a, t in zip(accumulators, totals, strict=True)]
    # What the accumulators hold at the start is written before the loop, and there is no mask.
    body, w.lines = w.lines, before
    starts = [
        _registers(k, a, t, axes, wide, segment.copies)
        for a, t, (axes, wide) in zip(accumulators, totals, layouts, strict=True)
    ]
    w.lines = body
    control = _Control(bounds, variable, entrance, head, loop.statement.step, segment)
    if repeats or segment.trips is None:
        carried = [[w.name() for _ in start] if repeats else start for start in starts]
    else:
        carried = starts
    finals = [
        _accumulate(k, segment, a, layout, carry)
        for a, layout, carry in zip(accumulators, layouts, carried, strict=True)
    ]
    kinds = [
        llvm_type(a.value.dtype, k.lanes if wide else 1)
        for a, (_, wide) in zip(accumulators, layouts, strict=True)
    ]
    w.lines = before
    results = _close(k, control, kinds, starts, carried, finals, body)
    ended = [
        _combine_copies(k, segment, a, layout, registers)
        for a, layout, registers in zip(accumulators, layouts, results, strict=True)
    ]
    k.axes, k.lanes, k.mask = outside
    return ended


def _enter(k: KernelState, loop: _Loop, segment: Segment, variable: str) -> None:
    """Open the loop's lanes, copies and mask, and give its variable a value."""
    if segment.lanes > 1:
        k.lanes = segment.lanes
    if segment.masked:
        k.mask = _tail_mask(k, loop, segment, variable)
    bases = [k.w.add(variable, str(copy * segment.lanes)) for copy in range(segment.copies)]
    entries = [Affine(base, "1") if segment.lanes > 1 else base for base in bases]
    own: Axes = ((loop.depth, segment.copies),) if segment.copies > 1 else ()
    k.axes = (*k.axes, *own)
    k.values[loop.statement.variable] = Spread(own, tuple(entries))


def _tail_mask(k: KernelState, loop: _Loop, segment: Segment, variable: str) -> str:
    """The lanes whose iteration is before the loop's stop."""
    w, lanes = k.w, segment.lanes
    rest = w.sub(loop.stop, variable)
    if is_number(rest):
        return f"<{', '.join(f'i1 {str(i < int(rest)).lower()}' for i in range(lanes))}>"
    kind = "i64"
    if 64 * lanes > k.module.target.vector_bits:
        kind = "i32"
        clamped = w.intrinsic("llvm.smin.i64", "i64", [("i64", rest), ("i64", str(lanes))])
        rest = w.let(f"trunc i64 {clamped} to i32")
    vector = f"<{lanes} x {kind}>"
    single = w.let(f"insertelement {vector} poison, {kind} {rest}, i64 0")
    limit = w.let(
        f"shufflevector {vector} {single}, {vector} poison, <{lanes} x i32> zeroinitializer"
    )
    numbers = ", ".join(f"{kind} {lane}" for lane in range(lanes))
    return w.let(f"icmp sgt {vector} {limit}, <{numbers}>")


def _layout(
    k: KernelState, loop: _Loop, segment: Segment, accumulator: Accumulator, total: Spread
) -> tuple[Axes, bool]:
    """The axes of an accumulator in a segment (its own copies last), and whether it is a vector."""
    value = k.values[accumulator.value]
    own: Axes = ((loop.depth, segment.copies),) if segment.copies > 1 else ()
    axes = union((value, total, Spread(own, ())))
    wide = segment.lanes > 1 or value.varies_over_lanes or total.varies_over_lanes
    return axes, wide


def _accumulate(
    k: KernelState,
    segment: Segment,
    accumulator: Accumulator,
    layout: tuple[Axes, bool],
    carried: Sequence[str],
) -> list[str]:
    """The accumulators after one trip; lanes that are masked keep what they had."""
    (axes, wide), value = layout, k.values[accumulator.value]
    dtype, lanes = accumulator.value.dtype, k.lanes if layout[1] else 1
    found = []
    for carry, entry in zip(carried, project(value, axes), strict=True):
        term = k.vector(dtype, entry, value.is_vector) if wide else _plain(entry)
        new = arithmetic(k.w, accumulator.kind, dtype, lanes, (carry, term))
        if segment.masked:
            assert k.mask is not None
            new = select(k.w, dtype, lanes, k.mask, (new, carry))
        found.append(new)
    return found


def _combine_copies(
    k: KernelState,
    segment: Segment,
    accumulator: Accumulator,
    layout: tuple[Axes, bool],
    registers: Sequence[str],
) -> Spread:
    axes, wide = layout
    if segment.copies == 1:
        return Spread(axes, tuple(registers), wide)
    width, kind, dtype = segment.copies, accumulator.kind, accumulator.value.dtype
    groups = [registers[i : i + width] for i in range(0, len(registers), width)]
    lanes = k.lanes if wide else 1
    return Spread(axes[:-1], tuple(fold_tree(k.w, kind, dtype, lanes, g) for g in groups), wide)


# --- control flow --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Control:
    """The blocks of a segment that is being written."""

    bounds: tuple[str, str]
    variable: str
    entrance: str
    head: str
    step: int
    segment: Segment


def _close(
    k: KernelState,
    control: _Control,
    kinds: list[str],
    starts: list[list[str]],
    carried: list[list[str]],
    finals: list[list[str]],
    body: list[str],
) -> list[list[str]]:
    """Put the branches and phis around a body that is written; gives the accumulators after it."""
    w, segment, (position, end) = k.w, control.segment, control.bounds
    if segment.trips == 1:
        w.lines.extend(body)
        return finals
    latch, done = w.block, w.label("done")
    if segment.trips is None:
        some = w.let(f"icmp slt i64 {position}, {end}")
        w.branch(some, control.head, done)
    else:
        w.jump(control.head)
    w.start(control.head)
    repeats = not segment.once
    if repeats:
        following = w.name()
        w.do(
            f"{control.variable} = phi i64 [ {position}, %{control.entrance} ], "
            f"[ {following}, %{latch} ]"
        )
        for kind, *columns in zip(kinds, carried, starts, finals, strict=True):
            for carry, start, final in zip(*columns, strict=True):
                w.do(
                    f"{carry} = phi {kind} [ {start}, %{control.entrance} ], [ {final}, %{latch} ]"
                )
    w.lines.extend(body)
    if repeats:
        w.do(f"{following} = add i64 {control.variable}, {segment.width * control.step}")
        w.branch(w.let(f"icmp slt i64 {following}, {end}"), control.head, done)
    else:
        w.jump(done)
    w.start(done)
    if segment.trips is not None:
        return finals
    return [
        [
            w.let(f"phi {kind} [ {start}, %{control.entrance} ], [ {final}, %{latch} ]")
            for start, final in zip(*columns, strict=True)
        ]
        for kind, *columns in zip(kinds, starts, finals, strict=True)
    ]
