"""The least time that a workload's memory traffic, and its arithmetic, take on this machine.

A floor is the larger of two times, both measured in the same rounds as the gradients:

memory: all inputs are read and all outputs written, once, or as often as the method must
    (`passes`), by loops that do nothing else (peers/floor.c); with ordinary stores or with
    streaming ones, whichever is faster.
arithmetic: as many independent multiply-adds of eight doubles as the method needs
    multiplications and multiply-adds (additions, divisions and the rest may overlap with them, and
    are not counted).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LANES = 8

# Multiplications and multiply-adds that a vector of eight takes, counted in the assembly that
# `gradc emit --stage=asm` shows for y = f(x): the instructions vmul*, vfmadd*, vfmsub*, vfnmadd* of
# the loop's body.
PRODUCTS: Mapping[str, int] = {"exp": 15, "log": 15, "erf": 48, "softplus": 32, "sigmoid": 19}
MEMORY = ("memory", "memory_streaming")


@dataclass(frozen=True, slots=True)
class Floor:
    """What a gradient needs at least: passes over its inputs, multiply-adds of eight doubles."""

    products: int
    passes: int = 1


def vectors(count: int) -> int:
    """How many vectors hold so many doubles."""
    return -(-count // LANES)


def floor_of(times: Mapping[str, float]) -> float:
    """The floor in seconds from those of the three loops."""
    return max(min(times[name] for name in MEMORY), times["arithmetic"])
