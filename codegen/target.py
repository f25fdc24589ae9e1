"""The machine to compile for, and the way from LLVM text to an object or assembly.

llvmlite is imported when it is first needed: loading it takes a tenth of a second, and a program
that only runs compiled models never does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from gradc.ir.record import dataclass

if TYPE_CHECKING:
    from llvmlite import binding  # type: ignore[import-untyped]


LINE_BYTES = 64  # of a cache


@dataclass(frozen=True, slots=True)
class Target:
    """A machine as LLVM names it; `vector_bits` is the width of its widest vector register."""

    triple: str
    cpu: str = ""
    features: str = ""  # "+avx2,-fma"
    vector_bits: int = 128

    @property
    def has_masked_memory(self) -> bool:
        """Whether masked vector loads and stores cost no more than plain ones."""
        return self.vector_bits >= 512

    @property
    def has_masked_loads(self) -> bool:
        """Whether loads and stores of 4-byte and 8-byte elements can be masked; stores are slow."""
        return self.vector_bits >= 256 and self.triple.startswith(("x86_64", "amd64"))

    @property
    def repeats_numbers(self) -> bool:
        """Whether an operand in memory may be one number for all lanes; else it is a vector."""
        return not (self.triple.startswith(("x86_64", "amd64")) and self.vector_bits == 256)

    @property
    def has_wide_products(self) -> bool:
        """Whether a product of 128 bits is instructions, and no call."""
        return self.triple.startswith(("x86_64", "amd64", "aarch64", "arm64"))

    @property
    def pointer_bits(self) -> int:
        """The width of `size_t`."""
        narrow = ("wasm32", "i386", "i486", "i586", "i686", "arm-", "armv", "thumb", "riscv32")
        return 32 if self.triple.startswith(narrow) else 64

    @property
    def abi(self) -> str:
        """The calling convention to name in modules; empty where LLVM chooses the platform's."""
        return "lp64d" if self.triple.startswith("riscv64") else ""

    @property
    def has_fma(self) -> bool:
        """Whether a fused multiply-add is an instruction, and no call of libm."""
        if not self.triple.startswith(("x86_64", "i686", "i386", "amd64", "wasm")):
            return True
        listed = f",{self.features},"
        return ",+fma," in listed or ("fma" in _known_features(self.cpu) and ",-fma," not in listed)

    def __str__(self) -> str:
        return f"{self.triple}/{self.cpu}/{self.features}".rstrip("/")


class CompileError(Exception):
    """LLVM refused a module, or does not know a target: the message is LLVM's own."""


@cache
def host() -> Target:
    """This machine, with all its features."""
    llvm = _llvm()
    flags = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    features = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(flags.items()))
    enabled = {name for name, on in flags.items() if on}
    return Target(triple, llvm.get_host_cpu_name(), features, _vector_bits(triple, enabled))


def parse_target(text: str) -> Target:
    """Read "native", a CPU of this machine's kind ("x86-64-v3"), or "triple[/cpu[/features]]".

    "aarch64-linux-gnu/neoverse-n1", "x86_64-linux-gnu/x86-64-v4", "x86_64-linux-gnu//+avx2,+fma".
    Raises ValueError for a target that LLVM does not know.
    """
    text = text.strip()
    if text in ("", "native", "host"):
        return host()
    parts = text.split("/")
    if len(parts) > 3:
        raise ValueError(f"a target is triple/cpu/features, not {text!r}")
    if len(parts) == 1 and (text.count("-") < 2 or text.startswith("x86-64")):
        parts = [_llvm().get_process_triple(), text]
    triple, cpu, features = (*parts, "", "")[:3]
    if triple.startswith("riscv64") and not cpu and not features:
        cpu, features = "generic-rv64", "+m,+a,+f,+d,+c"  # what Linux distributions assume
    enabled = _known_features(cpu) | {f[1:] for f in features.split(",") if f.startswith("+")}
    target = Target(triple, cpu, features, _vector_bits(triple, enabled))
    _check(target)
    return target


