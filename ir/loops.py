"""Loop IR: kernels over buffers, as data. Code generation turns a `Program` into LLVM IR.

A kernel is a list of statements. Scalar code is SSA: each `Instruction` defines one `Ref`. A loop
says how many of its iterations run together, and everything inside it is written for one:

* `lanes`: so many iterations are the lanes of a vector (at most one loop of a nest has lanes > 1);
* `copies`: so many (vectors of) iterations are unrolled side by side, so that values that do not
  depend on the loop are shared between them (register tiles).

A ref varies over a loop if it is computed from the loop's variable; one that does not is the same
for all lanes and copies. Loops inside a loop with lanes or copies have bounds that do not vary over
it; their accumulators exist once a lane and copy. Iterations that do not fill a vector are masked:
they load nothing, store nothing, and count as the identity of a reduction.

Reductions are associative in this IR; the order in which code generation combines lanes and copies
is fixed, so a result does not depend on alignment, threads or the machine's vector width alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import TypeAlias

from gradc.ir.dims import Dim
from gradc.ir.function import Requirement
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType, DType

# The closed set of instructions. Integer division rounds down; min, max: a NaN wins, as in NumPy.
# "term" is a product that a sum may absorb (rounded once, as fma does, where the machine can).
# exact_quotient(x, d, 1 / d) is x / d; popcount(i) is the number of bits that are set.
ARITHMETIC = (
    "add",
    "sub",
    "mul",
    "term",
    "div",
    "floordiv",
    "mod",
    "min",
    "max",
    "neg",
    "abs",
    "fma",
    "exact_quotient",
    "popcount",
)
ROUNDING = (
    "floor",
    "ceil",
    "trunc",
    "round",
    "sqrt",
    "copysign",
    "isnan",
)  # floats; round: to even
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")  # ordered but for ne, as in C; result bool
LOGIC = ("and", "or", "xor", "not")  # of bool
OTHER = ("const", "size", "index", "select", "cast", "load", "call")
INSTRUCTIONS = (*ARITHMETIC, *ROUNDING, *COMPARISONS, *LOGIC, *OTHER)

# The functions that `call` may name: floats in, one float out, all of one dtype.
# erf_from(x, exp(-(x * x))) is erf(x): others need that exponential as well.
MATH_FUNCTIONS = {
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "tanh": 1, "sigmoid": 1, "softplus": 1,
    "sin": 1, "cos": 1, "erf_from": 2, "atan2": 2, "pow": 2,
}  # fmt: skip

REDUCTIONS = ("add", "mul", "min", "max", "and", "or", "bits")


@dataclass(eq=False, slots=True)
class Ref:
    """A scalar that an instruction, a loop (its variable) or a reduction (its result) defines.

    Identity is equality. `depth` is the number of loops around its definition.
    """

    dtype: DType
    depth: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """A contiguous row-major array of `type.size` elements.

    `kind`: "input" (read only; a scalar is passed by value), "output" (written; aligned as its
    element), "temporary" (`slot` says which part of the arena), "constant" (`data` holds its
    bytes), "scratch" (static size, private to one kernel, on the stack).
    """

    name: str
    type: ArrayType
    kind: str
    slot: int = -1
    data: bytes = b""


@dataclass(frozen=True, eq=False, slots=True)
class Instruction:
    """`result = op(*operands)`.

    const: `value` is a Python number.   size: `value` is a dimension; its value as i64.
    call: `value` names a function.      load: `buffer` at the flat element index operands[0];
                                         where operands[1] (a bool) is false nothing is read and
                                         the result is zero.
    select: condition, if true, if false.    cast: to the result's dtype, as C does; to bool: != 0.
    """

    result: Ref
    op: str
    operands: tuple[Ref, ...] = ()
    value: object = None
    buffer: Buffer | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Store:
    """`buffer[index] = value`, or `+= value` for mode "add"; where `mask` is false, nothing.

    "add" of booleans is "or". With an index that does not vary over a loop's copies or lanes it
    adds all of them. Where indices vary, they are distinct over the lanes and copies that run
    together; if they may `repeat`, the iterations take effect one after the other, in their order.
    Where `apart` holds, some of them may add to the buffers `others` instead, which whoever reads
    the sums adds up.
    """

    buffer: Buffer
    index: Ref
    value: Ref
    mode: str = "set"
    mask: Ref | None = None
    repeat: bool = False
    others: tuple[Buffer, ...] = ()
    apart: Ref | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Accumulator:
    """A reduction over a loop: `result` is `kind` over all iterations of `value` (and `initial`).

    `initial` is a ref from outside the loop, or None for the identity (min, max: the largest,
    smallest value of the dtype; infinities for floats). "bits", of at most 64 iterations of step 1:
    an i64 whose bit j is the boolean of the iteration `start + j`.
    """

    kind: str
    value: Ref
    result: Ref
    initial: Ref | None = None


@dataclass(frozen=True, eq=False, slots=True)
class For:
    """`for variable in range(start, stop, step)`; see the module's text for lanes and copies.

    `step` is positive; lanes and copies need step 1. Results of accumulators are defined after it.
    Of the buffers in `streamed` each iteration writes the element of its own number, once, and
    nothing reads them soon: large ones may be written past the caches. With `bits`, an i64, a loop
    without lanes, copies and accumulators runs those iterations `start + j` whose bit j is set,
    which lie before the stop. The `padded` buffers have room for whole vectors from the start on:
    all of the loop's trips may read and write them so.
    """

    variable: Ref
    start: Ref
    stop: Ref
    body: list[Statement]
    accumulators: list[Accumulator] = field(default_factory=list)
    step: int = 1
    lanes: int = 1
    copies: int = 1
    streamed: tuple[Buffer, ...] = ()
    bits: Ref | None = None
    padded: tuple[Buffer, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class If:
    """Run `body` where `condition` holds; the condition does not vary over lanes or copies."""

    condition: Ref
    body: list[Statement]


@dataclass(frozen=True, eq=False, slots=True)
class Require:
    """A condition (it may vary, also under a mask) whose failure makes the call return `status`."""

    condition: Ref
    status: int
    mask: Ref | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Fill:
    """Set all of `buffer` to zero."""

    buffer: Buffer


@dataclass(frozen=True, eq=False, slots=True)
class Finish:
    """What is done with a product as parts of it become complete, while they are in the caches.

    `body` runs once for each part: the `rows` rows from `row` on and the `columns` columns from
    `column` on of the matrix `batch`; the five are refs (i64) that it may read, and it reads no
    others from outside. Every entry belongs to one part; the parts, and their order, depend on
    sizes and strides only. Of C the body reads and writes its own part; it may replace C by
    something else.
    """

    batch: Ref
    row: Ref
    rows: Ref
    column: Ref
    columns: Ref
    body: list[Statement]


@dataclass(frozen=True, eq=False, slots=True)
class MatMul:
    """C[b,i,j] = sum_k A[b,i,k] * B[b,k,j] (`accumulate`: +=) on the packed, register-tiled kernel.

    Each operand is a buffer, the flat index of its first element, and its element strides:
    (batch, row, column) as i64 refs. `finish` runs for each part of C that is complete. Of a
    product that is computed by `half`, m = n, the entries of C above the diagonal stay undefined.
    """

    batch: Ref
    m: Ref
    n: Ref
    k: Ref
    a: tuple[Buffer, Ref, tuple[Ref, Ref, Ref]]
    b: tuple[Buffer, Ref, tuple[Ref, Ref, Ref]]
    c: tuple[Buffer, Ref, tuple[Ref, Ref, Ref]]
    accumulate: bool = False
    finish: Finish | None = None
    half: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """`result = symbol(*arguments)`: a native function from elsewhere, not under a mask or lanes.

    An argument is a number, or a buffer and the flat index from which on it is passed, by address.
    Without a `result` the function returns nothing, or with `status` an int, which makes the call
    fail with STATUS_EXTERNAL if it is not 0.
    """

    symbol: str
    arguments: tuple[Ref | tuple[Buffer, Ref], ...]
    result: Ref | None = None
    status: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """Run another program, not under a mask or lanes: with these sizes, inputs, outputs, slots.

    An input is a number, or a buffer and the flat index from which on it is passed; so is an
    output. `slots` are the buffers in the place of the program's arena. What makes it fail makes
    the call fail.
    """

    program: Program
    sizes: tuple[Ref, ...]
    inputs: tuple[Ref | tuple[Buffer, Ref], ...]
    outputs: tuple[tuple[Buffer, Ref], ...]
    slots: tuple[Buffer, ...]


Plain: TypeAlias = Instruction | Store  # runs anywhere in a body, and holds no other
Statement: TypeAlias = "Instruction | Store | For | If | Require | Fill | MatMul | Call | Run"


@dataclass(frozen=True, eq=False, slots=True)
class Kernel:
    """One pass of native code; kernels of a program run in order. `note` says what it computes."""

    name: str
    body: list[Statement]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A part of the arena: it begins where the highest of the slots that it lies `on` ends.

    These have lower numbers; without any it lies at the bottom. Slots may overlap where none of
    the two lies on the other, not even by way of others: they are not in use at the same time.
    """

    bytes: Dim
    on: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Program:
    """What one exported function runs.

    The arena (the workspace) holds `slots`, whose bytes are rounded up to a multiple of 64.
    `sizes` are the names that dimensions read. `requires` are checked before anything runs.
    `fast_math`: sums may be reassociated, and every product fused with the sum that takes it.
    """

    name: str
    sizes: tuple[str, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    kernels: tuple[Kernel, ...]
    temporaries: tuple[Buffer, ...] = ()
    constants: tuple[Buffer, ...] = ()
    slots: tuple[Slot, ...] = ()
    requires: tuple[Requirement, ...] = ()
    fast_math: bool = False


def tops_of(slots: Sequence[Slot]) -> tuple[int, ...]:
    """The slots on which no other lies: the arena ends where the highest of them does."""
    covered = {below for slot in slots for below in slot.on}
    return tuple(number for number in range(len(slots)) if number not in covered)


def programs_run(kernel: Kernel) -> list[Program]:
    """The programs that a kernel runs."""
    pending, found = list(kernel.body), []
    while pending:
        statement = pending.pop()
        if isinstance(statement, Instruction):  # most of them
            continue
        if isinstance(statement, For | If):
            pending.extend(statement.body)
        elif isinstance(statement, Run):
            found.append(statement.program)
    return found[::-1]


# What a native function returns; negative: -1 - (the index of the requirement that failed).
STATUS_OK = 0
STATUS_OUT_OF_MEMORY = 1
STATUS_NEGATIVE_SIZE = 2
STATUS_INDEX_OUT_OF_RANGE = 3
STATUS_EXTERNAL = 4
