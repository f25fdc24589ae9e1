"""Functions that share most of their work are written as one in a block that calls both.

A sine and the cosine in its derivative, a softplus and its sigmoid, two powers of one number. The
results have the bits of each function alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gradc.codegen.vector_math import JOINT
from gradc.ir.loops import Instruction, Ref, Statement
from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class Joint:
    """The calls that a joint function replaces, in the order of its results, and its operands.

    It stands where the first of the calls stood, behind what it needs `sooner` than that stands.
    """

    name: str
    calls: Sequence[Instruction]
    operands: tuple[Ref, ...]
    first: Instruction
    sooner: Sequence[Instruction]


def joint_calls(statements: Iterable[Statement]) -> Iterator[Joint]:
    """The joint functions of a block."""
    calls: dict[Ref, list[Instruction]] = {}  # by the number that they share
    made: dict[Ref, tuple[int, Instruction]] = {}
    for place, statement in enumerate(statements):
        if isinstance(statement, Instruction):
            made[statement.result] = place, statement
            if statement.op == "call":
                calls.setdefault(statement.operands[0], []).append(statement)
    for number, same in calls.items():
        for name, (parts, _) in JOINT.items() if len(same) > 1 else ():
            found = _first_of_each(parts, same)
            if len(found) == len(parts):
                joint = _joint(name, number, found, made)
                if joint is not None:
                    yield joint


def _first_of_each(names: Sequence[str], calls: Sequence[Instruction]) -> list[Instruction]:
    """The first call of each name, and no call twice."""
    found: list[Instruction] = []
    for name in names:
        found += [c for c in calls if c.value == name and c not in found][:1]
    return found


def _joint(
    name: str,
    number: Ref,
    calls: Sequence[Instruction],
    made: Mapping[Ref, tuple[int, Instruction]],
) -> Joint | None:
    """None where the first call has to wait for an operand of another one."""
    begin, first = min((made[call.result] for call in calls), key=lambda entry: entry[0])

    def is_known(ref: Ref) -> bool:
        return ref not in made or made[ref][0] < begin

    operands = (number, *(x for call in calls for x in call.operands[1:]))
    sooner = [made[x][1] for x in operands if not is_known(x)]
    if all(s.buffer is None and s.op != "call" and all(map(is_known, s.operands)) for s in sooner):
        return Joint(name, calls, operands, first, sooner)
    return None