def compile_to_object(text: str, target: Target) -> bytes:
    """The relocatable object of a module of LLVM text; CompileError with LLVM's reason."""
    module, machine = _optimised(text, target)
    return bytes(machine.emit_object(module))


def compile_to_assembly(text: str, target: Target) -> str:
    """The assembly of a module of LLVM text; CompileError with LLVM's reason."""
    module, machine = _optimised(text, target)
    return str(machine.emit_assembly(module))


def _optimised(text: str, target: Target) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    llvm = _llvm()
    machine = _machine(target)
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM refuses the module: {error}") from error
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(1)
    builder = llvm.create_pass_builder(machine, options)
    # Vector functions are inlined; the rest is written as it should run: only redundancy goes.
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    if " alloca " in text:
        passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)
    return module, machine


def _machine(target: Target) -> binding.TargetMachine:
    """A fresh machine: LLVM's own are not safe to share between threads."""
    llvm = _llvm()
    if target.triple != llvm.get_process_triple():
        _initialize_all()
    try:
        found = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise CompileError(f"LLVM knows no target {target.triple!r}: {error}") from error
    features = target.features
    if target.triple.startswith("x86_64"):  # without these, LLVM ends the process
        features = ",".join(part for part in (features, "+64bit", "+sse2") if part)
    return found.create_target_machine(
        cpu=target.cpu, features=features, opt=1, reloc="pic", codemodel="default"
    )


def _check(target: Target) -> None:
    """Raise ValueError for what LLVM does not know, and would only complain of before it aborts."""
    try:
        with _standard_error_of_llvm() as complaints:
            _machine(target)
    except CompileError as error:
        raise ValueError(f"{error}; a target is triple/cpu/features, as LLVM names them") from error
    unknown = re.search(r"'([^']*)' is not a recognized (processor|feature)", "".join(complaints))
    if unknown is not None:
        kind = "CPU" if unknown[2] == "processor" else "feature"
        raise ValueError(
            f"LLVM knows no {kind} {unknown[1]!r} for {target.triple}; CPUs are named as in "
            "x86-64-v3, znver4, skylake-avx512, neoverse-n1, features as in +avx2,+fma"
        )


@contextmanager
def _standard_error_of_llvm() -> Iterator[list[str]]:
    """What LLVM writes to the process' standard error meanwhile, in the list at the end."""
    complaints: list[str] = []
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield complaints
        return
    with TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield complaints
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            complaints.append(file.read().decode(errors="replace"))


@cache
def _llvm() -> binding:
    """LLVM, ready for this machine."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def _initialize_all() -> None:
    """Make LLVM ready for other machines, too: it has two dozen kinds."""
    llvm = _llvm()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


_LEVELS = {"x86-64-v3": {"avx2", "fma"}, "x86-64-v4": {"avx512f", "avx2", "fma"}}
_AVX512 = (
    *("znver4", "znver5", "skylake-avx512", "cascadelake", "cooperlake", "icelake", "rocketlake"),
    *("tigerlake", "sapphirerapids", "emeraldrapids", "graniterapids", "diamondrapids"),
)
_AVX2 = (
    *("znver", "haswell", "broadwell", "skylake", "alderlake", "raptorlake", "meteorlake"),
    *("arrowlake", "lunarlake", "gracemont", "sierraforest", "core-avx2"),
)


def _known_features(cpu: str) -> set[str]:
    """The features that decide the vector width of a CPU that is known by name."""
    if cpu in _LEVELS:
        return _LEVELS[cpu]
    if cpu.startswith(_AVX512):
        return {"avx512f", "avx2", "fma"}
    return {"avx2", "fma"} if cpu.startswith(_AVX2) else set()


def _vector_bits(triple: str, features: set[str]) -> int:
    if "avx512f" in features:
        return 512
    return 256 if features & {"avx", "avx2"} else 128
