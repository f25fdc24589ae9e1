"""Objects in this process: LLVM's own linker (ORC) loads them, no file and no `cc` needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from gradc.codegen.product_names import product_symbol, products_in
from gradc.codegen.target import compile_to_object, host
from gradc.ir.record import dataclass
from gradc.ir.types import DType

if TYPE_CHECKING:
    from llvmlite import binding  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Library:
    """Loaded code: the addresses of its symbols, valid for as long as this object lives."""

    addresses: Mapping[str, int]
    _keep_alive: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Engine:
    """The process's one JIT, a lock for it, and numbers that name its libraries."""

    jit: binding.LLJIT
    lock: threading.Lock
    numbers: count[int]


def compile_product(dtype: DType) -> bytes:
    """The object of the packed matrix product of an element type, for this machine."""
    from gradc.codegen.llvm_product import product_module

    return compile_to_object(product_module(dtype, host()), host())


def load_with_products(
    data: bytes,
    symbols: Iterable[str],
    imports: Mapping[str, int] | None = None,
    product: Callable[[DType], bytes] = compile_product,
) -> Library:
    """`load_object` of a module that was emitted with `in_process`.

    The packed matrix product takes longer to compile than most programs, so all that this process
    loads share one copy of it, which is the object that `product` gives.
    """
    products = {product_symbol(dtype): _product(dtype, product) for dtype in products_in(data)}
    found = {name: library.addresses[name] for name, library in products.items()}
    library = load_object(data, symbols, {**found, **(imports or {})})
    return Library(library.addresses, (library, products))


@cache
def _product(dtype: DType, product: Callable[[DType], bytes]) -> Library:
    return load_object(product(dtype), (product_symbol(dtype),))


def load_object(
    data: bytes, symbols: Iterable[str], imports: Mapping[str, int] | None = None
) -> Library:
    """Load a relocatable object and look its symbols up.

    What it needs is at the addresses in `imports`, or (libm, libc) in this process.
    Raises RuntimeError, with the linker's reason, for an undefined symbol or a foreign object.
    """
    from llvmlite import binding

    names = tuple(symbols)
    engine = _engine()
    builder = binding.JITLibraryBuilder().add_object_img(data).add_current_process()
    for name in names:
        builder.export_symbol(name)
    for name, address in (imports or {}).items():
        builder.import_symbol(name, address)
    with engine.lock:
        tracker = builder.link(engine.jit, f"gradc{next(engine.numbers)}")
    return Library({name: tracker[name] for name in names}, tracker)


@cache
def _engine() -> _Engine:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return _Engine(binding.create_lljit_compiler(), threading.Lock(), count())
