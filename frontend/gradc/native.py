"""Native code in this process: from the cache on disk, or compiled and put there.

Imported when a function is first compiled; LLVM is imported only if it is not in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gradc.cache import (
    cache_folder,
    entry_key,
    open_entry,
    product_object,
    read_object,
    store_object,
)
from gradc.ir.function import Function
from gradc.ir.loops import Program
from gradc.ir.text import print_function
from gradc.runtime._core import NativeFunction
from gradc.runtime.manifest import Manifest, read_manifest


def symbol_of(fn: Function) -> str:
    """A symbol that is nobody else's: a function called `exp` must not replace libm's."""
    return f"jit_{fn.name}"


def native_function(
    fn: Function, program: Callable[[], Program], *, fast_math: bool = False
) -> NativeFunction:
    """The function as native code; `program` gives its loops, if they are needed.

    The function calls no external code: what that is, its text does not say.
    """
    folder = cache_folder()
    mode = "-- fast mathematics" if fast_math else ""
    key = entry_key(print_function(fn) + mode) if folder is not None else None
    if folder is None or key is None:
        return _loaded(fn, *_compiled(program()))
    found = _from_cache(fn, folder, key)
    if found is not None:
        return found
    code, manifest = _compiled(program())
    store_object(folder, key, code, manifest)
    return _loaded(fn, code, manifest)


def _compiled(program: Program) -> tuple[bytes, str]:
    """The object, without the packed matrix product, and the manifest of a program."""
    from gradc.codegen.cabi import manifest_of
    from gradc.codegen.llvm import emit_module
    from gradc.codegen.target import compile_to_object, host

    manifest = manifest_of([program], host())
    text = emit_module([program], manifest, host(), in_process=True)
    return compile_to_object(text, host()), manifest


def _from_cache(fn: Function, folder: Path, key: str) -> NativeFunction | None:
    """The cached function; None where there is none that is whole."""
    symbols = _symbols(fn)
    opened = open_entry(folder, key, symbols)
    if opened is not None:
        manifest, library = opened
        addresses = {name: library.symbol(name) for name in symbols}
        return _bound(fn, addresses, manifest, library)
    stored = read_object(folder, key)  # there is no linker that could make it a library
    return None if stored is None else _loaded(fn, *stored)


def _loaded(fn: Function, code: bytes, manifest: str) -> NativeFunction:
    """An object, linked by LLVM in this process."""
    from gradc.codegen.jit import load_with_products

    library = load_with_products(code, _symbols(fn), product=product_object)
    return _bound(fn, library.addresses, read_manifest(manifest), library)


def _symbols(fn: Function) -> tuple[str, str]:
    """The generic forms of the call and of the workspace query."""
    return f"gradc_call_{symbol_of(fn)}", f"gradc_workspace_{symbol_of(fn)}"


def _bound(
    fn: Function, addresses: Mapping[str, int], manifest: Manifest, library: object
) -> NativeFunction:
    (entry,) = manifest.functions
    call, workspace = (addresses[name] for name in _symbols(fn))
    return NativeFunction(call, workspace, replace(entry, name=fn.name), library)
