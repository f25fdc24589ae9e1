"""Read a value at an index: from its buffer, or by writing the code that computes it there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import field
from itertools import product as every
from typing import Any, TypeAlias, cast

import numpy as np
from gradc.codegen.steps import in_layout, prepares
from gradc.ir.dims import Shape, product
from gradc.ir.function import Equation, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.lowering import (
    LOOP_KINDS,
    Contraction,
    Index,
    IndexMap,
    Literal,
    Operand,
    Pointwise,
    Reduction,
)
from gradc.ir.record import dataclass
from gradc.ir.structure import NOTHING_KNOWN, Pattern
from gradc.ir.types import ConstantData, bool_


@dataclass(frozen=True, slots=True)
class Block:
    """A block of rows that is being written: `local` values have a buffer for one block.

    `columns` are those with the rows as their last axis. `start` is the first row, `rows` maps a
    row's coordinate to its number in the block; `written` values change from block to block, so
    that loads of them stay where they stand. `tiles` are copies of the block's rows by columns.
    Buffers have memory for `room` rows.
    """

    start: Ref
    room: int
    local: frozenset[Value]
    columns: frozenset[Value]
    written: frozenset[Value]
    tiles: Mapping[Value, Buffer] = field(default_factory=dict)
    rows: dict[Ref, Ref] = field(default_factory=dict)


# Where else the lanes of a vector may add what a scatter adds, and whether they do: see `Store`.
Tables: TypeAlias = "tuple[tuple[Buffer, ...], Ref | None]"
NO_TABLES: Tables = ((), None)


def contraction_kind(equation: Equation) -> str:
    """How a contraction combines its products."""
    return "or" if equation.outputs[0].dtype is bool_ else "add"


def _labels(equation: Equation) -> tuple[tuple[Sequence[int], ...], str]:
    """The axes of the operands and of the result by label, and how the terms are combined."""
    attrs, rule = equation.attrs, equation.op.lower
    if isinstance(rule, Contraction):
        return (attrs["lhs"], attrs["rhs"], attrs["out"]), contraction_kind(equation)
    assert isinstance(rule, Reduction)
    axes = range(equation.inputs[0].type.rank)
    return (axes, tuple(a for a in axes if a not in attrs["axes"])), LOOP_KINDS[rule.kind]


Table: TypeAlias = "np.ndarray[Any, Any]"  # of refs


class UnknownElementError(Exception):
    """An entry that is held in a register was asked for at a position known only at run time."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Values held in registers: tables of their entries, by the coordinates within the row."""

    row: Ref | None
    of: dict[Value, Table] = field(default_factory=dict)

    def find(self, k: LoopBuilder, value: Value, index: Index) -> Ref:
        """The entry at an index; UnknownElementError where the index is not known."""
        coordinates = index.coordinates
        if self.row is not None:
            if not coordinates or coordinates[0] is not self.row:
                raise UnknownElementError(value)
            coordinates = coordinates[1:]
        table = self.of[value]
        at = [k.known(coordinate) for coordinate in coordinates]
        lengths = zip(at, table.shape, strict=True)
        inside = [int(i) for i, length in lengths if i is not None and 0 <= i < length]
        if len(inside) < len(at):
            raise UnknownElementError(value)
        return cast(Ref, table[tuple(inside)])


