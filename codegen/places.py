"""Which steps of a schedule may compute a value: after, or beside, what it reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gradc.codegen.steps import Nest, Read, Root, Step, prepares
from gradc.ir.function import Value


def place_of_operands(
    root: Root,
    order: tuple[int, ...],
    read: Collection[Read],
    producer: Mapping[Value, int],
    steps: Sequence[Step],
) -> int:
    """The last step with the loops of `root` that computes what it reads; -1 if there is none."""
    places = {producer[value] for value, _ in read if value in producer}
    return max((place for place in places if _has_loops(steps[place], root, order)), default=-1)


def _has_loops(step: Step, root: Root, order: tuple[int, ...]) -> bool:
    loops = tuple(root.space[axis] for axis in order)
    return isinstance(step, Nest) and step.order == order and step.loops == loops


def earliest_step(
    root: Root,
    order: tuple[int, ...],
    read: Collection[Read],
    producer: Mapping[Value, int],
    steps: Sequence[Step],
) -> int:
    """The first step that may compute `root`: after those whose finished results it reads.

    What a step computes point by point is there for a root in the same loops that reads the entries
    of that point.
    """
    earliest = 0
    for value, aligned in read:
        place = producer.get(value)
        if place is None:
            continue
        step = steps[place]
        pointwise = (
            isinstance(step, Nest)
            and _has_loops(step, root, order)
            and all(axis < len(aligned) and aligned[axis] == axis for axis in order)
            and None not in aligned
            and any(r.value is value and r.kind is None for r in step.roots)
            and not prepares(value)
        )
        earliest = max(earliest, place if pointwise else place + 1)
    return earliest
