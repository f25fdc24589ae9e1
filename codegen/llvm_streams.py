"""Large results written past the caches: non-temporal stores of whole, aligned vectors.

A plain store reads the line that it writes into, which for a result larger than the last cache is
a third of the traffic. Below that size the same stores cost twice as much as plain ones, so a test
at run time decides. A loop that writes several results writes whole lines of each, one after the
other: of lines that are half written only few are held, and one that has to leave costs (measured
with two to six results, AVX2) up to ten times a whole one. So the vectors of an iteration fill
lines, and all results have to lie at the same place within a line. Which loops gain is decided by
`loop_plan.past_caches`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gradc.codegen.llvm_spread import KernelState, Stream
from gradc.codegen.llvm_text import memory_type
from gradc.codegen.target import LINE_BYTES
from gradc.ir.loops import Buffer, For

LARGE_BYTES = 16 << 20  # of the results of a loop; measured: plain stores are better up to 4 MB


def begin_stream(k: KernelState, loop: For, start: str, stop: str) -> Stream | None:
    """Decide before a loop whether its results are streamed; None where they never are."""
    sizes = {buffer.type.dtype.itemsize for buffer in loop.streamed}
    types = {buffer.type.dtype.kind for buffer in loop.streamed}
    if (
        loop.accumulators
        or len(sizes) != 1
        or "b" in types
        or not k.module.target.triple.startswith("x86_64")
    ):
        return None
    (size,) = sizes
    vector = loop.lanes * size
    line = vector if len(loop.streamed) == 1 else LINE_BYTES
    if 8 * vector != k.module.target.vector_bits or loop.copies * vector % line:
        return None
    w, count = k.w, k.w.sub(stop, start)
    places = [_place(k, buffer, start) for buffer in loop.streamed]
    least = -(-LARGE_BYTES // (size * len(places)))
    flag = w.let(f"icmp sge i64 {count}, {least}")
    differences = w.let(f"and i64 {places[0]}, {size - 1}")
    for place in places[1:]:
        differs = w.let(f"xor i64 {place}, {places[0]}")
        differences = w.let(f"or i64 {differences}, {w.let(f'and i64 {differs}, {line - 1}')}")
    flag = w.let(f"and i1 {flag}, {w.let(f'icmp eq i64 {differences}, 0')}")
    gap = w.let(f"and i64 {w.let(f'sub i64 0, {places[0]}')}, {line - 1}")
    elements = w.let(f"lshr i64 {gap}, {size.bit_length() - 1}")
    first = w.add(start, w.let(f"select i1 {flag}, i64 {elements}, i64 0"))
    return Stream(frozenset(loop.streamed), flag, first)


def _place(k: KernelState, buffer: Buffer, start: str) -> str:
    """The address of the element that the first iteration writes, as a number."""
    element = memory_type(buffer.type.dtype)
    place = k.w.let(f"getelementptr {element}, ptr {k.pointer(buffer)}, i64 {start}")
    return k.w.let(f"ptrtoint ptr {place} to i64")


def end_stream(k: KernelState, stream: Stream) -> None:
    """Make what was streamed visible in the order of the program, to other threads too."""
    w = k.w
    w.module.declare("llvm.x86.sse.sfence", "void @llvm.x86.sse.sfence()")
    fence, after = w.label("fence"), w.label("after")
    w.branch(stream.flag, fence, after)
    w.start(fence)
    w.do("call void @llvm.x86.sse.sfence()")
    w.jump(after)
    w.start(after)


@contextmanager
def streamed(k: KernelState, stream: Stream, value: str, address: str) -> Iterator[None]:
    """Store a vector, given with its type, past the caches if the flag holds; else what follows."""
    w, flag = k.w, stream.flag
    if k.is_whole is not None:
        flag = w.let(f"and i1 {flag}, {k.is_whole}")
    past, usual, after = w.label("past"), w.label("usual"), w.label("after")
    w.branch(flag, past, usual)
    w.start(past)
    line = k.module.target.vector_bits // 8
    w.do(f"store {value}, ptr {address}, align {line}, !nontemporal !9")
    w.jump(after)
    w.start(usual)
    yield
    w.jump(after)
    w.start(after)
