"""One kernel of loop IR as one LLVM function, written for lanes and copies as the loops say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gradc.codegen.joint import Joint, joint_calls
from gradc.codegen.llvm_arithmetic import (
    arithmetic,
    cast,
    fold_lanes,
    select,
)
from gradc.codegen.llvm_calls import call_each
from gradc.codegen.llvm_index import INDEX_ARITHMETIC, index_arithmetic
from gradc.codegen.llvm_loops import write_loop
from gradc.codegen.llvm_memory import load
from gradc.codegen.llvm_product import write_product
from gradc.codegen.llvm_rows import Write, joined_accesses, nothing
from gradc.codegen.llvm_run import write_run
from gradc.codegen.llvm_shared import write_shared
from gradc.codegen.llvm_spread import Axes, KernelState, Spread, project, union
from gradc.codegen.llvm_stores import store
from gradc.codegen.llvm_text import KernelFunction, Module, Writer, literal, memory_type
from gradc.ir.loops import (
    STATUS_EXTERNAL,
    Buffer,
    Call,
    Fill,
    For,
    If,
    Instruction,
    Kernel,
    MatMul,
    Ref,
    Require,
    Run,
    Statement,
    Store,
)
from gradc.ir.types import DType, bool_, i64


def write_kernel(
    module: Module,
    symbol: str,
    kernel: Kernel,
    constants: Mapping[Buffer, str],
    product_slot: int,
) -> KernelFunction:
    """Add the function `symbol(...)` to the module."""
    k = KernelState(module, Writer(module), constants, product_slot)
    _block(k, kernel.body)
    parameters = ", ".join(f"{attributes} {name}" for name, attributes in k.parameters.items())
    kind, end = ("i32", "ret i32 0") if k.w.can_fail else ("void", "ret void")
    body = k.w.body()
    is_short = k.w.block == "entry" and len(body) <= _SHORT
    lines = [
        f"; {kernel.name}: {kernel.note}".replace("\n", " "),
        f"define internal {kind} @{symbol}({parameters}) "
        f"{'alwaysinline ' if is_short else ''}nounwind {{",
        "entry:",
        *k.entry,
        *body,
        f"  {end}",
        "}",
    ]
    module.definitions[symbol] = "\n".join(lines)
    return KernelFunction(symbol, tuple(k.sources[name] for name in k.parameters), k.w.can_fail)


_SHORT = 24  # instructions of a kernel without loops that become part of the call


def _block(k: KernelState, statements: Sequence[Statement]) -> None:
    joined = {**joined_accesses(k, statements), **_joined_calls(statements)}
    for statement in statements:
        if statement in joined:
            joined[statement](k)
            continue
        match statement:
            case Instruction():
                k.values[statement.result] = _instruction(k, statement)
            case Store():
                store(k, statement)
            case For():
                is_shared = statement in k.module.repeated
                (write_shared if is_shared else write_loop)(k, statement, _block)
            case If():
                _condition(k, statement)
            case Require():
                _require(k, statement)
            case Fill():
                _fill(k, statement)
            case MatMul():
                write_product(k, statement, _block)
            case Call():
                _call_external(k, statement)
            case Run():
                write_run(k, statement)


def _instruction(k: KernelState, instruction: Instruction) -> Spread:
    op, result = instruction.op, instruction.result
    if op == "const":
        if result.dtype is i64 and int(instruction.value) >= 0:  # type: ignore[call-overload]
            k.natural.add(result)
        return Spread((), (literal(instruction.value, result.dtype),))
    if op == "size":
        if k.is_natural(instruction.value):  # type: ignore[arg-type]
            k.natural.add(result)
        return Spread((), (k.size(instruction.value),))  # type: ignore[arg-type]
    if op == "load":
        return load(k, instruction)
    if result.dtype is i64 and op in _CLOSED and k.natural.issuperset(instruction.operands):
        k.natural.add(result)
    operands = [k.values[operand] for operand in instruction.operands]
    if result.dtype is i64 and op in INDEX_ARITHMETIC:
        found = index_arithmetic(k, op, operands, _are_natural(k, instruction.operands))
        if found is not None:
            return found
    if op == "call":
        return _call(k, str(instruction.value), result.dtype, instruction.operands)[0]
    axes, wide, rows = _rows(k, instruction.operands)
    lanes = k.lanes if wide else 1
    return Spread(axes, tuple([_compute(k, instruction, lanes, row) for row in rows]), wide)


def _rows(k: KernelState, refs: Sequence[Ref]) -> tuple[Axes, bool, list[tuple[Any, ...]]]:
    """The copies over which operands vary, whether over lanes, and the operands of each copy."""
    operands = [k.values[ref] for ref in refs]
    axes, wide = union(operands), True in [operand.varies_over_lanes for operand in operands]
    columns = [
        project(k.vectors(ref.dtype, operand) if wide and not operand.is_vector else operand, axes)
        for ref, operand in zip(refs, operands, strict=True)
    ]
    return axes, wide, list(zip(*columns, strict=True))


def _call(k: KernelState, name: str, dtype: DType, operands: Sequence[Ref]) -> list[Spread]:
    """The results of a function, one or several."""
    axes, wide, rows = _rows(k, operands)
    results = zip(*call_each(k.w, name, dtype, k.lanes if wide else 1, rows), strict=True)
    return [Spread(axes, registers, wide) for registers in results]


def _joined_calls(statements: Sequence[Statement]) -> dict[Statement, Write]:
    """What to write for calls of functions that share their work."""
    found: dict[Statement, Write] = {}
    for joint in joint_calls(statements):
        found.update(dict.fromkeys((*joint.calls, *joint.sooner), nothing))
        found[joint.first] = partial(_write_joint, joint=joint)
    return found


def _write_joint(k: KernelState, joint: Joint) -> None:
    for instruction in joint.sooner:
        k.values[instruction.result] = _instruction(k, instruction)
    results = _call(k, joint.name, joint.calls[0].result.dtype, joint.operands)
    k.values.update(zip((call.result for call in joint.calls), results, strict=True))


_CLOSED = frozenset({"add", "mul", "floordiv", "mod", "min", "max"})  # of numbers >= 0


def _compute(k: KernelState, instruction: Instruction, lanes: int, args: Sequence[Any]) -> str:
    op, result, operands = instruction.op, instruction.result, instruction.operands
    if op == "select":
        return select(k.w, result.dtype, lanes, args[0], args[1:])
    if op == "cast":
        return cast(k.w, operands[0].dtype, result.dtype, lanes, args[0])
    return arithmetic(k.w, op, operands[0].dtype, lanes, args)


def _are_natural(k: KernelState, refs: Sequence[Ref]) -> bool:
    return all(ref.dtype is i64 and ref in k.natural for ref in refs)


def _condition(k: KernelState, statement: If) -> None:
    condition = k.scalar(statement.condition, "the condition of an If")
    inside, after = k.w.label("then"), k.w.label("end")
    k.w.branch(condition, inside, after)
    k.w.start(inside)
    _block(k, statement.body)
    k.w.jump(after)
    k.w.start(after)


def _require(k: KernelState, statement: Require) -> None:
    """Return the status at once where the condition is false for an iteration that counts."""
    given = [k.values[statement.condition]]
    if statement.mask is not None:
        given.append(k.values[statement.mask])
    axes = union(given)
    wide = any(spread.varies_over_lanes for spread in given)
    lanes, w = k.lanes if wide else 1, k.w
    columns = [
        [k.vector(bool_, e, s.is_vector) if wide else str(e) for e in project(s, axes)]
        for s in given
    ]
    good = columns[0]
    if len(columns) > 1:  # or the iteration is masked
        outside = [arithmetic(w, "not", bool_, lanes, (mask,)) for mask in columns[1]]
        pairs = zip(good, outside, strict=True)
        good = [arithmetic(w, "or", bool_, lanes, pair) for pair in pairs]
    total = good[0]
    for other in good[1:]:
        total = arithmetic(w, "and", bool_, lanes, (total, other))
    if wide:
        if k.mask is not None:
            outside_tail = arithmetic(w, "not", bool_, lanes, (k.mask,))
            total = arithmetic(w, "or", bool_, lanes, (total, outside_tail))
        total = fold_lanes(w, "and", bool_, lanes, total)
    w.fail_unless(total, statement.status)


def _fill(k: KernelState, statement: Fill) -> None:
    buffer = statement.buffer
    address, count = k.pointer(buffer), k.size(buffer.type.size)
    size = k.w.mul(count, str(buffer.type.dtype.itemsize))
    module = k.w.module
    module.declare("llvm.memset.p0.i64", "void @llvm.memset.p0.i64(ptr, i8, i64, i1 immarg)")
    module.declare("memset", f"extern_weak ptr @memset(ptr, i32, i{module.target.pointer_bits})")
    k.w.do(
        f"call void @llvm.memset.p0.i64(ptr align {buffer.type.dtype.itemsize} {address}, "
        f"i8 0, i64 {size}, i1 false)"
    )


def _call_external(k: KernelState, statement: Call) -> None:
    """Call a function from elsewhere, by the C calling convention."""
    given = []
    for argument in statement.arguments:
        if isinstance(argument, Ref):
            value = k.scalar(argument, "an argument of an external function")
            kind = memory_type(argument.dtype)
            if argument.dtype is bool_:  # callees may read a whole register
                value, kind = k.w.let(f"zext i1 {value} to i8"), f"{kind} zeroext"
            given.append((kind, value))
            continue
        buffer, offset = argument
        start = k.scalar(offset, "the address of an argument of an external function")
        element, base = memory_type(buffer.type.dtype), k.pointer(buffer)
        given.append(("ptr", k.w.let(f"getelementptr {element}, ptr {base}, i64 {start}")))
    result = statement.result
    kind = "i32" if statement.status else "void" if result is None else memory_type(result.dtype)
    k.w.module.declare(
        statement.symbol, f"{kind} @{statement.symbol}({', '.join(t for t, _ in given)})"
    )
    call = f"call {kind} @{statement.symbol}({', '.join(f'{t} {v}' for t, v in given)})"
    if kind == "void":
        k.w.do(call)
        return
    returned = k.w.let(call)
    if result is None:
        k.w.fail_unless(k.w.let(f"icmp eq i32 {returned}, 0"), STATUS_EXTERNAL)
        return
    if result.dtype is bool_:
        returned = k.w.let(f"icmp ne i8 {returned}, 0")
    k.values[result] = Spread((), (returned,))
