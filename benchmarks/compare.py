"""Compare gradc with what a user would pick instead, in one run on one core.

    python benchmarks/compare.py [NAME ...]

Names: build, start, compile, call, chain, logistic, c_start; without one, all.

Peers: C (gcc -O3 -march=native -ffast-math), NumPy, and JAX where it is installed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gradc
import gradc.tensor as gt
import numpy as np
from floors import MEMORY, PRODUCTS, Floor
from gradc import f64
from gradc.codegen.cabi import manifest_of
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import cut_into_kernels, lower_cut
from gradc.codegen.target import compile_to_object, host
from gradc.ir.passes.pipeline import optimize
from harness import (
    Run,
    check_equal,
    compile_c,
    compile_library,
    pin_to_one_core,
    pointer,
    report,
    time_round_robin,
)

MODEL = Path(__file__).parents[1] / "examples" / "logistic" / "logistic.grad"
HAS_JAX = importlib.util.find_spec("jax") is not None


def build() -> None:
    """Process time of `gradc build`, and the stages of the build itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = folder / "liblogistic.so"
        command = ["-m", "gradc", "build", str(MODEL), "-o", str(library), "--time-passes"]
        runs = [_python(folder, *command) for _ in range(9)]
        size = library.stat().st_size
    stages = [re.findall(r"^ *([\d.]+) ms  (\w+)$", run.output, re.M) for run in runs]
    best = min(stages, key=lambda found: sum(float(ms) for ms, _ in found))
    total = sum(float(ms) for ms, _ in best)
    print("\nbuild of the logistic example")
    print(f"  whole process: best {_best(runs)}")
    print(f"  library: {size:,} bytes")
    parts = ", ".join(f"{stage} {ms}" for ms, stage in best)
    print(f"  the build itself: {total:.1f} ms = {parts}")


@dataclass(frozen=True)
class _Process:
    """What a process printed, its seconds from start to end, and those of the processor."""

    output: str
    elapsed: float
    cpu: float


def _python(folder: Path, *arguments: str) -> _Process:
    """A process of this Python without gradc's cache, the modules compiled as in an installation.

    The first process with a `folder` compiles the modules.
    """
    variables = {**os.environ, "GRADC_CACHE": "off", "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=variables
    )
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _Process(done.stdout, elapsed, cpu)


def _best(runs: Sequence[_Process]) -> str:
    elapsed, cpu = min(run.elapsed for run in runs), min(run.cpu for run in runs)
    return f"{1e3 * elapsed:.0f} ms elapsed, {1e3 * cpu:.0f} ms of CPU"


