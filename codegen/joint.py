"""Functions of one argument that share most of their work are written as one in a block with both.

A sine and the cosine in its derivative, a softplus and its sigmoid. The results have the bits of
each function alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gradc.codegen.vector_math import JOINT
from gradc.ir.loops import Instruction, Ref, Statement


def joint_calls(statements: Iterable[Statement]) -> Iterator[tuple[str, Sequence[Instruction]]]:
    """The calls that a joint function replaces, in their order, and its name."""
    calls: dict[tuple[Ref, ...], dict[str, Instruction]] = {}
    for statement in statements:
        if isinstance(statement, Instruction) and statement.op == "call":
            same = calls.setdefault(statement.operands, {})
            same.setdefault(str(statement.value), statement)
    for same in calls.values():
        for joint, (names, _) in JOINT.items() if len(same) > 1 else ():
            if same.keys() >= set(names):
                yield joint, [call for name, call in same.items() if name in names]
