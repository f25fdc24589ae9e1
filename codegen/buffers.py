"""Place the stored values in one arena: values that are not alive together share a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.loops import Buffer


@dataclass(frozen=True, slots=True)
class Arena:
    """The buffer of each value, and the size in bytes of each slot."""

    buffers: Mapping[Value, Buffer]
    slots: tuple[Dim, ...]


def plan(values: Sequence[tuple[Value, int, int]]) -> Arena:
    """Buffers for values given with the first and the last step in which they are alive.

    A slot is used again by a value of the same size in bytes once its holder is dead; among values
    of static size, by any that fits.
    """
    slots: list[Dim] = []
    free_after: list[int] = []
    buffers: dict[Value, Buffer] = {}
    for number, (value, first, last) in enumerate(sorted(values, key=lambda item: item[1])):
        size = value.type.size * value.dtype.itemsize
        slot = _free_slot(slots, free_after, size, first)
        if slot is None:
            slot = len(slots)
            slots.append(size)
            free_after.append(last)
        free_after[slot] = last
        buffers[value] = Buffer(f"t{number}", value.type, "temporary", slot)
    return Arena(buffers, tuple(slots))


def _free_slot(
    slots: Sequence[Dim], free_after: Sequence[int], size: Dim, first: int
) -> int | None:
    """The slot that is free before step `first` and fits best, or None."""
    fitting = [i for i, have in enumerate(slots) if free_after[i] < first and _fits(size, have)]
    exact = [i for i in fitting if slots[i] == size]
    if exact:
        return exact[0]
    return min(fitting, key=lambda i: int(str(slots[i])), default=None)


def _fits(size: Dim, have: Dim) -> bool:
    if isinstance(size, int) and isinstance(have, int):
        return size <= have
    return size == have
