"""The loop over blocks of rows around the steps of a row group."""

from __future__ import annotations

from gradc.codegen.nest import (
    Partial,
    accumulated,
    clear,
    lanes_of,
    plan_loops,
    store_rest,
    write_nest,
)
from gradc.codegen.product import ProductRows, accumulates, lower_product
from gradc.codegen.reader import Block, Reader
from gradc.codegen.rows import RowGroup
from gradc.codegen.scatter import copy_base, scatter_updates
from gradc.codegen.steps import Nest, ProductStep, ScatterStep, Step, row_label, written
from gradc.ir.function import Value
from gradc.ir.loops import Ref


def lower_rows(reader: Reader, group: RowGroup, vector_bits: int) -> None:
    """Write a loop over blocks of rows, and inside it each step over the rows of the block."""
    k = reader.k
    for step in group.steps:
        if isinstance(step, ScatterStep):
            copy_base(reader, step.equation, vector_bits)
        clear(reader, [value for value in _added_to(step) if value not in group.local])
    changing = frozenset(value for step in group.steps for value in written(step))
    sums: dict[Partial, Ref] = {}
    with k.loop(k.size(group.extent), step=group.block) as start:
        count = k.binary("min", k.index(group.block), k.sub(k.size(group.extent), start))
        reader.block = Block(start, group.local, group.columns, changing)
        for step in group.steps:
            clear(reader, [value for value in _added_to(step) if value in group.local])
            partials = _write_step(reader, step, (start, count), group.columns, vector_bits)
            for (root, point), partial in partials.items():
                sums[root, point] = k.reduce(str(root.kind), partial)
    store_rest(reader, sums)


def _write_step(
    reader: Reader,
    step: Step,
    rows: tuple[Ref, Ref],
    columns: frozenset[Value],
    vector_bits: int,
) -> dict[Partial, Ref]:
    """Write a step over the rows of a block; what is left to be summed over the blocks returns."""
    if isinstance(step, Nest):
        loops = plan_loops(step, lanes_of(step, vector_bits), columns)
        return write_nest(reader, step, loops, rows)
    if isinstance(step, ScatterStep):
        scatter_updates(reader, step.equation, vector_bits, rows)
        return {}
    label = row_label(step.equation)
    assert label is not None
    lower_product(reader, step.equation, ProductRows(label, *rows))
    return {}


def _added_to(step: Step) -> list[Value]:
    """The values that a step adds to, which start from zero."""
    if isinstance(step, Nest):
        return accumulated(step)
    if isinstance(step, ProductStep) and accumulates(step.equation, row_label(step.equation)):
        return list(step.equation.outputs)
    return []
