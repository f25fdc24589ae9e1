"""Loops that a module needs more than once, and those of huge kernels, as functions of their own.

A value, its gradient and its Hessian-vector product run many equal loops over a block of rows. What
is written once is compiled once: a build is shorter, and so is the library. A loop is shared where
it runs once a call, or once a block of rows, so that the call costs nothing. The long loops of a
huge kernel are functions by themselves: LLVM's time for one grows faster than its length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from gradc.codegen.llvm_loops import SMALLEST_BLOCK, write_loop
from gradc.codegen.llvm_spread import KernelState, Spread
from gradc.codegen.llvm_text import Module, Writer, llvm_type
from gradc.ir.loops import Buffer, For, If, Instruction, Program, Ref, Statement, Store

_FEWEST = 5  # instructions of a shared loop
_LONG, _HUGE = 300, 8_000  # instructions of a loop, and of the loops of a kernel
_SLOT = re.compile(r"%slot\.\d+")


def repeated_loops(programs: Sequence[Program]) -> Mapping[For, bool]:
    """The loops that look like others of the module, and whether they are functions at any rate.

    None is inside another one.
    """
    kernels = [
        list(_candidates(kernel.body, program.fast_math))
        for program in programs
        for kernel in program.kernels
    ]
    counts = Counter(shape for found in kernels for _, shape, _ in found)
    chosen: dict[For, bool] = {}
    inside: set[For] = set()
    for found in kernels:
        is_huge = sum(shape.count(";") for _, shape, _ in found) > _HUGE
        for loop, shape, inner in found:  # outer loops come before inner ones
            is_long = is_huge and shape.count(";") > _LONG
            if loop in inside:
                inside.update(inner)
            elif counts[shape] > 1 or is_long:
                chosen[loop] = is_long
                inside.update(inner)
    return chosen


def _candidates(
    body: Sequence[Statement], fast_math: bool, *, outermost: bool = True
) -> Iterator[tuple[For, str, list[For]]]:
    """Loops that may be shared, with the words for their shape and the loops inside."""
    loops = [statement for statement in body if isinstance(statement, For)]
    for loop in loops:
        is_whole = outermost and len(loops) == 1  # equal kernels are written once anyway
        shape = None if is_whole else _shape(loop)
        inner = [s for s in loop.body if isinstance(s, For)]
        if shape is not None and shape.count(";") >= _FEWEST:
            yield loop, f"{fast_math} {shape}", inner
        if loop.lanes == loop.copies == 1 and loop.step >= SMALLEST_BLOCK:
            yield from _candidates(loop.body, fast_math, outermost=False)


def _shape(statement: Statement) -> str | None:
    """What a statement does, but for where: equal loops have equal shapes, and few others do.

    None for a statement that cannot stand in a function of its own.
    """
    if isinstance(statement, Instruction):
        value = statement.value if statement.op in ("call", "const") else ""
        return f"{statement.op} {value} {statement.result.dtype};"
    if isinstance(statement, Store):
        if statement.others:
            return None
        return f"store {statement.mode} {statement.mask is None};"
    if not isinstance(statement, For | If):
        return None
    parts = [_shape(inner) for inner in statement.body]
    if any(part is None for part in parts):
        return None
    text = "".join(part for part in parts if part is not None)
    if isinstance(statement, If):
        return f"if {{{text}}}"
    sums = ",".join(f"{a.kind} {a.result.dtype}" for a in statement.accumulators)
    return f"for {statement.step} {statement.lanes} {statement.copies} {sums} {{{text}}}"


def write_shared(
    k: KernelState, loop: For, block: Callable[[KernelState, Sequence[Statement]], None]
) -> None:
    """Call the function that runs the loop, and write it if no loop before had the same text."""
    inner = KernelState(k.module, Writer(k.module), k.constants, k.product_slot)
    given: dict[str, str] = {}
    for ref in _free(loop):
        _pass(k, inner, ref, given)
    for buffer in dict.fromkeys(_scratch(loop)):
        _pass_scratch(k, inner, buffer, given)
    write_loop(inner, loop, block)
    totals = [inner.scalar(a.result, "what a shared loop returns") for a in loop.accumulators]
    kinds = [llvm_type(a.result.dtype) for a in loop.accumulators]
    result = f"{{ {', '.join(kinds)} }}" if kinds else "void"
    _return(inner.w, result, list(zip(kinds, totals, strict=True)))
    parameters = ", ".join(f"{kind} {name}" for name, kind in inner.parameters.items())
    lines = "\n".join((*inner.entry, *inner.w.body()))
    symbol = symbol_of(k, f"({parameters}) noinline nounwind {{\nentry:\n{lines}\n}}", result)
    k.module.calls[symbol] += 1
    if k.module.repeated[loop]:
        k.module.apart.add(symbol)
    arguments = ", ".join(
        given[name] if name in given else argument(k, inner, name) for name in inner.parameters
    )
    call = f"call {result} {symbol}({arguments})"
    if not kinds:
        k.w.do(call)
        return
    returned = k.w.let(call)
    for position, accumulator in enumerate(loop.accumulators):
        total = k.w.let(f"extractvalue {result} {returned}, {position}")
        k.values[accumulator.result] = Spread((), (total,))


def inline_what_is_called_once(module: Module) -> None:
    """Loops that looked like others, and are not the same, stand where they stood."""
    for symbol, count in module.calls.items():
        if count == 1 and symbol not in module.apart:
            text = module.definitions[symbol]
            module.definitions[symbol] = text.replace(" noinline ", " alwaysinline ", 1)


def _return(w: Writer, result: str, totals: Sequence[tuple[str, str]]) -> None:
    """Return the reductions of the loop, as one structure."""
    value = "poison"
    for position, (kind, total) in enumerate(totals):
        value = w.let(f"insertvalue {result} {value}, {kind} {total}, {position}")
    w.do(f"ret {result} {value}" if totals else "ret void")


def symbol_of(k: KernelState, text: str, result: str) -> str:
    """The function with this text, which is added to the module if there is none."""
    slots: dict[str, str] = {}
    text = _SLOT.sub(lambda found: slots.setdefault(found[0], f"%slot.{len(slots)}"), text)
    shared = k.module.shared
    if text not in shared:
        shared[text] = f"@gradc.loop.{len(shared)}"
        k.module.definitions[shared[text]] = f"define internal {result} {shared[text]}{text}"
    return shared[text]


def _pass(k: KernelState, inner: KernelState, ref: Ref, given: dict[str, str]) -> None:
    """Make a scalar from outside known inside the function: a literal, a size or a parameter."""
    operand = k.scalar(ref, "what a shared loop reads")
    if ref in k.natural:
        inner.natural.add(ref)
    if operand.startswith("%n."):
        operand = inner.size_parameter(operand.removeprefix("%n."))
    elif operand.startswith("%"):
        parameter, kind = f"%a.{len(given)}", llvm_type(ref.dtype)
        inner.parameters[parameter] = kind
        given[parameter] = f"{kind} {operand}"
        operand = parameter
    inner.values[ref] = Spread((), (operand,))


def _pass_scratch(
    k: KernelState, inner: KernelState, buffer: Buffer, given: dict[str, str]
) -> None:
    """Make memory of the kernel known inside the function."""
    parameter = f"%scratch.{len(inner.scratch)}"
    inner.parameters[parameter] = "ptr noalias align 64"
    inner.scratch[buffer] = parameter
    given[parameter] = f"ptr {k.pointer(buffer)}"


def argument(k: KernelState, inner: KernelState, parameter: str) -> str:
    """What the kernel passes for a size, a buffer or a part of the arena."""
    source, kind = inner.sources[parameter], inner.parameters[parameter].split()[0]
    if isinstance(source, str):
        return f"{kind} {k.size_parameter(source)}"
    if isinstance(source, int):
        return f"{kind} {k.slot(source)}"
    return f"{kind} {k.pointer(source) if kind == 'ptr' else k.scalar_input(source)}"


def _scratch(statement: Statement) -> Iterator[Buffer]:
    """The memory of the kernel that a loop reads or writes, in order."""
    if isinstance(statement, For | If):
        for inner in statement.body:
            yield from _scratch(inner)
    elif isinstance(statement, Instruction | Store):
        buffer = statement.buffer
        if buffer is not None and buffer.kind == "scratch":
            yield buffer


def _free(loop: For) -> tuple[Ref, ...]:
    """The scalars that a loop reads and does not define, in order of their first use."""
    used: dict[Ref, None] = {}
    defined: set[Ref] = set()
    pending: list[Statement] = [loop]
    while pending:
        statement = pending.pop()
        if isinstance(statement, Instruction):
            used.update(dict.fromkeys(statement.operands))
            defined.add(statement.result)
        elif isinstance(statement, Store):
            used.update(dict.fromkeys((statement.index, statement.value)))
            if statement.mask is not None:
                used[statement.mask] = None
        elif isinstance(statement, If):
            used[statement.condition] = None
            pending.extend(reversed(statement.body))
        elif isinstance(statement, For):
            used.update(dict.fromkeys((statement.start, statement.stop)))
            if statement.bits is not None:
                used[statement.bits] = None
            for accumulator in statement.accumulators:
                used[accumulator.value] = None
                if accumulator.initial is not None:
                    used[accumulator.initial] = None
                defined.add(accumulator.result)
            defined.add(statement.variable)
            pending.extend(reversed(statement.body))
    return tuple(ref for ref in used if ref not in defined)
