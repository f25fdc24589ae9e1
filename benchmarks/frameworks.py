"""One gradient in each framework, ready to be timed: compiled, its arrays in place."""

from __future__ import annotations

import ctypes
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from floors import MEMORY
from harness import CXX, OPTIMISED, compile_library
from report import BOUND, FAST_MATH
from workloads.workload import Sizes, Workload

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Entry:
    """run(count): the seconds of `count` calls that wait for their results. result: the arrays.

    Seconds of processor time, of all threads: another program on the core does not count.
    """

    run: Callable[[int], float]
    result: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Entries by name, and facts: artifact bytes, seconds to compile, and so on."""

    entries: dict[str, Entry]
    facts: dict[str, Any] = field(default_factory=dict)


def spent() -> float:
    """Seconds of processor time of this process, of all its threads, and of what it has run."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def prepare(
    framework: str, workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    """First yield once the first gradient is there, then again with all entries."""
    if framework == "gradc":
        return _gradc(workload, sizes, inputs, folder)
    if framework == "cpp":
        return _cpp(workload, sizes, inputs, folder)
    if framework == "floor":
        return _floor(workload, sizes, inputs, folder)
    if framework == "nothing":
        return iter((Prepared({}), Prepared({})))
    return _in_python(framework, workload, sizes, inputs, folder)


def flat(result: Any) -> list[np.ndarray[Any, Any]]:
    """The arrays of nested tuples, in order."""
    if isinstance(result, tuple | list):
        return [array for part in result for array in flat(part)]
    if hasattr(result, "detach"):
        result = result.detach()
    return [np.asarray(result)]


def direct(function: Any, inputs: Sequence[Any], out: Any = None) -> Callable[[], Any]:
    """A call as a program writes it, `f(x, y, out=z)`: without `*inputs`, which copies."""
    names = [f"x{i}" for i in range(len(inputs))]
    known = {"function": function, "out": out, **dict(zip(names, inputs, strict=True))}
    words = [*names, *(["out=out"] if out is not None else [])]
    call: Callable[[], Any] = eval(f"lambda: function({', '.join(words)})", known)
    return call


