"""Loading a compiled library: it is checked first, and refused with the reason.

    model = load("libmodel.so")
    value, grad = model.loss_grad(w, X, y, 1e-2)

A file is looked at before the dynamic loader sees it: is it whole, made by gradc, for this
interface, this machine and this CPU? Neither LLVM nor a parser is imported.
"""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from gradc.ir.record import dataclass
from gradc.runtime._core import Library, NativeFunction
from gradc.runtime.cpu import cpu_flags, missing_features
from gradc.runtime.elf import elf_fault
from gradc.runtime.manifest import (
    FunctionEntry,
    Manifest,
    ManifestError,
    read_footer,
    read_manifest,
)


class LoadError(OSError):
    """A file that is not a library this program can run; the text says why."""


@dataclass(frozen=True, slots=True, repr=False)
class Module:
    """The functions of a library: `module.loss(...)`, or `module["loss"]`."""

    path: str
    manifest: Manifest
    functions: Mapping[str, NativeFunction]

    def __getattr__(self, name: str) -> NativeFunction:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self.functions[name]
        except KeyError:
            raise AttributeError(self._no_such(name), name=name, obj=self) from None

    def __getitem__(self, name: str) -> NativeFunction:
        try:
            return self.functions[name]
        except KeyError:
            raise KeyError(self._no_such(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)

    def __contains__(self, name: object) -> bool:
        return name in self.functions

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *self.functions]

    def __repr__(self) -> str:
        return f"<gradc module {self.path!r}: {', '.join(self.functions)}>"

    def _no_such(self, name: str) -> str:
        return f"{self.path} has no function {name!r}; it has {', '.join(self.functions)}"


def load(path: str | os.PathLike[str]) -> Module:
    """Open the library at `path`.

    Raises FileNotFoundError, and LoadError for a file that is truncated, corrupted, foreign, built
    by a newer gradc, or compiled for CPU features that this machine lacks.
    """
    name = os.fspath(path)
    manifest, library = open_library(path)
    try:
        functions = {entry.name: _bind(library, entry) for entry in manifest.functions}
    except (LookupError, ManifestError) as error:
        raise LoadError(f"cannot load {name}: {error}") from None
    return Module(name, manifest, MappingProxyType(functions))


def open_library(path: str | os.PathLike[str], *, is_own: bool = False) -> tuple[Manifest, Library]:
    """The manifest and the code of the library at `path`, checked as by `load`.

    `is_own`: the file has to belong to this user, or to root.
    """
    name = os.fspath(path)
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if is_own and os.fstat(descriptor).st_uid not in (os.geteuid(), 0):
            raise LoadError(f"cannot load {name}: it belongs to another user")
        manifest = check_library(_read(name, descriptor), name)
        return manifest, Library(_name_of(name, descriptor), descriptor)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and not isinstance(error, LoadError):
            raise LoadError(f"cannot load {name}: {error}") from error
        raise


def check_library(data: bytes, name: str) -> Manifest:
    """The manifest of a library's bytes; LoadError where this program cannot run it."""
    machine = platform.machine()
    if fault := elf_fault(data, machine):
        raise LoadError(f"cannot load {name}: {fault}")
    try:
        manifest = read_manifest(read_footer(data))
    except ManifestError as error:
        raise LoadError(f"cannot load {name}: {error}") from None
    target = manifest.target
    if missing := missing_features(target.cpu, target.features, cpu_flags()):
        raise LoadError(
            f"cannot load {name}: it was compiled for {target.cpu} and needs {', '.join(missing)}, "
            "which this CPU lacks; build it for this machine, or for an older CPU"
        )
    return manifest


def _read(name: str, descriptor: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise LoadError(f"cannot load {name}: it is no regular file")
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return file.read()


def _name_of(name: str, descriptor: int) -> str:
    """A name for the very file that was checked, unlike that of any library that was ever open.

    The dynamic loader takes a name it has seen for the library it then loaded, even if the file has
    been replaced since, or the descriptor's number stands for another file. So the name holds 40
    random bits, written in path components that change nothing: "./" and "/".
    """
    folder = f"/proc/{os.getpid()}/fd/"
    if not os.path.exists(f"{folder}{descriptor}"):
        return os.path.abspath(name)
    bits = f"{int.from_bytes(os.urandom(5), 'big'):040b}"
    return f"{folder}{''.join('./' if bit == '1' else '/' for bit in bits)}{descriptor}"


def _bind(library: Library, entry: FunctionEntry) -> NativeFunction:
    call = library.symbol(f"gradc_call_{entry.name}")
    workspace = library.symbol(f"gradc_workspace_{entry.name}")
    return NativeFunction(call, workspace, entry, library)
