"""How the iterations of a loop with lanes and copies are cut into parts, each with its own code."""

from __future__ import annotations

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
