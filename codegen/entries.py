"""Small arrays of known shape, entry by entry: each is a NumPy array of refs.

Data movement rearranges such a table and costs nothing. Every entry of every array is written once;
what nobody reads is taken out again at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import reduce
from math import prod

import numpy as np
from gradc.codegen.dead_code import without_dead_code
from gradc.codegen.packed import is_costly, write_packed
from gradc.codegen.reader import Elements, Reader, Table, contraction_kind
from gradc.codegen.regrouping import RegroupingBuilder
from gradc.ir.dims import Dim, Shape, is_static
from gradc.ir.function import Equation, Value, equations_behind
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.lowering import (
    LOOP_KINDS,
    Contraction,
    Index,
    IndexMap,
    Literal,
    Pointwise,
    Reduction,
)
from gradc.ir.types import ConstantData

LARGEST = 512  # entries of an array that is held entry by entry


def entry_count(shape: Shape) -> int | None:
    """The number of entries of an array that can be held entry by entry, else None."""
    if not is_static(shape):
        return None
    count = 1
    for extent in shape:
        count *= extent
    return count if 0 < count <= LARGEST else None


def work_of(equation: Equation, rows: Dim = 1) -> int:
    """About how many instructions an equation's entries take; those that only move take none.

    Of an axis of the length `rows` one entry counts.
    """
    rule = equation.op.lower
    if isinstance(rule, Literal) or (isinstance(rule, IndexMap) and rule.move is not None):
        return 0
    shape = equation.outputs[0].shape
    if isinstance(rule, Reduction):
        shape = equation.inputs[0].shape
    if isinstance(rule, Contraction):
        labels = (*equation.attrs["lhs"], *equation.attrs["rhs"])
        dims = [dim for value in equation.inputs for dim in value.shape]
        shape = tuple(dict(zip(labels, dims, strict=True)).values())
    return entry_count(tuple(dim for dim in shape if dim != rows)) or LARGEST


def distinct_entries(value: Value, known: Collection[Value]) -> int:
    """How many entries of a value have to be computed or read: numbers and repetitions do not."""
    k = RegroupingBuilder()
    tables = _Tables(Reader(k, TrialBuffers(), known, {}), k, known, 64)
    _fill(tables, [value])
    return sum(k.known(ref) is None for ref in set(tables.of(value).flat))


class TrialBuffers(dict[Value, Buffer]):
    """A buffer for any value, for code that is written only to see what it is like."""

    def __missing__(self, value: Value) -> Buffer:
        return self.setdefault(value, Buffer("trial", value.type, "input"))


def write_entries(
    reader: Reader, results: Sequence[Value], known: Collection[Value], vector_bits: int
) -> None:
    """Write the code of all entries of `results`, and store them.

    Values in `known`, and parameters, are in memory. Raises UnknownElementError where an entry is
    read at a position that only a call knows.
    """
    k = RegroupingBuilder()
    tables = _Tables(reader.with_builder(k), k, known, vector_bits)
    _fill(tables, results)
    for value in results:
        for i, entry in enumerate(tables.of(value).flat):
            k.store(reader.buffers[value], k.index(i), entry)
    reader.k.body.extend(without_dead_code(k.body))


class _Tables:
    """The tables of a kernel: those of values in memory are loads, made when first asked for."""

    def __init__(
        self, reader: Reader, k: RegroupingBuilder, known: Collection[Value], vector_bits: int
    ) -> None:
        self.reader, self.k = reader, k
        self.known, self.vector_bits = known, vector_bits
        self.places: dict[Ref, tuple[Buffer, int]] = {}  # where entries were loaded from
        self.costly: dict[tuple[Value, ...], list[Equation]] = {}  # functions, by their operands
        self.packed: dict[Equation, dict[tuple[Ref, ...], Ref]] = {}
        reader.elements = Elements(None)
        self.found = reader.elements.of

    def in_memory(self, value: Value) -> bool:
        return value.owner is None or value in self.known

    def of(self, value: Value) -> Table:
        """All entries of a value of known shape."""
        if value not in self.found:
            self.found[value] = self._read(value)
        return self.found[value]

    def _read(self, value: Value) -> Table:
        k, shape = self.k, value.shape
        assert is_static(shape)
        if self.in_memory(value):
            buffer = self.reader.buffers[value]
            loads = [k.load(buffer, k.index(i)) for i in range(_size(shape))]
            self.places.update((entry, (buffer, i)) for i, entry in enumerate(loads))
            return _shaped(loads, shape)
        entries = (
            self.reader.at(value, Index(k, shape, list(map(k.index, at))))
            for at in np.ndindex(shape)
        )
        return _shaped(entries, shape)


def _fill(tables: _Tables, results: Sequence[Value]) -> None:
    """Make the tables of the results, and of all that they need."""
    equations = equations_behind(results, tables.known)
    small = [e for e in equations if entry_count(e.outputs[0].shape) is not None]
    for equation in filter(is_costly, small):
        tables.costly.setdefault(equation.inputs, []).append(equation)
    for equation in small:
        tables.found[equation.outputs[0]] = _table(tables, equation)


def _table(tables: _Tables, equation: Equation) -> Table:
    """The entries of an equation's result."""
    rule, k = equation.op.lower, tables.k
    if isinstance(rule, Pointwise):
        return _pointwise(tables, equation)
    if isinstance(rule, Literal):
        return _literal(k, equation.attrs["value"])
    if isinstance(rule, IndexMap):
        return _moved(tables, equation, rule)
    shape = equation.outputs[0].shape
    if isinstance(rule, Reduction):
        terms = _terms(tables, equation)
        kind = LOOP_KINDS[rule.kind]
        return _shaped((_combined(k, kind, list(row)) for row in terms), shape)
    assert isinstance(rule, Contraction)
    kind = contraction_kind(equation)
    left, right = _factors(tables, equation)
    products = (
        [tables.reader.product(a, b) for a, b in zip(*pair, strict=True)]
        for pair in zip(left, right, strict=True)
    )
    return _shaped((k.settled(_combined(k, kind, row)) for row in products), shape)


