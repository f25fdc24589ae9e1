"""How the iterations of a loop with lanes and copies are cut into parts, each with its own code.

On machines with masked memory instructions, what is left after the unrolled main loop runs in one
masked loop; elsewhere in a loop of full vectors and one masked vector. So the code of a nest grows
by a factor of two for each level with copies, and not at all where the trip count is known to fit.
A long body is written once, with a mask in every trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradc.codegen.target import Target
from gradc.ir.loops import For, Instruction, Plain, Ref, Store
from gradc.ir.record import dataclass


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


def plan(
    lanes: int,
    copies: int,
    count: int | None,
    masks_all: bool = False,
    masks_rest: bool = False,
    narrows: bool = False,
) -> list[Segment]:
    """How to run `count` iterations (None: not known).

    `masks_all`: the body is so long, or runs so rarely, that a mask in every trip costs less than
    its code twice. `masks_rest`: so it is with what copies leave. `narrows`: a rest of known length
    is a vector of fewer lanes, if it fills one.
    """
    if count is not None:
        return _static_plan(lanes, copies, max(count, 0), masks_rest, narrows)
    if masks_all and copies == 1 and lanes > 1:
        return [Segment(lanes, 1, masked=True)]
    main = [Segment(lanes, copies)] if copies > 1 else []
    if lanes == 1:
        return [*main, Segment(1, 1)]
    if copies > 1 and masks_rest:
        return [*main, Segment(lanes, 1, masked=True)]
    return [*main, Segment(lanes, 1), Segment(lanes, 1, masked=True, once=True)]


def _static_plan(
    lanes: int, copies: int, count: int, masks_rest: bool, narrows: bool
) -> list[Segment]:
    trips, rest = divmod(count, lanes * copies)
    vectors, tail = divmod(rest, lanes)
    main = [Segment(lanes, copies, trips=trips)] if trips else []
    if not tail:
        return [*main, Segment(lanes, vectors, trips=1)] if vectors else main
    if vectors and main and masks_rest:
        return [*main, Segment(lanes, 1, masked=True, trips=vectors + 1)]
    full = [Segment(lanes, vectors, trips=1)] if vectors else []
    if narrows and tail & (tail - 1) == 0:
        return [*main, *full, Segment(tail, 1, trips=1)]
    return [*main, *full, Segment(lanes, 1, masked=True, trips=1)]


def segments_of(
    statement: For, count: int | None, target: Target, is_rest: bool = False
) -> list[Segment]:
    """The segments of a loop of `count` iterations (None: not known) on a machine.

    `is_rest`: it runs for the last iterations of another loop.
    """
    length, calls = _length(statement), _calls(statement)
    masks_little = bool(statement.padded) and calls > 0 and is_in_order(statement)
    if target.has_masked_memory:
        masks_all = is_rest or length >= _LONG
    else:
        is_long = length >= _LONG + _PREFETCHED * _accesses(statement)
        is_long = is_long or (calls >= _FUNCTIONS and not statement.streamed)
        masks_all = target.has_masked_loads and is_long and is_in_order(statement)
    masks_all = masks_all or masks_little
    masks_rest = calls > 0 or target.has_masked_memory
    is_plain = not statement.accumulators and not statement.streamed
    narrows = is_plain and not target.has_masked_memory
    return plan(statement.lanes, statement.copies, count, masks_all, masks_rest, narrows)


def in_wide_vectors(statement: For, target: Target) -> For:
    """The loop, its two copies the halves of a vector, if its functions are then written once."""
    is_pair = statement.copies == 2 and 64 * statement.lanes == target.vector_bits
    masks = target.has_masked_loads and not target.has_masked_memory
    is_long = _calls(statement) > _FUNCTIONS and not statement.streamed
    if not (is_pair and masks and is_long and is_in_order(statement)):
        return statement
    return replace(statement, lanes=2 * statement.lanes, copies=1)


# Instructions, a call counted as 40; measured: at 40, a mask costs an eighth of the speed. Without
# masked memory instructions it is a branch around each load and store, which is nothing beside two
# functions (three, where they run two by two); a loop without them that reads and writes much loses
# up to a twentieth. What is padded needs no mask: beside it, one function is enough.
_LONG = 160
_PREFETCHED = 80
_FUNCTIONS = 2


def _calls(statement: For) -> int:
    """How many functions stand in the loop's body, not in another loop."""
    return sum(isinstance(s, Instruction) and s.op == "call" for s in statement.body)


def _length(statement: For) -> int:
    """How many instructions the loop's body has; 0 if another loop stands in it."""
    length = 0
    for inner in statement.body:
        if isinstance(inner, For):
            return 0
        is_call = isinstance(inner, Instruction) and inner.op == "call"
        length += 40 if is_call else 1
    return length


def _accesses(statement: For) -> int:
    """How many loads and stores that may need a mask stand in the loop's body."""
    plain = [s for s in statement.body if isinstance(s, Plain) and s.buffer is not None]
    return sum(s.buffer not in statement.padded for s in plain)


def is_in_order(statement: For) -> bool:
    """Whether the lanes read and write neighbours, of four bytes and more, or all one element."""
    strides: dict[Ref, int | None] = {statement.variable: 1}
    for inner in statement.body:
        if isinstance(inner, Store):
            place, buffer = inner.index, inner.buffer
        elif isinstance(inner, Instruction) and inner.buffer is not None:
            place, buffer = inner.operands[0], inner.buffer
        elif isinstance(inner, Instruction):
            strides[inner.result] = _stride(inner, [strides.get(x, 0) for x in inner.operands])
            continue
        else:
            return False
        if strides.get(place, 0) not in ((0, 1) if buffer.type.dtype.itemsize >= 4 else (0,)):
            return False
        if isinstance(inner, Instruction):
            strides[inner.result] = None if strides.get(place, 0) else 0
    return True


def _stride(instruction: Instruction, operands: Sequence[int | None]) -> int | None:
    """By how much a result grows from one iteration to the next; None: not evenly, or unknown."""
    strides = [stride for stride in operands if stride is not None]
    if len(strides) < len(operands):
        return None
    if instruction.op == "add":
        return sum(strides)
    if instruction.op == "sub":
        return strides[0] - strides[1]
    return None if any(strides) else 0
