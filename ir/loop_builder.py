"""Builds loop IR: each instruction is placed once, in the outermost loop where its operands exist.

So loop-invariant code is hoisted and repeated code shared while it is written.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field

from gradc.ir.dims import Dim
from gradc.ir.loops import (
    MATH_FUNCTIONS,
    Accumulator,
    Buffer,
    For,
    If,
    Instruction,
    Ref,
    Require,
    Statement,
    Store,
)
from gradc.ir.record import dataclass
from gradc.ir.types import DType, bool_, i64

_FOLDED: dict[str, Callable[..., int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
    "min": min,
    "max": max,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "not": operator.not_,
    "cast": int,
}
_FAR = 1 << 32  # offsets of this size are left as they are: no sum of a few overflows
_COMMUTATIVE = frozenset({"add", "mul", "term", "eq", "ne", "and", "or", "xor"})


@dataclass(slots=True)
class _Block:
    statements: list[Statement]
    known: dict[object, Ref] = field(default_factory=dict)
    accumulators: list[Accumulator] | None = None  # of the loop whose body this is
    condition: int = 0  # the number of the condition whose body this is


class LoopBuilder:
    """Writes the statements of one kernel. Op rules use its scalar methods; refs are its values."""

    def __init__(self) -> None:
        self.body: list[Statement] = []
        self._blocks = [_Block(self.body)]
        self._mask: Ref | None = None
        self._constants: dict[Ref, object] = {}
        self._absent: set[Ref] = set()  # zeros that stand in known places
        self._in_range: set[tuple[Ref, Ref]] = set()  # indices and lengths
        self._conditions = 0  # opened so far
        self._variables: set[Ref] = set()  # of loops
        self._offsets: dict[Ref, tuple[Ref, int]] = {}  # integers that are others plus a number
        self._apart: tuple[Ref, list[Ref], int] | None = None  # see `apart`
        self.divided = False  # whether an `Index` had to divide a flat position into coordinates

    # --- scalars -----------------------------------------------------------------------------

    def const(self, value: float, dtype: DType) -> Ref:
        """A number of the given dtype."""
        key = (repr(value), type(value))  # tells -0.0 from 0.0, and one nan from none
        return self._emit("const", (), dtype, value=value, key=key)

    def known(self, a: Ref) -> int | float | None:
        """The number that a `const` holds; None for a ref that is computed."""
        value = self._constants.get(a)
        return value if isinstance(value, int | float) else None

    def absent(self, a: Ref) -> Ref:
        """`a`; a floating-point zero that is known, as an entry that is not there.

        It is left out of sums, and products with it, and what is divided, are it: also beside an
        infinity or a nan. So are the zeros of an identity matrix, or those around a pad's block.
        """
        if not a.dtype.is_float or self.known(a) != 0 or a in self._absent:
            return a
        zero = self._emit("const", (), a.dtype, value=0.0, key="absent")
        self._absent.add(zero)
        return zero

    def index(self, value: int) -> Ref:
        """An integer as an index (i64)."""
        return self.const(value, i64)

    def size(self, dim: Dim) -> Ref:
        """The value of a dimension, as i64."""
        return (
            self.const(dim, i64) if isinstance(dim, int) else self._emit("size", (), i64, value=dim)
        )

    def add(self, a: Ref, b: Ref) -> Ref:
        if self._is_nothing(a):
            return b
        if self._is_nothing(b):
            return a
        for one, other in ((a, b), (b, a)):
            number = self.known(other) if other.dtype is i64 else None
            if number is not None and self.known(one) is None:
                return self._shifted(one, int(number))
        return self._emit("add", (a, b), a.dtype)

    def _shifted(self, a: Ref, by: int) -> Ref:
        """An integer plus a number; of several numbers their sum, so that equals are one."""
        base, before = self.offset(a)
        if abs(before + by) >= _FAR:
            base, before = a, 0
        if before + by == 0:
            return base
        result = self._emit("add", (base, self.const(before + by, i64)), i64)
        self._offsets[result] = (base, before + by)
        return result

    def offset(self, a: Ref) -> tuple[Ref, int]:
        """What an integer is the sum of: another one, and a number."""
        return self._offsets.get(a, (a, 0))

    def sub(self, a: Ref, b: Ref) -> Ref:
        if a in self._absent:
            return self.unary("neg", b)
        number = self.known(b) if b.dtype is i64 else None
        if number is not None and self.known(a) is None and abs(number) < _FAR:
            return self.add(a, self.const(-number, i64))
        return a if self._is_nothing(b) else self._emit("sub", (a, b), a.dtype)

    def mul(self, a: Ref, b: Ref) -> Ref:
        return self._product("mul", a, b)

    def term(self, a: Ref, b: Ref) -> Ref:
        """`a * b` as a term of a sum, which may round product and sum together."""
        return self._product("term", a, b)

    def div(self, a: Ref, b: Ref) -> Ref:
        """The quotient of floats."""
        return a if a in self._absent else self._emit("div", (a, b), a.dtype)

    def floordiv(self, a: Ref, b: Ref) -> Ref:
        """The quotient rounded down, of integers (by zero: 0)."""
        return a if self._is_one(b) else self._emit("floordiv", (a, b), a.dtype)

    def mod(self, a: Ref, b: Ref) -> Ref:
        """`a - floor(a / b) * b` of integers, with the sign of b (by zero: 0)."""
        return self._emit("mod", (a, b), a.dtype)

    def fma(self, a: Ref, b: Ref, c: Ref) -> Ref:
        """`a * b + c`, rounded once."""
        return self._emit("fma", (a, b, c), a.dtype)

    def unary(self, op: str, a: Ref) -> Ref:
        """neg, abs, floor, ceil, trunc, round, sqrt, popcount (same dtype), isnan, not (bool)."""
        if a in self._absent and op != "isnan":
            return a
        return self._emit(op, (a,), bool_ if op in ("isnan", "not") else a.dtype)

    def binary(self, op: str, a: Ref, b: Ref) -> Ref:
        """min, max, copysign, and, or, xor: the dtype of the operands."""
        return self._emit(op, (a, b), a.dtype)

    def compare(self, op: str, a: Ref, b: Ref) -> Ref:
        """eq, ne, lt, le, gt, ge: bool."""
        if op in ("eq", "ne") and self._is_apart(a, b):
            return self.const(op == "ne", bool_)
        (x, before), (y, behind) = self.offset(a), self.offset(b)
        if x is y and not x.dtype.is_float and (a is b or op in ("eq", "ne")):
            return self.const(bool(_FOLDED[op](before, behind)), bool_)
        number = self.known(b)
        if x in self._variables and before and number is not None and abs(number) < _FAR:
            a, b = x, self.const(number - before, i64)  # so far, no loop counts
        return self._emit(op, (a, b), bool_)

    def in_range(self, index: Ref, length: Ref) -> Ref:
        """Whether 0 <= index < length: true where that is known."""
        if (index, length) in self._in_range:
            return self.const(True, bool_)
        above = self.compare("ge", index, self.index(0))
        return self.binary("and", above, self.compare("lt", index, length))

    def know_in_range(self, index: Ref, length: Ref) -> None:
        """Take it that 0 <= index < length: the call has failed where it is not so."""
        self._in_range.add((index, length))

    def both(self, a: Ref | None, b: Ref | None) -> Ref | None:
        """The conjunction, where None and a true constant are true."""
        if a is b:
            return a
        for x in (a, b):
            if x is not None and self.known(x) is False:
                return x
        a, b = (None if x is None or self.known(x) else x for x in (a, b))
        if a is None or b is None:
            return a if b is None else b
        return self.binary("and", a, b)

    def combine(self, kind: str, a: Ref, b: Ref) -> Ref:
        """One step of a reduction: `kind` is "add", "mul", "min", "max", "and" or "or".

        A sum leaves out zeros that are constants; so it may be -0.0 where NumPy's is 0.0.
        """
        if kind == "add":
            if self._is_zero(a) or self._is_zero(b):
                return b if self._is_zero(a) else a
            return self.add(a, b)
        return self.mul(a, b) if kind == "mul" else self.binary(kind, a, b)

    def select(self, condition: Ref, if_true: Ref, if_false: Ref) -> Ref:
        if if_true is if_false:
            return if_true
        known = self.known(condition)
        if known is not None:
            return if_true if known else if_false
        return self._emit("select", (condition, if_true, if_false), if_true.dtype)

    def cast(self, a: Ref, dtype: DType) -> Ref:
        if a.dtype is dtype:
            return a
        if a in self._absent and dtype.is_float:
            return self.absent(self.const(0.0, dtype))
        found = self._emit("cast", (a,), dtype)
        return self.absent(found) if a.dtype is bool_ else found

    def call(self, name: str, *arguments: Ref) -> Ref:
        """A function of `MATH_FUNCTIONS`."""
        if MATH_FUNCTIONS.get(name) != len(arguments):
            raise ValueError(f"no mathematical function {name} of {len(arguments)} arguments")
        return self._emit("call", arguments, arguments[0].dtype, value=name)

    # --- memory ------------------------------------------------------------------------------

    def load(self, buffer: Buffer, index: Ref, *, stable: bool = True) -> Ref:
        """The element at a flat index; under `guard`, only where the condition holds.

        `stable`: nothing writes the buffer while the kernel runs, so the load may move.
        """
        operands = (index,) if self._mask is None else (index, self._mask)
        if stable:
            return self._emit("load", operands, buffer.type.dtype, buffer=buffer)
        result = Ref(buffer.type.dtype, self.depth)
        self._blocks[-1].statements.append(Instruction(result, "load", operands, buffer=buffer))
        return result

    def guard(self, condition: Ref, read: Callable[[], Ref], otherwise: Ref) -> Ref:
        """`read()` where the condition holds, else `otherwise`; nothing is loaded elsewhere."""
        known = self.known(condition)
        if known is not None:
            return read() if known else otherwise
        if self._is_required(condition):
            return read()
        with self.masked(condition):
            value = read()
        return self.select(condition, value, otherwise)

    @contextmanager
    def masked(self, condition: Ref) -> Iterator[None]:
        """Load and store only where the condition holds."""
        outer = self._mask
        if not self._is_required(condition):
            self._mask = self.both(outer, condition)
        try:
            yield
        finally:
            self._mask = outer

    @property
    def mask(self) -> Ref | None:
        """The condition under which loads and stores are written now; None: always."""
        return self._mask

    @contextmanager
    def apart(self, variable: Ref, most: int) -> Iterator[list[Ref]]:
        """Write code for where a loop's variable is none of the numbers it is compared with.

        Gives these numbers, which do not vary over the loop: at most so many; more are compared.
        """
        points: list[Ref] = []
        self._apart = (variable, points, most)
        try:
            yield points
        finally:
            self._apart = None

    def _is_apart(self, a: Ref, b: Ref) -> bool:
        """Whether one of two numbers is a variable that is taken to differ from the other."""
        if self._apart is None:
            return False
        variable, points, most = self._apart
        other = b if a is variable else a
        if variable not in (a, b) or other.depth >= variable.depth:
            return False
        if other not in points and len(points) < most:
            points.append(other)
        return other in points

    def require(self, condition: Ref, status: int) -> None:
        """Make the call fail with `status` if the condition is false (where it is evaluated).

        What comes later runs only where it holds. Without a mask it is asked where it is known.
        """
        key = ("require", condition, self._mask)
        if self.known(condition) or any(key in block.known for block in self._blocks):
            return
        depth = self.depth
        if self._mask is None:
            depth = max(condition.depth, self._innermost_condition)
        block = self._blocks[depth]
        block.known[key] = condition
        block.statements.insert(
            len(block.statements) - (depth < self.depth), Require(condition, status, self._mask)
        )

    def _is_required(self, condition: Ref) -> bool:
        key = ("require", condition, None)
        return any(key in block.known for block in self._blocks)

    def store(
        self, buffer: Buffer, index: Ref, value: Ref, mode: str = "set", repeat: bool = False
    ) -> None:
        """Write (or add to) an element; under `guard`, only where the condition holds."""
        self._blocks[-1].statements.append(Store(buffer, index, value, mode, self._mask, repeat))

    def append(self, statement: Statement) -> None:
        """Add a statement as it is."""
        self._blocks[-1].statements.append(statement)

    # --- structure ---------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """The number of open loops (and conditions)."""
        return len(self._blocks) - 1

    @contextmanager
    def loop(
        self,
        stop: Ref,
        start: Ref | None = None,
        *,
        step: int = 1,
        lanes: int = 1,
        copies: int = 1,
        streamed: tuple[Buffer, ...] = (),
        bits: Ref | None = None,
        padded: tuple[Buffer, ...] = (),
    ) -> Iterator[Ref]:
        """Write the body of a loop; gives the loop variable (i64)."""
        variable = Ref(i64, self.depth + 1)
        self._variables.add(variable)
        start = self.index(0) if start is None else start
        statement = For(variable, start, stop, [], [], step, lanes, copies, streamed, bits, padded)
        self._blocks[-1].statements.append(statement)
        self._blocks.append(_Block(statement.body, accumulators=statement.accumulators))
        try:
            yield variable
        finally:
            self._blocks.pop()

    @contextmanager
    def when(self, condition: Ref) -> Iterator[None]:
        """Write statements that run only where a uniform condition holds."""
        statement = If(condition, [])
        self._blocks[-1].statements.append(statement)
        self._conditions += 1
        self._blocks.append(_Block(statement.body, condition=self._conditions))
        try:
            yield
        finally:
            self._blocks.pop()

    @property
    def condition(self) -> int:
        """The number of the innermost open condition: what is read inside exists only there."""
        return max(block.condition for block in self._blocks)

    def reduce(self, kind: str, value: Ref, initial: Ref | None = None) -> Ref:
        """Accumulate `value` over the innermost open loop; the result exists after that loop."""
        accumulators = self._blocks[-1].accumulators
        if accumulators is None:
            raise ValueError("a reduction stands directly in a loop")
        result = Ref(i64 if kind == "bits" else value.dtype, self.depth - 1)
        accumulators.append(Accumulator(kind, value, result, initial))
        return result

    # --- placement ---------------------------------------------------------------------------

    def _emit(
        self,
        op: str,
        operands: tuple[Ref, ...],
        dtype: DType,
        value: object = None,
        buffer: Buffer | None = None,
        key: object = None,
    ) -> Ref:
        if operands and operands[0] in self._constants:
            folded = self._folded(op, operands, dtype)
            if folded is not None:
                return self.const(folded, dtype)
        order = operands
        if op in _COMMUTATIVE and id(operands[0]) > id(operands[1]):
            order = operands[::-1]
        key = (op, dtype.name, order, value if key is None else key, buffer)
        depth = 0
        for operand in operands:
            if operand.depth > depth:
                depth = operand.depth
        if op == "load":  # a condition that is still open may be what makes the read possible
            depth = max(depth, self._innermost_condition)
        block = self._blocks[depth]
        found = block.known.get(key)
        if found is not None:
            return found
        result = Ref(dtype, depth)
        block.known[key] = result
        made = Instruction(result, op, operands, value, buffer)
        # An inner loop that is being written is the last statement of each block around it.
        block.statements.insert(len(block.statements) - (depth < self.depth), made)
        if op == "const":
            self._constants[result] = value
        return result

    def _folded(self, op: str, operands: tuple[Ref, ...], dtype: DType) -> float | None:
        """The value of integer and logical arithmetic on constants, as the instruction gives it."""
        rule = _FOLDED.get(op)
        if rule is None or any(o.dtype.is_float for o in operands):
            return None
        values = [self.known(operand) for operand in operands]
        if any(value is None for value in values):
            return None
        found: int = rule(*values)
        if dtype.is_float or dtype is bool_:
            return float(found) if dtype.is_float else bool(found)
        half = 1 << (8 * dtype.itemsize - 1)
        return (found + half) % (2 * half) - half  # wraps around

    @property
    def _innermost_condition(self) -> int:
        conditions = (i for i, b in enumerate(self._blocks) if i and b.accumulators is None)
        return max(conditions, default=0)

    def _product(self, op: str, a: Ref, b: Ref) -> Ref:
        for one, other in ((a, b), (b, a)):
            number = self._constants.get(one)
            if one in self._absent or (number == 0 and one.dtype is i64):
                return one
            if number == 1:
                return other
        return self._emit(op, (a, b), a.dtype)

    def _is_nothing(self, a: Ref) -> bool:
        """Whether `a` is left out of sums: a zero of integers, or one that is not there."""
        return a in self._absent or (a.dtype is i64 and self._is_zero(a))

    def _is_zero(self, a: Ref) -> bool:
        return self._constants.get(a) == 0

    def _is_one(self, a: Ref) -> bool:
        return self._constants.get(a) == 1
