"""From an object to a shared library, with whatever linker the machine has.

The library exports the symbols it is asked to and no others, needs libc and libm at most (and only
if the object does), and has no executable stack. The file appears whole or not at all.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gradc.codegen.whole_file import write_whole
from gradc.ir.record import dataclass
from gradc.runtime.manifest import append_footer

# e_machine of an ELF object -> the prefix of GNU tools and the name zig has for the machine.
_MACHINES = {
    62: ("x86_64-linux-gnu", "x86_64-linux-gnu"),
    183: ("aarch64-linux-gnu", "aarch64-linux-gnu"),
    243: ("riscv64-linux-gnu", "riscv64-linux-gnu"),
    40: ("arm-linux-gnueabihf", "arm-linux-gnueabihf"),
    21: ("powerpc64le-linux-gnu", "powerpc64le-linux-gnu"),
    22: ("s390x-linux-gnu", "s390x-linux-gnu"),
}
_HOST_MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "armv7l": 40, "ppc64le": 21,
                  "s390x": 22}  # fmt: skip

_LINK_FLAGS = (
    "-z", "defs",  # an undefined symbol is an error now, not when the library is loaded
    "-z", "noexecstack",
    "-z", "relro",
    "-z", "now",
    "--hash-style=gnu",
    "--gc-sections",
    "--as-needed",
    "--build-id=none",
)  # fmt: skip
# No padding to whole pages around the code: that is half of a small library. It is what lld does
# anyway, and zig, which uses it, refuses to be told.
_WITHOUT_PADDING = ("-z", "noseparate-code")
_TIMEOUT_SECONDS = 300


class LinkError(Exception):
    """No linker was found, or the linker refused: the text holds its message."""


@dataclass(frozen=True, slots=True)
class Linker:
    """A command that links. `is_driver`: it takes linker flags as a C compiler does (`-Wl,`)."""

    command: tuple[str, ...]
    is_driver: bool

    def __str__(self) -> str:
        return shlex.join(self.command)


def link(
    code: bytes,
    path: str | os.PathLike[str],
    exports: Iterable[str],
    manifest: str,
    linker: Linker | None = None,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> None:
    """Write the shared library of the ELF object `code` to `path`, with the manifest's footer.

    `exports` are the symbols that stay visible. Without a `linker` the first one found is used, see
    `find_linker`. `inputs` are objects, archives and libraries that `code` needs; a library is
    looked for beside the one that is written, too. Raises LinkError, OSError; a file that was at
    `path` before then stays as it was.
    """
    target = Path(path)
    machine = _machine(code)
    found = find_linker(machine) if linker is None else linker
    with tempfile.TemporaryDirectory(prefix="gradc-") as folder:
        library = _run_linker(found, code, tuple(exports), Path(folder), tuple(map(str, inputs)))
    write_whole(target, append_footer(library, manifest), mode=0o777, durable=True)


def find_linker(machine: int | None = None) -> Linker:
    """The first of $CC, cc, ld, ld.lld, zig cc; for another machine its GNU tools, ld.lld, zig cc.

    `machine` is an ELF machine number, by default this machine's. LinkError names what was tried.
    """
    host = _HOST_MACHINES.get(platform.machine())
    candidates = tuple(_candidates(host if machine is None else machine, host))
    for candidate in candidates:
        if candidate.command[0] == sys.executable:
            if importlib.util.find_spec("ziglang") is not None:
                return candidate
        elif shutil.which(candidate.command[0]) is not None:
            return candidate
    tried = ", ".join(str(candidate) for candidate in candidates)
    raise LinkError(
        f"no linker was found; looked for {tried}. Install a C compiler (Debian: apt-get install "
        "gcc), a linker (binutils or lld), or the Python package ziglang"
    )


def _candidates(machine: int | None, host: int | None) -> Iterator[Linker]:
    is_native = machine == host or machine not in _MACHINES
    prefix, zig = ("", "native") if is_native else _MACHINES[machine or 0]
    if is_native:
        if compiler := shlex.split(os.environ.get("CC", "")):
            yield Linker(tuple(compiler), True)
        yield Linker(("cc",), True)
        yield Linker(("ld",), False)
    else:
        yield Linker((f"{prefix}-gcc",), True)
        yield Linker((f"{prefix}-ld",), False)
    yield Linker(("ld.lld",), False)
    yield Linker(("zig", "cc", "-target", zig), True)
    yield Linker((sys.executable, "-m", "ziglang", "cc", "-target", zig), True)


def _run_linker(
    linker: Linker, code: bytes, exports: tuple[str, ...], folder: Path, inputs: tuple[str, ...]
) -> bytes:
    source, script, output = folder / "code.o", folder / "exports.map", folder / "library.so"
    source.write_bytes(code)
    names = "".join(f" {name};" for name in exports)
    script.write_text(f"{{ global:{names} local: *; }};\n", encoding="ascii")
    flags = [*_LINK_FLAGS, f"--version-script={script}"]
    if not any("zig" in word for word in linker.command):
        flags.extend(_WITHOUT_PADDING)
    if inputs:
        flags.append("-rpath=$ORIGIN")
    if linker.is_driver:
        flags = ["-nostdlib", *(f"-Wl,{flag}" for flag in _joined(flags))]
    libraries = _libraries(linker, _machine(code)) if _has_undefined_symbols(code) else ()
    command = (*linker.command, "-shared", "-s", *flags, "-o", str(output), str(source))
    command = (*command, *inputs, *libraries)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LinkError(f"{linker} could not be run: {error}") from error
    if done.returncode != 0 or not output.exists():
        message = (done.stderr or done.stdout).strip()
        raise LinkError(f"{linker} failed with status {done.returncode}:\n{message}")
    return output.read_bytes()


def _joined(flags: list[str]) -> Iterator[str]:
    """The flags with every `-z` and its keyword in one, as `-Wl,` wants them."""
    words = iter(flags)
    for flag in words:
        yield f"-z,{next(words)}" if flag == "-z" else flag


def _libraries(linker: Linker, machine: int) -> tuple[str, ...]:
    """What an object with undefined symbols is linked with: libm and libc.

    A bare linker is given the files that programs run with; where there are none (another machine,
    another C library), the symbols stay undefined, for every process has a libc.
    """
    if linker.is_driver:
        return ("-lm", "-lc")
    if machine == _HOST_MACHINES.get(platform.machine()):
        multiarch = map(str, Path("/lib").glob("*-linux-*"))
        folders = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", *multiarch)
    else:
        folders = (f"/usr/{_MACHINES[machine][0]}/lib",) if machine in _MACHINES else ()
    if not any(Path(folder, "libc.so.6").exists() for folder in folders):
        return ("-z", "undefs")
    return (*(f"-L{folder}" for folder in folders), "-l:libm.so.6", "-l:libc.so.6")


def _machine(code: bytes) -> int:
    if len(code) < 64 or code[:4] != b"\x7fELF":
        raise LinkError(
            f"only ELF objects can be linked to shared libraries here; this one begins {code[:4]!r}"
        )
    (machine,) = struct.unpack_from(_order(code) + "H", code, 18)
    return int(machine)


def _has_undefined_symbols(code: bytes) -> bool:
    """Whether the object needs a library; for other than 64-bit objects it is taken to.

    Weak symbols (malloc, free, memset) need none: every process has a C library already, and a
    linker that reads the one of this machine takes three times as long.
    """
    if code[4] != 2:
        return True
    order = _order(code)
    (table,) = struct.unpack_from(order + "Q", code, 40)
    entry_bytes, count = struct.unpack_from(order + "HH", code, 58)
    for i in range(count):
        _, kind, _, _, offset, size = struct.unpack_from(
            order + "IIQQQQ", code, table + i * entry_bytes
        )
        if kind == 2:  # SHT_SYMTAB: symbols of 24 bytes; the first is empty, section 0: undefined
            symbols = (
                struct.unpack_from(order + "IBBH", code, at)
                for at in range(offset + 24, offset + size, 24)
            )
            return any(not section and info >> 4 != 2 for _, info, _, section in symbols)
    return False


def _order(code: bytes) -> str:
    return "<" if code[5] == 1 else ">"
