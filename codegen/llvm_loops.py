"""Loops with lanes and copies: whole groups of iterations first, then what is left.

A loop is written as one to three segments (`llvm_segments.py`), each a loop, or nothing but its
body where it runs once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gradc.codegen.llvm_arithmetic import arithmetic, fold_lanes_of, fold_tree, identity, select
from gradc.codegen.llvm_bits import bits_in_lanes, bits_of, write_bits_loop
from gradc.codegen.llvm_segments import Segment, in_wide_vectors, segments_of
from gradc.codegen.llvm_spread import (
    Affine,
    Axes,
    Entry,
    KernelState,
    Splats,
    Spread,
    project,
    union,
)
from gradc.codegen.llvm_streams import begin_stream, end_stream
from gradc.codegen.llvm_text import is_number, literal, llvm_type
from gradc.ir.loops import Accumulator, For, Statement
from gradc.ir.record import dataclass

SMALLEST_BLOCK = 16  # iterations of a loop over blocks


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop that is being written: its statement, its bounds, its nesting depth."""

    statement: For
    start: str
    stop: str
    depth: int
    masks_all: bool = False  # in every trip
    low: str | None = None  # the first iteration, where a masked loop begins before it


def write_loop(
    k: KernelState, statement: For, block: Callable[[KernelState, Sequence[Statement]], None]
) -> None:
    """Write the loop; afterwards the results of its accumulators have values."""
    if statement.bits is not None:
        write_bits_loop(k, statement, block)
        return
    if statement.lanes > 1 and k.lanes > 1:
        raise ValueError("a loop with lanes stands inside another loop with lanes")
    if statement.lanes & (statement.lanes - 1):
        raise ValueError(f"the number of lanes is a power of two, not {statement.lanes}")
    start = k.scalar(statement.start, "the start of a loop")
    stop = k.scalar(statement.stop, "the end of a loop")
    if statement.start in k.natural:
        k.natural.add(statement.variable)
    count = None
    if is_number(start) and is_number(stop):
        count = -((int(start) - int(stop)) // statement.step)
    if count is None:
        statement = in_wide_vectors(statement, k.module.target)
    loop = _Loop(statement, start, stop, k.depth + 1)
    outside = (k.depth, k.is_rest, k.stream, k.in_blocks, k.splats, k.w.is_seldom, k.padded)
    in_blocks, is_seldom = k.in_blocks, k.w.is_seldom
    is_inner = not any(isinstance(inner, For) for inner in statement.body)
    k.depth += 1
    k.in_blocks = in_blocks and statement.step >= SMALLEST_BLOCK
    if statement.lanes > 1:
        k.splats, k.padded = Splats(k.w.names), statement.padded
    totals = [_beginning(k, statement, a) for a in statement.accumulators]
    is_rest, segments = k.is_rest, segments_of(statement, count, k.module.target, k.is_rest)
    loop = replace(loop, masks_all=segments == [Segment(loop.statement.lanes, 1, masked=True)])
    k.stream = begin_stream(k, statement, start, stop) if statement.streamed else None
    position = start
    if k.stream is not None:
        k.w.is_seldom = True
        loop, position = _to_first_line(k, loop, block)
    for segment in segments:
        # What is left after the first segment runs once, or once in the last block.
        k.w.is_seldom = is_seldom or (in_blocks and is_inner and segment is not segments[0])
        end = _end(k, loop, segment, position)
        totals = _write_segment(k, loop, segment, (position, end), totals, block)
        position = end
        k.is_rest = is_rest or segment.copies > 1  # fewer iterations than copies are left
    if k.stream is not None:
        end_stream(k, k.stream)
    k.depth, k.is_rest, k.stream, k.in_blocks, k.splats, k.w.is_seldom, k.padded = outside
    for accumulator, total in zip(statement.accumulators, totals, strict=True):
        k.values[accumulator.result] = _result(k, statement, accumulator, total)


def _to_first_line(
    k: KernelState, loop: _Loop, block: Callable[[KernelState, Sequence[Statement]], None]
) -> tuple[_Loop, str]:
    """Reach the first whole line of the results; the loop and where its segments begin.

    A loop that is masked anyway begins as many iterations before its start as fill the line;
    else masked vectors come first.
    """
    assert k.stream is not None
    first, w, lanes = k.stream.first, k.w, loop.statement.lanes
    if loop.masks_all:
        is_there = w.let(f"icmp eq i64 {first}, {loop.start}")
        back = w.let(f"select i1 {is_there}, i64 0, i64 {lanes}")
        return replace(loop, low=loop.start), w.sub(first, back)
    first = w.intrinsic("llvm.smin.i64", "i64", [("i64", first), ("i64", loop.stop)])
    once = loop.statement.copies == 1  # a line is one vector
    head = Segment(lanes, 1, masked=True, once=once)
    stream, k.stream = k.stream, None
    _write_segment(k, replace(loop, stop=first), head, (loop.start, first), [], block)
    k.stream = stream
    return loop, first


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
    dtype = accumulator.result.dtype
    return Spread((), (literal(identity(accumulator.kind, dtype), dtype),))


def _plain(entry: Entry) -> str:
    assert isinstance(entry, str)
    return entry


def _result(k: KernelState, statement: For, accumulator: Accumulator, total: Spread) -> Spread:
    """The lanes combined, and then the initial value, if it is not in yet."""
    kind, dtype = accumulator.kind, accumulator.result.dtype
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


# Reductions whose copies are combined in each trip.
_COMBINED = frozenset({"min", "max", "and", "or", "bits"})


@dataclass(slots=True)
class _Sum:
    """An accumulator in one segment: a register for each combination of copies of `axes`.

    Its own copies are the last axis, unless they are combined in each trip: where the order does
    not matter, that takes fewer registers. `starts` is what the registers hold before the segment,
    `carried` what they hold in a trip, `finals` what they hold after it.
    """

    accumulator: Accumulator
    axes: Axes
    lanes: int
    starts: list[str]
    carried: list[str]
    finals: list[str]

    @property
    def kind(self) -> str:
        return llvm_type(self.accumulator.result.dtype, self.lanes)


def _write_segment(
    k: KernelState,
    loop: _Loop,
    segment: Segment,
    bounds: tuple[str, str],
    totals: list[Spread],
    block: Callable[[KernelState, Sequence[Statement]], None],
) -> list[Spread]:
    """Write one segment; gives what is accumulated after it, the copies combined."""
    w, outside = k.w, (k.axes, k.lanes, k.mask, k.is_whole)
    before, w.lines = w.lines, []
    repeats = not segment.once and segment.trips != 1
    variable = w.name() if repeats else bounds[0]
    control = _Control(bounds, variable, w.block, w.label("loop"), loop.statement.step, segment)
    if segment.trips != 1:
        w.block = control.head
    _enter(k, loop, segment, variable)
    block(k, loop.statement.body)
    # What the accumulators hold at the start is written before the loop.
    body, w.lines = w.lines, before
    pairs = zip(loop.statement.accumulators, totals, strict=True)
    sums = [_begin_sum(k, loop, segment, accumulator, total) for accumulator, total in pairs]
    w.lines = body
    for found in sums:
        found.carried = [w.name() for _ in found.starts] if repeats else found.starts
        found.finals = _accumulate(k, loop, segment, found)
    w.lines = before
    if segment.lanes > 1 and k.splats is not None:
        w.lines += k.splats.lines
        k.splats.lines.clear()
    results = _close(k, control, sums, body)
    ended = [
        _combine_copies(k, segment, found, registers)
        for found, registers in zip(sums, results, strict=True)
    ]
    k.axes, k.lanes, k.mask, k.is_whole = outside
    return ended


def _enter(k: KernelState, loop: _Loop, segment: Segment, variable: str) -> None:
    """Open the loop's lanes, copies and mask, and give its variable a value."""
    if segment.lanes > 1:
        k.lanes = segment.lanes
    if segment.masked:
        k.mask = _tail_mask(k, loop, segment, variable)
        k.is_whole = None
        if loop.masks_all or (k.stream is not None and not segment.once):
            k.is_whole = _is_whole(k, loop, segment, variable)
        if loop.low is not None:
            k.mask = _not_before(k, loop.low, segment, variable)
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


def _is_whole(k: KernelState, loop: _Loop, segment: Segment, variable: str) -> str:
    """Whether all lanes of a masked vector count."""
    whole = k.w.let(f"icmp sle i64 {k.w.add(variable, str(segment.lanes))}, {loop.stop}")
    if loop.low is None:
        return whole
    return k.w.let(f"and i1 {whole}, {k.w.let(f'icmp sge i64 {variable}, {loop.low}')}")


def _not_before(k: KernelState, low: str, segment: Segment, variable: str) -> str:
    """The lanes of the mask from iteration `low` on."""
    w, lanes = k.w, segment.lanes
    gap = w.let(f"trunc i64 {w.sub(low, variable)} to i32")  # at most the lanes, where it counts
    vector = f"<{lanes} x i32>"
    single = w.let(f"insertelement {vector} poison, i32 {gap}, i64 0")
    limit = w.let(
        f"shufflevector {vector} {single}, {vector} poison, <{lanes} x i32> zeroinitializer"
    )
    numbers = ", ".join(f"i32 {lane}" for lane in range(lanes))
    there = w.let(f"icmp sle {vector} {limit}, <{numbers}>")
    return w.let(f"and <{lanes} x i1> {k.mask}, {there}")


def _begin_sum(
    k: KernelState, loop: _Loop, segment: Segment, accumulator: Accumulator, total: Spread
) -> _Sum:
    """The accumulators at a segment's start: copy 0 goes on, the others start from the identity."""
    value, dtype = k.values[accumulator.value], accumulator.result.dtype
    own: Axes = ((loop.depth, segment.copies),) if segment.copies > 1 else ()
    axes = union((value, total, Spread(own, ())))
    if accumulator.kind in _COMBINED and own:
        axes, own = axes[:-1], ()
    wide = segment.lanes > 1 or value.varies_over_lanes or total.varies_over_lanes
    wide = wide and (accumulator.kind != "bits" or segment.lanes == 1)
    lanes = k.lanes if wide else 1
    zero = literal(identity(accumulator.kind, dtype), dtype, lanes)
    starts: list[str] = []
    for entry in project(total, axes[:-1] if own else axes):
        starts.append(k.vector(dtype, entry, total.is_vector) if wide else _plain(entry))
        starts.extend([zero] * (segment.copies - 1 if own else 0))
    return _Sum(accumulator, axes, lanes, starts, [], [])


def _accumulate(k: KernelState, loop: _Loop, segment: Segment, found: _Sum) -> list[str]:
    """The accumulators after one trip; lanes that are masked keep what they had."""
    accumulator, lanes, finals = found.accumulator, found.lanes, []
    dtype = accumulator.result.dtype
    terms = _terms(k, loop, segment, found)
    for carry, term in zip(found.carried, terms, strict=True):
        new = arithmetic(k.w, accumulator.kind, dtype, lanes, (carry, term))
        if segment.masked and accumulator.kind != "bits":
            assert k.mask is not None
            new = select(k.w, dtype, lanes, k.mask, (new, carry))
        finals.append(new)
    return finals


def _terms(k: KernelState, loop: _Loop, segment: Segment, found: _Sum) -> list[str]:
    """What one trip adds to each register."""
    kind, value = found.accumulator.kind, k.values[found.accumulator.value]
    dtype, lanes, width = found.accumulator.value.dtype, found.lanes, segment.copies
    own: Axes = ((loop.depth, width),) if width > 1 and kind in _COMBINED else ()
    value = k.vectors(dtype, value) if lanes > 1 else value
    entries = project(value, (*found.axes, *own))
    if kind not in _COMBINED:
        return [_plain(entry) for entry in entries]
    groups = [entries[i : i + width] for i in range(0, len(entries), width)]
    if kind == "bits":
        first = k.values[loop.statement.variable].entries[0]
        of = bits_in_lanes if lanes > 1 else bits_of
        return [of(k, group, value.is_vector, first, loop.start) for group in groups]
    return [fold_tree(k.w, kind, dtype, lanes, [_plain(x) for x in group]) for group in groups]


def _combine_copies(
    k: KernelState, segment: Segment, found: _Sum, registers: Sequence[str]
) -> Spread:
    kind, dtype = found.accumulator.kind, found.accumulator.result.dtype
    wide, width = found.lanes > 1, 1 if kind in _COMBINED else segment.copies
    if width == 1:
        return Spread(found.axes, tuple(registers), wide)
    groups = [registers[i : i + width] for i in range(0, len(registers), width)]
    totals = tuple(fold_tree(k.w, kind, dtype, found.lanes, group) for group in groups)
    return Spread(found.axes[:-1], totals, wide)


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


def _close(k: KernelState, control: _Control, sums: list[_Sum], body: list[str]) -> list[list[str]]:
    """Put the branches and phis around a body that is written; gives the accumulators after it."""
    w, segment, (position, end) = k.w, control.segment, control.bounds
    if segment.trips == 1:
        w.lines.extend(body)
        return [found.finals for found in sums]
    latch, done = w.block, w.label("done")
    if segment.trips is None:
        w.branch(w.let(f"icmp slt i64 {position}, {end}"), control.head, done)
    else:
        w.jump(control.head)
    w.start(control.head)
    if segment.once:
        w.lines.extend(body)
        w.jump(done)
    else:
        following = w.name()
        _phis(k, control, latch, "i64", [(control.variable, position, following)])
        for found in sums:
            rows = list(zip(found.carried, found.starts, found.finals, strict=True))
            _phis(k, control, latch, found.kind, rows)
        w.lines.extend(body)
        w.do(f"{following} = add i64 {control.variable}, {segment.width * control.step}")
        w.branch(w.let(f"icmp slt i64 {following}, {end}"), control.head, done)
    w.start(done)
    if segment.trips is not None:
        return [found.finals for found in sums]
    results = [[w.name() for _ in found.finals] for found in sums]
    for found, names in zip(sums, results, strict=True):
        rows = list(zip(names, found.starts, found.finals, strict=True))
        _phis(k, control, latch, found.kind, rows)
    return results


def _phis(
    k: KernelState, control: _Control, latch: str, kind: str, rows: list[tuple[str, str, str]]
) -> None:
    """For each row (name, a, b): a on the way in, b at the end of a trip."""
    for name, first, later in rows:
        k.w.do(f"{name} = phi {kind} [ {first}, %{control.entrance} ], [ {later}, %{latch} ]")
