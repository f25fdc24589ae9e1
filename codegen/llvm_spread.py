"""The values of loop IR refs while a kernel is written: one for all iterations, or one each.

A loop with copies runs several iterations side by side, and a loop with lanes puts several into
one vector register. A ref's value is therefore a `Spread`: over the copies of just those loops that
it varies with, and in one of three forms:

    uniform   the same scalar for all lanes
    affine    an integer `base + stride * lane`: an index, kept as two scalars so that consecutive
              elements become one vector load
    vector    a register with a lane an iteration
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cache
from itertools import product

from gradc.codegen.llvm_text import Module, Source, Writer, is_number, llvm_type
from gradc.ir.dims import Dim, is_nonnegative, names_of
from gradc.ir.loops import Buffer, Ref, Store
from gradc.ir.record import dataclass
from gradc.ir.types import DType, bool_, i64

Axes = tuple[tuple[int, int], ...]  # (nesting depth of a loop, its copies), outermost first


@dataclass(frozen=True, slots=True)
class Affine:
    """The integer `base + stride * lane`; both are scalar operands."""

    base: str
    stride: str


Entry = str | Affine


@dataclass(frozen=True, slots=True)
class Spread:
    """A ref's entries, row-major over the copies of the loops in `axes`."""

    axes: Axes
    entries: tuple[Entry, ...]
    is_vector: bool = False

    @property
    def varies_over_lanes(self) -> bool:
        return self.is_vector or Affine in map(type, self.entries)


def union(spreads: Iterable[Spread]) -> Axes:
    """The axes that any of the spreads varies over."""
    found: set[tuple[int, int]] = set()
    for spread in spreads:
        if spread.axes:
            found.update(spread.axes)
    return tuple(sorted(found)) if found else ()


def project(spread: Spread, axes: Axes) -> tuple[Entry, ...]:
    """The entry of `spread` for each combination of copies of `axes`, which contain its own."""
    if spread.axes == axes:
        return spread.entries
    return tuple(spread.entries[i] for i in _positions(spread.axes, axes))


@cache
def _positions(inner: Axes, outer: Axes) -> tuple[int, ...]:
    places = [outer.index(axis) for axis in inner]
    found = []
    for combination in product(*(range(copies) for _, copies in outer)):
        position = 0
        for place, (_, copies) in zip(places, inner, strict=True):
            position = position * copies + combination[place]
        found.append(position)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Stream:
    """The buffers that are streamed if `flag` holds, and where their first whole line begins."""

    buffers: frozenset[Buffer]
    flag: str
    first: str


@dataclass(slots=True)
class Splats:
    """Vectors of one scalar each, written before the loop with lanes that is open.

    `names` is how many the function had given by then: those come from outside of the loop.
    """

    names: int
    lines: list[str] = field(default_factory=list)
    vectors: dict[tuple[DType, int, str], str] = field(default_factory=dict)
    tables: dict[Buffer, str] = field(default_factory=dict)  # addresses, see `KernelState.table`

    def has_from_outside(self, scalar: str) -> bool:
        return not scalar.startswith("%t") or int(scalar[2:]) <= self.names