def start() -> None:
    """From the start of a process to its first gradient, and to the end of its imports."""
    arguments = ("w=[0.1,0.2]", "X=[[1,2],[3,4],[5,6]]", "y=[0,1,1]", "l2=0.01")
    given = [word for argument in arguments for word in ("--arg", argument)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = folder / "liblogistic.so"
        _python(folder, "-m", "gradc", "build", str(MODEL), "-o", str(library))
        first = (
            f"import gradc, numpy as np\nmodel = gradc.load({str(library)!r})\n"
            "model.loss_grad(np.ones(2), np.ones((3, 2)), np.ones(3), 0.01)"
        )
        programs = {
            "python": ("-c", "pass"),
            "import numpy": ("-c", "import numpy"),
            "import numpy, gradc": ("-c", "import numpy, gradc"),
            "load a library, first gradient": ("-c", first),
            ".grad file, no cache, first gradient": (
                *("-m", "gradc", "run", str(MODEL), "loss_grad"),
                *given,
            ),
        }
        runs: dict[str, list[_Process]] = {name: [] for name in programs}
        for _ in range(12):
            for name, program in programs.items():
                runs[name].append(_python(folder, *program))
    print("\nprocesses from start to end, the logistic example")
    for name, found in runs.items():
        print(f"  {name:<38}{_best(found[1:])}")


def compile_time() -> None:
    """From a Python function of up to 100,000 operations to object code of value and gradient."""
    print("\ncompilation of value and gradient, milliseconds of CPU")
    for operations, times in ((50, 3), (2_000, 3), (10_000, 3), (100_000, 1)):
        runs = [_stages(operations) for _ in range(times)]
        best = min(runs, key=lambda found: sum(found.values()))
        parts = ", ".join(f"{stage} {1e3 * seconds:.1f}" for stage, seconds in best.items())
        print(f"  {operations:>7} operations: {1e3 * sum(best.values()):8.1f} = {parts}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"  peak memory of the process: {peak // 1024} MB")


def _stages(operations: int) -> dict[str, float]:
    """The seconds of CPU of each stage of the compilation of a chain with that many operations."""
    functions = (gt.sin, gt.exp, gt.tanh, gt.log1p)

    def chain(x: f64["n"], y: f64["n"]):  # noqa: F821
        v = x
        for step in range(operations // 2):
            rare = functions[step // 10 % 4](v) * y if step % 10 == 0 else None
            v = v * 0.99 + y if rare is None else rare
        return gt.sum(v)

    clock = [time.process_time()]

    def lap(made: Any) -> Any:
        clock.append(time.process_time())
        return made

    target, choices = host(), Choices(host().vector_bits)
    function = lap(gradc.function(chain))
    graph = lap(gradc.value_and_grad(function, wrt="x")).ir
    optimized = lap(optimize(graph))
    cut = lap(cut_into_kernels(optimized, choices))
    program = lap(lower_cut(cut, "chain", choices))
    manifest = manifest_of([program], target)
    text = lap(emit_module([program], manifest, target, in_process=True))
    lap(compile_to_object(text, target))
    stages = ("trace", "derivative", "passes", "schedule", "loops", "text", "LLVM")
    return {s: b - a for s, a, b in zip(stages, clock, clock[1:], strict=False)}


def call() -> None:
    """A function of three scalars, against an empty C-extension call."""

    @gradc.function
    def f(x: f64, y: f64, z: f64):
        return x * y + z

    empty = _empty_extension()
    runs = {"gradc": lambda: f(1.0, 2.0, 3.0), "empty call": lambda: empty(1.0, 2.0, 3.0)}
    timings = time_round_robin(runs)
    report("a call with three scalars", timings)
    above = timings["gradc"].best - timings["empty call"].best
    print(f"  above the empty call: {1e9 * above:.0f} ns")


def _empty_extension() -> Callable[..., Any]:
    import sysconfig

    source = """
    #include <Python.h>
    static PyObject *empty(PyObject *s, PyObject *const *a, Py_ssize_t n) {
        (void)s; (void)a; (void)n; Py_RETURN_NONE;
    }
    static PyMethodDef methods[] = {{"empty", (PyCFunction)(void *)empty, METH_FASTCALL, ""}, {0}};
    static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "peer", "", -1, methods};
    PyMODINIT_FUNC PyInit_peer(void) { return PyModule_Create(&module); }
    """
    library = compile_c(source, [f"-I{sysconfig.get_path('include')}"])
    spec = importlib.util.spec_from_file_location("peer", library._name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.empty


def floor_runs(inputs: Sequence[Any], outputs: Sequence[Any], needs: Floor) -> dict[str, Run]:
    """What the machine cannot do faster: see floors.py."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "floor.so"
        compile_library(Path(__file__).parent / "peers" / "floor.cpp", file)
        library = ctypes.CDLL(str(file))
    counts = [x.size for x in (*inputs, *outputs)]
    numbers = [len(inputs), len(outputs), needs.passes, needs.products, *counts]
    sizes, work = (ctypes.c_int64 * len(numbers))(*numbers), ctypes.create_string_buffer(64)
    given, found = (
        (ctypes.c_void_p * len(a))(*(x.ctypes.data for x in a)) for a in (inputs, outputs)
    )
    words = {f"floor: {name}": getattr(library, name) for name in (*MEMORY, "arithmetic")}
    return {
        word: lambda loop=loop, keep=(inputs, outputs): loop(sizes, given, found, work)
        for word, loop in words.items()
    }


def chain() -> None:
    """y = x * exp(-x*x/2) + 1 and its sum over 1e6 doubles."""
    n = 1_000_000
    x = np.random.default_rng(0).normal(size=n)

    @gradc.function
    def f(x: f64["n"]):
        y = x * gt.exp(-0.5 * x * x) + 1.0
        return y, gt.sum(y)

    out = np.empty(n)
    peer = compile_c("""
    #include <math.h>
    #include <stdint.h>
    double chain(int64_t n, const double *restrict x, double *restrict y) {
        double total = 0;
        for (int64_t i = 0; i < n; i++) {
            y[i] = x[i] * exp(-0.5 * x[i] * x[i]) + 1.0;
            total += y[i];
        }
        return total;
    }""")
    peer.chain.restype = ctypes.c_double
    target, address, place = np.empty(n), pointer(x), pointer(out)

    def in_numpy() -> tuple[Any, Any]:
        y = x * np.exp(-0.5 * x * x) + 1.0
        return y, y.sum()

    runs: dict[str, Run] = {
        "gradc": lambda: f(x, out=(target, None)),
        "C": lambda: (out, peer.chain(ctypes.c_int64(n), address, place)),
        "NumPy": in_numpy,
    }
    if HAS_JAX:
        import jax
        import jax.numpy as jnp

        def body(x: Any) -> Any:
            y = x * jnp.exp(-0.5 * x * x) + 1.0
            return y, y.sum()

        jitted, there = jax.jit(body), jnp.asarray(x)
        runs["JAX jit"] = lambda: jax.block_until_ready(jitted(there))
    check_equal(runs)
    runs |= floor_runs([x], [target], Floor((PRODUCTS["exp"] + 3) * n))
    report("elementwise chain with exp, and its sum, 1e6 doubles", time_round_robin(runs, 0.4))


def logistic() -> None:
    """Value and gradient of the logistic loss, n = 100,000, d = 100."""
    n, d = 100_000, 100
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(n, d)), rng.normal(size=d) / 10
    y = (rng.random(n) < 0.5).astype(np.float64)

    @gradc.function
    def loss(w: f64["d"], X: f64["n", "d"], y: f64["n"]):
        z = X @ w
        return gt.mean(gt.softplus(z) - y * z)

    value_and_grad = gradc.value_and_grad(loss, wrt="w")

    def in_numpy() -> tuple[Any, Any]:
        z = X @ w
        value = np.mean(np.logaddexp(0, z) - y * z)
        return value, X.T @ ((1 / (1 + np.exp(-z)) - y) / n)

    residual = rng.normal(size=n)
    runs: dict[str, Run] = {"gradc": lambda: value_and_grad(w, X, y), "NumPy": in_numpy}
    if HAS_JAX:
        import jax
        import jax.numpy as jnp

        def cost(w: Any, X: Any, y: Any) -> Any:
            z = X @ w
            return jnp.mean(jax.nn.softplus(z) - y * z)

        jitted = jax.jit(jax.value_and_grad(cost))
        there = [jnp.asarray(a) for a in (w, X, y)]
        runs["JAX jit"] = lambda: jax.block_until_ready(jitted(*there))
    check_equal(runs)
    runs["two BLAS products alone"] = lambda: (X @ w, X.T @ residual)
    a_row = PRODUCTS["softplus and sigmoid"]
    runs |= floor_runs([X, y], [np.empty(d)], Floor(2 * n * d + a_row * n))
    report("logistic loss and gradient, n=100,000 d=100", time_round_robin(runs, 1.0))


def c_start() -> None:
    """From exec of a C program to its first gradient."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("\nno C compiler (cc): c_start skipped")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = folder / "liblogistic.so"
        command = [sys.executable, "-m", "gradc", "build", str(MODEL), "-o", str(library)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (folder / "first.c").write_text("""
        #include "logistic.h"
        int main(void) {
            double w[2] = {0, 0}, X[6] = {1, 2, 3, 4, 5, 6}, y[3] = {0, 1, 1}, value, gradient[2];
            return loss_grad(2, 3, w, X, y, 1e-2, &value, gradient, 0) || !(gradient[0] != 0);
        }""")
        program = folder / "first"
        source = [str(folder / "first.c"), f"-I{folder}", str(library), f"-Wl,-rpath,{folder}"]
        subprocess.run([compiler, "-O2", *source, "-o", str(program)], check=True)
        times = []
        for _ in range(50):
            start = time.perf_counter()
            subprocess.run([program], check=True)
            times.append(time.perf_counter() - start)
    print("\nC program, from fork to the end after its first gradient")
    print(f"  best {1e3 * min(times):.2f} ms, median {1e3 * sorted(times)[25]:.2f} ms")


ALL = {
    "build": build,
    "start": start,
    "compile": compile_time,
    "call": call,
    "chain": chain,
    "logistic": logistic,
    "c_start": c_start,
}


def main() -> None:
    pin_to_one_core()
    for name in sys.argv[1:] or ALL:
        if name not in ALL:
            raise SystemExit(f"no benchmark {name!r}; there are {', '.join(ALL)}")
        ALL[name]()


if __name__ == "__main__":
    main()