class Reader:
    """Writes scalar code with the builder `k`; shared by all nests of one kernel."""

    def __init__(
        self,
        k: LoopBuilder,
        buffers: Mapping[Value, Buffer],
        stored: Collection[Value],
        constants: MutableMapping[object, Buffer],
    ) -> None:
        self.k, self.buffers, self.stored = k, buffers, stored
        self._constants = constants
        self._known: dict[object, dict[Value, Ref]] = {}  # by where a value is read
        self._computed: frozenset[Value] = frozenset()
        self.block: Block | None = None
        self.tables: dict[Value, Tables] = {}
        self.elements: Elements | None = None
        self.structure = NOTHING_KNOWN

    def begin(self, computed: Collection[Value]) -> None:
        """Start a nest whose stored values `computed` are code there, not yet memory."""
        self._known = {}
        self._computed = frozenset(computed)

    def with_builder(self, k: LoopBuilder) -> Reader:
        """The same with another builder."""
        return Reader(k, self.buffers, self.stored, self._constants)

    def is_local(self, value: Value) -> bool:
        """Whether the value's buffer holds one block of rows."""
        return self.block is not None and value in self.block.local

    def is_by_columns(self, value: Value) -> bool:
        """Whether the value's buffer has the rows of a block as its last axis."""
        return self.block is not None and value in self.block.columns

    def layout(self, value: Value) -> Shape:
        """The lengths of the axes in the value's buffer, in the order in which they lie."""
        if self.block is None or not self.is_local(value):
            return self.buffers[value].type.shape
        return in_layout((self.block.room, *value.shape[1:]), self.is_by_columns(value))

    def place(self, value: Value, index: Index) -> tuple[Buffer, Ref]:
        """The buffer of a stored value and the flat position of an index in it."""
        buffer = self.buffers[value]
        if self.block is None:
            return buffer, index.flat
        k, coordinates = self.k, index.__dict__.get("coordinates")
        if value in self.block.tiles and coordinates and coordinates[0] in self.block.rows:
            buffer = self.block.tiles[value]
            number = self.block.rows[coordinates[0]]
            shape = (*value.shape[1:], buffer.type.shape[-1])
            return buffer, Index(k, shape, (*coordinates[1:], number)).flat
        if not self.is_local(value):
            return buffer, index.flat
        if self.is_by_columns(value):
            row, *rest = index.coordinates
            number = self.block.rows.get(row) or k.sub(row, self.block.start)
            return buffer, Index(k, self.layout(value), (*rest, number)).flat
        if coordinates is None or coordinates[0] not in self.block.rows:
            before = k.mul(self.block.start, k.size(product(value.shape[1:])))
            return buffer, k.sub(index.flat, before)
        own = (self.block.rows[coordinates[0]], *coordinates[1:])
        return buffer, Index(k, self.layout(value), own).flat

    def operand(self, value: Value) -> Operand:
        """The value as an operand of an op's read rule."""
        return Operand(value.type, lambda index: self.at(value, index), self.k)

    def _terms(self, value: Value) -> Operand:
        """The value as the operand of a sum."""
        return Operand(value.type, lambda index: self.term(value, index), self.k)

    def at(self, value: Value, index: Index) -> Ref:
        """The element at an index. Iterative over pointwise ops, recursive over index maps only."""
        stack = [value]
        here = (self._place(index), self.k.mask, self.k.condition)
        known = self._known.setdefault(here, {})
        while stack:
            current = stack[-1]
            if current in known:
                stack.pop()
                continue
            equation = current.owner
            if self.elements is not None and current in self.elements.of:
                known[current] = self.elements.find(self.k, current, index)
            elif equation is None or not self._is_inlined(current):
                known[current] = self._load(current, index)
            elif isinstance(equation.op.lower, Pointwise):
                waiting = [operand for operand in equation.inputs if operand not in known]
                if waiting:
                    stack.extend(reversed(waiting))
                    continue
                refs = [known[operand] for operand in equation.inputs]
                known[current] = equation.op.lower.scalar(self.k, *refs, **equation.attrs)
            else:
                known[current] = self._read(equation, index)
            stack.pop()
        return known[value]

    def term(self, value: Value, index: Index) -> Ref:
        """The element at an index as a term of a sum: of a product that is computed here, so."""
        owner = value.owner
        if owner is None or value in self.stored or self.elements is not None:
            return self.at(value, index)
        rule = owner.op.lower
        if not isinstance(rule, Pointwise) or not rule.multiplies or not value.dtype.is_float:
            return self.at(value, index)
        a, b = (self.at(operand, index) for operand in owner.inputs)
        return self.k.term(a, b)

    def is_read(self, value: Value, coordinates: Sequence[Ref]) -> bool:
        """Whether anything may read an entry of a value."""
        return self._counts(self.structure.wanted.get(value), coordinates)

    def _counts(self, pattern: Pattern | None, coordinates: Sequence[Ref]) -> bool:
        """Whether an entry is one of a pattern, as far as its coordinates are known.

        Of a pattern without any every entry counts: a number 0 does not make a nan vanish.
        """
        if pattern is None or not pattern.any():
            return True
        lengths = zip(coordinates, pattern.shape, strict=True)
        at = [self.k.known(i) if length > 1 else 0 for i, length in lengths]
        return bool(pattern[tuple(slice(None) if i is None else int(i) for i in at)].any())

    def _load(self, value: Value, index: Index) -> Ref:
        pattern = self.structure.nonzero.get(value) if value.dtype.is_float else None
        coordinates = index.__dict__.get("coordinates")
        if coordinates and not self._counts(pattern, coordinates):
            return self.k.absent(self.k.const(0.0, value.dtype))
        buffer, flat = self.place(value, index)
        found = self.k.load(buffer, flat, stable=not self._changes(value, flat))
        tell = prepares(value)
        if tell is not None and value.owner is not None:
            tell(self.k, found, **value.owner.attrs)
        return found

    def _changes(self, value: Value, position: Ref) -> bool:
        """Whether what is at a position may have been written since the kernel began.

        What depends on the row is written in one step and read in others: it may be loaded
        wherever the row is known.
        """
        block = self.block
        if block is None or position.depth > block.start.depth:
            return False
        return value in block.written or value in block.tiles

    def _place(self, index: Index) -> Ref | tuple[Ref, ...]:
        """What tells an index from others: its coordinates if they are there, or cost nothing."""
        flat = index.__dict__.get("flat")
        if flat is None or self.k.known(flat) is not None:
            return index.coordinates or index.flat
        return index.__dict__.get("coordinates") or index.flat

    def _is_inlined(self, value: Value) -> bool:
        return value not in self.stored or value in self._computed

    def _read(self, equation: Equation, index: Index) -> Ref:
        rule = equation.op.lower
        operands = [self.operand(value) for value in equation.inputs]
        if isinstance(rule, Reduction) and rule.kind == "sum":
            operands = [self._terms(value) for value in equation.inputs]
        if isinstance(rule, IndexMap):
            return rule.read(self.k, index, operands, **equation.attrs)
        if isinstance(rule, Literal):
            return self._literal(equation.attrs["value"], index)
        labels, kind = _labels(equation)
        at = dict(zip(labels[-1], index.coordinates, strict=True))
        extents = {
            label: dim
            for own, value in zip(labels, equation.inputs, strict=False)
            for label, dim in zip(own, value.shape, strict=True)
            if label not in at
        }
        total: Ref | None = None
        for point in every(*map(range, cast(dict[int, int], extents).values())):
            at.update(zip(extents, map(self.k.index, point), strict=True))
            terms = [
                operand(*(at[label] for label in own))
                for own, operand in zip(labels, operands, strict=False)
            ]
            term = terms[0] if len(terms) == 1 else self.product(*terms)
            total = term if total is None else self.k.combine(kind, total, term)
        assert total is not None
        return total

    def product(self, a: Ref, b: Ref) -> Ref:
        """a * b as a term of a sum; for booleans their conjunction."""
        return self.k.binary("and", a, b) if a.dtype is bool_ else self.k.term(a, b)

    def _literal(self, constant: ConstantData, index: Index) -> Ref:
        array = constant.array
        if array.size and (array.tobytes() == array.flat[0].tobytes() * array.size):
            return self.k.const(array.flat[0].item(), constant.type.dtype)
        name = f"c{len(self._constants)}"
        buffer = self._constants.setdefault(
            constant, Buffer(name, constant.type, "constant", data=constant.data)
        )
        return self.k.load(buffer, index.flat)
