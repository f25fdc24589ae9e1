"""Writing a vector function as LLVM text: terms with Python's operators, one instruction an
operation.

Only instructions and intrinsics that every target lowers to instructions are used: no call into
libm. Rounding to an integer is the addition of 1.5 * 2^52, not `llvm.roundeven`, which is a call on
x86-64 before SSE4.1. Where the machine has no fused multiply-add, `fma` is a product and a sum,
rounded twice: an algorithm that needs the exact product asks for `exact_product`, which then splits
the factors (Dekker 1971).

Constants are written where they are used, or read from a table of vectors: with AVX2 the operand in
memory of an instruction is a vector, and a constant in all lanes takes an instruction and a
register of its own, in functions that are half constants. Code that waits for results is then as
much slower as it is longer: so much less of it is in flight.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import field

from gradc.ir.record import dataclass
from gradc.ir.types import DType


@dataclass(frozen=True, slots=True)
class MathFunction:
    """An internal LLVM function: its symbol with the @, its text, and what the text calls.

    `dependencies` are other math functions (name, dtype, lanes); `declarations` are lines for
    intrinsics.
    """

    symbol: str
    text: str
    dependencies: tuple[tuple[str, DType, int], ...] = ()
    declarations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A binary format of floats: 1.f 2^e, f of `digits` bits, e + `bias` in the bits above them."""

    integer: str  # the type of its bits
    digits: int
    bias: int

    @property
    def round(self) -> float:
        """x + round - round is x rounded to an integer, which is in the low bits of x + round."""
        return 1.5 * 2.0**self.digits

    @property
    def smallest(self) -> float:
        """The smallest number that is not subnormal."""
        return 2.0 ** (1 - self.bias)

    @property
    def half_last(self) -> float:
        """Half a unit in the last place of a number just below 1."""
        return 2.0 ** (-self.digits - 2)


WIDTHS = {"double": 8, "float": 4, "i64": 8, "i32": 4}  # bytes
FORMATS = {"double": Format("i64", 52, 1023), "float": Format("i32", 23, 127)}


@dataclass(frozen=True, slots=True)
class Term:
    """A value of the function that `code` writes: an SSA name or a constant, of an element type."""

    code: Code
    text: str
    element: str  # "double", "float", "i64", "i32" or "i1"

    @property
    def format(self) -> Format:
        """That of a float."""
        return FORMATS[self.element]

    def __add__(self, other: Term | float) -> Term:
        return self.code.binary("add", self, other)

    def __radd__(self, other: float) -> Term:
        return self.code.binary("add", self.code.constant(other, self.element), self)

    def __sub__(self, other: Term | float) -> Term:
        return self.code.binary("sub", self, other)

    def __rsub__(self, other: float) -> Term:
        return self.code.binary("sub", self.code.constant(other, self.element), self)

    def __mul__(self, other: Term | float) -> Term:
        return self.code.binary("mul", self, other)

    def __rmul__(self, other: float) -> Term:
        return self.code.binary("mul", self, other)

    def __truediv__(self, other: Term | float) -> Term:
        return self.code.binary("div", self, other)

    def __rtruediv__(self, other: float) -> Term:
        return self.code.binary("div", self.code.constant(other, self.element), self)

    def __neg__(self) -> Term:
        return self.code.emit(f"fneg {self.code.type_of(self.element)} {self.text}", self.element)

    def __and__(self, other: Term | int) -> Term:
        return self.code.bitwise("and", self, other)

    def __or__(self, other: Term | int) -> Term:
        return self.code.bitwise("or", self, other)

    def __xor__(self, other: Term | int) -> Term:
        return self.code.bitwise("xor", self, other)

    def __lshift__(self, count: int) -> Term:
        return self.code.shift("shl", self, count)

    def __rshift__(self, count: int) -> Term:
        return self.code.shift("lshr", self, count)

    def __lt__(self, other: Term | float) -> Term:
        return self.code.compare("olt", self, other)

    def __le__(self, other: Term | float) -> Term:
        return self.code.compare("ole", self, other)

    def __gt__(self, other: Term | float) -> Term:
        return self.code.compare("ogt", self, other)

    def __ge__(self, other: Term | float) -> Term:
        return self.code.compare("oge", self, other)


