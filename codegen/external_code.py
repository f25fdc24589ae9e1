"""The code of external functions: objects for a linker, and addresses in this process."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from gradc.codegen.link import LinkError

_TIMEOUT_SECONDS = 300


def compile_source(source: Path, folder: Path, target: str | None = None) -> Path:
    """The object of a C source, in `folder`; `target` is a triple, None for this machine.

    The compiler is $CC, cc, or zig cc. Raises LinkError with the compiler's message.
    """
    compiler = _compiler(target)
    code = folder / f"{source.stem}-{len(list(folder.iterdir()))}.o"
    _run([*compiler, "-O2", "-fPIC", "-ffp-contract=off", "-c", str(source), "-o", str(code)])
    return code


def _compiler(target: str | None) -> tuple[str, ...]:
    given = shlex.split(os.environ.get("CC", "")) if target is None else []
    names = [given or ["cc"], ["gcc"], ["clang"]] if target is None else [[f"{target}-gcc"]]
    zig = ["cc"] if target is None else ["cc", "-target", target]
    candidates = [*names, ["zig", *zig]]
    for command in candidates:
        if shutil.which(command[0]) is not None:
            return tuple(command)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", *zig)
    tried = ", ".join(shlex.join(command) for command in candidates)
    raise LinkError(
        f"a C source needs a C compiler; looked for {tried}. Install one (Debian: apt-get "
        "install gcc), or give the function as an object or a library"
    )


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LinkError(f"{shlex.join(command)} could not be run: {error}") from error
    if done.returncode != 0:
        message = (done.stderr or done.stdout).strip()
        raise LinkError(f"{command[0]} failed with status {done.returncode}:\n{message}")


def address_in_process(symbol: str, files: tuple[str, ...]) -> int:
    """Where a function of these files (of libm and libc, if there are none) is in this process.

    Sources, objects and archives are made a library first. Raises LinkError, naming the symbol.
    """
    try:
        stamps = tuple(Path(file).stat().st_mtime_ns for file in files)
    except OSError as error:
        raise LinkError(f"{symbol} is in {error.filename}: {error.strerror}") from error
    for library in _loaded(files, stamps):
        try:
            function = library[symbol]
        except AttributeError:
            continue
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        return address
    where = ", ".join(files) or "this process and libm"
    raise LinkError(f"there is no function {symbol} in {where}")


@cache
def _loaded(files: tuple[str, ...], stamps: tuple[int, ...]) -> tuple[ctypes.CDLL, ...]:
    if not files:
        math = ctypes.util.find_library("m")
        return (ctypes.CDLL(None), *([ctypes.CDLL(math)] if math else []))
    libraries = [file for file in files if is_library(file)]
    rest = [file for file in files if not is_library(file)]
    found = [ctypes.CDLL(file, ctypes.RTLD_GLOBAL) for file in libraries]
    if rest:
        with tempfile.TemporaryDirectory(prefix="gradc-") as name:
            path = Path(name, "external.so")
            parts = [
                f"-Wl,--whole-archive,{f},--no-whole-archive" if f.endswith(".a") else f
                for f in rest
            ]
            flags = ["-O2", "-fPIC", "-ffp-contract=off", "-shared"]
            _run([*_compiler(None), *flags, "-o", str(path), *parts, "-lm"])
            found.insert(0, ctypes.CDLL(str(path)))
    return tuple(found)


def is_library(file: str) -> bool:
    """Whether a file is a shared library, by its name."""
    return ".so" in Path(file).suffixes or file.endswith((".dylib", ".dll"))
