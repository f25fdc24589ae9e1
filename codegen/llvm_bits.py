"""Conditions as the bits of an integer: how a loop collects them, and the loop over those set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradc.codegen.llvm_arithmetic import select
from gradc.codegen.llvm_spread import Affine, Entry, KernelState, Spread
from gradc.codegen.llvm_text import literal, llvm_type
from gradc.ir.loops import For, Statement
from gradc.ir.types import bool_, i64


def bits_of(
    k: KernelState, conditions: Sequence[Entry], is_vector: bool, first: Entry, start: str
) -> str:
    """An i64 with the bit of each iteration whose condition holds, for copies side by side.

    `first` is the loop's variable in the first copy, `start` where the loop starts.
    """
    w, total = k.w, ""
    # Without lanes of its own, the loop may still stand in one that has them.
    base, lanes = (first.base, k.lanes) if isinstance(first, Affine) else (first, 1)
    for copy, condition in enumerate(conditions):
        narrow = _bits_of_lanes(k, condition, is_vector) if lanes > 1 else condition
        bits = w.let(f"zext i{lanes} {narrow} to i64")
        bits = w.let(f"shl i64 {bits}, {copy * lanes}") if copy else bits
        total = w.let(f"or i64 {total}, {bits}") if total else bits
    place = w.sub(base, start)
    return total if place == "0" else w.let(f"shl i64 {total}, {place}")


def bits_in_lanes(
    k: KernelState, conditions: Sequence[Entry], is_vector: bool, first: Entry, start: str
) -> str:
    """The same for each lane of a loop around: a vector of i64."""
    w, total, vector = k.w, "", llvm_type(i64, k.lanes)
    assert isinstance(first, str)
    for copy, condition in enumerate(conditions):
        place = w.sub(w.add(first, str(copy)), start)
        bit = k.splat(i64, w.let(f"shl i64 1, {place}"))
        mask = k.vector(bool_, condition, is_vector)
        bits = select(w, i64, k.lanes, mask, (bit, literal(0, i64, k.lanes)))
        total = w.let(f"or {vector} {total}, {bits}") if total else bits
    return total


def _bits_of_lanes(k: KernelState, condition: Entry, is_vector: bool) -> str:
    """The conditions in the lanes of a vector as the bits of an integer."""
    w, lanes = k.w, k.lanes
    mask, vector = k.vector(bool_, condition, is_vector), llvm_type(bool_, lanes)
    if k.mask is not None:
        mask = w.let(f"and {vector} {mask}, {k.mask}")
    return w.let(f"bitcast {vector} {mask} to i{lanes}")


def write_bits_loop(
    k: KernelState, statement: For, block: Callable[[KernelState, Sequence[Statement]], None]
) -> None:
    """Write a loop over the iterations whose bits are set, in ascending order."""
    assert statement.bits is not None
    if statement.lanes > 1 or statement.copies > 1 or statement.accumulators:
        raise ValueError("a loop over bits has no lanes, copies or accumulators")
    w, bits = k.w, k.scalar(statement.bits, "the bits of a loop")
    start = k.scalar(statement.start, "the start of a loop")
    head, body, done = w.label("bits"), w.label("set"), w.label("done")
    entrance, rest, following = w.block, w.name(), w.name()
    w.jump(head)
    place, lines = len(w.lines), w.lines
    w.start(head)
    w.branch(w.let(f"icmp ne i64 {rest}, 0"), body, done)
    w.start(body)
    number = w.intrinsic("llvm.cttz.i64", "i64", [("i64", rest), ("i1", "true")])
    if statement.start in k.natural:
        k.natural.add(statement.variable)
    k.values[statement.variable] = Spread((), (w.add(start, number),))
    k.depth += 1
    block(k, statement.body)
    k.depth -= 1
    w.do(f"{following} = and i64 {rest}, {w.let(f'add i64 {rest}, -1')}")
    phi = f"  {rest} = phi i64 [ {bits}, %{entrance} ], [ {following}, %{w.block} ]"
    lines.insert(place + 1, phi)
    w.jump(head)
    w.start(done)
