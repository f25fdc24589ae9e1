"""Place the stored values in one arena: values that are not alive together share memory.

Largest values first, each goes to a layer that is free for its whole lifetime; values of equal size
are placed in the order in which they begin, which is optimal among them. Sizes are compared for all
sizes where that is possible; a layer that holds values of incomparable sizes (8*n, 8*m) is as large
as the largest of them turns out to be at the call, so sharing never costs memory.

Layers lie one above another, which takes little to compute at a call. Where that is more than what
is alive at once by a tenth, for some sizes, each value falls on those below that are alive at the
same time (`stacking.py`).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import field
from heapq import heappop, heappush
from itertools import groupby

import numpy as np
from gradc.codegen.stacking import ENOUGH, Stack, best_stack, spans_of
from gradc.ir.dims import Dim, evaluate_dim, is_nonnegative, names_of
from gradc.ir.function import Value
from gradc.ir.loops import Buffer, Slot
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType

_USUAL = 1000  # what a size is taken to be where sizes cannot be compared
_MOST_BOUNDS = 4  # sizes of which a layer is the largest
_MOST_TRIES = 2_000_000  # of layers for values, in all: so that many values take linear time
_FEWEST_TRIES = 8  # for each value


@dataclass(frozen=True, slots=True)
class Arena:
    """The buffer of each value, and the slots that they lie in."""

    buffers: Mapping[Value, Buffer]
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A value, the type it is stored with, and the first and last step in which it is alive.

    `replaces` is a value whose buffer it may take over in its first step: a value of the same size
    that is read there for the last time, at a point only before the same point is written.
    """

    value: Value
    type: ArrayType
    first: int
    last: int
    replaces: Value | None = None

    @property
    def bytes(self) -> Dim:
        return self.type.size * self.type.dtype.itemsize


@dataclass(slots=True)
class _Tenancy:
    """Values that have one buffer, one after another, without a gap."""

    lives: list[Lifetime]
    bytes: Dim

    @property
    def first(self) -> int:
        return self.lives[0].first

    @property
    def last(self) -> int:
        return self.lives[-1].last


@dataclass(slots=True)
class _Layer:
    """Memory, who has it, the sizes that it has to hold, and when it is taken: (first, last)."""

    bounds: list[Dim]
    tenancies: list[_Tenancy] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)

    def is_free(self, first: int, last: int) -> bool:
        place = bisect_right(self.taken, (first, last))
        after = place == len(self.taken) or self.taken[place][0] > last
        return after and (place == 0 or self.taken[place - 1][1] < first)


def plan(lifetimes: Sequence[Lifetime], stack: str = "by cost") -> Arena:
    """Buffers for values that are stored for some steps; `stack` is as in `Choices`."""
    lives = sorted(lifetimes, key=lambda life: life.first)
    layers = _layers(_tenancies(lives))
    found = _stack(layers, stack) if len(layers) > 1 and stack != "never" else None
    slots, places = _in_layers(layers) if found is None else _stacked(layers, found)
    buffers = {
        life.value: Buffer(f"t{number}", life.type, "temporary", places[life.value])
        for number, life in enumerate(lives)
    }
    return Arena(buffers, tuple(slots))


def _in_layers(layers: Sequence[_Layer]) -> tuple[list[Slot], dict[Value, int]]:
    """Slots for the bounds of each layer, all on those of the layer below, and each value's.

    Layers of known size lie at the bottom: nothing is computed at a call to find them.
    """
    slots: list[Slot] = []
    places: dict[Value, int] = {}
    on: tuple[int, ...] = ()
    for layer in sorted(layers, key=lambda layer: len(names_of(layer.bounds)) > 0):
        below, on = on, tuple(range(len(slots), len(slots) + len(layer.bounds)))
        slots += (Slot(bound, below) for bound in layer.bounds)
        for tenancy in layer.tenancies:
            bounds = enumerate(layer.bounds[:-1], on[0])
            slot = next((i for i, b in bounds if _is_at_least(b, tenancy.bytes)), on[-1])
            places.update((life.value, slot) for life in tenancy.lives)
    return slots, places


