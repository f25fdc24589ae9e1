"""Which steps of a schedule may compute a value: after, or beside, what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from gradc.codegen.steps import Nest, Read, Root, Step, prepares
from gradc.ir.function import Value
from gradc.ir.record import dataclass


@dataclass(slots=True, eq=False)
class Places:
    """The steps so far, and in which of them a value is computed."""

    steps: list[Step] = field(default_factory=list)
    producer: dict[Value, int] = field(default_factory=dict)

    def enter(self, values: Iterable[Value], step: Step) -> None:
        """Append a step that computes these values."""
        self.producer.update(dict.fromkeys(values, len(self.steps)))
        self.steps.append(step)

    def beside_operands(self, root: Root, order: tuple[int, ...], read: Iterable[Read]) -> int:
        """The last step with the loops of `root` that computes what it reads; -1: there is none."""
        places = {self.producer[value] for value, _ in read if value in self.producer}
        found = (place for place in places if _has_loops(self.steps[place], root, order))
        return max(found, default=-1)

    def earliest(self, root: Root, order: tuple[int, ...], read: Iterable[Read]) -> int:
        """The first step that may compute `root`: after those whose finished results it reads.

        What a step computes point by point is there for a root in the same loops that reads the
        entries of that point.
        """
        earliest = 0
        for value, aligned in read:
            place = self.producer.get(value)
            if place is None:
                continue
            step = self.steps[place]
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


def _has_loops(step: Step, root: Root, order: tuple[int, ...]) -> bool:
    loops = tuple(root.space[axis] for axis in order)
    return isinstance(step, Nest) and step.order == order and step.loops == loops
