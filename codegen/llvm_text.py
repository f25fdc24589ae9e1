"""LLVM text: types, constants, and the writer of one function."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field

from gradc.codegen.target import Target
from gradc.ir.dims import Dim, FloorDiv
from gradc.ir.loops import Buffer, For, Program
from gradc.ir.record import dataclass
from gradc.ir.types import DType

_TYPES = {"f64": "double", "f32": "float", "i64": "i64", "i32": "i32", "bool": "i1"}
_MEMORY = {**_TYPES, "bool": "i8"}


def llvm_type(dtype: DType, lanes: int = 1) -> str:
    """The type of a value in registers; booleans are i1."""
    name = _TYPES[dtype.name]
    return name if lanes == 1 else f"<{lanes} x {name}>"


def memory_type(dtype: DType, lanes: int = 1) -> str:
    """The type of an element in memory; booleans are i8."""
    name = _MEMORY[dtype.name]
    return name if lanes == 1 else f"<{lanes} x {name}>"


def suffix(name: str, lanes: int = 1) -> str:
    """The end of an intrinsic's name: "f64", "v8f64"; `name` is a dtype's name, or i8, i1."""
    name = {"bool": "i1"}.get(name, name)
    return name if lanes == 1 else f"v{lanes}{name}"


def memory_suffix(dtype: DType, lanes: int) -> str:
    """The end of the name of an intrinsic on memory."""
    return f"v{lanes}{'i8' if dtype.kind == 'b' else dtype.name}"


def literal(value: object, dtype: DType, lanes: int = 1) -> str:
    """A constant, in all lanes."""
    text = _scalar_literal(value, dtype)
    return text if lanes == 1 else f"splat ({llvm_type(dtype)} {text})"


def _scalar_literal(value: object, dtype: DType) -> str:
    if dtype.kind == "b":
        return "true" if value else "false"
    if dtype.kind == "i":
        bits = 8 * dtype.itemsize
        return str((int(value) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1))  # type: ignore[call-overload]
    number = float(value)  # type: ignore[arg-type]
    if dtype.itemsize == 4:  # written as the double of the same value
        number = _round_to_f32(number)
    return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"


def _round_to_f32(number: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def is_number(text: str) -> bool:
    """Whether a scalar operand is an integer literal."""
    return text.lstrip("-").isdigit()


Source = Buffer | str | int  # what a kernel is given: a buffer, a size, a slot of the arena


@dataclass(frozen=True, slots=True)
class KernelFunction:
    """A kernel that was written: its symbol, and what to pass it, in order.

    A source is a buffer (its address, or its value if it is a scalar input), a size's name, or the
    number of a slot of the arena. One that `can_fail` returns a status, others return nothing.
    """

    symbol: str
    sources: tuple[Source, ...]
    can_fail: bool


@dataclass(slots=True)
class Module:
    """What the functions of one module share: each text once, by the symbol that it defines."""

    target: Target
    in_process: bool = False  # see `llvm.emit_module`
    fast_math: bool = False  # of the program that is being written
    declarations: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    repeated: Mapping[For, bool] = field(default_factory=dict)  # see `llvm_shared.repeated_loops`
    shared: dict[str, str] = field(default_factory=dict)  # texts of those functions -> symbols
    calls: Counter[str] = field(default_factory=Counter)  # of those functions, by symbols
    apart: set[str] = field(default_factory=set)  # those that are functions at any rate
    programs: dict[Program, KernelFunction] = field(default_factory=dict)  # those that kernels run

    def declare(self, symbol: str, text: str) -> str:
        """Declare an external function or an intrinsic; gives its symbol."""
        self.declarations.setdefault(symbol, f"declare {text}")
        return symbol

    def define_text(self, symbol: str, text: str) -> None:
        """Add functions written elsewhere, with the declarations that they need."""
        lines = text.split("\n")
        for line in lines:
            if line.startswith("declare "):
                start = line.index("@") + 1
                self.declare(line[start : line.index("(", start)], line.removeprefix("declare "))
        kept = [line for line in lines if not line.startswith("declare ")]
        self.definitions[symbol] = "\n".join(kept)

    def text(self) -> str:
        """All declarations and definitions, joined."""
        missing = [t for s, t in self.declarations.items() if s not in self.definitions]
        return "\n".join([*missing, *self.definitions.values(), ""])


_NAME = re.compile(r"%t\d+")


class Writer:
    """The lines of one function, in the order they run; methods give the name of their result."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.lines: list[str] = []
        self.block = "entry"  # the label of the basic block that is being written
        self.can_fail = False  # whether the function may return a status other than 0
        self.names = 0  # how many were given
        self.terms: dict[str, tuple[str, str]] = {}  # products that sums absorb, and their factors
        self.is_seldom = False  # whether what is written runs once a call, or hardly more often

    def name(self) -> str:
        """A new name for a value."""
        self.names += 1
        return f"%t{self.names}"

    def label(self, stem: str) -> str:
        """A new label for a basic block."""
        self.names += 1
        return f"{stem}.{self.names}"

    def let(self, text: str) -> str:
        """An instruction with a result."""
        self.names += 1
        result = f"%t{self.names}"
        self.lines.append(f"  {result} = {text}")
        return result

    def body(self) -> list[str]:
        """The lines, but for products that nothing reads: sums have absorbed them."""
        if not self.terms:
            return self.lines
        named = Counter(_NAME.findall("\n".join(self.lines)))
        return [x for x in self.lines if " = fmul " not in x or named[x.split(None, 1)[0]] > 1]

    def do(self, text: str) -> None:
        """An instruction without one."""
        self.lines.append(f"  {text}")

    def start(self, label: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch(self, condition: str, if_true: str, if_false: str) -> None:
        self.do(f"br i1 {condition}, label %{if_true}, label %{if_false}")

    def fail_unless(self, condition: str, status: int) -> None:
        """Return `status` from the function where the condition is false."""
        self.can_fail = True
        failed, fine = self.label("failed"), self.label("fine")
        self.do(f"br i1 {condition}, label %{fine}, label %{failed}, !prof !0")
        self.start(failed)
        self.do(f"ret i32 {status}")
        self.start(fine)

    def intrinsic(
        self, name: str, result: str, arguments: Sequence[tuple[str, str]], flags: str = ""
    ) -> str:
        """Call an intrinsic by its full name, with (type, value) arguments."""
        self.module.declare(name, f"{result} @{name}({', '.join(t for t, _ in arguments)})")
        given = ", ".join(f"{t} {v}" for t, v in arguments)
        return self.let(f"call {flags}{result} @{name}({given})")

    # --- 64-bit integers, folded where they are literals --------------------------------------

    def add(self, a: str, b: str) -> str:
        if a == "0" or b == "0":
            return b if a == "0" else a
        if is_number(a) and is_number(b):
            return str(int(a) + int(b))
        return self.let(f"add i64 {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        if b == "0":
            return a
        if is_number(a) and is_number(b):
            return str(int(a) - int(b))
        return self.let(f"sub i64 {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        if a == "1" or b == "1":
            return b if a == "1" else a
        if a == "0" or b == "0":
            return "0"
        if is_number(a) and is_number(b):
            return str(int(a) * int(b))
        return self.let(f"mul i64 {a}, {b}")

    def floor_divide(self, a: str, b: str) -> str:
        """`a // b` rounded down; 0 where b is 0."""
        if is_number(a) and is_number(b):
            return str(int(a) // int(b)) if int(b) else "0"
        zero = self.let(f"icmp eq i64 {b}, 0")
        minus = self.let(f"icmp eq i64 {b}, -1")
        unsafe = self.let(f"or i1 {zero}, {minus}")
        divisor = self.let(f"select i1 {unsafe}, i64 1, i64 {b}")
        quotient = self.let(f"sdiv i64 {a}, {divisor}")
        back = self.let(f"mul i64 {quotient}, {divisor}")
        rest = self.let(f"sub i64 {a}, {back}")
        sign = self.let(f"xor i64 {rest}, {b}")
        differs = self.let(f"icmp slt i64 {sign}, 0")
        inexact = self.let(f"icmp ne i64 {rest}, 0")
        lower = self.let(f"and i1 {differs}, {inexact}")
        step = self.let(f"sext i1 {lower} to i64")
        rounded = self.let(f"add i64 {quotient}, {step}")
        negated = self.let(f"sub i64 0, {a}")
        defined = self.let(f"select i1 {minus}, i64 {negated}, i64 {rounded}")
        return self.let(f"select i1 {zero}, i64 0, i64 {defined}")

    def dim(self, dim: Dim, sizes: dict[str, str]) -> str:
        """The value of a dimension; `sizes` are the operands that hold the named sizes."""
        if isinstance(dim, int):
            return str(dim)
        total = "0"
        for monomial, coefficient in dim.terms:
            term = str(coefficient)
            for atom in monomial:
                term = self.mul(self._atom(atom, sizes), term)
            total = self.add(total, term)
        return total

    def _atom(self, atom: str | FloorDiv, sizes: dict[str, str]) -> str:
        if isinstance(atom, str):
            return sizes[atom]
        return self.floor_divide(self.dim(atom.numerator, sizes), self.dim(atom.denominator, sizes))
