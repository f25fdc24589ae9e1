"""Programs of loop IR as one module of LLVM text, with the symbols that callers use.

For a program `loss` the module exports `loss`, `loss_workspace`, `gradc_call_loss` and
`gradc_workspace_loss`, and once `gradc_manifest`; see docs/architecture.md. All else is internal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradc.codegen.llvm_entry import write_entries
from gradc.codegen.llvm_kernel import write_kernel
from gradc.codegen.llvm_product import product_scratch, with_scratch
from gradc.codegen.llvm_run import define_program
from gradc.codegen.llvm_shared import inline_what_is_called_once, repeated_loops
from gradc.codegen.llvm_text import KernelFunction, Module
from gradc.codegen.target import Target
from gradc.ir.collection import collection_paused
from gradc.ir.loops import Buffer, Program, programs_run
from gradc.ir.record import dataclass

_RESERVED = frozenset({"malloc", "free", "memset", "memcpy", "memmove", "gradc_manifest"})
# A call of a function of mathematics (`vector_math.symbol_of`).
_MATH_CALL = re.compile(r"= call [^@\n]*(@gradc\.[a-z0-9_]+\.(?:v\d+)?f(?:64|32))\(")
_LANES = re.compile(r"\.v(\d+)f(64|32)$")
_MOST_COPIES, _FEW_COPIES = 64, 8
_LONG = 64  # lines of a function beside which a call is a few in a hundred
_SLOT = re.compile(r"%slot\.\d+")
# Branch weights of a check that hardly ever fails, and of memory that is mostly there.
_METADATA = """!0 = !{!"branch_weights", i32 1048575, i32 1}
!1 = !{!"branch_weights", i32 1, i32 1023}
!9 = !{i32 1}"""

_ABI = '!llvm.module.flags = !{{!2}}\n!2 = !{{i32 1, !"target-abi", !"{}"}}\n'


@collection_paused()
def emit_module(
    programs: Sequence[Program], manifest: str, target: Target, *, in_process: bool = False
) -> str:
    """The LLVM text of a module with all programs; ValueError for names that collide.

    `in_process`: for a process that loads the object itself, with all arrays and a workspace in
    each call. It exports what generic callers need; its matrix products are found when it is loaded
    (`jit.load_with_products`).
    """
    _check_names(programs)
    module = Module(target, in_process, repeated=repeated_loops(programs))
    writing = _Writing(module, {}, {})
    if not in_process:
        _define_bytes(module, "@gradc_manifest", manifest.encode() + b"\0", exported=True)
    _define_bytes(module, "@gradc.zero", bytes(320))
    for program in programs:
        module.fast_math = program.fast_math
        scratch = product_scratch(program.kernels, target.vector_bits)
        slots = with_scratch(program.slots, scratch)
        kernels = _kernels(writing, program, f"gradc.{program.name}")
        write_entries(module, replace(program, slots=slots), kernels)
    inline_what_is_called_once(module)
    _call_what_stands_often(module)
    head = f'target triple = "{target.triple}"\n'
    abi = _ABI.format(target.abi) if target.abi else ""
    return f"{head}{module.text()}\n{_METADATA}\n{abi}"


@dataclass(frozen=True, slots=True)
class _Writing:
    """A module, the symbols of its constants by bytes, and of its functions by text."""

    module: Module
    shared: dict[bytes, str]
    same: dict[str, str]


def _kernels(writing: _Writing, program: Program, symbol: str) -> list[KernelFunction]:
    """Write the kernels of a program, before each the programs that it runs."""
    module = writing.module
    constants = _constants(module, program, writing.shared)
    found = []
    for i, kernel in enumerate(program.kernels):
        for body in programs_run(kernel):
            name = f"{symbol}.{i}.body"
            function = define_program(module, name, _kernels(writing, body, name))
            module.programs[body] = _once(module, writing.same, function)
        written = write_kernel(module, f"{symbol}.{i}", kernel, constants, len(program.slots))
        found.append(_once(module, writing.same, written))
    return found


def _call_what_stands_often(module: Module) -> None:
    """Vector functions that many places need are called there, rather than written out in each.

    Up to some hundred copies that saves the cost of the calls. More of them do not fit into the
    cache of instructions, and LLVM takes more than linear time for functions of such length. A
    heavy function costs LLVM most and its calls least: it is written out for a single place only.
    """
    sites = Counter(_MATH_CALL.findall("\n".join(module.definitions.values())))
    copies = _FEW_COPIES if sites.total() > _MOST_COPIES else sites.total()
    for symbol, count in sites.items():
        text = module.definitions[symbol]
        if count > (1 if _is_heavy(symbol, text, module.target.vector_bits) else copies):
            module.definitions[symbol] = text.replace(" alwaysinline ", " noinline ", 1)


def _is_heavy(symbol: str, text: str, vector_bits: int) -> bool:
    """Whether a function is long, and its values take two registers each: twice the code."""
    lanes = _LANES.search(symbol)
    is_wide = lanes is not None and int(lanes[1]) * int(lanes[2]) > vector_bits
    return is_wide and text.count("\n") > _LONG


def _check_names(programs: Sequence[Program]) -> None:
    taken: dict[str, str] = {}
    for program in programs:
        name = program.name
        symbols = (name, f"{name}_workspace", f"gradc_call_{name}", f"gradc_workspace_{name}")
        for symbol in symbols:
            if symbol in _RESERVED:
                raise ValueError(f"{name!r} cannot be exported: the name {symbol!r} is taken")
            if symbol in taken:
                raise ValueError(
                    f"{name!r} and {taken[symbol]!r} would both define the symbol {symbol!r}: "
                    "rename one of them"
                )
            taken[symbol] = name


def _constants(module: Module, program: Program, shared: dict[bytes, str]) -> Mapping[Buffer, str]:
    """Symbols for the constant buffers; equal bytes are stored once."""
    found = {}
    for buffer in program.constants:
        if buffer.data not in shared:
            shared[buffer.data] = f"@gradc.constant.{len(shared)}"
            _define_bytes(module, shared[buffer.data], buffer.data or b"\0")
        found[buffer] = shared[buffer.data]
    return found


def _once(module: Module, same: dict[str, str], kernel: KernelFunction) -> KernelFunction:
    """The kernel, or the one written before it that differs in names only.

    A value and its gradient often begin with the same loops. `same` maps texts to symbols.
    """
    text = module.definitions[kernel.symbol].partition(f"@{kernel.symbol}(")[2]
    slots: dict[str, str] = {}
    text = _SLOT.sub(lambda found: slots.setdefault(found[0], f"%slot.{len(slots)}"), text)
    symbol = same.setdefault(text, kernel.symbol)
    if symbol != kernel.symbol:
        del module.definitions[kernel.symbol]
    return replace(kernel, symbol=symbol)


def _define_bytes(module: Module, symbol: str, data: bytes, *, exported: bool = False) -> None:
    escaped = data.hex("\\").upper()
    linkage = "constant" if exported else "internal unnamed_addr constant"
    module.definitions[symbol] = f'{symbol} = {linkage} [{len(data)} x i8] c"\\{escaped}", align 64'
