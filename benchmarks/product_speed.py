"""Speed of the matrix product beside OpenBLAS, the one that NumPy brings, on one core.

`OPENBLAS_NUM_THREADS=1 taskset -c 1 python benchmarks/product_speed.py [f64|f32] [group ...]`

Both are called from a native loop, so that what a call from Python costs counts for neither. A
batch is a loop around BLAS; a single column or row is BLAS's gemv. Results are compared first.
The two run in turn, so that both see the same load of the machine; the best of many runs counts.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gradc.codegen.jit import Library, load_object
from gradc.codegen.matmul import matmul_functions, scratch_bytes
from gradc.codegen.target import compile_to_object, host
from gradc.ir.types import DType, f32, f64

Array = np.ndarray[Any, Any]
SECONDS = 3e-4  # of one run
TURNS = 25
ROWS, TURNED = 101, 112  # CblasRowMajor and CblasNoTrans, CblasTrans
PLAIN = 111


@dataclass(frozen=True, slots=True)
class Case:
    """A product [batch, m, k] @ [batch, k, n]; `form`: which operand lies transposed in memory."""

    m: int
    k: int
    n: int
    form: str = "nn"
    batch: int = 1

    @property
    def title(self) -> str:
        left = f"{self.m} x {self.k}{'ᵀ' if self.form[0] == 't' else ''}"
        right = f"{self.k} x {self.n}{'ᵀ' if self.form[1] == 't' else ''}"
        return f"{f'{self.batch} of ' if self.batch > 1 else ''}{left} @ {right}"


def squares(*sizes: int) -> tuple[Case, ...]:
    return tuple(Case(n, n, n) for n in sizes)


def forms(m: int, k: int, n: int, batch: int = 1) -> tuple[Case, ...]:
    return tuple(Case(m, k, n, form, batch) for form in ("nn", "nt", "tn", "tt"))


GROUPS: dict[str, tuple[Case, ...]] = {
    "small": squares(2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 16, 17, 20, 23, 24, 25, 28, 31),
    "middle": squares(32, 33, 40, 47, 48, 56, 63, 64, 65, 72, 80, 96, 100, 112, 120, 127),
    "large": squares(128, 200, 256, 384, 512, 1000),
    "forms": (*forms(8, 8, 8), *forms(24, 24, 24), *forms(64, 64, 64), *forms(300, 300, 300)),
    "skinny": (
        *forms(4, 1000, 1000),
        *forms(8, 1000, 1000),
        *forms(16, 1000, 1000),
        *forms(1000, 4, 1000),
        *forms(1000, 16, 1000),
        *forms(1000, 1000, 4),
        *forms(1000, 1000, 8),
        *forms(1000, 1000, 16),
        *forms(4, 1000, 4),
        *forms(16, 1000, 16),
        *forms(1000, 4, 4),
        *forms(4, 4, 1000),
        *forms(25, 10000, 100),
    ),
    "batches": (
        *forms(4, 4, 4, 1000),
        *forms(8, 8, 8, 1000),
        *forms(16, 16, 16, 500),
        *forms(32, 32, 32, 100),
        *forms(10, 10, 1, 1000),
        *forms(64, 64, 64, 20),
    ),
    "lines": (
        *forms(1, 1000, 1000),
        *forms(1000, 1000, 1),
        *forms(1, 30, 30),
        *forms(30, 30, 1),
        Case(100000, 100, 1),
        Case(1, 100000, 100),
        *(Case(10000, few, 1, form) for few in (3, 10) for form in ("nn", "tn")),
        *(Case(few, 10000, 1, "tn") for few in (3, 10)),
        Case(1, 1000, 1),
        Case(30, 1, 30),
        Case(100, 1, 100),
        Case(1000, 1, 1000),
    ),
    "perceptron": (
        Case(128, 784, 512),
        Case(128, 512, 512),
        Case(128, 512, 10),
        Case(128, 10, 512, "nt"),
        Case(128, 512, 512, "nt"),
        Case(784, 128, 512, "tn"),
        Case(512, 128, 512, "tn"),
        Case(512, 128, 10, "tn"),
    ),
}


def loops(dtype: DType) -> Library:
    """`own(times, ...)` and `blas(times, ...)`, which repeat one product."""
    operands = ", ".join(f"ptr %{x}, i64 %{x}b, i64 %{x}r, i64 %{x}c" for x in "abc")
    own = f"i64 %batch, i64 %m, i64 %n, i64 %k, {operands}, i1 %add, ptr %scratch"
    finish = ", ptr null, ptr null"
    kind = {"f64": "double", "f32": "float"}[dtype.name]
    layout = "ptr %a, i64 %lda, ptr %b, i64 %ldb"
    sizes = "i64 %m, i64 %n, i64 %k"
    gemm = f"i32 %order, i32 %ta, i32 %tb, {sizes}, {kind} %one, {layout}, {kind} %zero, ptr %c, "
    gemm += "i64 %ldc"
    gemv = f"i32 %order, i32 %ta, {sizes.removesuffix(', i64 %k')}, {kind} %one, {layout}, "
    gemv += f"{kind} %zero, ptr %c, i64 %ldc"
    steps = "i64 %batch, i64 %sa, i64 %sb, i64 %sc, ptr %f"
    text = [
        matmul_functions(dtype, host().vector_bits),
        repeated("own", own, "", f"call void @gradc.matmul.{dtype}({own}{finish})"),
        repeated("gemm", gemm, steps, f"call void %f({gemm})"),
        repeated("gemv", gemv, steps, f"call void %f({gemv})"),
    ]
    return load_object(compile_to_object("\n".join(text), host()), ["own", "gemm", "gemv"])


def repeated(name: str, parameters: str, steps: str, call: str) -> str:
    """A function that calls `times` times, over a batch whose operands lie `steps` bytes apart."""
    advance = count = ""
    if steps:
        for x in "abc":
            advance += f"  %o{x} = mul i64 %j, %s{x}\n"
            advance += f"  %{x}.at = getelementptr i8, ptr %{x}, i64 %o{x}\n"
            call = call.replace(f"ptr %{x},", f"ptr %{x}.at,")
    count = "%batch" if steps else "1"
    more = f", {steps}" if steps else ""
    return f"""define void @{name}(i64 %times{more}, {parameters}) {{
entry:
  br label %outer
outer:
  %i = phi i64 [0, %entry], [%i.next, %outer.end]
  br label %loop
loop:
  %j = phi i64 [0, %outer], [%j.next, %loop]
{advance}  {call}
  %j.next = add i64 %j, 1
  %more = icmp slt i64 %j.next, {count}
  br i1 %more, label %loop, label %outer.end
outer.end:
  %i.next = add i64 %i, 1
  %again = icmp slt i64 %i.next, %times
  br i1 %again, label %outer, label %end
end:
  ret void
}}
"""


def numpys_blas() -> ctypes.CDLL:
    """The OpenBLAS of NumPy's wheel."""
    folder = Path(np.__file__).parent.parent / "numpy.libs"
    (path,) = folder.glob("libscipy_openblas64_*")
    return ctypes.CDLL(str(path))


