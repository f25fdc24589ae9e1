"""Kernels one after the other, and programs that a kernel runs: functions inside the module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.codegen.llvm_spread import KernelState
from gradc.codegen.llvm_text import (
    KernelFunction,
    Module,
    Source,
    Writer,
    llvm_type,
    memory_type,
)
from gradc.ir.loops import Buffer, Ref, Run


def run_kernels(
    w: Writer, kernels: Sequence[KernelFunction], operands: Mapping[Source, str]
) -> None:
    """Run the kernels; the first status other than 0 is returned at once."""
    for kernel in kernels:
        given = ", ".join(operands[source] for source in kernel.sources)
        if not kernel.can_fail:
            w.do(f"call void @{kernel.symbol}({given})")
            continue
        w.can_fail = True
        status = w.let(f"call i32 @{kernel.symbol}({given})")
        failed, fine = w.label("failed"), w.label("fine")
        is_fine = w.let(f"icmp eq i32 {status}, 0")
        w.do(f"br i1 {is_fine}, label %{fine}, label %{failed}, !prof !0")
        w.start(failed)
        w.do(f"ret i32 {status}")
        w.start(fine)


def define_program(
    module: Module, symbol: str, kernels: Sequence[KernelFunction]
) -> KernelFunction:
    """Add the function that runs a program's kernels: as a kernel it takes what these take."""
    w = Writer(module)
    sources = tuple(dict.fromkeys(source for kernel in kernels for source in kernel.sources))
    operands = {source: f"{_kind(source)} %a.{i}" for i, source in enumerate(sources)}
    run_kernels(w, kernels, operands)
    kind, end = ("i32", "ret i32 0") if w.can_fail else ("void", "ret void")
    parameters = ", ".join(operands.values())
    head = f"define internal {kind} @{symbol}({parameters}) nounwind {{"
    module.definitions[symbol] = "\n".join([head, "entry:", *w.lines, f"  {end}", "}"])
    return KernelFunction(symbol, sources, w.can_fail)


def _kind(source: Source) -> str:
    """The type in which a function inside the module is given something."""
    if isinstance(source, Buffer) and source.kind == "input" and not source.type.shape:
        return llvm_type(source.type.dtype)
    return "i64" if isinstance(source, str) else "ptr"


def write_run(k: KernelState, statement: Run) -> None:
    """Call the function of a program; its matrix products pack where the kernel's own do."""
    program = statement.program
    buffers = (*program.inputs, *program.outputs)
    given = dict(zip(buffers, (*statement.inputs, *statement.outputs), strict=True))
    operands: dict[Source, str] = {
        buffer: f"{_kind(buffer)} {_argument(k, argument)}" for buffer, argument in given.items()
    }
    for name, ref in zip(program.sizes, statement.sizes, strict=True):
        operands[name] = f"i64 {k.scalar(ref, 'a size of a program')}"
    for number, slot in enumerate(statement.slots):
        operands[number] = f"ptr {k.pointer(slot)}"
    function = k.module.programs[program]
    if len(program.slots) in function.sources:
        operands[len(program.slots)] = f"ptr {k.slot(k.product_slot)}"
    run_kernels(k.w, [function], operands)


def _argument(k: KernelState, argument: Ref | tuple[Buffer, Ref]) -> str:
    if isinstance(argument, Ref):
        return k.scalar(argument, "an argument of a program")
    buffer, offset = argument
    start = k.scalar(offset, "where an argument of a program begins")
    element = memory_type(buffer.type.dtype)
    return k.w.let(f"getelementptr {element}, ptr {k.pointer(buffer)}, i64 {start}")
