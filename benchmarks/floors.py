"""The least time that a workload's memory traffic, and its arithmetic, take on this machine.

A floor is the larger of two times, both measured in the same rounds as the gradients:

memory: all inputs are read and all outputs written, once, or as often as the method must
    (`passes`), by loops that do nothing else (peers/floor.cpp); with ordinary stores or with
    streaming ones, whichever is faster.
arithmetic: as many independent multiply-adds, in the machine's widest vectors, as the method needs
    multiplications and multiply-adds (additions, divisions and the rest may overlap with them, and
    are not counted).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Multiplications and multiply-adds that an entry takes, counted in the assembly that
# `gradc emit --stage=asm --target=znver4` shows for y = f(x): the instructions vmul*, vfmadd*,
# vfmsub*, vfnmadd* of the loop's body, which takes a vector.
PRODUCTS: Mapping[str, int] = {"exp": 16, "log": 15, "erf": 45, "softplus and sigmoid": 37}
MEMORY = ("memory", "memory_streaming")


@dataclass(frozen=True, slots=True)
class Floor:
    """What a gradient needs at least: multiply-adds of doubles, passes over its inputs."""

    products: int
    passes: int = 1


def floor_of(times: Mapping[str, float]) -> float:
    """The floor in seconds from those of the three loops."""
    return max(min(times[name] for name in MEMORY), times["arithmetic"])
