"""Rules of reading and writing at computed positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gradc.ir.function import Equation
from gradc.ir.op import Op
from gradc.ir.ops.constants import full
from gradc.ir.ops.indexing import scatter_add, scatter_set, take
from gradc.ir.transforms.directions.block import (
    Block,
    Blocks,
    filled_out,
    loosened,
    renumbered,
)
from gradc.ir.transforms.directions.boxes import combined, each
from gradc.ir.transforms.directions.rule import Flows, Rule, is_zero


def _take(made: Equation, flows: Flows) -> Blocks | None:
    (x, indices), (blocks, moved) = made.inputs, flows
    axis = made.attrs["axis"]
    if moved is not None:
        return None
    more = indices.type.rank - 1

    def taken(block: Block) -> Block:
        block = filled_out(loosened(block, axis), [axis], x.shape)
        value = take(block.value, indices, axis=axis)
        starts = (*block.starts[:axis], *(0,) * (more + 1), *block.starts[axis + 1 :])
        axes = {i: i if i < axis else i + more for i in range(x.type.rank)}
        return Block(value, renumbered(block, axes), starts, block.space)

    return each(blocks or (), taken)


def _scatter(made: Equation, flows: Flows) -> Blocks | None:
    (base, indices, updates), (of_base, moved, of_updates) = made.inputs, flows
    axis = made.attrs["axis"]
    if moved is not None or (of_base is None and not is_zero(base)):
        return None
    if of_updates is None and not is_zero(updates):
        return None
    count = indices.type.rank

    def written(block: Block) -> Block:
        own = range(axis, axis + count)
        for i in own:
            block = loosened(block, i)
        block = filled_out(block, own, updates.shape)
        lengths = (*block.lengths[:axis], base.shape[axis], *block.lengths[axis + count :])
        zeros = full((*lengths, *block.counts), 0, block.value.dtype)
        value = made.op(zeros, indices, block.value, axis=axis)
        starts = (*block.starts[:axis], 0, *block.starts[axis + count :])
        axes = {i: i if i < axis else i + 1 - count for i in range(updates.type.rank)}
        return Block(value, renumbered(block, axes), starts, block.space)

    def overwritten(block: Block) -> Block:
        block = filled_out(loosened(block, axis), [axis], base.shape)
        lengths = (*block.lengths[:axis], *indices.shape, *block.lengths[axis + 1 :])
        zeros = full((*lengths, *block.counts), 0, block.value.dtype)
        return replace(block, value=scatter_set(block.value, indices, zeros, axis=axis))

    kept = of_base or ()
    if made.op is scatter_set:
        kept = each(kept, overwritten)
    return combined((*kept, *each(of_updates or (), written)))


POSITION_RULES: Mapping[Op, Rule] = {
    take: _take,
    scatter_add: _scatter,
    scatter_set: _scatter,
}
