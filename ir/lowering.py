"""What an op's code is made of: the kinds of equation that the scheduler knows.

Every op states its lowering as one of these records, so the scheduler decides what becomes a loop,
what is inlined into it, and what is stored, without knowing any op by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from gradc.ir.dims import Shape, product
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, Ref
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType


class Index:
    """A position in an array: one coordinate an axis, or one flat (row-major) number.

    Either form is made from the other only when asked for, so that chains over contiguous data
    never divide.
    """

    def __init__(
        self,
        k: LoopBuilder,
        shape: Shape,
        coordinates: Sequence[Ref] | None = None,
        flat: Ref | None = None,
    ) -> None:
        self._k, self.shape = k, tuple(shape)
        if coordinates is not None:
            self.__dict__["coordinates"] = tuple(coordinates)
        if flat is not None:
            self.__dict__["flat"] = flat

    @cached_property
    def coordinates(self) -> tuple[Ref, ...]:
        """One i64 ref an axis."""
        k, rest, found = self._k, self.flat, []
        k.divided = k.divided or len(self.shape) > 1
        for axis in reversed(range(1, len(self.shape))):
            length = k.size(self.shape[axis])
            found.append(k.mod(rest, length))
            rest = k.floordiv(rest, length)
        return (rest, *reversed(found)) if self.shape else ()

    @cached_property
    def flat(self) -> Ref:
        """The row-major position, an i64 ref."""
        k, total = self._k, self._k.index(0)
        for axis, coordinate in enumerate(self.coordinates):
            stride = k.size(product(self.shape[axis + 1 :]))
            total = k.add(total, k.mul(coordinate, stride))
        return total

    def reshaped(self, shape: Shape) -> Index:
        """The position with the same flat number in an array of another shape and equal size."""
        if isinstance(self, _Reshaped):
            return _Reshaped(self._k, shape, self._source)
        if "coordinates" in self.__dict__:
            return _Reshaped(self._k, shape, self)
        return Index(self._k, shape, flat=self.flat)


class _Reshaped(Index):
    """A reshaped position, where the coordinates of axes that both shapes have stay what they are.

    Both shapes are cut where equally many entries lie behind a cut, into groups of axes of equal
    size: only within a group of several axes are coordinates made of a flat number. Axes of the
    static length 1 do not count.
    """

    def __init__(self, k: LoopBuilder, shape: Shape, source: Index) -> None:
        super().__init__(k, shape)
        self._source = source

    @cached_property
    def flat(self) -> Ref:
        return self._source.flat

    @cached_property
    def coordinates(self) -> tuple[Ref, ...]:
        k, source = self._k, self._source
        axes = zip(source.shape, source.coordinates, strict=True)
        given = [(dim, coordinate) for dim, coordinate in axes if dim != 1]
        old = tuple(dim for dim, _ in given)
        new = tuple(dim for dim in self.shape if dim != 1)
        found: list[Ref] = []
        for own, others in _equal_groups(new, old):
            at = Index(k, old[others], [coordinate for _, coordinate in given[others]])
            same = len(new[own]) == len(at.shape) == 1
            group = at if same else Index(k, new[own], flat=at.flat)
            found.extend(group.coordinates)
        rest = iter(found)
        return tuple(k.index(0) if dim == 1 else next(rest) for dim in self.shape)


def _equal_groups(a: Shape, b: Shape) -> Iterator[tuple[slice, slice]]:
    """Cut two shapes of equal size into groups of axes of equal size, as many as is certain."""
    behind = {product(a[axis:]): axis for axis in range(len(a) + 1)}
    start_a = start_b = 0
    for axis in range(1, len(b)):
        cut = behind.get(product(b[axis:]), 0)
        if cut > start_a:
            yield slice(start_a, cut), slice(start_b, axis)
            start_a, start_b = cut, axis
    yield slice(start_a, len(a)), slice(start_b, len(b))


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand that can be read at any index: from memory, or by computing it there."""

    type: ArrayType
    read: Callable[[Index], Ref]
    k: LoopBuilder

    def __call__(self, *coordinates: Ref) -> Ref:
        return self.read(Index(self.k, self.type.shape, coordinates))


Alignment: TypeAlias = (
    "tuple[int | None, ...]"  # an operand's axes -> the result axis that equals it
)


@dataclass(frozen=True, slots=True)
class Pointwise:
    """`result[i] = scalar(k, *operands[i], **attrs)`; all operands have the result's shape.

    `cost` is about the number of floating-point operations an element takes (an exp: 20). With
    `prepared`, all entries are stored before a loop reads the first of them; then
    `prepared(k, entry, **attrs)` tells the builder what is known of an entry that was loaded.
    One that `multiplies` gives the product of its operands, which a sum may absorb.
    """

    scalar: Callable[..., Ref]
    cost: int = 1
    multiplies: bool = False
    prepared: Callable[..., None] | None = None


