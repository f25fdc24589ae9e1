"""Speed of the vector functions and of the matrix product on one core of this machine.

`OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests python benchmarks/kernel_speed.py`

Vector functions: ns an element in the first cache, from the difference of a long and a short array,
so that the cost of the call goes. Matrix product: GFLOP/s, own and BLAS in turn, best of many.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
from gradc.codegen.jit import load_object
from gradc.codegen.matmul import matmul_functions, scratch_bytes
from gradc.codegen.target import compile_to_object, host
from gradc.codegen.vector_math import MATH_NAMES
from gradc.ir.types import DType, f32, f64
from vector_loops import native_function

SHORT, LONG = 512, 2048  # elements
REPEATS = 3000
SQUARES = (64, 128, 256, 384, 512, 1024)
SHAPES = ((1, 1000, 1000), (1000, 1, 1000), (8, 1000, 1000), (1000, 8, 1000), (30, 30, 2000))


def best_time(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def function_speed(name: str, dtype: DType) -> float:
    """ns an element, with vectors of the machine's width."""
    function = native_function(name, dtype, host().vector_bits // (8 * dtype.itemsize))
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(0.1, 5, LONG).astype(dtype.numpy) for _ in range(2))
    result = np.empty_like(x)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, y, result)]
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(function.address)
    short, long = (best_time(lambda n=n: call(*pointers, n), REPEATS) for n in (SHORT, LONG))  # type: ignore[misc]
    return (long - short) / (LONG - SHORT) * 1e9


def product_speed(dtype: DType, shapes: tuple[tuple[int, int, int], ...]) -> None:
    """Print own and BLAS's GFLOP/s for (m, n, k)."""
    operands = ", ".join(f"ptr %{x}, i64 %{x}b, i64 %{x}r, i64 %{x}c" for x in "abc")
    parameters = f"i64 %batch, i64 %m, i64 %n, i64 %k, {operands}, i1 %add, ptr %scratch"
    text = matmul_functions(dtype, host().vector_bits) + (
        f"define void @run({parameters}) {{\n"
        f"  call void @gradc.matmul.{dtype}({parameters})\n  ret void\n}}\n"
    )
    library = load_object(compile_to_object(text, host()), ["run"])
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    kinds = [*[integer] * 4, *[pointer, integer, integer, integer] * 3, ctypes.c_bool, pointer]
    run = ctypes.CFUNCTYPE(None, *kinds)(library.addresses["run"])
    scratch = np.empty(scratch_bytes(dtype, host().vector_bits) + 64, np.uint8)
    place = scratch.ctypes.data + -scratch.ctypes.data % 64
    rng = np.random.default_rng(0)
    for m, n, k in shapes:
        a, b, c = (rng.random(s).astype(dtype.numpy) for s in ((m, k), (k, n), (m, n)))
        arguments = [1, m, n, k, a.ctypes.data, 0, k, 1, b.ctypes.data, 0, n, 1]
        arguments += [c.ctypes.data, 0, n, 1, False, place]
        own = blas = float("inf")
        for _ in range(12):  # in turn: both see the same load of the machine
            own = min(own, best_time(lambda: run(*arguments), 3))  # noqa: B023
            blas = min(blas, best_time(lambda: np.matmul(a, b, out=c), 3))  # noqa: B023
        speeds = [2e-9 * m * n * k / seconds for seconds in (own, blas)]
        print(
            f"| {dtype} | {m} x {k} x {n} | {speeds[0]:.1f} | {speeds[1]:.1f} | {blas / own:.2f} |"
        )


def main() -> None:
    print("| function | f64 ns | f32 ns |\n|---|---|---|")
    for name in MATH_NAMES:
        print(f"| {name} | {function_speed(name, f64):.2f} | {function_speed(name, f32):.2f} |")
    print("\n| dtype | m x k x n | own GFLOP/s | BLAS | ratio |\n|---|---|---|---|---|")
    for dtype in (f64, f32):
        product_speed(dtype, (*((n, n, n) for n in SQUARES), *SHAPES))


if __name__ == "__main__":
    main()
