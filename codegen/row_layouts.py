"""How a block of rows lies in memory: which arrays have the rows last, and how many rows it has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gradc.codegen.loop_plan import USUAL_LENGTH, cost_in_block, lanes_of
from gradc.codegen.selected_loops import cost_of_bits
from gradc.codegen.steps import Nest, ProductStep, Step, extents_of, row_label
from gradc.ir.dims import Dim, product
from gradc.ir.function import Value

BLOCK_BYTES = 32 * 1024
_WIDEST_BYTES = 16 * 1024  # of an array's rows in a block; those of unknown length may be longer
_BLOCK_BYTES_BY_COLUMNS = 1024 * 1024
_NARROW_BYTES = 16 * 1024  # of a block of vectors
_MOST_ROWS = 512  # in it
WIDEST_TILE = 64  # entries of a row
_COPIED = 8.0  # instructions
_OF_PRODUCT = 75.0  # instructions a row and lane: of packing, and of tiles that are not full
_TERM_OF_PRODUCT = 3.0
_WIDEST_COLUMNS = 32  # entries of a row: longer ones are vectors of their own


def layouts_in_block(
    steps: Sequence[Step],
    local: Collection[Value],
    arrays: Collection[Value],
    vector_bits: int,
    usual: int = USUAL_LENGTH,
) -> tuple[frozenset[Value], frozenset[Value]]:
    """The local values that have the rows as their last axis, and the arrays to copy for that.

    Both by what the loops of a row cost then, where unknown lengths are `usual`. Only short ones,
    not the usual 64, may be those of a copy.
    """

    def cost(way: tuple[frozenset[Value], frozenset[Value]]) -> float:
        return cost_of_row(steps, *way, vector_bits, usual)

    wide = frozenset(value for value in local if value.type.rank > 1)
    narrow = frozenset(filter(is_narrow, wide))
    every = frozenset(v for v in arrays if v.type.rank > 1 and _is_small_tile(v, usual))
    ways = [(columns, frozenset[Value]()) for columns in (narrow, wide)]
    for columns in (narrow, wide):
        full = cost((columns, every))
        ways.append((columns, frozenset(v for v in every if full < cost((columns, every - {v})))))
    return min(ways, key=cost)


def cost_of_row(
    steps: Sequence[Step],
    columns: Collection[Value],
    tiles: Collection[Value],
    vector_bits: int,
    usual: int,
    actual: int | None = None,
) -> float:
    """About the instructions of a row in the loops of these steps, and of its copies.

    The loops are for unknown lengths that are `usual`; a call may find other, `actual` ones. The
    few terms of a sum that are selected do not count.
    """
    by_columns, found = {*columns, *tiles}, actual or usual
    cost = sum(_COPIED * _row_entries(value, found) for value in tiles)
    for step in steps:
        if isinstance(step, ProductStep):
            cost += _cost_of_product(step, vector_bits, found)
        elif isinstance(step, Nest):
            for nest in step.written:
                cost += _cost_of_nest(nest, by_columns, vector_bits, usual, actual)
    return cost


def _cost_of_nest(
    nest: Nest, columns: Collection[Value], vector_bits: int, usual: int, actual: int | None
) -> float:
    lanes = lanes_of(nest, vector_bits)
    if nest.selects:
        return 0.0
    if nest.has_own_loops:
        return cost_of_bits(nest, lanes, columns)
    return cost_in_block(nest, lanes, columns, usual, actual)


def _cost_of_product(step: ProductStep, vector_bits: int, unknown: int) -> float:
    """About the instructions of a row of a product, if the matrix beside it is small."""
    rows, extents = row_label(step.equation), extents_of(step.equation)
    terms = entries_of((d for label, d in extents.items() if label != rows), unknown)
    lanes = vector_bits // (8 * step.equation.outputs[0].dtype.itemsize)
    return _OF_PRODUCT * lanes + _TERM_OF_PRODUCT * terms


def is_narrow(value: Value) -> bool:
    """Whether no row of the value has a long or unknown axis."""
    return all(isinstance(extent, int) and extent <= _WIDEST_COLUMNS for extent in value.shape[1:])


def _is_small_tile(value: Value, usual: int) -> bool:
    if usual == USUAL_LENGTH and not is_narrow(value):
        return False
    return _row_entries(value, usual) <= WIDEST_TILE


def rows_of_block(local: Collection[Value], arrays: Collection[Value], by_columns: bool) -> int:
    """How many rows, from 16 to 64; up to 512 of vectors alone.

    As many as half of the first cache holds of the widest array; if vectors run over the rows, as
    many as the second cache holds of what lives for a block, so that sums over a block are long.
    """
    every = [_row_entries(v, 64) * v.dtype.itemsize for v in {*local, *arrays}]
    row_bytes, limit = max(every, default=8), _WIDEST_BYTES
    if by_columns:
        row_bytes = sum(_row_entries(v, 32) * v.dtype.itemsize for v in local)
        limit = _BLOCK_BYTES_BY_COLUMNS
    block = 64
    while block > 16 and block * row_bytes > limit:
        block //= 2
    if all(v.type.rank == 1 for v in {*local, *arrays}):
        while block < _MOST_ROWS and 2 * block * sum(every) <= _NARROW_BYTES:
            block *= 2
    return block


def _row_entries(value: Value, unknown: int) -> int:
    """The entries of a row; an unknown length counts as so many."""
    return entries_of(value.shape[1:], unknown)


def entries_of(shape: Iterable[Dim], unknown: int) -> int:
    """The entries of an array; an unknown length counts as so many."""
    length: Dim = product(dim if isinstance(dim, int) else unknown for dim in shape)
    assert isinstance(length, int)
    return length
