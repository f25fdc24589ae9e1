"""Native code in this process: from the cache on disk, or compiled and put there.

Imported when a function is first compiled; LLVM is imported only if it is not in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradc.cache import (
    cache_folder,
    entry_key,
    open_entry,
    product_object,
    read_object,
    share_entry,
    source_key,
    store_object,
)
from gradc.runtime._core import NativeFunction
from gradc.runtime.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from gradc.ir.function import Function
    from gradc.ir.loops import Program


def symbol_of(name: str) -> str:
    """A symbol that is nobody else's: a function called `exp` must not replace libm's."""
    return f"jit_{name}"


def native_function(
    fn: Function, program: Callable[[], Program], *, fast_math: bool = False
) -> NativeFunction:
    """The function as native code; `program` gives its loops, if they are needed.

    The function calls no external code: what that is, its text does not say.
    """
    folder = cache_folder()
    key = _key_of(fn, fast_math) if folder is not None else None
    if folder is None or key is None:
        return _loaded(fn.name, *_compiled(program()))
    found = _from_cache(fn.name, folder, key)
    if found is not None:
        return found
    code, manifest = _compiled(program())
    store_object(folder, key, code, manifest)
    return _loaded(fn.name, code, manifest)


def function_of_source(source: str, name: str) -> NativeFunction | None:
    """The function `name` of a source text, if `keep_for_source` has been told of it."""
    folder = cache_folder()
    key = source_key(source, name) if folder is not None else None
    return None if folder is None or key is None else _from_cache(name, folder, key)


def keep_for_source(source: str, fn: Function) -> None:
    """Let `function_of_source` find the code of a function that has been compiled from a source.

    The source has nothing to be warned of, and declares no external function.
    """
    folder = cache_folder()
    if folder is None:
        return
    key, other = _key_of(fn, False), source_key(source, fn.name)
    if key is not None and other is not None:
        share_entry(folder, key, other)


def _key_of(fn: Function, fast_math: bool) -> str | None:
    from gradc.ir.text import print_function

    return entry_key(print_function(fn) + ("-- fast mathematics" if fast_math else ""))


def _compiled(program: Program) -> tuple[bytes, str]:
    """The object, without the packed matrix product, and the manifest of a program."""
    from gradc.codegen.cabi import manifest_of
    from gradc.codegen.llvm import emit_module
    from gradc.codegen.target import compile_to_object, host

    manifest = manifest_of([program], host())
    text = emit_module([program], manifest, host(), in_process=True)
    return compile_to_object(text, host()), manifest


def _from_cache(name: str, folder: Path, key: str) -> NativeFunction | None:
    """The cached function; None where there is none that is whole."""
    symbols = _symbols(name)
    opened = open_entry(folder, key, symbols)
    if opened is not None:
        manifest, library = opened
        addresses = {symbol: library.symbol(symbol) for symbol in symbols}
        return _bound(name, addresses, manifest, library)
    stored = read_object(folder, key)  # there is no linker that could make it a library
    return None if stored is None else _loaded(name, *stored)


def _loaded(name: str, code: bytes, manifest: str) -> NativeFunction:
    """An object, linked by LLVM in this process."""
    from gradc.codegen.jit import load_with_products

    library = load_with_products(code, _symbols(name), product=product_object)
    return _bound(name, library.addresses, read_manifest(manifest), library)


def _symbols(name: str) -> tuple[str, str]:
    """The generic forms of the call and of the workspace query."""
    return f"gradc_call_{symbol_of(name)}", f"gradc_workspace_{symbol_of(name)}"


def _bound(
    name: str, addresses: Mapping[str, int], manifest: Manifest, library: object
) -> NativeFunction:
    (entry,) = manifest.functions
    call, workspace = (addresses[symbol] for symbol in _symbols(name))
    return NativeFunction(call, workspace, replace(entry, name=name), library)
