"""The packed matrix product in objects: what it is called, and which of them call it."""

from __future__ import annotations

from gradc.ir.types import DType, f32, f64


def product_symbol(dtype: DType) -> str:
    """The symbol of the packed kernel for an element type."""
    return f"gradc.matmul.{dtype.name}"


def products_in(code: bytes) -> tuple[DType, ...]:
    """The element types of the packed kernels that an object expects to find elsewhere.

    Symbols with dots are this compiler's own, so that their names stand for nothing else.
    """
    return tuple(dtype for dtype in (f64, f32) if product_symbol(dtype).encode() + b"\0" in code)
