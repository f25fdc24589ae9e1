"""Costly functions of several entries at once: a vector loop over them, by way of memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gradc.ir.function import Equation
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.lowering import Pointwise
from gradc.ir.types import ArrayType, DType

_COSTLY = 10  # operations

Operands = tuple[Ref, ...]


def is_costly(equation: Equation) -> bool:
    """Whether entries of a pointwise op are better computed together."""
    rule = equation.op.lower
    return isinstance(rule, Pointwise) and rule.cost >= _COSTLY and bool(equation.inputs)


def write_packed(
    k: LoopBuilder,
    equations: Sequence[Equation],
    rows: Sequence[Operands],
    places: Mapping[Ref, tuple[Buffer, int]],
    vector_bits: int,
) -> dict[Equation, dict[Operands, Ref]]:
    """The entries of pointwise ops of the same operands, by these; rows of numbers are left out.

    Whole vectors are stored and loaded: what was just stored cannot be loaded at once under a mask.
    Operands that lie side by side in memory (`places`) are loaded from there.
    """
    distinct = [r for r in dict.fromkeys(rows) if any(k.known(ref) is None for ref in r)]
    found: dict[Equation, dict[Operands, Ref]] = {equation: {} for equation in equations}
    if len(distinct) < 2:
        return found
    dtypes = [v.dtype for e in equations for v in (*e.outputs, *e.inputs)]
    lanes = max(1, vector_bits // (8 * max(dtype.itemsize for dtype in dtypes)))
    while lanes >= 2 * len(distinct):
        lanes //= 2
    whole = -(-len(distinct) // lanes) * lanes
    columns = [_Column(k, column, places, whole) for column in zip(*distinct, strict=True)]
    results = [_scratch(equation.outputs[0].dtype, whole) for equation in equations]
    with k.loop(k.index(whole), lanes=lanes) as each:
        operands = [column.load(each) for column in columns]
        for equation, buffer in zip(equations, results, strict=True):
            assert isinstance(equation.op.lower, Pointwise)
            value = equation.op.lower.scalar(k, *operands, **equation.attrs)
            k.store(buffer, each, value)
    for equation, buffer in zip(equations, results, strict=True):
        found[equation].update(zip(distinct, _loaded(k, buffer), strict=False))
    return found


class _Column:
    """One operand of all entries: in memory where it was loaded from, or in a copy."""

    def __init__(
        self,
        k: LoopBuilder,
        refs: Sequence[Ref],
        places: Mapping[Ref, tuple[Buffer, int]],
        whole: int,
    ) -> None:
        self.k, self.count, self.whole = k, len(refs), whole
        buffer, first = places.get(refs[0], (None, 0))
        there = [(buffer, first + i) for i in range(len(refs))]
        if buffer is not None and [places.get(ref) for ref in refs] == there:
            self.source: Buffer | None = buffer
            self.first = first
            return
        self.source = None
        self.copy = _scratch(refs[0].dtype, whole)
        for i in range(whole):
            k.store(self.copy, k.index(i), refs[min(i, len(refs) - 1)])

    def load(self, each: Ref) -> Ref:
        k = self.k
        if self.source is None:
            return k.load(self.copy, each, stable=False)
        index = k.add(each, k.index(self.first))
        if self.count == self.whole:
            return k.load(self.source, index)
        with k.masked(k.compare("lt", each, k.index(self.count))):
            return k.load(self.source, index)


def _loaded(k: LoopBuilder, buffer: Buffer) -> Iterator[Ref]:
    assert isinstance(buffer.type.size, int)
    return (k.load(buffer, k.index(i), stable=False) for i in range(buffer.type.size))


def _scratch(dtype: DType, count: int) -> Buffer:
    return Buffer("scratch", ArrayType(dtype, (count,)), "scratch")
