"""Take statements out of straight-line code that nothing needs."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.loops import Buffer, For, Instruction, Ref, Require, Statement, Store


def without_dead_code(statements: Sequence[Statement]) -> list[Statement]:
    """The statements of a kernel without instructions whose results nobody reads.

    A store to scratch memory, or a loop of nothing else, stays if a later load reads that memory.
    """
    needed: set[Ref] = set()
    read: set[Buffer] = set()
    kept: list[Statement] = []
    for statement in reversed(statements):
        if _has_effect(statement, needed, read):
            _enter_uses(statement, needed, read)
            kept.append(statement)
    return kept[::-1]


def _has_effect(statement: Statement, needed: set[Ref], read: set[Buffer]) -> bool:
    if isinstance(statement, Instruction):
        return statement.result in needed
    if isinstance(statement, Store):
        return statement.buffer.kind != "scratch" or statement.buffer in read
    if isinstance(statement, For):
        effects = (s for s in statement.body if not isinstance(s, Instruction))
        return any(_has_effect(inner, needed, read) for inner in effects)
    return True


def _enter_uses(statement: Statement, needed: set[Ref], read: set[Buffer]) -> None:
    if isinstance(statement, Instruction):
        needed.update(statement.operands)
        if statement.buffer is not None:
            read.add(statement.buffer)
    elif isinstance(statement, Store):
        needed.update((statement.index, statement.value))
        needed.update(() if statement.mask is None else (statement.mask,))
    elif isinstance(statement, Require):
        needed.add(statement.condition)
        needed.update(() if statement.mask is None else (statement.mask,))
    elif isinstance(statement, For):
        needed.update((statement.start, statement.stop))
        needed.update(() if statement.bits is None else (statement.bits,))
        for inner in statement.body:
            _enter_uses(inner, needed, read)
    else:
        raise TypeError(f"no statement of straight-line code: {statement}")
