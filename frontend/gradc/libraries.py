"""Building shared libraries from functions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from gradc.codegen.cabi import exported_symbols, header, manifest_of
from gradc.codegen.choices import Choices
from gradc.codegen.external_code import compile_source
from gradc.codegen.fast_math import with_fast_math
from gradc.codegen.link import link
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.target import Target, compile_to_object, host, parse_target
from gradc.driver import CompiledFunction
from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.function import Function
from gradc.ir.ops.external import external_calls
from gradc.ir.passes.pipeline import DEFAULT, FAST, optimize


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What `build` wrote: files, their sizes in bytes, and the seconds of each stage."""

    library: Path
    header: Path
    manifest: Path
    bytes: Mapping[str, int]
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        files = ", ".join(f"{name} ({count:,} bytes)" for name, count in self.bytes.items())
        stages = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in self.seconds.items())
        return f"{files}\n{stages}"


def build(
    path: str | os.PathLike[str],
    functions: Mapping[str, CompiledFunction | Function] | None = None,
    /,
    *,
    target: str | Target | None = None,
    fast_math: bool = False,
    **named: CompiledFunction | Function,
) -> BuildReport:
    """Write a shared library with these functions, its C header and its manifest.

        gradc.build("libmodel.so", loss=loss, loss_grad=gradc.value_and_grad(loss, wrt="w"))

    writes `libmodel.so`, `model.h`, `model.json`: all three or none. `target` is as on the command
    line ("native", "x86-64-v3", "aarch64-linux-gnu/neoverse-n1"). `fast_math`, or a function made
    with it, lets the last digits of results differ (docs/numerics.md).

    Raises ValueError for a name that C cannot use, LinkError where no linker works, OSError.
    """
    twice = sorted(named.keys() & (functions or {}).keys())
    if twice:
        raise GradcValueError(f"build: {', '.join(twice)} is given twice")
    wanted = {**(functions or {}), **named}
    if not wanted:
        raise GradcValueError("build: there are no functions", hint="build(path, loss=loss)")
    graphs = {name: _graph(name, function) for name, function in wanted.items()}
    symbols = exported_symbols(graphs)
    library, c_header, json = _files(Path(path))
    machine = target if isinstance(target, Target) else parse_target(target or "native")
    seconds: dict[str, float] = {}
    with _timed("optimize", seconds):
        fast = {name for name, given in wanted.items() if fast_math or _is_fast(given)}
        optimized = {
            name: optimize(graph, FAST if name in fast else DEFAULT)
            for name, graph in graphs.items()
        }
    external = _external_files(optimized)
    with _timed("lower", seconds):
        choices = Choices(machine.vector_bits)
        programs = [
            with_fast_math(program) if program.name in fast else program
            for program in (lower(fn, name, choices) for name, fn in optimized.items())
        ]
    manifest = manifest_of(programs, machine)
    with _timed("emit", seconds):
        text = emit_module(programs, manifest, machine)
    with _timed("compile", seconds):
        code = compile_to_object(text, machine)
    with _timed("link", seconds), TemporaryDirectory(prefix=".gradc-", dir=library.parent) as name:
        folder = Path(name)
        triple = None if machine.triple == host().triple else machine.triple
        inputs = [
            compile_source(Path(file), folder, triple) if file.endswith(".c") else file
            for file in external
        ]
        link(code, folder / library.name, symbols, manifest, inputs=inputs)
        (folder / c_header.name).write_text(header(manifest, c_header.stem), encoding="utf-8")
        (folder / json.name).write_text(manifest + "\n", encoding="utf-8")
        for file in (json, c_header, library):
            os.replace(folder / file.name, file)
    sizes = {file.name: file.stat().st_size for file in (library, c_header, json)}
    return BuildReport(library, c_header, json, sizes, seconds)


def _external_files(functions: Mapping[str, Function]) -> tuple[str, ...]:
    """The files of external functions; GradcValueError for a function of this process only."""
    files: dict[str, None] = {}
    for name, fn in functions.items():
        for made, code in external_calls(fn):
            if code.python is not None:
                where = f" ({made.span})" if made.span else ""
                raise GradcValueError(
                    f"build: {name} calls the NumPy callback {code.name}{where}, which exists in "
                    "this process only",
                    hint="write it with gradc.tensor, or in C (gradc.external.c_function)",
                )
            files.update(dict.fromkeys(code.files))
    return tuple(files)


def _is_fast(function: object) -> bool:
    return isinstance(function, CompiledFunction) and function.fast_math


def _graph(name: str, function: object) -> Function:
    if isinstance(function, CompiledFunction):
        return replace(function.ir, name=name)
    if isinstance(function, Function):
        return replace(function, name=name)
    raise GradcTypeError(
        f"build: {name} is no gradc function: {function!r}", hint="decorate it with @gradc.function"
    )


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[stage] = perf_counter() - start


def _files(library: Path) -> tuple[Path, Path, Path]:
    """The library, its header and its manifest; OSError where they cannot be written."""
    stem = library.stem.removeprefix("lib") or library.stem
    files = (library, library.with_name(f"{stem}.h"), library.with_name(f"{stem}.json"))
    if not library.parent.is_dir():
        raise FileNotFoundError(f"build: there is no folder {library.parent}")
    if len(set(files)) < len(files):
        raise GradcValueError(f"build: {library.name} is no name for a library", hint="use .so")
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(f"build: {file} is a folder")
        if file.exists() and not file.is_file():  # a device or a pipe: it must not be replaced
            raise OSError(f"build: {file} is no regular file")
    return files