@dataclass(slots=True)
class KernelState:
    """What is known while one kernel is written."""

    module: Module
    w: Writer
    constants: Mapping[Buffer, str]  # global symbols
    product_slot: int  # where matrix products pack their operands
    values: dict[Ref, Spread] = field(default_factory=dict)
    axes: Axes = ()  # of the loops with copies that are open
    lanes: int = 1  # of the loop with lanes that is open
    mask: str | None = None  # the lanes that count, where not all do
    is_whole: str | None = None  # whether all lanes of the mask count, where they often do
    padded: tuple[Buffer, ...] = ()  # buffers with room for whole vectors
    natural: set[Ref] = field(default_factory=set)  # i64 refs that are certainly >= 0
    parameters: dict[str, str] = field(default_factory=dict)  # name -> "type attributes"
    sources: dict[str, Source] = field(default_factory=dict)  # what to pass for them
    numbers: dict[Buffer, int] = field(default_factory=dict)
    entry: list[str] = field(default_factory=list)  # lines of the entry block
    scratch: dict[Buffer, str] = field(default_factory=dict)
    dims: dict[Dim, str] = field(default_factory=dict)
    depth: int = 0  # the number of loops that are open
    scalars: dict[str, Sequence[str]] = field(default_factory=dict)  # the lanes of i64 registers
    stream: Stream | None = None  # of the innermost loop that is open
    splats: Splats | None = None  # of the loop with lanes that is open
    in_blocks: bool = True  # whether the loops that are open are over blocks of many iterations
    is_rest: bool = False  # what is written runs for the last iterations of a loop with copies
    _sink: str = ""

    def size(self, dim: Dim) -> str:
        """The value of a dimension, computed once, at the kernel's entry."""
        if isinstance(dim, int):
            return str(dim)
        if dim not in self.dims:
            sizes = {name: self.size_parameter(name) for name in sorted(names_of((dim,)))}
            lines, self.w.lines = self.w.lines, self.entry
            self.dims[dim] = self.w.dim(dim, sizes)
            self.w.lines = lines
        return self.dims[dim]

    def size_parameter(self, name: str) -> str:
        """The parameter that holds a named size."""
        parameter = f"%n.{name}"
        self.parameters[parameter] = "i64"
        self.sources[parameter] = name
        return parameter

    def pointer(self, buffer: Buffer) -> str:
        """The address of a buffer's first element."""
        if buffer in self.constants:
            return self.constants[buffer]
        if buffer.kind == "scratch":
            return self._scratch(buffer)
        if buffer.kind == "input" and not buffer.type.shape:
            return self._spilled(buffer)
        if buffer.kind == "temporary":
            return self.slot(buffer.slot)
        parameter = f"%p.{self.numbers.setdefault(buffer, len(self.numbers))}"
        attributes = "ptr noalias readonly" if buffer.kind == "input" else "ptr noalias"
        self.parameters[parameter] = attributes
        self.sources[parameter] = buffer
        return parameter

    def table(self, statement: Store, lane: int) -> str:
        """The address of the buffer to which a lane adds: lanes take turns where they may."""
        number = lane % (1 + len(statement.others))
        if number == 0 or statement.apart is None or self.splats is None:
            return self.pointer(statement.buffer)
        other, tables = statement.others[number - 1], self.splats.tables
        if other not in tables:
            apart = self.scalar(statement.apart, "whether additions stay apart")
            inside, self.w.lines = self.w.lines, self.splats.lines
            pointers = f"ptr {self.pointer(other)}, ptr {self.pointer(statement.buffer)}"
            tables[other] = self.w.let(f"select i1 {apart}, {pointers}")
            self.w.lines = inside
        return tables[other]

    def slot(self, number: int) -> str:
        """The address of a part of the arena; buffers that share it share the pointer."""
        parameter = f"%slot.{number}"
        self.parameters[parameter] = "ptr noalias align 64"
        self.sources[parameter] = number
        return parameter

    def scalar_input(self, buffer: Buffer) -> str:
        """The value of a scalar input, which is passed by value."""
        parameter = f"%p.{self.numbers.setdefault(buffer, len(self.numbers))}"
        self.parameters[parameter] = llvm_type(buffer.type.dtype)
        self.sources[parameter] = buffer
        return parameter

    def _scratch(self, buffer: Buffer) -> str:
        if buffer not in self.scratch:
            if not isinstance(buffer.type.size, int):
                raise ValueError(f"the scratch buffer {buffer.name} has no static size")
            size = max(1, buffer.type.size * buffer.type.dtype.itemsize)
            self.scratch[buffer] = name = self.w.name()
            self.entry.append(f"  {name} = alloca [{size} x i8], align 64")
        return self.scratch[buffer]

    def _spilled(self, buffer: Buffer) -> str:
        if buffer not in self.scratch:
            self.scratch[buffer] = name = self.w.name()
            value, dtype = self.scalar_input(buffer), buffer.type.dtype
            self.entry.append(f"  {name} = alloca i64, align 8")
            if dtype is bool_:
                self.entry.append(f"  {name}.byte = zext i1 {value} to i8")
                self.entry.append(f"  store i8 {name}.byte, ptr {name}")
            else:
                self.entry.append(f"  store {llvm_type(dtype)} {value}, ptr {name}")
        return self.scratch[buffer]

    def sink(self) -> str:
        """Where a store goes that must not happen."""
        if self._sink == "":
            self._sink = self.w.name()
            self.entry.append(f"  {self._sink} = alloca [320 x i8], align 64")
        return self._sink

    # --- forms -------------------------------------------------------------------------------

    def scalar(self, ref: Ref, what: str) -> str:
        """The one value of a ref that must not vary."""
        spread = self.values[ref]
        if spread.axes or spread.varies_over_lanes:
            raise ValueError(f"{what} varies over a loop with lanes or copies")
        (entry,) = spread.entries
        assert isinstance(entry, str)
        return entry

    def splat(self, dtype: DType, scalar: str) -> str:
        """A scalar in all lanes."""
        if self.lanes == 1:
            return scalar
        if scalar[0] != "%":
            return f"splat ({llvm_type(dtype)} {scalar})"
        before = self.splats
        if before is None or not before.has_from_outside(scalar):
            return self._splat(dtype, scalar)
        key = (dtype, self.lanes, scalar)
        if key not in before.vectors:
            inside, self.w.lines = self.w.lines, before.lines
            before.vectors[key] = self._splat(dtype, scalar)
            self.w.lines = inside
        return before.vectors[key]

    def _splat(self, dtype: DType, scalar: str) -> str:
        kind, vector = llvm_type(dtype), llvm_type(dtype, self.lanes)
        single = self.w.let(f"insertelement {vector} poison, {kind} {scalar}, i64 0")
        return self.w.let(
            f"shufflevector {vector} {single}, {vector} poison, "
            f"<{self.lanes} x i32> zeroinitializer"
        )

    def vector(self, dtype: DType, entry: Entry, is_vector: bool) -> str:
        """An entry as a vector register."""
        if isinstance(entry, Affine):
            return self._ramp(entry)
        return entry if is_vector else self.splat(dtype, entry)

    def vectors(self, dtype: DType, spread: Spread) -> Spread:
        """All entries as vector registers."""
        if spread.is_vector:
            return spread
        entries = tuple([self.vector(dtype, entry, False) for entry in spread.entries])
        return Spread(spread.axes, entries, True)

    def _ramp(self, entry: Affine) -> str:
        vector = llvm_type(i64, self.lanes)
        if is_number(entry.stride):
            steps = ", ".join(f"i64 {int(entry.stride) * lane}" for lane in range(self.lanes))
            offsets = f"<{steps}>"
        else:
            steps = ", ".join(f"i64 {lane}" for lane in range(self.lanes))
            stride = self.splat(i64, entry.stride)
            offsets = self.w.let(f"mul {vector} {stride}, <{steps}>")
        if entry.base == "0":
            return offsets
        return self.w.let(f"add {vector} {self.splat(i64, entry.base)}, {offsets}")

    def is_natural(self, dim: Dim) -> bool:
        return dim >= 0 if isinstance(dim, int) else is_nonnegative(dim)

    def mask_of(
        self,
        entry: Entry | None,
        is_vector: bool,
        buffer: Buffer | None = None,
        at: Entry | None = None,
    ) -> str | None:
        """The lanes where a memory access happens: the loop's own mask, and the access's.

        Neighbours in a buffer with room for whole vectors are read and written all.
        """
        if entry is None:
            are_neighbours = isinstance(at, Affine) and at.stride == "1"
            return None if are_neighbours and buffer in self.padded else self.mask
        own = self.vector(bool_, entry, is_vector)
        if self.mask is None:
            return own
        kind = llvm_type(bool_, self.lanes)
        return self.w.let(f"and {kind} {self.mask}, {own}")
