"""Native code in this process that calls external functions, which are found when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradc.cache import product_object
from gradc.codegen.cabi import function_symbols, manifest_of
from gradc.codegen.jit import load_with_products
from gradc.codegen.llvm import emit_module
from gradc.codegen.target import compile_to_object, host
from gradc.ir.function import Equation
from gradc.ir.loops import Program
from gradc.ir.ops.external import ExternalCode, external_symbols
from gradc.runtime._core import NativeFunction
from gradc.runtime.manifest import read_manifest


def native_with_external(
    name: str, program: Program, calls: Sequence[tuple[Equation, ExternalCode]]
) -> NativeFunction:
    """The program as native code, linked with the external functions it calls.

    It is not for the cache on disk: addresses are of this process. Raises LinkError for a function
    that is in none of its files.
    """
    target = host()
    manifest = manifest_of([program], target)
    text = emit_module([program], manifest, target, in_process=True)
    code = compile_to_object(text, target)
    call, workspace = function_symbols(program.name)[2:]
    imports = {symbol: code.address() for symbol, code in external_symbols(calls).items()}
    library = load_with_products(code, (call, workspace), imports, product_object)
    (entry,) = read_manifest(manifest).functions
    keep_alive = (library, tuple(external for _, external in calls))
    addresses = library.addresses
    entry = replace(entry, name=name)
    return NativeFunction(addresses[call], addresses[workspace], entry, keep_alive)