def _python_entry(call: Callable[[], Any]) -> Entry:
    def run(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            call()
        return time.process_time() - start

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


def _native_entry(function: Any, call: _Call, folder: Path) -> Entry:
    """An entry that calls from a loop in C."""
    loop_file = folder / "loop.so"
    if not loop_file.exists():
        compile_library(HERE / "peers" / "loop.c", loop_file, ("gcc", "-O2"))
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
    prepared = by_hand(workload, sizes, inputs, folder)
    prepared.entries["C++"].result()
    yield prepared
    yield prepared


def by_hand(
    workload: Workload,
    sizes: Sizes,
    inputs: Sequence[Any],
    folder: Path,
    compiler: Sequence[str] = CXX,
) -> Prepared:
    """The gradient in C++, built in `folder`: the entry "C++"."""
    output = folder / f"{workload.cpp}.so"
    start = spent()
    compile_library(HERE / "peers" / f"{workload.cpp}.cpp", output, compiler)
    seconds = spent() - start
    library = ctypes.CDLL(str(output))
    library.workspace.restype = ctypes.c_int64
    dtype = next(x.dtype for x in inputs if x.dtype.kind == "f")
    outputs = [np.zeros(shape, dtype) for shape in workload.outputs(sizes)]
    needed = library.workspace((ctypes.c_int64 * len(sizes))(*sizes))
    call = _arguments(sizes, inputs, outputs, needed)
    entry = _native_entry(library.gradient, call, folder)
    facts = {"compile": seconds, "bytes": output.stat().st_size, "workspace": needed}
    return Prepared({"C++": entry}, facts)


def _floor(
    workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    """Loops that only move the workload's arrays, or only multiply and add: see floors.py."""
    assert workload.floor is not None
    needs = workload.floor(sizes)
    file = folder / "floor.so"
    compile_library(HERE / "peers" / "floor.cpp", file)
    library = ctypes.CDLL(str(file))
    outputs = [np.zeros(shape) for shape in workload.outputs(sizes)]
    counts = [x.nbytes // 8 for x in (*inputs, *outputs)]
    numbers = [len(inputs), len(outputs), needs.passes, needs.products, *counts]
    call = _arguments(numbers, inputs, outputs, 64)
    entries = {
        f"floor: {name}": _native_entry(getattr(library, name), call, folder)
        for name in (*MEMORY, "arithmetic")
    }
    yield Prepared(entries)
    yield Prepared(entries)


def _gradc(
    workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Iterator[Prepared]:
    import gradc

    library = folder / "libmodel.so"
    if library.exists():
        native = gradc.load(library).gradient
        result = native(*inputs)
        entries = {"gradc": _python_entry(direct(native, inputs))}
        yield Prepared(entries)
        yield Prepared(entries)
        return
    start = spent()
    gradient, primal = workload.gradc(sizes)
    traced = spent() - start
    gradient.compile()
    compiled = spent() - start - traced
    result = gradient(*inputs)
    facts: dict[str, Any] = {"trace": traced, "compile": compiled}
    results = result if isinstance(result, tuple) else (result,)
    out = tuple(np.zeros(np.shape(x), np.asarray(x).dtype) for x in results)
    place: Any = out if isinstance(result, tuple) else out[0]
    entries = {"gradc": _python_entry(direct(gradient, inputs, place))}
    yield Prepared(entries, facts)

    alone = gradc.build(library, gradient=gradient)
    facts["bytes"] = alone.library.stat().st_size
    facts["kernels"] = [f"{k.name}: {k.note}" for k in gradient.program.kernels]
    opened = ctypes.CDLL(str(alone.library))
    _keep_for_starts(workload.language(sizes), gradient, inputs, out, folder)
    entry, needed = _gradc_from_c(opened, gradient, inputs, out, "gradient", folder)
    entries["gradc from C"], facts["workspace"] = entry, needed
    entries[BOUND] = _python_entry(gradient.bind(*inputs, out=place))
    quick = gradc.build(folder / "fast.so", {"gradient": gradient}, fast_math=True)
    opened_quick = ctypes.CDLL(str(quick.library))
    entries[FAST_MATH], _ = _gradc_from_c(opened_quick, gradient, inputs, out, "gradient", folder)
    if primal is not None:
        results = primal(*inputs)
        kept = results if isinstance(results, tuple) else (results,)
        to = [np.zeros(np.shape(x), np.asarray(x).dtype) for x in kept]
        opened = ctypes.CDLL(str(gradc.build(folder / "primal.so", primal=primal).library))
        entries["primal"], _ = _gradc_from_c(opened, primal, inputs, to, "primal", folder)
    yield Prepared(entries, facts)


def _gradc_from_c(
    library: Any, function: Any, inputs: Sequence[Any], out: Any, name: str, folder: Path
) -> tuple[Entry, int]:
    sizes = _sizes(function, inputs)
    workspace = getattr(library, f"gradc_workspace_{name}")
    workspace.restype = ctypes.c_int64
    needed = workspace((ctypes.c_int64 * max(1, len(sizes)))(*sizes))
    call = _arguments(sizes, inputs, out, needed)
    return _native_entry(getattr(library, f"gradc_call_{name}"), call, folder), needed


def _sizes(function: Any, inputs: Sequence[Any]) -> list[int]:
    known: dict[str, int] = {}
    for parameter, x in zip(function.ir.parameters, inputs, strict=True):
        known.update((str(d), n) for d, n in zip(parameter.shape, x.shape, strict=True))
    return [known[str(name)] for name in function.ir.sizes]


def _keep_for_starts(
    language: str, gradient: Any, inputs: Sequence[Any], out: Sequence[Any], folder: Path
) -> None:
    """The inputs for programs that are started later: of C (peers/start.c), and `gradc run`."""
    sizes = _sizes(gradient, inputs)
    arrays = [np.ascontiguousarray(x) for x in inputs]
    head = [len(sizes), len(arrays), len(out), *sizes, *(x.nbytes for x in (*arrays, *out))]
    with (folder / "call.bin").open("wb") as file:
        file.write(np.array(head, np.int64).tobytes())
        for x in arrays:
            file.write(bytes(-file.tell() % 64) + x.tobytes())
    if not language:
        return
    (folder / "model.grad").write_text(language)
    for i, (name, x) in enumerate(zip(gradient.ir.parameter_names, arrays, strict=True)):
        np.save(folder / f"input-{i}-{name}.npy", x.reshape(np.shape(inputs[i])))


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
    start = spent()
    call = build()
    call()
    facts = {"compile": spent() - start}
    result = getattr(call, "shaped", call)
    prepared = Prepared({framework: Entry(_python_entry(call).run, result)}, facts)
    yield prepared
    yield prepared


def _numpy(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    gradient = workload.peers["numpy"](sizes)
    return direct(gradient, inputs)


def _jax(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    import jax

    jitted = jax.jit(workload.peers["jax"](sizes))
    there = [jax.device_put(x) for x in inputs]
    call = direct(jitted, there)
    return lambda: jax.block_until_ready(call())


def _torch(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    compiled = torch.compile(workload.peers["torch"](sizes))
    there = [torch.as_tensor(x) for x in inputs]
    return direct(compiled, there)


def _pytensor(workload: Workload, sizes: Sizes, inputs: Sequence[Any]) -> Callable[[], Any]:
    import pytensor

    variables, outputs = workload.peers["pytensor"](sizes)
    compiled = pytensor.function(variables, outputs, mode="NUMBA", trust_input=True)
    return direct(compiled, inputs)


def _by_columns(x: Any, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """The entries in CasADi's order; a matrix that the model takes transposed lies so already."""
    is_transposed = x.ndim != 2 or (x.shape != size and x.shape == size[::-1])
    return np.array(np.ravel(x, order="C" if is_transposed else "F"), np.float64)


def _casadi(
    workload: Workload, sizes: Sizes, inputs: Sequence[Any], folder: Path
) -> Callable[[], Any]:
    """CasADi's generated C, compiled as the hand-written C++ is, called through its buffers."""
    import casadi

    made = workload.peers["casadi"](sizes)
    generated = made.generate("generated.c")
    library = folder / "casadi.so"
    compile_library(Path(generated), library, ("gcc", *OPTIMISED))
    external = casadi.external(made.name(), str(library))
    buffer, trigger = external.buffer()
    there = [_by_columns(x, made.size_in(i)) for i, x in enumerate(inputs)]
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
        sizes_out = [made.size_out(i) for i in range(made.n_out())]
        return [
            y.reshape(shape, order="F" if tuple(shape) == given else "C")
            for y, shape, given in zip(results, shapes, sizes_out, strict=True)
        ]

    call.shaped = shaped  # type: ignore[attr-defined]
    return call
