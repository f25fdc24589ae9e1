"""What a processor takes for instructions: a model of the machine, for vectors of its width.

The figures are those of a Zen 3 with 256-bit vectors. Where one of twice that width does half as
many vectors in a cycle, all of them double, and what is compared stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from gradc.codegen.joint import joint_calls
from gradc.ir.loops import Instruction, Ref
from gradc.ir.types import i64

RATE = 2.5  # instructions that are done in a cycle
USUAL = (1, 4)
# Instructions (as many as take its time) and cycles of latency.
_FUNCTIONS = MappingProxyType(
    {
        "exp": (33, 55), "expm1": (50, 75), "log": (50, 70), "log1p": (60, 85), "tanh": (55, 95),
        "sigmoid": (50, 90), "softplus": (100, 150), "sin": (50, 70), "cos": (50, 70),
        "sin_cos": (56, 75), "softplus_sigmoid": (118, 150), "erf_from": (40, 50),
        "atan2": (90, 120), "pow": (155, 200), "pow_pow": (215, 210),
    }
)  # fmt: skip
_SLOW = MappingProxyType(
    {
        "div": (12, 13), "exact_quotient": (7, 16), "sqrt": (22, 20),
        "mod": (30, 40), "floordiv": (30, 40),
    }
)  # fmt: skip
# Cycles until the unit that divides takes the next one, by the bytes of an element.
_DIVIDER = MappingProxyType({("div", 8): 6, ("div", 4): 4, ("sqrt", 8): 9, ("sqrt", 4): 6})


def costs_of(instruction: Instruction) -> tuple[int, int]:
    """About the instructions (as many as take its time) and the latency."""
    if instruction.op == "call":
        return _FUNCTIONS[str(instruction.value)]
    if instruction.result.dtype is i64 and instruction.op != "load":
        return (0, 1)
    return _SLOW.get(instruction.op, USUAL)


def costs_of_all(instructions: Sequence[Instruction]) -> dict[Ref, tuple[int, int]]:
    """The costs of each instruction of a block, by its result; joint calls count once."""
    costs = {instruction.result: costs_of(instruction) for instruction in instructions}
    for joint in joint_calls(instructions):
        first, *others = (call.result for call in joint.calls)
        more = _FUNCTIONS[joint.name][0] - costs[first][0]
        costs.update((other, (more, costs[other][1])) for other in others)
    return costs


def divider_cycles(instruction: Instruction) -> int:
    """For how long an instruction keeps the unit that divides and takes roots from others."""
    return _DIVIDER.get((instruction.op, instruction.result.dtype.itemsize), 0)
