"""Matrix products: calls of the packed kernel, whose text joins the module or stands in its own."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm_spread import KernelState
from gradc.codegen.llvm_text import Module, memory_type
from gradc.codegen.matmul import matmul_functions, scratch_bytes
from gradc.codegen.target import Target
from gradc.ir.loops import For, If, Kernel, MatMul, Statement
from gradc.ir.types import DType


def product_symbol(dtype: DType) -> str:
    """The symbol of the packed kernel for an element type."""
    return f"gradc.matmul.{dtype.name}"


def product_module(dtype: DType, target: Target) -> str:
    """A module that exports the packed kernel, for code that shares it."""
    module, symbol = Module(target), product_symbol(dtype)
    text = matmul_functions(dtype, target.vector_bits)
    head = f"define internal void @{symbol}("
    if text.count(head) != 1:
        raise ValueError(f"the text of the matrix product does not define {symbol} once")
    module.define_text(symbol, text.replace(head, f"define void @{symbol}("))
    return module.text()


def products_of(kernels: Sequence[Kernel]) -> tuple[DType, ...]:
    """The element types of the kernels' matrix products, in order of their names."""
    pending: list[Statement] = [s for kernel in kernels for s in kernel.body]
    found: dict[str, DType] = {}
    while pending:
        statement = pending.pop()
        if isinstance(statement, (For, If)):
            pending.extend(statement.body)
        elif isinstance(statement, MatMul):
            dtype = statement.c[0].type.dtype
            found[dtype.name] = dtype
    return tuple(found[name] for name in sorted(found))


def product_scratch(kernels: Sequence[Kernel], vector_bits: int) -> int:
    """The bytes that the matrix products of kernels need for packing; 0 without products."""
    return max((scratch_bytes(dtype, vector_bits) for dtype in products_of(kernels)), default=0)


def write_product(k: KernelState, statement: MatMul) -> None:
    """Call the packed kernel."""
    dtype = statement.c[0].type.dtype
    element, symbol = memory_type(dtype), product_symbol(dtype)
    if k.module.shares_products:
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
    given.extend((f"i1 {accumulate}", f"ptr {k.slot(k.product_slot)}", "ptr null", "ptr null"))
    k.w.do(f"call void @{symbol}({', '.join(given)})")
