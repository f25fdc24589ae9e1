"""Steps over the same rows as one loop over blocks of rows: in which layout, and how many rows.

Lengths beside the rows that are not known count as long: they fill vectors. Where a call may find
them short (a few alternatives, classes, dimensions), and loops along them would be mostly overhead,
the group is written once more, with the rows in the lanes: the call takes what suits its lengths.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain

from gradc.codegen.choices import Choices
from gradc.codegen.loop_plan import USUAL_LENGTH
from gradc.codegen.row_layouts import (
    WIDEST_TILE,
    cost_of_row,
    is_narrow,
    layouts_in_block,
    rows_of_block,
)
from gradc.codegen.split import split_sums
from gradc.codegen.steps import Nest, ProductStep, Step, extents_of, in_layout, row_label
from gradc.ir.dims import Dim, names_of, product
from gradc.ir.function import Equation, Value
from gradc.ir.record import dataclass
from gradc.ir.structure import NOTHING_KNOWN, Structure
from gradc.ir.types import ArrayType

_BLOCK_OF_PRODUCTS = 256  # rows, as many as the packed kernel adds up at a time
# Rows of a block instead, where the matrices beside the rows are so small that it costs little to
# read them more often: the rows themselves then stay in the first caches. Measured from 100 x 10 to
# 512 x 64: 0.82 to 0.9 of the time; 784 x 512: 1.4.
FEWER_ROWS, SMALL_MATRIX = 64, 256 * 1024
_SHORT_LENGTH = 5  # what an unknown length counts as where rows are short
_SHORT_LENGTHS = (3, 4, 6, 8, 12, 16, 24, 32)  # up to which rows may be short
_SHORT_BLOCK = 32  # rows: the widest tile fills half of a first cache
_WORTH = 2.2  # times as fast must rows of that length be for code of their own,
_FASTER = 1.1  # and others to run it


@dataclass(frozen=True, slots=True)
class RowData:
    """What steps over `rows` touch: arrays with a row axis, of them `local` and `written` ones."""

    rows: Dim
    stored: Collection[Value]
    local: frozenset[Value]
    arrays: frozenset[Value]
    written: frozenset[Value]


@dataclass(frozen=True, slots=True, eq=False)
class RowGroup:
    """Steps over the same rows, run `block` rows at a time.

    `local` values are read by steps of the group only, so they need memory for one block. Those of
    them in `columns` are stored with the rows as the last axis, so that vectors over the rows lie
    in one piece. `tiles` are stored elsewhere row by row: a block of them is copied in that layout.
    `matrices` are the bytes of those that products of unknown size read or add to beside the rows:
    a call that finds none above SMALL_MATRIX runs FEWER_ROWS at a time. `structure`: what is known
    of entries, if short axes are written out. The loops are for unknown lengths that are `usual`.
    A call that finds each of some lengths to be at most the number beside it runs `short` instead.
    """

    steps: tuple[Step, ...]
    extent: Dim
    block: int
    local: frozenset[Value]
    columns: frozenset[Value]
    tiles: frozenset[Value]
    matrices: tuple[Dim, ...] = ()
    structure: Structure = NOTHING_KNOWN
    usual: int = USUAL_LENGTH
    short: tuple[RowGroup, tuple[tuple[Dim, int], ...]] | None = None

    @property
    def room(self) -> int:
        """The rows for which there is memory."""
        return self.block if self.short is None else max(self.block, self.short[0].block)

    def block_type(self, value: Value) -> ArrayType:
        """The type of a local value's buffer."""
        return value.type.with_shape(
            in_layout((self.room, *value.shape[1:]), value in self.columns)
        )

    def tile_type(self, value: Value) -> ArrayType:
        """The type of a tile: the entries of a row, as many as there may be, of each row."""
        entries = product(value.shape[1:])
        most = entries if isinstance(entries, int) else WIDEST_TILE
        return value.type.with_shape((most, self.block))

    def cost(self, vector_bits: int, length: int) -> float:
        """About the instructions of a row where unknown lengths turn out to be `length`."""
        return cost_of_row(self.steps, self.columns, self.tiles, vector_bits, self.usual, length)


def lay_out(
    steps: Sequence[Step], data: RowData, choices: Choices, usual: int = USUAL_LENGTH
) -> RowGroup:
    """The group of these steps, by cost, where unknown lengths are `usual`."""
    bits = choices.vector_bits
    given = data.arrays - data.written
    columns, tiles = layouts_in_block(steps, data.local, given, bits, usual)
    matrices = tuple(_matrix_bytes(step) for step in steps if is_of_unknown_size(step))
    rows = _SHORT_BLOCK
    if matrices:
        rows = _BLOCK_OF_PRODUCTS
    elif usual == USUAL_LENGTH:
        rows = rows_of_block(data.local, data.arrays, not all(map(is_narrow, columns)))
    parts = (split_sums(s, data.stored, columns | tiles, bits, usual) for s in steps)
    return RowGroup(
        tuple(chain.from_iterable(parts)),
        data.rows,
        choices.block or rows,
        data.local,
        columns,
        tiles,
        () if choices.block else tuple(dict.fromkeys(matrices)),
        usual=usual,
    )


def with_short_rows(
    group: RowGroup, steps: Sequence[Step], data: RowData, choices: Choices
) -> RowGroup:
    """The group, and beside it one of `steps` for short rows if these are much faster so.

    Not if there are few rows where rows are short, as in a matrix of n by n.
    """
    extents = (d for step in steps if isinstance(step, Nest) for d in step.space[1:])
    unknown = tuple(dict.fromkeys(d for d in extents if not isinstance(d, int)))
    square = not names_of(unknown).isdisjoint(names_of((data.rows,)))
    if not unknown or square or choices.short == "never":
        return group
    short = replace(lay_out(steps, data, choices, _SHORT_LENGTH), structure=group.structure)
    bits = choices.vector_bits

    def gains(length: int, factor: float) -> bool:
        return group.cost(bits, length) > factor * short.cost(bits, length)

    if choices.short == "by cost" and not gains(_SHORT_LENGTH, _WORTH):
        return group
    most = max((n for n in _SHORT_LENGTHS if gains(n, _FASTER)), default=_SHORT_LENGTHS[0])
    limits: dict[Dim, int] = dict.fromkeys(unknown, most)
    entries = [product(value.shape[1:]) for value in short.tiles | short.columns]
    limits.update((count, WIDEST_TILE) for count in entries if count not in limits)
    if any(isinstance(count, int) and count > WIDEST_TILE for count in entries):
        return group
    tested = ((length, limits[length]) for length in limits if not isinstance(length, int))
    return replace(group, short=(short, tuple(tested)))


def _matrix_bytes(step: Step) -> Dim:
    """The bytes of the matrix beside the rows of a product."""
    assert isinstance(step, ProductStep)
    rows = row_label(step.equation)
    sides = (extent for label, extent in extents_of(step.equation).items() if label != rows)
    return product(sides) * step.equation.outputs[0].dtype.itemsize


def is_of_unknown_size(step: Step) -> bool:
    """Whether a step is a product with an axis of no known length, beside the rows and batches."""
    if not isinstance(step, ProductStep):
        return False
    apart = {row_label(step.equation), *batch_labels(step.equation)}
    extents = extents_of(step.equation)
    return any(x not in apart and not isinstance(extents[x], int) for x in extents)


def batch_labels(equation: Equation) -> set[int]:
    """The labels of a contraction that are in all three arrays."""
    lhs, rhs, out = (equation.attrs[name] for name in ("lhs", "rhs", "out"))
    return {label for label in out if label in lhs and label in rhs}
