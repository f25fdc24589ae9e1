"""Compiled functions on disk, so that the next process need not compile them again.

An entry is named by the SHA-256 of all that decides the code: the text of the graph, the compiler's
own files, LLVM, and this CPU. It is written first as an object, which costs nothing, and becomes a
shared library when it is wanted again: a process that finds a library imports no LLVM at all.
Functions of a `.grad` file have a second name, by its text: who finds that does not even parse it.
Both end with the footer of gradc libraries, manifest and SHA-256, and are checked before use; what
is damaged counts as absent and is replaced.

`GRADC_CACHE` names the folder; `off` means none. By default it is `$XDG_CACHE_HOME/gradc`.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import time_ns

from gradc.codegen.whole_file import write_whole
from gradc.ir.record import dataclass
from gradc.ir.types import DType
from gradc.runtime._core import Library
from gradc.runtime.cpu import cpu_flags
from gradc.runtime.digest import sha256
from gradc.runtime.manifest import Manifest, ManifestError, append_footer, read_footer
from gradc.runtime.module import open_library

MAX_BYTES = 256 << 20
_FORMAT = "1"
_ENTRY = re.compile(r"[0-9a-f]{64}\.s?o|\.[0-9a-f]{64}\.s?o\.\w+")  # the others are temporary
_COMPILER = ("llvmlite", "gradc.ir", "gradc.codegen", "gradc.runtime")
_LANGUAGE = os.path.dirname(__file__)  # and the derivatives: what is above the compiler
_STARTED = time_ns()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a cache folder holds."""

    folder: Path
    entries: int
    bytes: int


def cache_folder() -> Path | None:
    """Where compiled functions are kept; None where they are not."""
    given = os.environ.get("GRADC_CACHE", "")
    if given.lower() in ("off", "0", "no", "none"):
        return None
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base, "gradc")
    with suppress(RuntimeError):  # there is no home
        return Path.home() / ".cache" / "gradc"
    return None


def entry_key(graph: str) -> str | None:
    """The name of the entry for a graph's text, compiled by this compiler for this machine.

    None where the compiler's files have changed since this process began, which may run the old.
    """
    return _key(graph)


def source_key(source: str, name: str) -> str | None:
    """The name of the entry for the function `name` of a source text; None as for `entry_key`."""
    return _key(f"-- the function {name} of\n{source}", _files_in(_LANGUAGE))


def _key(what: str, more: tuple[tuple[str, int, int], ...] = ()) -> str | None:
    parts, newest = _compiler()
    if max((newest, *(time for _, _, time in more))) > _STARTED:
        return None
    return sha256("\0".join((_FORMAT, *parts, *map(str, more), what)).encode()).hexdigest()


@cache
def _compiler() -> tuple[tuple[str, ...], int]:
    """What decides the code besides the graph: this CPU, LLVM, the files of the compiler.

    And the time at which the newest of these files was written, in nanoseconds.
    """
    machine = (platform.system(), platform.machine(), *sorted(cpu_flags()), cpu_model())
    files = [file for package in _COMPILER for file in _files_of(package)]
    return (*machine, *map(str, files)), max(time for _, _, time in files)


