"""How a block of rows lies in memory: which arrays have the rows last, and how many rows it has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gradc.codegen.loop_plan import cost_in_block, lanes_of
from gradc.codegen.selected_loops import cost_of_bits
from gradc.codegen.steps import Nest, Step
from gradc.ir.dims import Dim, product
from gradc.ir.function import Value

BLOCK_BYTES = 32 * 1024
_WIDEST_BYTES = 16 * 1024  # of an array's rows in a block; those of unknown length may be longer
_BLOCK_BYTES_BY_COLUMNS = 1024 * 1024
_NARROW_BYTES = 16 * 1024  # of a block of vectors
_MOST_ROWS = 512  # in it
_WIDEST_TILE = 64  # entries of a row
_COPIED = 8.0  # instructions
_WIDEST_COLUMNS = 32  # entries of a row: longer ones are vectors of their own


def layouts_in_block(
    steps: Sequence[Step],
    local: Collection[Value],
    arrays: Collection[Value],
    vector_bits: int,
) -> tuple[frozenset[Value], frozenset[Value]]:
    """The local values that have the rows as their last axis, and the arrays to copy for that.

    Both by what the loops of a row cost then. A copy loads entries apart from their neighbours.
    """
    nests = [nest for step in steps if isinstance(step, Nest) for nest in step.written]

    def cost(way: tuple[frozenset[Value], frozenset[Value]]) -> float:
        columns, tiles = way
        by_columns = columns | tiles
        loops = sum(_cost_of_row(n, lanes_of(n, vector_bits), by_columns) for n in nests)
        return loops + sum(_COPIED * _row_entries(value, 64) for value in tiles)

    wide = frozenset(value for value in local if value.type.rank > 1)
    narrow = frozenset(filter(is_narrow, wide))
    every = frozenset(v for v in arrays if v.type.rank > 1 and _is_small_tile(v))
    ways = [(columns, frozenset[Value]()) for columns in (narrow, wide)]
    for columns in (narrow, wide):
        full = cost((columns, every))
        ways.append((columns, frozenset(v for v in every if full < cost((columns, every - {v})))))
    return min(ways, key=cost)


def _cost_of_row(nest: Nest, lanes: int, columns: Collection[Value]) -> float:
    """About the instructions a row takes; the few terms of a sum that are selected do not count."""
    if nest.selects:
        return 0.0
    cost = cost_of_bits if nest.has_own_loops else cost_in_block
    return cost(nest, lanes, columns)


def is_narrow(value: Value) -> bool:
    """Whether no row of the value has a long or unknown axis."""
    return all(isinstance(extent, int) and extent <= _WIDEST_COLUMNS for extent in value.shape[1:])


def _is_small_tile(value: Value) -> bool:
    return is_narrow(value) and _row_entries(value, 0) <= _WIDEST_TILE


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
