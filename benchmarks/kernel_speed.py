"""Speed of the vector functions on one core of this machine.

`PYTHONPATH=tests python benchmarks/kernel_speed.py`: ns an element in the first cache, from the
difference of a long and a short array, so that the cost of the call goes.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import numpy as np
from gradc.codegen.target import host
from gradc.codegen.vector_math import MATH_NAMES
from gradc.ir.types import DType, f32, f64
from vector_loops import native_function

SHORT, LONG = 512, 2048  # elements
REPEATS = 3000


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


def main() -> None:
    print("| function | f64 ns | f32 ns |\n|---|---|---|")
    for name in MATH_NAMES:
        print(f"| {name} | {function_speed(name, f64):.2f} | {function_speed(name, f32):.2f} |")


if __name__ == "__main__":
    main()
