"""Matrix products: calls of the packed kernel, whose text joins the module or stands in its own.

The writers of that text are imported where there is a product: most programs have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gradc.codegen.llvm_shared import argument, symbol_of
from gradc.codegen.llvm_spread import KernelState, Spread
from gradc.codegen.llvm_text import Module, Writer, memory_type
from gradc.codegen.product_names import product_symbol
from gradc.codegen.target import Target
from gradc.ir.loops import (
    Finish,
    For,
    If,
    Instruction,
    Kernel,
    MatMul,
    Ref,
    Slot,
    Statement,
    programs_run,
    tops_of,
)
from gradc.ir.record import dataclass
from gradc.ir.types import DType

_INDICES = ("%batch", "%row", "%rows", "%column", "%columns")


def product_module(dtype: DType, target: Target) -> str:
    """A module that exports the packed kernel, for code that shares it."""
    from gradc.codegen.matmul import matmul_functions

    module, symbol = Module(target), product_symbol(dtype)
    text = matmul_functions(dtype, target.vector_bits)
    head = f"define internal void @{symbol}("
    if text.count(head) != 1:
        raise ValueError(f"the text of the matrix product does not define {symbol} once")
    module.define_text(symbol, text.replace(head, f"define void @{symbol}("))
    return module.text()


def product_scratch(kernels: Sequence[Kernel], vector_bits: int) -> int:
    """The bytes that the matrix products of kernels need for packing; 0 without products."""
    return max((_scratch_of(kernel, vector_bits) for kernel in kernels), default=0)


def with_scratch(slots: Sequence[Slot], scratch: int) -> tuple[Slot, ...]:
    """The slots of an arena, and on top of them one for what matrix products pack, if they do."""
    return (*slots, Slot(scratch, tops_of(slots))) if scratch else tuple(slots)


def _scratch_of(kernel: Kernel, vector_bits: int) -> int:
    bodies = [product_scratch(body.kernels, vector_bits) for body in programs_run(kernel)]
    pending: list[Statement] = list(kernel.body)
    made: dict[Ref, Instruction] = {}
    products: list[MatMul] = []
    while pending:
        statement = pending.pop()
        if isinstance(statement, Instruction):
            made[statement.result] = statement
        elif isinstance(statement, For | If):
            pending.extend(statement.body)
        elif isinstance(statement, MatMul):
            products.append(statement)
    needed = [0, *bodies]
    if products:
        from gradc.codegen.matmul import scratch_bytes
    for product in products:
        m, n, k = (_most(ref, made) for ref in (product.m, product.n, product.k))
        longest = None if m is None or n is None else max(m, n)
        needed.append(scratch_bytes(product.c[0].type.dtype, vector_bits, longest, k))
    return max(needed)


def _most(ref: Ref, made: Mapping[Ref, Instruction]) -> int | None:
    """A number that an index does not exceed: its own, or one that it is the minimum of."""
    found = made.get(ref)
    if found is not None and isinstance(found.value, int):
        return found.value
    if found is None or found.op != "min":
        return None
    return min((x for x in (_most(o, made) for o in found.operands) if x is not None), default=None)


def write_product(
    k: KernelState,
    statement: MatMul,
    write: Callable[[KernelState, Sequence[Statement]], None],
) -> None:
    """Call the packed kernel; `write` writes the statements that finish its parts."""
    from gradc.codegen.matmul import matmul_functions
    from gradc.codegen.matmul_half import half_function, half_symbol

    dtype = statement.c[0].type.dtype
    element, symbol = memory_type(dtype), product_symbol(dtype)
    if k.module.in_process:
        operand = "ptr, i64, i64, i64"
        kinds = f"i64, i64, i64, i64, {operand}, {operand}, {operand}, i1, ptr, ptr, ptr"
        k.module.declare(symbol, f"void @{symbol}({kinds})")
    elif symbol not in k.module.definitions:
        k.module.define_text(symbol, matmul_functions(dtype, k.module.target.vector_bits))
    given = [
        f"i64 {k.scalar(ref, 'an extent of a matrix product')}"
        for ref in (statement.batch, statement.m, statement.n, statement.k)
    ]
    for buffer, first, strides in (statement.a, statement.b, statement.c):
        at = k.scalar(first, "the place of a matrix")
        address = k.w.let(f"getelementptr {element}, ptr {k.pointer(buffer)}, i64 {at}")
        given.append(f"ptr {address}")
        given.extend(f"i64 {k.scalar(stride, 'the stride of a matrix')}" for stride in strides)
    accumulate = str(statement.accumulate).lower()
    given.extend((f"i1 {accumulate}", f"ptr {k.slot(k.product_slot)}"))
    if statement.half:
        symbol = half_symbol(dtype)
        if symbol not in k.module.definitions:
            k.module.define_text(symbol, half_function(dtype, k.module.target.vector_bits))
    if statement.finish is None:
        k.w.do(f"call void @{symbol}({', '.join(given)}, ptr null, ptr null)")
        return
    part = _write_part(k, statement.finish, write)
    context = k.w.name()
    k.entry.append(f"  {context} = alloca [{8 * (1 + len(part.parameters))} x i8], align 8")
    if part.can_fail:
        k.w.do(f"store i32 0, ptr {context}")
    for i, value in enumerate(part.arguments):
        place = k.w.let(f"getelementptr i8, ptr {context}, i64 {8 * (1 + i)}")
        k.w.do(f"store {value}, ptr {place}")
    k.w.do(f"call void @{symbol}({', '.join(given)}, ptr {part.symbol}, ptr {context})")
    if part.can_fail:
        _return_failure(k, k.w.let(f"load i32, ptr {context}"))


def _return_failure(k: KernelState, status: str) -> None:
    """Return a status that is not 0."""
    k.w.can_fail = True
    failed, fine = k.w.label("failed"), k.w.label("fine")
    k.w.branch(k.w.let(f"icmp eq i32 {status}, 0"), fine, failed)
    k.w.start(failed)
    k.w.do(f"ret i32 {status}")
    k.w.start(fine)


@dataclass(frozen=True, slots=True)
class _Part:
    """The function that finishes a part of a product, and what it finds in its context.

    The context holds the first status that was not 0, and then what the statements read: 8 bytes
    each. `parameters` are their names, `arguments` their types and values in the kernel.
    """

    symbol: str
    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    can_fail: bool


def _write_part(
    k: KernelState, finish: Finish, write: Callable[[KernelState, Sequence[Statement]], None]
) -> _Part:
    """Add the function of the statements, and one that calls it with what the context holds.

    Equal texts are added once.
    """
    inner = KernelState(k.module, Writer(k.module), k.constants, k.product_slot)
    refs = (finish.batch, finish.row, finish.rows, finish.column, finish.columns)
    for ref, name in zip(refs, _INDICES, strict=True):
        inner.values[ref] = Spread((), (name,))
        inner.natural.add(ref)
    write(inner, finish.body)
    kind, end = ("i32", "ret i32 0") if inner.w.can_fail else ("void", "ret void")
    indices = ", ".join(f"i64 {name}" for name in _INDICES)
    given = ", ".join([indices, *(f"{kind} {name}" for name, kind in inner.parameters.items())])
    lines = "\n".join([*inner.entry, *inner.w.body(), f"  {end}"])
    body = symbol_of(k, f"({given}) nounwind {{\nentry:\n{lines}\n}}", kind)
    kinds = {name: attributes.split()[0] for name, attributes in inner.parameters.items()}
    found = []
    for i, (name, own) in enumerate(kinds.items()):
        found.append(f"  {name}.at = getelementptr i8, ptr %context, i64 {8 * (1 + i)}")
        found.append(f"  {name} = load {own}, ptr {name}.at")
    passed = ", ".join([indices, *(f"{own} {name}" for name, own in kinds.items())])
    call = f"call {kind} {body}({passed})"
    found += _noted(call) if inner.w.can_fail else [f"  {call}"]
    lines = "\n".join([*found, "  ret void"])
    symbol = symbol_of(k, f"(ptr %context, {indices}) nounwind {{\nentry:\n{lines}\n}}", "void")
    arguments = tuple(argument(k, inner, name) for name in inner.parameters)
    return _Part(symbol, tuple(kinds), arguments, inner.w.can_fail)


def _noted(call: str) -> list[str]:
    """A call whose status goes to the context, if none before it failed."""
    return [
        f"  %status = {call}",
        "  %before = load i32, ptr %context",
        "  %is.first = icmp eq i32 %before, 0",
        "  %first = select i1 %is.first, i32 %status, i32 %before",
        "  store i32 %first, ptr %context",
    ]
