"""Place the stored values in one arena: values that are not alive together share a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.loops import Buffer
from gradc.ir.types import ArrayType


@dataclass(frozen=True, slots=True)
class Arena:
    """The buffer of each value, and the size in bytes of each slot."""

    buffers: Mapping[Value, Buffer]
    slots: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A value, the type it is stored with, and the first and last step in which it is alive."""

    value: Value
    type: ArrayType
    first: int
    last: int


def plan(lifetimes: Sequence[Lifetime]) -> Arena:
    """Buffers for values that are stored for some steps.

    A slot is used again by a value of the same size in bytes once its holder is dead; among values
    of static size, by any that fits.
    """
    slots: list[Dim] = []
    free_after: list[int] = []
    buffers: dict[Value, Buffer] = {}
    for number, life in enumerate(sorted(lifetimes, key=lambda life: life.first)):
        size = life.type.size * life.type.dtype.itemsize
        slot = _free_slot(slots, free_after, size, life.first)
        if slot is None:
            slot = len(slots)
            slots.append(size)
            free_after.append(life.last)
        free_after[slot] = life.last
        buffers[life.value] = Buffer(f"t{number}", life.type, "temporary", slot)
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
