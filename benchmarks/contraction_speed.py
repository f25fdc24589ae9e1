"""Speed of contractions of any labels beside NumPy's einsum, on one core.

`OPENBLAS_NUM_THREADS=1 taskset -c 1 python benchmarks/contraction_speed.py [f64|f32]`

The sizes are known when the function is compiled (static), or not until it is called (symbolic).
NumPy's time is that of the best way it has: `einsum`, with and without a search for products of
BLAS, and `matmul` where the labels are its own. Results are compared first, the three take turns,
and the best of many runs counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
from gradc import f32, f64
from gradc.ir.types import DType

Array = np.ndarray[Any, Any]
SECONDS = 2e-3  # of one run
TURNS = 15

# An equation, and the lengths of i, j, k and the batch b.
CASES: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    "bij,bjk->bik": ((4, 4, 4, 1000), (8, 8, 8, 1000), (32, 32, 32, 100), (64, 64, 64, 64)),
    "ijb,jkb->ikb": (
        *((3, 3, 3, 100_000), (4, 4, 4, 1000), (8, 8, 8, 1000), (16, 16, 16, 4096)),
        *((32, 32, 32, 100), (64, 64, 64, 64), (100, 100, 100, 7)),
    ),
    "ibj,jbk->ibk": ((4, 4, 4, 1000), (32, 32, 32, 100)),
    "ijb,bjk->bik": ((4, 4, 4, 1000), (32, 32, 32, 100)),
    "bij,jk->bik": ((20, 20, 20, 1000), (4, 4, 4, 10_000)),
    "ijb,jk->ikb": ((20, 20, 20, 1000), (4, 4, 4, 10_000)),
}


def compiled(equation: str, arrays: tuple[Array, Array], static: bool) -> Any:
    dtype = f64 if arrays[0].dtype == np.float64 else f32
    a, b = (
        gt.tensor(name, dtype, array.shape if static else (None,) * array.ndim)
        for name, array in zip("ab", arrays, strict=True)
    )
    return gradc.function([a, b], gt.einsum(equation, a, b))


def numpys_ways(equation: str, arrays: tuple[Array, Array]) -> list[Callable[[], Array]]:
    found: list[Callable[[], Array]] = [
        partial(np.einsum, equation, *arrays),
        partial(np.einsum, equation, *arrays, optimize=True),
    ]
    if equation == "bij,bjk->bik":
        found.append(partial(np.matmul, *arrays))
    return found


def best_seconds(ways: list[Callable[[], Any]]) -> list[float]:
    """Of a call of each, in turn."""
    times = []
    for run in ways:
        start = time.process_time()
        run()
        times.append(max(1, round(SECONDS / max(time.process_time() - start, 1e-7))))
    best = [float("inf")] * len(ways)
    for _ in range(TURNS):
        for i, run in enumerate(ways):
            start = time.process_time()
            for _ in range(times[i]):
                run()
            best[i] = min(best[i], (time.process_time() - start) / times[i])
    return best


def line(dtype: DType, equation: str, lengths: tuple[int, int, int, int]) -> str:
    """A row of the table; numbers that differ are an AssertionError."""
    size = dict(zip("ijkb", lengths, strict=True))
    rng = np.random.default_rng(0)
    x, y = (
        rng.normal(size=[size[label] for label in own]).astype(dtype.numpy)
        for own in equation.split("->")[0].split(",")
    )
    theirs = numpys_ways(equation, (x, y))
    ways: list[Callable[[], Any]] = []
    for static in (True, False):
        f = compiled(equation, (x, y), static)
        found, wanted = f(x, y), theirs[0]()
        if not np.abs(found - wanted).max() <= 100 * np.finfo(x.dtype).eps * np.abs(wanted).max():
            raise AssertionError(f"{equation}, {lengths}: a wrong result")
        ways.append(f.bind(x, y, out=np.empty_like(found)))
    known, unknown, *numpys = best_seconds([*ways, *theirs])
    i, j, k, b = lengths
    return (
        f"| {dtype} | {equation} | {i} {j} {k}, {b} | {known * 1e6:.3g} | {unknown * 1e6:.3g} | "
        f"{2e-9 * i * j * k * b / known:.1f} | {min(numpys) / known:.2f} | "
        f"{min(numpys) / unknown:.2f} |"
    )


def table(dtypes: list[DType]) -> Iterator[str]:
    titles = ("dtype", "labels", "i j k, b", "static µs", "symbolic µs", "GFLOP/s")
    yield f"| {' | '.join(titles)} | NumPy / static | NumPy / symbolic |"
    yield "|---|---|---|---|---|---|---|---|"
    for dtype in dtypes:
        for equation, cases in CASES.items():
            for lengths in cases:
                yield line(dtype, equation, lengths)


def main() -> None:
    for text in table([d for d in (f64, f32) if d.name in sys.argv[1:]] or [f64, f32]):
        print(text, flush=True)


if __name__ == "__main__":
    main()