@dataclass(frozen=True, slots=True)
class IndexMap:
    """`result[index] = read(k, index, operands, **attrs)`: data movement without arithmetic.

    `index` is an `Index` of the result, `operands` are `Operand`s. `align(*types, **attrs)` gives
    one `Alignment` an operand: for each of its axes the result axis whose coordinate it is read at
    over its whole length, or None. `repeats`: one entry of an operand may be read for many of the
    result (broadcast, take), so a costly operand is better stored. `move(*arrays, **attrs)` does
    the same to NumPy arrays of anything; None where numbers decide what is read.
    `joins(*types, **attrs)`, of a map that places its operands side by side (concat): for each
    operand where in the result it begins, one dimension an axis; together they fill it.
    """

    read: Callable[..., Ref]
    align: Callable[..., tuple[Alignment, ...]]
    repeats: bool = False
    move: Callable[..., Any] | None = None
    joins: Callable[..., Iterator[Shape]] | None = None


# The reductions, and what a loop accumulates for each.
LOOP_KINDS = {
    "sum": "add",
    "prod": "mul",
    "max": "max",
    "min": "min",
    "any": "or",
    "all": "and",
}


@dataclass(frozen=True, slots=True)
class Reduction:
    """`kind` over the axes in the attribute `axes`, which the result does not have.

    Kinds: sum, prod, max, min (a NaN wins), any, all.
    """

    kind: str


@dataclass(frozen=True, slots=True)
class Contraction:
    """The sum of products over shared labels; attributes `lhs`, `rhs`, `out`: a label an axis.

    No label repeats within one operand; every label stands in at least two of the three.
    """


@dataclass(frozen=True, slots=True)
class Scatter:
    """`result = operands[0]`, then `result[..., indices[j], ...] = or += updates[..., j, ...]`.

    Operands: the base, the indices (integers of any rank), the updates with shape
    base.shape[:axis] + indices.shape + base.shape[axis+1:]; attribute `axis`. Duplicates: the last
    one wins ("set"), all add ("add"). `kind` is "set" or "add".
    """

    kind: str


@dataclass(frozen=True, slots=True)
class Literal:
    """The array in the attribute `value` (a `ConstantData`)."""


@dataclass(frozen=True, slots=True)
class External:
    """A native function computes the results, called once for each entry of the axes `lead`.

    All operands and results have those axes in front. Attributes: `symbol`; `sizes`, passed first;
    `lead`; `returns`: "value", or "nothing" and "status" of a function that is given the results'
    addresses last. What is a scalar behind `lead` is passed by value.
    """


@dataclass(frozen=True, slots=True)
class Blocks:
    """A region that runs once for each block of rows; attributes as `ops/blocks.py` says."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Up to 64 conditions along `axis` as the bits of an i64, the first as the lowest bit."""


@dataclass(frozen=True, slots=True)
class SelectedSum:
    """The sum of operands[1] over `axes` where a condition holds; other terms are not computed.

    operands[0] are the condition's bits along its axis `chosen`. The condition's axis i is the
    second operand's axis `along[i]`; along the axes `once` of that it holds about once. What it
    selects may be inf or nan anywhere else.
    """


@dataclass(frozen=True, slots=True)
class Placed:
    """The operand is the block of the result that begins at `starts`; the rest is left as it is."""


@dataclass(frozen=True, slots=True)
class Routine:
    """Loops of the op's own: `write(k, operands, store, **attrs)` computes the whole result.

    `operands` are `Operand`s, `store` is a `Result`. Entries are written serially, in an order that
    the op knows. `repeats`: entries of an operand are read more than once.
    """

    write: Callable[..., None]
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The buffer that a `Routine` fills."""

    buffer: Buffer
    k: LoopBuilder
    vector_bits: int

    @property
    def lanes(self) -> int:
        """How many entries fill a vector."""
        return max(1, self.vector_bits // (8 * self.buffer.type.dtype.itemsize))

    def __call__(self, index: Index, value: Ref) -> None:
        self.k.store(self.buffer, index.flat, value)

    def load(self, index: Index) -> Ref:
        """An entry that was written before."""
        return self.k.load(self.buffer, index.flat, stable=False)


@dataclass(frozen=True, slots=True)
class Composite:
    """The op is written in other ops: `expand(*inputs, **attrs)` builds its result(s) as values.

    Expanded after differentiation, just before scheduling: for ops whose derivative is better
    stated than derived (logsumexp).
    """

    expand: Callable[..., Any]


Lowering: TypeAlias = (
    "Pointwise | IndexMap | Reduction | Contraction | Scatter | Literal | External | Blocks"
    " | Placed | Bits | SelectedSum | Routine | Composite"
)
