"""What has to be known of a shared library's file before the dynamic loader sees it."""

from __future__ import annotations

import struct
import sys

# e_machine of the ELF header for the names that `platform.machine()` gives.
_MACHINES = {
    "x86_64": 62, "AMD64": 62, "aarch64": 183, "arm64": 183, "riscv64": 243, "ppc64le": 21,
    "s390x": 22, "i686": 3, "i386": 3, "armv7l": 40, "loongarch64": 258,
}  # fmt: skip
_NAMES = {62: "x86-64", 183: "AArch64", 243: "RISC-V", 21: "PowerPC 64", 22: "s390", 3: "x86",
          40: "ARM", 258: "LoongArch"}  # fmt: skip
_SHARED_OBJECT = 3
_HEADER_BYTES = {1: 52, 2: 64}


def elf_fault(data: bytes, machine: str) -> str | None:
    """Why `data` cannot be a shared library for `machine`, or None where it looks like one.

    Checks the ELF identification, type and machine, and that the file holds all that its section
    table announces (a shorter one is truncated).
    """
    if not data:
        return "it is empty"
    if data[:4] != b"\x7fELF":
        return f"it is no ELF shared library (it begins with {data[:4]!r})"
    if len(data) < _HEADER_BYTES.get(data[4], 64):
        return "it is truncated: the ELF header is incomplete"
    bits = struct.calcsize("P") * 8
    if data[4] != bits // 32:
        return f"it is foreign: made for {32 * data[4]}-bit programs, but this one has {bits} bits"
    if data[5] != (1 if sys.byteorder == "little" else 2):
        return "it is foreign: made for a machine of the other byte order"
    kind, made_for = struct.unpack_from("=HH", data, 16)
    if kind != _SHARED_OBJECT:
        return "it is an ELF file, but no shared library"
    wanted = _MACHINES.get(machine)
    if wanted is not None and made_for != wanted:
        name = _NAMES.get(made_for, f"machine {made_for}")
        return f"it is foreign: made for {name}, but this machine is {machine}"
    return _truncation(data, bits)


def _truncation(data: bytes, bits: int) -> str | None:
    offset_at, counts_at, word = (40, 58, "Q") if bits == 64 else (32, 46, "L")
    (offset,) = struct.unpack_from(f"={word}", data, offset_at)
    entry_bytes, count = struct.unpack_from("=HH", data, counts_at)
    needed = offset + entry_bytes * count
    if needed > len(data):
        return f"it is truncated: {len(data)} bytes of at least {needed}"
    return None