def cpu_model(path: str = "/proc/cpuinfo") -> str:
    """What LLVM tells CPUs apart by, of the first CPU listed; empty where it is not known."""
    keys = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part", "CPU variant")
    found = []
    with suppress(OSError), open(path, encoding="ascii", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in keys:
                found.append(value.strip())
            elif not key.strip():
                break
    return "/".join(found)


def _files_of(package: str) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a package's files: they change whenever it is installed anew."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return tuple(sorted(file for folder in folders for file in _listed(folder)))


@cache
def _files_in(folder: str) -> tuple[tuple[str, int, int], ...]:
    return tuple(sorted(_listed(folder)))


def _listed(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from () if entry.name == "__pycache__" else _listed(entry.path)
            elif entry.name.endswith((".py", ".so", ".dll", ".dylib")):
                found = entry.stat()
                yield entry.name, found.st_size, found.st_mtime_ns


# --- entries -------------------------------------------------------------------------------------


def open_entry(folder: Path, key: str, symbols: tuple[str, ...]) -> tuple[Manifest, Library] | None:
    """The manifest and the open library of an entry; None where there is none that is whole.

    An entry that is still an object becomes a library with these `symbols`, if there is a linker.
    """
    path = folder / f"{key}.so"
    found = _open(path)
    if found is None and (stored := read_object(folder, key)) and _link(stored, path, symbols):
        found = _open(path)
        if found is not None:
            _remove(folder / f"{key}.o")
    return found


def _open(path: Path) -> tuple[Manifest, Library] | None:
    try:
        found = open_library(path, is_own=True)
    except OSError:  # LoadError is one
        return None
    with suppress(OSError):
        os.utime(path)  # the least recently used entries go first
    return found


def read_object(folder: Path, key: str) -> tuple[bytes, str] | None:
    """The object and the manifest of an entry that is no library yet."""
    try:
        with open(folder / f"{key}.o", "rb") as file:
            if not _is_ours(file.fileno()):
                return None
            data = file.read()
        manifest = read_footer(data)
    except (OSError, ManifestError):
        return None
    return data[: len(data) - _footer_bytes(manifest)], manifest


def _is_ours(descriptor: int) -> bool:
    """Whether nobody else can have written the file."""
    return os.fstat(descriptor).st_uid in (os.geteuid(), 0)


def _footer_bytes(manifest: str) -> int:
    return len(append_footer(b"", manifest))


def _link(stored: tuple[bytes, str], path: Path, symbols: tuple[str, ...]) -> bool:
    """Make the library of an object and of the packed matrix products that it calls."""
    from tempfile import TemporaryDirectory

    from gradc.codegen.link import LinkError, link
    from gradc.codegen.product_names import products_in

    code, manifest = stored
    try:
        with TemporaryDirectory(prefix="gradc-") as name:
            products = []
            for dtype in products_in(code):
                products.append(Path(name, f"{dtype}.o"))
                products[-1].write_bytes(product_object(dtype))
            link(code, path, symbols, manifest, inputs=products)
    except (LinkError, OSError):
        return False
    return True


def store_object(folder: Path, key: str, code: bytes, manifest: str) -> None:
    """Add an entry, whole or not at all; a folder that cannot be written to is left alone."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(folder / f"{key}.o", append_footer(code, manifest), mode=0o600)
        if key.startswith("0"):  # one time in sixteen
            shrink(folder, MAX_BYTES)


def share_entry(folder: Path, key: str, other: str) -> None:
    """Give an entry, if it is there, another name, too; where files have one name it stays so."""
    for suffix in (".so", ".o"):
        with suppress(OSError):
            os.link(folder / f"{key}{suffix}", folder / f"{other}{suffix}")
            return


def product_object(dtype: DType) -> bytes:
    """The object of the packed matrix product: from the cache, or compiled and put there."""
    folder, key = cache_folder(), entry_key(f"-- the matrix product of {dtype}")
    stored = read_object(folder, key) if folder is not None and key is not None else None
    if stored is not None:
        return stored[0]
    from gradc.codegen.jit import compile_product

    code = compile_product(dtype)
    if folder is not None and key is not None:
        store_object(folder, key, code, "{}")
    return code


def _remove(path: str | Path) -> bool:
    with suppress(OSError):
        os.unlink(path)
        return True
    return False


# --- the folder ----------------------------------------------------------------------------------


def _entries(folder: Path) -> list[tuple[int, int, str]]:
    """Time of last use, bytes and path of all entries, and of what a process that died left."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _ENTRY.fullmatch(entry.name):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
    return sorted(found)


def summary(folder: Path) -> Summary:
    """How many entries there are, and their bytes."""
    entries = _entries(folder)
    return Summary(folder, len(entries), sum(size for _, size, _ in entries))


def shrink(folder: Path, limit: int) -> int:
    """Remove the least recently used entries until `limit` bytes are left; gives their number."""
    entries = _entries(folder)
    total, removed = sum(size for _, size, _ in entries), 0
    for _, size, path in entries:
        if total <= limit:
            break
        removed += _remove(path)
        total -= size
    return removed