def _pointwise(tables: _Tables, equation: Equation) -> Table:
    """Every entry by the op's scalar rule; costly functions of several entries share vectors."""
    k, rule, shape = tables.k, equation.op.lower, equation.outputs[0].shape
    assert isinstance(rule, Pointwise)
    if not equation.inputs:
        return _shaped([rule.scalar(k, **equation.attrs)], shape)
    rows = list(zip(*(tables.of(v).flat for v in equation.inputs), strict=True))
    found = tables.packed.get(equation, {})
    if is_costly(equation) and not found:
        same = tables.costly[equation.inputs]
        tables.packed.update(write_packed(k, same, rows, tables.places, tables.vector_bits))
        found = tables.packed[equation]
    for row in dict.fromkeys(rows):
        if row not in found:
            found[row] = rule.scalar(k, *row, **equation.attrs)
    return _shaped((found[row] for row in rows), shape)


def _literal(k: LoopBuilder, constant: ConstantData) -> Table:
    """Numbers; a zero among others is absent (see `LoopBuilder.absent`)."""
    array, dtype = constant.array, constant.type.dtype
    refs = [k.const(number, dtype) for number in array.ravel().tolist()]
    if len(set(refs)) > 1:
        refs = [k.absent(ref) for ref in refs]
    return _shaped(refs, array.shape)


def _moved(tables: _Tables, equation: Equation, rule: IndexMap) -> Table:
    """What an index map shows: by moving tables, or entry by entry."""
    k, inputs, shape = tables.k, equation.inputs, equation.outputs[0].shape
    small = all(entry_count(value.shape) is not None for value in inputs)
    if rule.move is not None and inputs and small:
        table: Table = rule.move(*map(tables.of, inputs), **equation.attrs)
        if len(inputs) > 1:
            table = _shaped(map(k.absent, table.flat), table.shape)
        return table
    operands = [tables.reader.operand(value) for value in inputs]
    assert is_static(shape)
    entries = (
        rule.read(k, Index(k, shape, list(map(k.index, at))), operands, **equation.attrs)
        for at in np.ndindex(shape)
    )
    return _shaped(entries, shape)


def _terms(tables: _Tables, equation: Equation) -> Table:
    """The operand of a reduction: a row of terms for each entry of the result."""
    (operand,), axes = equation.inputs, equation.attrs["axes"]
    kept = [axis for axis in range(operand.type.rank) if axis not in axes]
    shown = tables.of(operand).transpose(*kept, *axes)
    return shown.reshape(_size(equation.outputs[0].shape), -1)


def _factors(tables: _Tables, equation: Equation) -> list[Table]:
    """Both operands of a contraction, repeated: a row of factors for each entry of the result."""
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    summed = [label for label in dict.fromkeys((*lhs, *rhs)) if label not in out]
    order = [*out, *summed]
    extents = {
        label: extent
        for own, value in zip((lhs, rhs), equation.inputs, strict=True)
        for label, extent in zip(own, value.shape, strict=True)
    }
    whole = tuple(extents[label] for label in order)
    assert is_static(whole)
    found = []
    for own, value in zip((lhs, rhs), equation.inputs, strict=True):
        table = tables.of(value).transpose(*(own.index(label) for label in order if label in own))
        shape = [n if label in own else 1 for label, n in zip(order, whole, strict=True)]
        every = np.broadcast_to(table.reshape(shape), whole)
        found.append(every.reshape(_size(equation.outputs[0].shape), -1))
    return found


def _combined(k: LoopBuilder, kind: str, terms: list[Ref]) -> Ref:
    """A reduction of the terms: fours in a chain, then the fours, so that long sums do not wait."""
    while len(terms) > 1:
        fours = [terms[i : i + 4] for i in range(0, len(terms), 4)]
        terms = [reduce(lambda a, b: k.combine(kind, a, b), four) for four in fours]
    return terms[0]


def _shaped(refs: Sequence[Ref] | Iterator[Ref], shape: Shape) -> Table:
    table = np.empty(_size(shape), object)
    for i, ref in enumerate(refs):
        table[i] = ref
    assert is_static(shape)
    return table.reshape(shape)


def _size(shape: Shape) -> int:
    assert is_static(shape)
    return prod(shape)
