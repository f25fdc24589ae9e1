"""Runs loop programs as native code, beside the interpreter that says what they must compute."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gradc.codegen.jit import Library, load_object, load_with_products
from gradc.codegen.llvm import emit_module
from gradc.codegen.target import Target, compile_to_object, host
from gradc.ir.dims import evaluate_dim
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Kernel, Program
from loop_interpreter import run_program

Arrays = dict[Buffer, Any]


@dataclass(frozen=True)
class Native:
    """A program in native code."""

    program: Program
    library: Library
    allocates: bool = True  # what a call leaves out

    def run(
        self, sizes: Mapping[str, int], arrays: Mapping[Buffer, Any], workspace: Any = 0
    ) -> int:
        """Call it on flat arrays (None: not wanted); gives the status."""
        program = self.program
        call = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)(
            self.library.addresses[f"gradc_call_{program.name}"]
        )
        numbers = (ctypes.c_int64 * (len(program.sizes) + 1))(*(sizes[n] for n in program.sizes))
        inputs, outputs = (_addresses(g, arrays) for g in (program.inputs, program.outputs))
        if self.allocates or workspace:
            return int(call(numbers, inputs, outputs, workspace or None))
        memory = np.empty(self.workspace(*numbers[:-1]), np.uint8)
        return int(call(numbers, inputs, outputs, memory.ctypes.data))

    def workspace(self, *sizes: int) -> int:
        """The bytes of workspace that it asks for."""
        address = self.library.addresses[f"gradc_workspace_{self.program.name}"]
        numbers = (ctypes.c_int64 * (len(sizes) + 1))(*sizes)
        return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(address)(numbers))


def _addresses(buffers: tuple[Buffer, ...], arrays: Mapping[Buffer, Any]) -> Any:
    found = [None if arrays[b] is None else arrays[b].ctypes.data for b in buffers]
    return (ctypes.c_void_p * (len(found) + 1))(*found)


def compile_program(program: Program, target: Target | None = None) -> Native:
    """The program, compiled and loaded."""
    target = target or host()
    code = compile_to_object(emit_module([program], "{}", target), target)
    return Native(program, load_object(code, _symbols(program.name)))


def compile_shared(program: Program) -> Native:
    """The program as gradc loads it in a process: with the matrix products that all share."""
    code = compile_to_object(emit_module([program], "{}", host(), in_process=True), host())
    symbols = (f"gradc_call_{program.name}", f"gradc_workspace_{program.name}")
    return Native(program, load_with_products(code, symbols), allocates=False)


def _symbols(name: str) -> tuple[str, ...]:
    calls = (name, f"{name}_workspace", f"gradc_call_{name}", f"gradc_workspace_{name}")
    return (*calls, "gradc_manifest")


def kernel_program(
    k: LoopBuilder, sizes: tuple[str, ...], inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...]
) -> Program:
    """A program of the one kernel that was built."""
    return Program("f", sizes, inputs, outputs, (Kernel("k", k.body),))


def output_arrays(program: Program, sizes: Mapping[str, int]) -> Arrays:
    """Flat arrays for the outputs, full of ones."""
    return {
        b: np.ones(max(evaluate_dim(b.type.size, sizes), 0), b.type.dtype.numpy)
        for b in program.outputs
    }


def check(
    native: Native, sizes: Mapping[str, int], inputs: Mapping[Buffer, Any], tolerance: float = 0.0
) -> Arrays:
    """Native code gives what the interpreter gives, in bits or to a relative tolerance."""
    program = native.program
    actual, expected = output_arrays(program, sizes), output_arrays(program, sizes)
    status = native.run(sizes, {**inputs, **actual})
    assert status == run_program(program, sizes, {**inputs, **expected})
    for buffer in program.outputs:
        np.testing.assert_allclose(
            actual[buffer], expected[buffer], rtol=tolerance, atol=tolerance, err_msg=buffer.name
        )
    return actual