@dataclass(slots=True)
class Code:
    """The body of one function over `lanes` elements, as it grows."""

    lanes: int
    fma_is_fast: bool
    table: str = ""  # the symbol of the table from which constants are read; empty: there is none
    rows: list[str] = field(default_factory=list)  # of the table: vectors, with their types
    table_bytes: int = 0
    lines: list[str] = field(default_factory=list)
    declarations: set[str] = field(default_factory=set)
    dependencies: list[tuple[str, DType, int]] = field(default_factory=list)
    block: str = "entry"  # the label of the basic block that grows

    def type_of(self, element: str) -> str:
        """The LLVM type of `lanes` elements."""
        return element if self.lanes == 1 else f"<{self.lanes} x {element}>"

    def mangled(self, element: str) -> str:
        """The suffix of an intrinsic's name: f64, v8f64."""
        scalar = {"double": "f64", "float": "f32"}.get(element, element)
        return scalar if self.lanes == 1 else f"v{self.lanes}{scalar}"

    def emit(self, instruction: str, element: str) -> Term:
        """Append an instruction whose result has this element type."""
        name = f"%t{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return Term(self, name, element)

    def constant(self, value: float | int, element: str) -> Term:
        """The same number in every lane; a float is written exactly, by its bits."""
        text = float_text(value, element) if element in FORMATS else str(int(value))
        if self.lanes == 1:
            return Term(self, text, element)
        if self.table and value:  # zeros need no memory
            return self.read(text, element)
        return Term(self, f"splat ({element} {text})", element)

    def read(self, number: str, element: str) -> Term:
        """A constant from the table; uses do not share a place: they would need a register."""
        kind, width = self.type_of(element), WIDTHS[element] * self.lanes
        address = f"getelementptr (i8, ptr {self.table}, i64 {self.table_bytes})"
        self.table_bytes += width
        self.rows.append(f"{kind} splat ({element} {number})")
        return self.emit(f"load {kind}, ptr {address}, align {width}", element)

    def term(self, value: Term | float, element: str) -> Term:
        return value if isinstance(value, Term) else self.constant(value, element)

    def binary(self, name: str, left: Term, right: Term | float) -> Term:
        """fadd, fsub, fmul, fdiv of floats; add, sub, mul of integers."""
        op = f"f{name}" if left.element in FORMATS else name
        right = self.term(right, left.element)
        return self.emit(
            f"{op} {self.type_of(left.element)} {left.text}, {right.text}", left.element
        )

    def bitwise(self, op: str, left: Term, right: Term | int) -> Term:
        right = self.term(right, left.element)
        return self.emit(
            f"{op} {self.type_of(left.element)} {left.text}, {right.text}", left.element
        )

    def shift(self, op: str, left: Term, count: int) -> Term:
        """By a number that stands in the instruction."""
        number = str(count) if self.lanes == 1 else f"splat ({left.element} {count})"
        return self.emit(f"{op} {self.type_of(left.element)} {left.text}, {number}", left.element)

    def compare(self, predicate: str, left: Term, right: Term | float) -> Term:
        """fcmp of floats (ordered unless the predicate begins with u), icmp of integers."""
        op = "fcmp" if left.element in FORMATS else "icmp"
        right = self.term(right, left.element)
        text = f"{op} {predicate} {self.type_of(left.element)} {left.text}, {right.text}"
        return self.emit(text, "i1")

    def select(self, condition: Term, yes: Term | float, no: Term | float) -> Term:
        """Lane by lane: yes where the condition holds."""
        element = yes.element if isinstance(yes, Term) else no.element  # type: ignore[union-attr]
        yes, no = self.term(yes, element), self.term(no, element)
        kind = self.type_of(element)
        mask = f"{self.type_of('i1')} {condition.text}"
        return self.emit(f"select {mask}, {kind} {yes.text}, {kind} {no.text}", element)

    def minimum(self, bound: float, x: Term) -> Term:
        """min(x, bound), NaN where x is NaN: one `minpd` on x86."""
        limit = self.constant(bound, x.element)
        return self.select(self.compare("olt", limit, x), limit, x)

    def maximum(self, bound: float, x: Term) -> Term:
        """max(x, bound), NaN where x is NaN."""
        limit = self.constant(bound, x.element)
        return self.select(self.compare("ogt", limit, x), limit, x)

    def intrinsic(self, name: str, *terms: Term) -> Term:
        """A call of @llvm.<name> on terms of one type."""
        element = terms[0].element
        kind, symbol = self.type_of(element), f"@llvm.{name}.{self.mangled(element)}"
        self.declarations.add(f"declare {kind} {symbol}({', '.join([kind] * len(terms))})")
        arguments = ", ".join(f"{kind} {term.text}" for term in terms)
        return self.emit(f"call {kind} {symbol}({arguments})", element)

    def fma(self, a: Term, b: Term | float, c: Term | float) -> Term:
        """a * b + c, rounded once where that is one instruction, twice elsewhere."""
        b, c = self.term(b, a.element), self.term(c, a.element)
        return self.intrinsic("fma", a, b, c) if self.fma_is_fast else a * b + c

    def fabs(self, x: Term) -> Term:
        return self.intrinsic("fabs", x)

    def copysign(self, magnitude: Term, sign: Term) -> Term:
        return self.intrinsic("copysign", magnitude, sign)

    def cast(self, op: str, x: Term, element: str) -> Term:
        """bitcast, fpext, fptrunc, sitofp, sext, zext, trunc ... to another element type."""
        text = f"{op} {self.type_of(x.element)} {x.text} to {self.type_of(element)}"
        return self.emit(text, element)

    def bits(self, x: Term) -> Term:
        """The bits of a float, as an integer of its width."""
        return self.cast("bitcast", x, x.format.integer)

    def from_bits(self, x: Term) -> Term:
        return self.cast("bitcast", x, {"i64": "double", "i32": "float"}[x.element])

    def polynomial(self, coefficients: Sequence[float], x: Term) -> Term:
        """sum_i coefficients[i] x^i: the even and the odd part by Horner's rule in x^2, for a
        shorter chain.
        """
        if len(coefficients) < 5:
            return self.horner(coefficients, x)
        square = x * x
        even, odd = self.horner(coefficients[::2], square), self.horner(coefficients[1::2], square)
        return self.fma(odd, x, even)

    def horner(self, coefficients: Sequence[float], x: Term) -> Term:
        *lower, highest = coefficients
        value = self.constant(highest, x.element)
        for coefficient in reversed(lower):
            value = self.fma(value, x, coefficient)
        return value

    def exact_product(self, a: Term, b: Term) -> tuple[Term, Term]:
        """(high, low) with high + low = a * b exactly, if nothing under- or overflows."""
        high = a * b
        if self.fma_is_fast:
            return high, self.intrinsic("fma", a, b, -high)
        (a_high, a_low), (b_high, b_low) = self.halves(a), self.halves(b)
        low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
        return high, low

    def product_difference(self, a: Term, b: Term, c: Term) -> Term:
        """a - b c for b c close to a, rounded once."""
        if self.fma_is_fast:
            return self.intrinsic("fma", -b, c, a)
        high, low = self.exact_product(b, c)
        return (a - high) - low

    def halves(self, a: Term) -> tuple[Term, Term]:
        """a = high + low, where high has the upper half of the significand's bits."""
        high = self.from_bits(self.bits(a) & -(1 << (a.format.digits + 2) // 2))
        return high, a - high

    def fast_two_sum(self, a: Term, b: Term) -> tuple[Term, Term]:
        """(high, low) with high + low = a + b exactly, for |a| >= |b|."""
        high = a + b
        return high, b - (high - a)

    def two_sum(self, a: Term, b: Term) -> tuple[Term, Term]:
        """(high, low) with high + low = a + b exactly (Knuth)."""
        high = a + b
        b_part = high - a
        return high, (a - (high - b_part)) + (b - b_part)

    def unless_any(self, condition: Term, usual: Term, otherwise: Callable[[], Term]) -> Term:
        """`usual`, or, behind a branch taken if the condition holds in some lane, `otherwise`."""
        seldom, number, before = any_lane(self, condition), len(self.lines), self.block
        self.lines += [
            f"  br i1 {seldom.text}, label %seldom{number}, label %done{number}",
            f"seldom{number}:",
        ]
        other = otherwise()
        self.lines += [f"  br label %done{number}", f"done{number}:"]
        self.block = f"done{number}"
        kind = self.type_of(usual.element)
        return self.emit(
            f"phi {kind} [{usual.text}, %{before}], [{other.text}, %seldom{number}]", usual.element
        )

    def aggregate(self, kind: str, terms: Sequence[Term]) -> str:
        """The name of a structure of type `kind` with these fields."""
        text = "poison"
        for i, term in enumerate(terms):
            field_text = f"{self.type_of(term.element)} {term.text}"
            text = self.emit(f"insertvalue {kind} {text}, {field_text}, {i}", kind).text
        return text


def float_text(value: float, element: str) -> str:
    """LLVM's hexadecimal constant: a double, also where it stands for the `float` next to it."""
    if element == "float":
        (value,) = struct.unpack("<f", struct.pack("<f", value))
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def any_lane(code: Code, condition: Term) -> Term:
    """Whether a condition holds in some lane: one i1.

    The bits of the lanes are a number above 0: compared so, AVX moves them to a general register.
    Compared with 0 they would take `vtestpd`, two instructions, of which one waits for the unit
    that divides.
    """
    if code.lanes == 1:
        return condition
    mask = f"i{code.lanes}"
    packed = code.emit(f"bitcast {code.type_of('i1')} {condition.text} to {mask}", mask)
    number = code.emit(f"zext {mask} {packed.text} to i64", "i64")
    less = code.emit(f"sub i64 {number.text}, 1", "i64")
    return code.emit(f"icmp sge i64 {less.text}, 0", "i1")


def symbol_of(name: str, dtype: DType, lanes: int) -> str:
    """@gradc.exp.f64 for one lane, @gradc.exp.v8f64 for eight."""
    return f"@gradc.{name}.{'' if lanes == 1 else f'v{lanes}'}{dtype.name}"
