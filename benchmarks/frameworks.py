"""One gradient in each framework, ready to be timed: compiled, its arrays in place."""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from workloads.workload import Sizes, Workload

HERE = Path(__file__).parent
CXX = ("g++", "-std=c++17", "-O3", "-march=native", "-ffast-math", "-Wall", "-Wextra")


@dataclass(frozen=True, slots=True)
class Entry:
    """run(count): the seconds of `count` calls that wait for their results. result: the arrays."""

    run: Callable[[int], float]
    result: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Entries by name, and facts: artifact bytes, seconds to compile, and so on."""

    entries: dict[str, Entry]
    facts: dict[str, Any] = field(default_factory=dict)


def prepare(
    framework: str, workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    """First yield once the first gradient is there, then again with all entries."""
    if framework == "gradc":
        return _gradc(workload, sizes, inputs, folder)
    if framework == "cpp":
        return _cpp(workload, sizes, inputs, folder)
    return _in_python(framework, workload, sizes, inputs, folder)


def flat(result: Any) -> list[np.ndarray[Any, Any]]:
    """The arrays of nested tuples, in order."""
    if isinstance(result, tuple | list):
        return [array for part in result for array in flat(part)]
    if hasattr(result, "detach"):
        result = result.detach()
    return [np.asarray(result)]


def _python_entry(call: Callable[[], Any]) -> Entry:
    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - start

    return Entry(run, call)


# ---- native code: gradc's libraries and the hand-written C++ share a calling convention


@dataclass(frozen=True, slots=True)
class _Call:
    """Arguments of a native gradient; keeps the memory that the addresses point to."""

    sizes: Any
    inputs: Any
    outputs: Any
    workspace: int
    keep: tuple[Any, ...]


def _aligned(count: int) -> tuple[np.ndarray[Any, Any], int]:
    memory = np.zeros(count + 64, np.uint8)
    return memory, memory.ctypes.data + -memory.ctypes.data % 64


def _arguments(
    sizes: Sequence[int], inputs: Sequence[Any], outputs: Sequence[Any], workspace: int
) -> _Call:
    memory, address = _aligned(workspace)
    numbers = (ctypes.c_int64 * max(1, len(sizes)))(*sizes)
    keep = (memory, inputs, outputs)
    return _Call(numbers, _addresses(inputs), _addresses(outputs), address, keep)


def _addresses(arrays: Sequence[Any]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))


def _compile(source: Path, output: Path, flags: Sequence[str] = CXX) -> float:
    """Build a shared library; the seconds it took."""
    start = time.perf_counter()
    command = [*flags, "-fPIC", "-shared", str(source), "-o", str(output), "-lmvec", "-lm"]
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def _native_entry(function: Any, call: _Call, folder: Path) -> Entry:
    """An entry that calls from a loop in C."""
    loop_file = folder / "loop.so"
    if not loop_file.exists():
        _compile(HERE / "peers" / "loop.c", loop_file, ("gcc", "-O2"))
    loop = ctypes.CDLL(str(loop_file)).seconds
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_int64]
    address = ctypes.cast(function, ctypes.c_void_p)

    def run(count: int) -> float:
        return float(loop(address, call.sizes, call.inputs, call.outputs, call.workspace, count))

    def result() -> Any:
        status = function(call.sizes, call.inputs, call.outputs, ctypes.c_void_p(call.workspace))
        if status != 0:
            raise RuntimeError(f"the gradient returned status {status}")
        return list(call.keep[2])

    return Entry(run, result)


def _cpp(
    workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    output = folder / f"{workload.cpp}.so"
    seconds = _compile(HERE / "peers" / f"{workload.cpp}.cpp", output)
    library = ctypes.CDLL(str(output))
    library.workspace.restype = ctypes.c_int64
    dtype = next(x.dtype for x in inputs if x.dtype.kind == "f")
    outputs = [np.zeros(shape, dtype) for shape in workload.outputs(sizes)]
    needed = library.workspace((ctypes.c_int64 * len(sizes))(*sizes))
    call = _arguments(sizes, inputs, outputs, needed)
    entry = _native_entry(library.gradient, call, folder)
    entry.result()
    facts = {"compile": seconds, "bytes": output.stat().st_size, "workspace": needed}
    yield Prepared({"C++": entry}, facts)
    yield Prepared({"C++": entry}, facts)


def _gradc(
    workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    import gradc

    library = folder / "libmodel.so"
    if library.exists():
        native = gradc.load(library).gradient
        result = native(*inputs)
        entries = {"gradc": _python_entry(lambda: native(*inputs))}
        yield Prepared(entries)
        yield Prepared(entries)
        return
    start = time.perf_counter()
    gradient, primal = workload.gradc(sizes)
    traced = time.perf_counter() - start
    gradient.compile()
    compiled = time.perf_counter() - start - traced
    result = gradient(*inputs)
    facts: dict[str, Any] = {"trace": traced, "compile": compiled}
    results = result if isinstance(result, tuple) else (result,)
    out = tuple(np.zeros(np.shape(x), np.asarray(x).dtype) for x in results)
    place: Any = out if isinstance(result, tuple) else out[0]
    entries = {"gradc": _python_entry(lambda: gradient(*inputs, out=place))}
    yield Prepared(entries, facts)

    functions = (
        {"gradient": gradient} if primal is None else {"gradient": gradient, "primal": primal}
    )
    report = gradc.build(folder / "new.so", functions)
    alone = gradc.build(library, gradient=gradient)
    facts["bytes"] = alone.library.stat().st_size
    facts["kernels"] = [f"{k.name}: {k.note}" for k in gradient.program.kernels]
    opened = ctypes.CDLL(str(report.library))
    entry, needed = _gradc_from_c(opened, gradient, inputs, out, "gradient", folder)
    entries["gradc from C"], facts["workspace"] = entry, needed
    if primal is not None:
        results = primal(*inputs)
        kept = results if isinstance(results, tuple) else (results,)
        to = [np.zeros(np.shape(x), np.asarray(x).dtype) for x in kept]
        entries["primal"], _ = _gradc_from_c(opened, primal, inputs, to, "primal", folder)
    yield Prepared(entries, facts)


def _gradc_from_c(
    library: Any, function: Any, inputs: Sequence[Any], out: Any, name: str, folder: Path
) -> tuple[Entry, int]:
    known: dict[str, int] = {}
    for parameter, x in zip(function.ir.parameters, inputs, strict=True):
        known.update((str(d), n) for d, n in zip(parameter.shape, x.shape, strict=True))
    sizes = [known[str(name)] for name in function.ir.sizes]
    workspace = getattr(library, f"gradc_workspace_{name}")
    workspace.restype = ctypes.c_int64
    needed = workspace((ctypes.c_int64 * max(1, len(sizes)))(*sizes))
    call = _arguments(sizes, inputs, out, needed)
    return _native_entry(getattr(library, f"gradc_call_{name}"), call, folder), needed


# ---- frameworks of Python


def _in_python(
    framework: str, workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    build = {
        "numpy": lambda: _numpy(workload, sizes, inputs),
        "jax": lambda: _jax(workload, sizes, inputs),
        "torch": lambda: _torch(workload, sizes, inputs),
        "pytensor": lambda: _pytensor(workload, sizes, inputs),
        "casadi": lambda: _casadi(workload, sizes, inputs, folder),
    }[framework]
    start = time.perf_counter()
    call = build()
    call()
    facts = {"compile": time.perf_counter() - start}
    result = getattr(call, "shaped", call)
    prepared = Prepared({framework: Entry(_python_entry(call).run, result)}, facts)
    yield prepared
    yield prepared


def _numpy(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    gradient = workload.peers["numpy"](sizes)
    return lambda: gradient(*inputs)


def _jax(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    import jax

    jitted = jax.jit(workload.peers["jax"](sizes))
    there = [jax.device_put(x) for x in inputs]
    return lambda: jax.block_until_ready(jitted(*there))


def _torch(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    compiled = torch.compile(workload.peers["torch"](sizes))
    there = [torch.as_tensor(x) for x in inputs]
    return lambda: compiled(*there)


def _pytensor(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    import pytensor

    variables, outputs = workload.peers["pytensor"](sizes)
    compiled = pytensor.function(variables, outputs, mode="NUMBA", trust_input=True)
    return lambda: compiled(*inputs)


def _casadi(
    workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Callable[[], Any]:
    """CasADi's generated C, compiled as the hand-written C++ is, called through its buffers."""
    import casadi

    made = workload.peers["casadi"](sizes)
    generated = made.generate("generated.c")
    library = folder / "casadi.so"
    flags = ("gcc", "-O3", "-march=native", "-ffast-math")
    _compile(Path(generated), library, flags)
    external = casadi.external(made.name(), str(library))
    buffer, trigger = external.buffer()
    there = [np.array(np.ravel(x, order="F"), np.float64) for x in inputs]
    results = [np.zeros(made.nnz_out(i)) for i in range(made.n_out())]
    for i, x in enumerate(there):
        buffer.set_arg(i, x.data)
    for i, y in enumerate(results):
        buffer.set_res(i, y.data)
    shapes = workload.outputs(sizes)

    def call(_keep: Any = (external, buffer, there)) -> Any:
        trigger()
        return results

    def shaped() -> Any:
        call()
        return [y.reshape(shape, order="F") for y, shape in zip(results, shapes, strict=True)]

    call.shaped = shaped  # type: ignore[attr-defined]
    return call