@dataclass(frozen=True, slots=True)
class Speed:
    """Compiled loops for one dtype."""

    dtype: DType
    library: Library
    blas: ctypes.CDLL
    scratch: Array

    def own(self, a: Array, b: Array, c: Array) -> Callable[[int], None]:
        batch, m, n = c.shape
        given: list[Any] = [batch, m, n, a.shape[2]]
        for array in (a, b, c):
            given += [array.ctypes.data, *(s // array.itemsize for s in array.strides)]
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        kinds = [*[integer] * 5, *[pointer, integer, integer, integer] * 3, ctypes.c_bool, pointer]
        run = ctypes.CFUNCTYPE(None, *kinds)(self.library.addresses["own"])
        place = self.scratch.ctypes.data + -self.scratch.ctypes.data % 64
        return lambda times: run(times, *given, False, place)

    def theirs(self, a: Array, b: Array, c: Array) -> Callable[[int], None]:
        batch, m, n = c.shape
        letter = {"f64": "d", "f32": "s"}[self.dtype.name]
        integer, pointer, flag = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int32
        real = {"f64": ctypes.c_double, "f32": ctypes.c_float}[self.dtype.name]
        if n == 1 or m == 1:
            matrix, vector = (a, b) if n == 1 else (b.transpose(0, 2, 1), a.transpose(0, 2, 1))
            lead, turn = leading(matrix)
            rows, columns = matrix.shape[1:] if turn == PLAIN else matrix.shape[:0:-1]
            symbol = getattr(self.blas, f"scipy_cblas_{letter}gemv64_")
            layout = [pointer, integer, pointer, integer, real, pointer, integer]
            kinds = [integer] * 5 + [pointer] + [flag] * 2 + [integer] * 2 + [real] + layout
            given: list[Any] = [ROWS, turn, rows, columns, 1.0, matrix.ctypes.data, lead]
            given += [vector.ctypes.data, 1, 0.0, c.ctypes.data, 1]
            steps, name = (matrix, vector, c), "gemv"
        else:
            symbol = getattr(self.blas, f"scipy_cblas_{letter}gemm64_")
            layout = [pointer, integer, pointer, integer, real, pointer, integer]
            kinds = [integer] * 5 + [pointer] + [flag] * 3 + [integer] * 3 + [real] + layout
            (lda, ta), (ldb, tb) = leading(a), leading(b)
            given = [ROWS, ta, tb, m, n, a.shape[2], 1.0, a.ctypes.data, lda, b.ctypes.data, ldb]
            given += [0.0, c.ctypes.data, n]
            steps, name = (a, b, c), "gemm"
        run = ctypes.CFUNCTYPE(None, *kinds)(self.library.addresses[name])
        place = ctypes.cast(symbol, pointer)
        return lambda times: run(times, batch, *(x.strides[0] for x in steps), place, *given)


def leading(x: Array) -> tuple[int, int]:
    """The distance of rows in memory, and whether the matrix lies transposed."""
    _, row, column = (s // x.itemsize for s in x.strides)
    n = x.shape[2]
    if column == 1 and row >= n:
        return row, PLAIN
    return column, TURNED


def seconds(run: Callable[[int], None], times: int) -> float:
    start = time.process_time()
    run(times)
    return (time.process_time() - start) / times


def compare(speed: Speed, case: Case) -> tuple[float, float]:
    """Seconds of one product: own, BLAS."""
    rng = np.random.default_rng(0)
    kind = speed.dtype.numpy

    def matrix(rows: int, columns: int, form: str) -> Array:
        shape = (case.batch, columns, rows) if form == "t" else (case.batch, rows, columns)
        found = rng.normal(size=shape).astype(kind)
        return found.transpose(0, 2, 1) if form == "t" else found

    a, b = matrix(case.m, case.k, case.form[0]), matrix(case.k, case.n, case.form[1])
    found = np.empty((case.batch, case.m, case.n), kind)  # of both: pages may be large or small
    runs = speed.own(a, b, found), speed.theirs(a, b, found)
    wanted = np.matmul(a.astype(float), b.astype(float))
    bound = (case.k + 2) * np.finfo(kind).eps * np.matmul(abs(a.astype(float)), abs(b))
    for run in runs:
        found.fill(np.nan)
        run(1)
        if not (np.abs(found - wanted) <= bound).all():
            raise AssertionError(f"{case.title}: a wrong product")
    times = max(1, round(SECONDS / max(seconds(runs[0], 3), 1e-9)))
    best = [float("inf")] * 2
    for _ in range(TURNS):
        for i, run in enumerate(runs):
            best[i] = min(best[i], seconds(run, times))
    return best[0], best[1]


def table(dtype: DType, groups: list[str]) -> Iterator[str]:
    size = scratch_bytes(dtype, host().vector_bits)
    speed = Speed(dtype, loops(dtype), numpys_blas(), np.empty(size + 64, np.uint8))
    for group in groups:
        for case in GROUPS[group]:
            own, blas = compare(speed, case)
            flops = 2e-9 * case.batch * case.m * case.k * case.n
            yield (
                f"| {dtype} | {case.title} | {own * 1e6:.3g} | {flops / own:.1f} | "
                f"{flops / blas:.1f} | {blas / own:.2f} |"
            )


def main() -> None:
    asked = sys.argv[1:]
    dtypes = [d for d in (f64, f32) if d.name in asked] or [f64, f32]
    groups = [name for name in asked if name in GROUPS] or list(GROUPS)
    print("| dtype | product | µs | GFLOP/s | BLAS | ratio |\n|---|---|---|---|---|---|")
    for dtype in dtypes:
        for line in table(dtype, groups):
            print(line, flush=True)


if __name__ == "__main__":
    main()
