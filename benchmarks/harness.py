"""Time implementations side by side on one core: equal results first, then ratios."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Any]
OPTIMISED = ("-O3", "-march=native", "-ffast-math")
CXX = ("g++", "-std=c++17", *OPTIMISED, "-Wall", "-Wextra")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of processor time a call, of all threads: the best and the median over all rounds."""

    best: float
    median: float


def pin_to_one_core() -> None:
    """Run this process, and what it starts, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def check_equal(runs: Mapping[str, Run], tolerance: float = 1e-8) -> None:
    """Stop unless all implementations give the same arrays, relative to their largest entry."""
    results = {name: _flat(run()) for name, run in runs.items()}
    (first, expected), *others = results.items()
    for name, found in others:
        apart = np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-300)
        if not apart <= tolerance:
            raise SystemExit(f"{name} and {first} disagree: {apart:.1e}")


def time_round_robin(
    runs: Mapping[str, Run], seconds: float = 0.2, rounds: int = 9
) -> dict[str, Timing]:
    """Time each implementation in turn, `rounds` times; one round is about `seconds` long."""
    repeats = {name: _repeats(run, seconds / len(runs)) for name, run in runs.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                run()
            found[name].append((time.process_time() - start) / repeats[name])
    return {name: Timing(min(t), statistics.median(t)) for name, t in found.items()}


def report(title: str, timings: Mapping[str, Timing], base: str = "gradc") -> None:
    """Print best and median of each, and its best as a multiple of the base's best."""
    print(f"\n{title}")
    for name, timing in timings.items():
        ratio = timing.best / timings[base].best
        print(f"  {name:<28}{_time(timing.best):>12}{_time(timing.median):>12}{ratio:9.2f} x")


def compile_library(source: Path, output: Path, command: Sequence[str] = CXX) -> None:
    """A shared library from C or C++, built as an expert would build it.

    It is linked without -ffast-math, with which gcc up to 12 adds code that flushes subnormal
    numbers to zero in the whole process that loads the library.
    """
    built = output.with_suffix(".o")
    subprocess.run([*command, "-fPIC", "-c", str(source), "-o", str(built)], check=True)
    linked = [command[0], "-shared", str(built), "-o", str(output), "-lmvec", "-lm"]
    subprocess.run(linked, check=True)


def compile_c(source: str, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """A library from C source. Its folder stays until the process ends."""
    if shutil.which("gcc") is None:
        raise SystemExit("the comparison with C needs gcc on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="gradc-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "peer.c").write_text(source)
    compile_library(folder / "peer.c", folder / "peer.so", ("gcc", *OPTIMISED, *flags))
    return ctypes.CDLL(str(folder / "peer.so"))


def pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    """The address of an array's elements."""
    return ctypes.c_void_p(array.ctypes.data)


def _repeats(run: Run, seconds: float) -> int:
    run()
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds / 4:
        run()
        count += 1
    return max(1, int(count * 4))


def _flat(result: Any) -> np.ndarray[Any, Any]:
    parts = result if isinstance(result, tuple | list) else (result,)
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.2f} {unit}"
    return f"{seconds * 1e9:.1f} ns"