def _stack(layers: Sequence[_Layer], choice: str) -> Stack | None:
    """A stack of all tenancies, in the order of their layers, if it is better than the layers."""
    tenancies = [tenancy for layer in layers for tenancy in layer.tenancies]
    spans = spans_of(
        [tenancy.first for tenancy in tenancies],
        [tenancy.last for tenancy in tenancies],
        [tenancy.bytes for tenancy in tenancies],
    )
    starts = np.cumsum([0, *(len(layer.tenancies) for layer in layers)])[:-1]
    worst = spans.ratios(np.maximum.reduceat(spans.bytes, starts).sum(axis=0)).max()
    if choice == "by cost" and worst <= ENOUGH:
        return None
    found = best_stack(spans, range(len(tenancies)))
    return found if choice == "always" or found.worst < worst else None


def _stacked(layers: Sequence[_Layer], stack: Stack) -> tuple[list[Slot], dict[Value, int]]:
    """Slots for a stack of all tenancies, and each value's; equal ones that lie alike are one."""
    tenancies = [tenancy for layer in layers for tenancy in layer.tenancies]
    numbers: dict[Slot, int] = {}
    slot_of: dict[int, int] = {}
    places: dict[Value, int] = {}
    for span in stack.order:
        on = sorted({slot_of[below] for below in stack.on[span]})
        slot = Slot(tenancies[span].bytes, tuple(on))
        slot_of[span] = numbers.setdefault(slot, len(numbers))
        places.update((life.value, slot_of[span]) for life in tenancies[span].lives)
    return list(numbers), places


def _tenancies(lives: Sequence[Lifetime]) -> list[_Tenancy]:
    """The lifetimes, those that take over a buffer joined to those that had it."""
    holder: dict[Value, _Tenancy] = {}
    found: list[_Tenancy] = []
    for life in lives:
        size = life.bytes
        before = holder.get(life.replaces) if life.replaces is not None else None
        if before is not None and before.last == life.first and before.bytes == size:
            before.lives.append(life)
            holder[life.value] = before
            continue
        holder[life.value] = made = _Tenancy([life], size)
        found.append(made)
    return found


def _layers(tenancies: list[_Tenancy]) -> list[_Layer]:
    """Layers for tenancies, the largest first."""
    layers: list[_Layer] = []
    usual = {bytes: (-_usual(bytes), str(bytes)) for bytes in {t.bytes for t in tenancies}}
    tenancies.sort(key=lambda t: (usual[t.bytes], t.first))
    tries = max(_FEWEST_TRIES, _MOST_TRIES // max(1, len(tenancies)))
    for _, group in groupby(tenancies, key=lambda t: t.bytes):
        _place_equals(list(group), layers, tries)
    return layers


def _place_equals(tenancies: Sequence[_Tenancy], layers: list[_Layer], tries: int) -> None:
    """Put tenancies of one size, ordered by their beginning, into layers; new ones join them."""
    size = tenancies[0].bytes
    older = [layer for layer in reversed(layers[-tries:]) if _can_hold(layer, size)]
    own: list[tuple[int, int]] = []  # (when it is free again, its number): a heap
    for tenancy in tenancies:
        first, last = tenancy.first, tenancy.last
        layer = next((x for x in older if x.is_free(first, last)), None)
        if layer is None:
            is_free = bool(own) and own[0][0] < first
            number = heappop(own)[1] if is_free else len(layers)
            if not is_free:
                layers.append(_Layer([size]))
            layer = layers[number]
            heappush(own, (last, number))
        elif not any(_is_at_least(bound, size) for bound in layer.bounds):
            layer.bounds.append(size)
        insort(layer.taken, (first, last))
        layer.tenancies.append(tenancy)


def _can_hold(layer: _Layer, size: Dim) -> bool:
    return len(layer.bounds) < _MOST_BOUNDS or any(_is_at_least(b, size) for b in layer.bounds)


def _is_at_least(a: Dim, b: Dim) -> bool:
    """Whether a >= b for all sizes, as far as that is known."""
    if isinstance(a, int) and isinstance(b, int):
        return a >= b
    return is_nonnegative(a - b)


def _usual(size: Dim) -> int:
    return evaluate_dim(size, dict.fromkeys(names_of((size,)), _USUAL))
