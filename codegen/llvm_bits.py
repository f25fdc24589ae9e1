"""Conditions as the bits of an integer: how a loop collects them, and the loop over those set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradc.codegen.llvm_spread import Affine, Entry, KernelState, Spread
from gradc.codegen.llvm_text import llvm_type
from gradc.ir.loops import For, Statement
from gradc.ir.types import bool_


def bits_of(k: KernelState, condition: Entry, is_vector: bool, at: Entry, start: str) -> str:
    """An i64 with the bit of each iteration whose condition holds; `at` is the loop's variable."""
    w, lanes = k.w, k.lanes
    if lanes == 1:
        assert isinstance(condition, str)
        bits = condition
        kind = "i1"
    else:
        mask, vector = k.vector(bool_, condition, is_vector), llvm_type(bool_, lanes)
        if k.mask is not None:
            mask = w.let(f"and {vector} {mask}, {k.mask}")
        kind = f"i{lanes}"
        bits = w.let(f"bitcast {vector} {mask} to {kind}")
    wide = w.let(f"zext {kind} {bits} to i64")
    place = w.sub(at.base if isinstance(at, Affine) else at, start)
    return wide if place == "0" else w.let(f"shl i64 {wide}, {place}")


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
