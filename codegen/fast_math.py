"""Fast mathematics in loops: only where it changes last digits, and not which numbers are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradc.ir.loops import For, If, Instruction, MatMul, Program, Ref, Statement, programs_run

_EXACT = ("eq", "ne", "ge", "le")


def with_fast_math(program: Program) -> Program:
    """The program with sums reassociated and every product fused; as it is where it compares.

    A value that is computed twice may then differ in its last bit. A program that asks whether two
    computed numbers are equal (which entry is the maximum?) would find no such entry, and a
    gradient or an index would be wrong by more than rounding.
    """
    return program if _compares_anywhere(program) else replace(program, fast_math=True)


def _compares_anywhere(program: Program) -> bool:
    return any(
        _compares(kernel.body) or any(map(_compares_anywhere, programs_run(kernel)))
        for kernel in program.kernels
    )


def _compares(body: Sequence[Statement]) -> bool:
    """Whether two floats are tested for equality, neither of which is a number known here."""
    pending = list(body)
    constants: set[Ref] = set()
    compared: list[tuple[Ref, ...]] = []
    while pending:
        statement = pending.pop()
        if isinstance(statement, For | If):
            pending.extend(statement.body)
        elif isinstance(statement, MatMul) and statement.finish is not None:
            pending.extend(statement.finish.body)
        elif isinstance(statement, Instruction):
            if statement.op == "const":
                constants.add(statement.result)
            elif statement.op in _EXACT and statement.operands[0].dtype.is_float:
                compared.append(statement.operands)
    return any(constants.isdisjoint(operands) for operands in compared)
