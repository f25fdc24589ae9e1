"""Compile a graph function in this process, as the driver does: for tests below the front end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gradc.codegen.cabi import function_symbols, manifest_of
from gradc.codegen.choices import Choices
from gradc.codegen.jit import load_object
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.target import Target, compile_to_object, host
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.runtime._core import NativeFunction
from gradc.runtime.manifest import read_manifest

Array = np.ndarray[Any, Any]


def native(
    fn: Function, target: Target | None = None, choices: Choices | None = None
) -> Callable[..., tuple[Array, ...]]:
    """The compiled function: arrays in, a tuple of arrays out."""
    target = target or host()
    program = lower(fn, "f", choices or Choices(target.vector_bits))
    manifest = manifest_of([program], target)
    code = compile_to_object(emit_module([program], manifest, target), target)
    call, workspace = function_symbols("f")[2:]
    library = load_object(code, (call, workspace))
    (entry,) = read_manifest(manifest).functions
    made = NativeFunction(library.addresses[call], library.addresses[workspace], entry, library)

    def run(*arrays: Any) -> tuple[Array, ...]:
        results = made(*arrays)
        return results if isinstance(results, tuple) else (results,)

    return run


def assert_agrees(
    compiled: Callable[..., tuple[Array, ...]], fn: Function, arguments: Sequence[Array]
) -> None:
    """The compiled function gives what the reference evaluator gives, up to rounding (f64)."""
    expected = evaluate(fn, *arguments)
    for found, wanted in zip(compiled(*arguments), expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10 * scale)
