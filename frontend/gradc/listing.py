"""A program of loops as text, for people: one line a statement, one name a scalar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gradc.ir.loops import (
    Accumulator,
    Buffer,
    Call,
    Fill,
    Finish,
    For,
    If,
    Instruction,
    Kernel,
    MatMul,
    Program,
    Ref,
    Require,
    Run,
    Slot,
    Statement,
    Store,
    programs_run,
)

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
    "gt": ">", "ge": ">=", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip


def print_program(program: Program) -> str:
    """The program's arguments, buffers and kernels.

    `for i in 0:n (8 lanes x 4)` runs 32 iterations together; `sum:` lines give its reductions.
    """
    arguments = ", ".join((*program.sizes, *map(_buffer, program.inputs)))
    outputs = ", ".join(map(_buffer, program.outputs))
    lines = [f"program {program.name}({arguments}) -> ({outputs})"]
    lines += [f"  requires {r.dim} {r.relation}: {r.why}" for r in program.requires]
    lines += [f"  slot {i}: {_slot(slot)}" for i, slot in enumerate(program.slots)]
    lines += [f"  temporary {_buffer(b)} in slot {b.slot}" for b in program.temporaries]
    lines += [f"  constant {_buffer(b)}" for b in program.constants]
    for kernel in program.kernels:
        for body in programs_run(kernel):
            lines += (f"  {line}" for line in print_program(body).splitlines())
        lines += _kernel(kernel)
    return "\n".join(lines) + "\n"


def _slot(slot: Slot) -> str:
    below = f", on {', '.join(map(str, slot.on))}" if slot.on else ""
    return f"{slot.bytes} bytes{below}"


def _buffer(buffer: Buffer) -> str:
    return f"{buffer.name}: {buffer.type}"


def _kernel(kernel: Kernel) -> Iterator[str]:
    yield f"  kernel {kernel.name}" + (f"  # {kernel.note}" if kernel.note else "")
    names = _names(kernel.body)
    yield from _block(kernel.body, names, "    ")


def _names(body: Iterable[Statement]) -> dict[Ref, str]:
    """A name for each scalar: `i0`, ... for loop variables, `%0`, ... for the others."""
    names: dict[Ref, str] = {}
    pending = [iter(body)]
    loops = values = 0
    while pending:
        for statement in pending[-1]:
            if isinstance(statement, Instruction):
                names[statement.result] = _literal(statement) or f"%{values}"
                values += not _literal(statement)
            elif isinstance(statement, Call) and statement.result is not None:
                names[statement.result] = f"%{values}"
                values += 1
            elif isinstance(statement, For):
                names[statement.variable] = f"i{loops}"
                loops += 1
                for accumulator in statement.accumulators:
                    names[accumulator.result] = f"%{values}"
                    values += 1
            elif isinstance(statement, MatMul) and statement.finish is not None:
                names.update(_part(statement.finish))
            inside = _inside(statement)
            if inside:
                pending.append(iter(inside))
                break
        else:
            pending.pop()
    return names


def _part(finish: Finish) -> dict[Ref, str]:
    """The names of what tells where a part of a product lies."""
    refs = (finish.batch, finish.row, finish.rows, finish.column, finish.columns)
    return dict(zip(refs, ("batch", "row", "rows", "column", "columns"), strict=True))


def _inside(statement: Statement) -> Sequence[Statement]:
    """The statements that a statement runs."""
    if isinstance(statement, MatMul):
        return () if statement.finish is None else statement.finish.body
    return statement.body if isinstance(statement, For | If) else ()


def _literal(statement: Instruction) -> str:
    """The text of a constant or a size, which stands wherever it is used."""
    return str(statement.value) if statement.op in ("const", "size") else ""


def _block(body: Iterable[Statement], names: dict[Ref, str], indent: str) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, Instruction):
            if not _literal(statement):
                yield f"{indent}{names[statement.result]} = {_value(statement, names)}"
        elif isinstance(statement, For):
            yield f"{indent}{_head(statement, names)}"
            yield from _block(statement.body, names, indent + "  ")
            for accumulator in statement.accumulators:
                yield f"{indent}{_accumulated(accumulator, names)}"
        elif isinstance(statement, If):
            yield f"{indent}if {names[statement.condition]}"
            yield from _block(statement.body, names, indent + "  ")
        else:
            yield indent + _effect(statement, names)
            if _inside(statement):
                yield f"{indent}  for each part: rows at row, columns at column, of matrix batch"
                yield from _block(_inside(statement), names, indent + "    ")


def _value(made: Instruction, names: dict[Ref, str]) -> str:
    operands = [names[ref] for ref in made.operands]
    if made.op == "load" and made.buffer is not None:
        mask = f" if {operands[1]}" if len(operands) > 1 else ""
        return f"{made.buffer.name}[{operands[0]}]{mask}"
    if made.op in _INFIX and len(operands) == 2:
        return f"{operands[0]} {_INFIX[made.op]} {operands[1]}"
    name = str(made.value) if made.op == "call" else made.op
    name = f"{name}.{made.result.dtype}" if made.op == "cast" else name
    return f"{name}({', '.join(operands)})"


def _head(loop: For, names: dict[Ref, str]) -> str:
    if loop.bits is not None:
        bits = f"bits of {names[loop.bits]} from {names[loop.start]}"
        return f"for {names[loop.variable]} in the {bits}"
    step = f":{loop.step}" if loop.step != 1 else ""
    copies = f" x {loop.copies}" if loop.copies > 1 else ""
    lanes = f" ({loop.lanes} lanes{copies})" if loop.lanes > 1 or loop.copies > 1 else ""
    bounds = f"{names[loop.start]}:{names[loop.stop]}{step}"
    return f"for {names[loop.variable]} in {bounds}{lanes}"


def _accumulated(found: Accumulator, names: dict[Ref, str]) -> str:
    start = f" from {names[found.initial]}" if found.initial is not None else ""
    return f"{names[found.result]} = {found.kind} of {names[found.value]}{start}"


def _effect(statement: Store | Require | Fill | MatMul | Call | Run, names: dict[Ref, str]) -> str:
    if isinstance(statement, Store):
        sign = "+=" if statement.mode == "add" else "="
        mask = f" if {names[statement.mask]}" if statement.mask is not None else ""
        target = f"{statement.buffer.name}[{names[statement.index]}]"
        turns = " ".join(("", "or", *(other.name for other in statement.others)))
        also = f"{turns} if {names[statement.apart]}" if statement.apart is not None else ""
        return f"{target}{also} {sign} {names[statement.value]}{mask}"
    if isinstance(statement, Require):
        mask = f" if {names[statement.mask]}" if statement.mask is not None else ""
        return f"require {names[statement.condition]} else status {statement.status}{mask}"
    if isinstance(statement, Fill):
        return f"{statement.buffer.name}[:] = 0"
    if isinstance(statement, Call):
        return _external(statement, names)
    if isinstance(statement, Run):
        given = (*statement.sizes, *statement.inputs, *statement.outputs)
        return f"run {statement.program.name}({', '.join(_given(a, names) for a in given)})"
    sign = "+=" if statement.accumulate else "="
    sizes = ", ".join(
        names[ref] for ref in (statement.batch, statement.m, statement.n, statement.k)
    )
    a, b, c = statement.a[0].name, statement.b[0].name, statement.c[0].name
    return f"{c} {sign} {a} @ {b}  (batch, m, n, k = {sizes})"


def _external(call: Call, names: dict[Ref, str]) -> str:
    text = f"{call.symbol}({', '.join(_given(a, names) for a in call.arguments)})"
    return text if call.result is None else f"{names[call.result]} = {text}"


def _given(argument: Ref | tuple[Buffer, Ref], names: dict[Ref, str]) -> str:
    if isinstance(argument, Ref):
        return names[argument]
    return f"&{argument[0].name}[{names[argument[1]]}]"
