"""The loop over blocks of rows around the steps of a row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce

from gradc.codegen.loop_plan import lanes_of, plan_loops
from gradc.codegen.nest import (
    Partial,
    accumulated,
    clear,
    copy_bases,
    store_rest,
    write_parts,
)
from gradc.codegen.product import ProductRows, accumulates, lower_product
from gradc.codegen.reader import Block, Reader, Tables
from gradc.codegen.row_group import FEWER_ROWS, SMALL_MATRIX, RowGroup
from gradc.codegen.selected_loops import lower_bits, lower_selected
from gradc.codegen.steps import Nest, ProductStep, Step, row_label, written
from gradc.codegen.symmetric import computes_half, mirror
from gradc.codegen.tables import close_tables, open_tables
from gradc.ir.dims import product
from gradc.ir.function import Value
from gradc.ir.loops import Buffer, Ref
from gradc.ir.types import bool_

_TOGETHER = 4  # entries of a row that are copied at once


def lower_rows(reader: Reader, group: RowGroup, vector_bits: int) -> None:
    """Write a loop over blocks of rows, and inside it each step over the rows of the block.

    Where a call may find short rows, such a loop for these, and one for others.
    """
    if group.short is None:
        _write_rows(reader, group, group.room, vector_bits)
        return
    k, (short, lengths) = reader.k, group.short
    fits = [k.compare("le", k.size(dim), k.index(most)) for dim, most in lengths]
    are_short = reduce(lambda a, b: k.binary("and", a, b), fits)
    with k.when(are_short):
        _write_rows(reader, short, group.room, vector_bits)
    with k.when(k.unary("not", are_short)):
        _write_rows(reader, group, group.room, vector_bits)


def _write_rows(reader: Reader, group: RowGroup, room: int, vector_bits: int) -> None:
    k, by_columns = reader.k, group.columns | group.tiles
    reader.structure = group.structure
    opened: dict[Value, Tables] = {}
    for step in group.steps:
        if isinstance(step, Nest):
            copy_bases(reader, step, vector_bits)
        if isinstance(step, Nest) and step.scattered:
            loops = plan_loops(step, lanes_of(step, vector_bits), by_columns, True, group.usual)
            opened |= open_tables(reader, step, loops)
        clear(reader, [value for value in _added_to(reader, step) if value not in group.local])
    changing = frozenset(value for step in group.steps for value in written(step))
    sums: dict[Partial, Ref] = {}
    with _blocks(reader, group) as (start, count):
        tiles = {
            value: Buffer(f"tile{number}", group.tile_type(value), "scratch")
            for number, value in enumerate(
                sorted(group.tiles, key=lambda value: reader.buffers[value].name)
            )
        }
        reader.block = Block(start, room, group.local, group.columns, changing, tiles)
        for value, tile in tiles.items():
            _copy_tile(reader, value, tile, (start, count), vector_bits)
        for step in group.steps:
            assert isinstance(step, Nest | ProductStep)
            clear(reader, [value for value in _added_to(reader, step) if value in group.local])
            partials = _write_step(
                reader, step, (start, count), by_columns, vector_bits, group.usual
            )
            for (root, point), partial in partials.items():
                sums[root, point] = k.reduce(str(root.kind), partial)
    reader.block = None
    store_rest(reader, sums)
    for step in group.steps:
        if isinstance(step, ProductStep) and computes_half(step.equation, row_label(step.equation)):
            mirror(reader, step.equation)
    close_tables(reader, opened, vector_bits)


@contextmanager
def _blocks(reader: Reader, group: RowGroup) -> Iterator[tuple[Ref, Ref]]:
    """The loop over the blocks: the first row of each, and the number of its rows."""
    k, extent, most = reader.k, reader.k.size(group.extent), reader.k.index(group.block)
    if not group.matrices:
        with k.loop(extent, step=group.block) as start:
            yield start, k.binary("min", most, k.sub(extent, start))
        return
    small = [k.compare("le", k.size(dim), k.index(SMALL_MATRIX)) for dim in group.matrices]
    all_small = reduce(lambda a, b: k.binary("and", a, b), small)
    rows = k.select(all_small, k.index(FEWER_ROWS), most)
    blocks = k.floordiv(k.add(extent, k.sub(rows, k.index(1))), rows)
    # Counted in blocks of the most rows: whoever sees the loop sees that it is one over blocks.
    with k.loop(k.mul(blocks, most), step=group.block) as position:
        start = k.mul(k.floordiv(position, most), rows)
        yield start, k.binary("min", rows, k.sub(extent, start))


def _copy_tile(
    reader: Reader, value: Value, tile: Buffer, rows: tuple[Ref, Ref], vector_bits: int
) -> None:
    """Copy a block of rows to where the rows are the last axis: a few entries of a row at once.

    Vectors of rows are transposed in registers; booleans, too narrow for that, go one by one.
    """
    k, (start, count), (_, block) = reader.k, rows, tile.type.shape
    assert isinstance(block, int)
    width = k.size(product(value.shape[1:]))
    together = k.mul(k.floordiv(width, k.index(_TOGETHER)), k.index(_TOGETHER))
    lanes = 1 if value.dtype is bool_ else max(1, vector_bits // (8 * value.dtype.itemsize))
    with k.loop(count, lanes=lanes, padded=() if block % lanes else (tile,)) as row:
        first = k.mul(k.add(start, row), width)
        for begin, end, step in ((k.index(0), together, _TOGETHER), (together, width, 1)):
            with k.loop(end, begin, step=step) as entry:
                source, place = k.add(first, entry), k.add(k.mul(entry, k.index(block)), row)
                for i in range(step):
                    loaded = k.load(reader.buffers[value], k.add(source, k.index(i)))
                    k.store(tile, k.add(place, k.index(i * block)), loaded)


def _write_step(
    reader: Reader,
    step: Nest | ProductStep,
    rows: tuple[Ref, Ref],
    columns: frozenset[Value],
    vector_bits: int,
    usual: int,
) -> dict[Partial, Ref]:
    """Write a step over the rows of a block; what is left to be summed over the blocks returns."""
    if isinstance(step, Nest) and step.selects:
        lower_selected(reader, step, vector_bits, rows)
        return {}
    if isinstance(step, Nest) and step.has_own_loops:
        lower_bits(reader, step, vector_bits, columns, rows)
        return {}
    if isinstance(step, Nest):
        parts = [
            (nest, plan_loops(nest, lanes_of(nest, vector_bits), columns, True, usual))
            for nest in step.written
        ]
        return write_parts(reader, parts, rows)
    label = row_label(step.equation)
    assert label is not None
    lower_product(reader, step.equation, ProductRows(label, *rows))
    return {}


def _added_to(reader: Reader, step: Step) -> list[Value]:
    """The values that a step adds to, which start from zero."""
    if isinstance(step, Nest):
        return accumulated(reader, step)
    if isinstance(step, ProductStep) and accumulates(step.equation, row_label(step.equation)):
        return list(step.equation.outputs)
    return []
