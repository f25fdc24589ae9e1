"""Building shared libraries from functions."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from errno import EINVAL, EISDIR, ENOENT
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from gradc.codegen.cabi import exported_symbols, function_symbols, header, manifest_of
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
from gradc.ir.ops.external import external_calls, external_symbols
from gradc.ir.passes.pipeline import DEFAULT, FAST, optimize
from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What `build` wrote: files, their sizes in bytes, and the seconds of each stage."""

    library: Path
    header: Path
    manifest: Path
    bytes: Mapping[str, int]
    seconds: Mapping[str, float]

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.library, self.header, self.manifest

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
    return build_library(
        Path(path),
        graphs,
        {name: _docstring(function) for name, function in wanted.items()},
        target if isinstance(target, Target) else parse_target(target or "native"),
        frozenset(name for name, given in wanted.items() if fast_math or _is_fast(given)),
    )


def build_library(
    library: Path,
    graphs: Mapping[str, Function],
    documentation: Mapping[str, str],
    target: Target,
    fast: Collection[str] = (),
) -> BuildReport:
    """Write the library of graphs, its header and its manifest, see `build`.

    `documentation` says by name what functions do, `fast` which of them fast mathematics may touch.
    """
    symbols = exported_symbols(graphs)
    external = _external_files(graphs)
    files = output_files(library)
    seconds: dict[str, float] = {}
    with _timed("optimize", seconds):
        optimized = {
            name: optimize(graph, FAST if name in fast else DEFAULT)
            for name, graph in graphs.items()
        }
    with _timed("lower", seconds):
        choices = Choices(target.vector_bits)
        lowered = {name: lower(fn, name, choices) for name, fn in optimized.items()}
        programs = [with_fast_math(p) if name in fast else p for name, p in lowered.items()]
    manifest = manifest_of(programs, target, documentation)
    with _timed("emit", seconds):
        text = emit_module(programs, manifest, target)
    with _timed("compile", seconds):
        code = compile_to_object(text, target)
    with _timed("link", seconds), _folder_beside(library) as folder:
        triple = None if target.triple == host().triple else target.triple
        inputs = [
            compile_source(Path(file), folder, triple) if file.endswith(".c") else file
            for file in external
        ]
        made = [folder / file.name for file in files]
        link(code, made[0], symbols, manifest, inputs=inputs)
        made[1].write_text(header(manifest, made[1].stem), encoding="utf-8")
        made[2].write_text(manifest + "\n", encoding="utf-8")
        for file in reversed(files):
            os.replace(folder / file.name, file)
    return BuildReport(*files, {file.name: file.stat().st_size for file in files}, seconds)


@contextmanager
def _folder_beside(library: Path) -> Iterator[Path]:
    """A temporary folder on the same disk; OSError that names the place where none can be made."""
    try:
        folder = TemporaryDirectory(prefix=".gradc-", dir=library.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(library.parent)) from None
    with folder as name:
        try:
            yield Path(name)
        except OSError as error:
            if error.filename is None or Path(error.filename).parent != Path(name):
                raise
            file = library.with_name(Path(error.filename).name)
            raise OSError(error.errno, error.strerror, str(file)) from None


def _external_files(functions: Mapping[str, Function]) -> tuple[str, ...]:
    """The files of external functions; GradcValueError for a function of this process only."""
    files: dict[str, None] = {}
    calls = {name: external_calls(fn) for name, fn in functions.items()}
    symbols = external_symbols([call for found in calls.values() for call in found])
    for name in functions:
        if symbols.keys() & set(function_symbols(name)):
            raise GradcValueError(
                f"build: {name} is also the name of an external function that is called",
                hint="build it under another name: both become C symbols of one library",
            )
        for made, code in calls[name]:
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


def _docstring(function: object) -> str:
    """What the user wrote about a function of their own."""
    if not isinstance(function, CompiledFunction):
        return ""
    return cleandoc(vars(function).get("__doc__") or "")


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


def output_files(library: Path) -> tuple[Path, Path, Path]:
    """The library, its header and its manifest; OSError where they cannot be written."""
    stem = library.stem.removeprefix("lib") or library.stem
    names = (library.name, f"{stem}.h", f"{stem}.json")
    if not library.name or len(set(names)) < len(names):
        raise GradcValueError(
            f"build: {str(library)!r} is no name for a library", hint="name it like libmodel.so"
        )
    if not library.parent.is_dir():
        raise FileNotFoundError(ENOENT, "there is no such folder", str(library.parent))
    files = (library, library.with_name(names[1]), library.with_name(names[2]))
    for file in files:
        if file.is_dir():
            raise IsADirectoryError(EISDIR, "is a folder", str(file))
        if file.exists() and not file.is_file():  # a device or a pipe: it must not be replaced
            raise OSError(EINVAL, "is no regular file", str(file))
    return files
