"""Place the stored values in one arena: values that are not alive together share a slot.

Largest values first, each goes to a slot that is free for its whole lifetime; values of equal size
are placed in the order in which they begin, which is optimal among them. Sizes are compared for all
sizes where that is possible; a slot that holds values of incomparable sizes (8*n, 8*m) is as large
as the largest of them turns out to be at the call, so sharing never costs memory.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from heapq import heappop, heappush
from itertools import groupby

from gradc.ir.dims import Dim, evaluate_dim, is_nonnegative, names_of
from gradc.ir.function import Value
from gradc.ir.loops import Buffer
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType

_USUAL = 1000  # what a size is taken to be where sizes cannot be compared
_MOST_BOUNDS = 4  # sizes of which a slot is the largest
_MOST_TRIES = 2_000_000  # of slots for values, in all: so that many values take linear time
_FEWEST_TRIES = 8  # for each value


@dataclass(frozen=True, slots=True)
class Arena:
    """The buffer of each value, and the size in bytes of each slot: the largest of its bounds."""

    buffers: Mapping[Value, Buffer]
    slots: tuple[tuple[Dim, ...], ...]


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
class _Slot:
    """Memory, the sizes that it has to hold, and when it is taken: (first, last) in order."""

    number: int
    bounds: list[Dim]
    taken: list[tuple[int, int]] = field(default_factory=list)

    def is_free(self, first: int, last: int) -> bool:
        place = bisect_right(self.taken, (first, last))
        after = place == len(self.taken) or self.taken[place][0] > last
        return after and (place == 0 or self.taken[place - 1][1] < first)


def plan(lifetimes: Sequence[Lifetime]) -> Arena:
    """Buffers for values that are stored for some steps."""
    lives = sorted(lifetimes, key=lambda life: life.first)
    tenancies = _tenancies(lives)
    slots: list[_Slot] = []
    place: dict[Value, int] = {}
    usual = {bytes: (-_usual(bytes), str(bytes)) for bytes in {t.bytes for t in tenancies}}
    tenancies.sort(key=lambda t: (usual[t.bytes], t.first))
    tries = max(_FEWEST_TRIES, _MOST_TRIES // max(1, len(tenancies)))
    for _, group in groupby(tenancies, key=lambda t: t.bytes):
        for tenancy, slot in _place_equals(list(group), slots, tries):
            place.update((life.value, slot.number) for life in tenancy.lives)
    buffers = {
        life.value: Buffer(f"t{number}", life.type, "temporary", place[life.value])
        for number, life in enumerate(lives)
    }
    return Arena(buffers, tuple(tuple(slot.bounds) for slot in slots))


def arena_text(slots: Sequence[Sequence[Dim]]) -> str:
    """The bytes of all slots, before they are rounded up: `8*d + 512 + max(8*m, 8*n)`."""
    total: Dim = 0
    largest: Counter[str] = Counter()
    for bounds in slots:
        if len(bounds) == 1:
            total = total + bounds[0]
        else:
            largest[f"max({', '.join(sorted(map(str, bounds)))})"] += 1
    terms = [text if count == 1 else f"{count}*{text}" for text, count in sorted(largest.items())]
    return " + ".join([str(total), *terms] if total != 0 or not terms else terms)


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


def _place_equals(
    tenancies: Sequence[_Tenancy], slots: list[_Slot], tries: int
) -> list[tuple[_Tenancy, _Slot]]:
    """Slots for tenancies of one size, ordered by their beginning; new ones join `slots`."""
    size = tenancies[0].bytes
    older = [slot for slot in reversed(slots[-tries:]) if _can_hold(slot, size)]
    own: list[tuple[int, int]] = []  # (when it is free again, its number): a heap
    found = []
    for tenancy in tenancies:
        first, last = tenancy.first, tenancy.last
        slot = next((s for s in older if s.is_free(first, last)), None)
        if slot is None and own and own[0][0] < first:
            slot = slots[heappop(own)[1]]
            heappush(own, (last, slot.number))
        elif slot is None:
            slot = _Slot(len(slots), [size])
            slots.append(slot)
            heappush(own, (last, slot.number))
        elif not any(_is_at_least(bound, size) for bound in slot.bounds):
            slot.bounds.append(size)
        insort(slot.taken, (first, last))
        found.append((tenancy, slot))
    return found


def _can_hold(slot: _Slot, size: Dim) -> bool:
    return len(slot.bounds) < _MOST_BOUNDS or any(_is_at_least(b, size) for b in slot.bounds)


def _is_at_least(a: Dim, b: Dim) -> bool:
    """Whether a >= b for all sizes, as far as that is known."""
    if isinstance(a, int) and isinstance(b, int):
        return a >= b
    return is_nonnegative(a - b)


def _usual(size: Dim) -> int:
    return evaluate_dim(size, dict.fromkeys(names_of((size,)), _USUAL))
