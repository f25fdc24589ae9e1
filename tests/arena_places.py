"""Where the parts of an arena lie at given sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir.dims import evaluate_dim
from gradc.ir.loops import Slot


def rounded(count: int) -> int:
    return -(-count // 64) * 64


def places(slots: Sequence[Slot], sizes: Mapping[str, int]) -> list[tuple[int, int]]:
    """Where each slot begins and ends."""
    found: list[tuple[int, int]] = []
    for slot in slots:
        begin = max((found[i][1] for i in slot.on), default=0)
        found.append((begin, begin + rounded(evaluate_dim(slot.bytes, sizes))))
    return found


def arena_bytes(slots: Sequence[Slot], sizes: Mapping[str, int]) -> int:
    return max((end for _, end in places(slots, sizes)), default=0)
