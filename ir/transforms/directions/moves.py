"""Rules of ops that move or repeat entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from gradc.ir.dims import Dim, Shape, is_nonnegative, product
from gradc.ir.function import Equation
from gradc.ir.op import Op
from gradc.ir.ops.constants import constant_number, full
from gradc.ir.ops.slicing import concat, pad, slice_, span, update_slice
from gradc.ir.ops.structural import (
    assume_shape,
    broadcast,
    reshape,
    reversed_,
    transpose,
)
from gradc.ir.transforms.directions.block import (
    Block,
    Blocks,
    Place,
    Tie,
    filled_out,
    loosened,
    renumbered,
    settled,
)
from gradc.ir.transforms.directions.boxes import combined, each, least, most, united
from gradc.ir.transforms.directions.rule import Flows, Rule, is_zero
from gradc.ir.transforms.directions.uniform import (
    repeated,
    reshaped,
    transposed,
)


def _broadcast(made: Equation, flows: Flows) -> Blocks | None:
    shape, axes = made.attrs["shape"], made.attrs["axes"]

    def spread(block: Block) -> Block:
        starts: list[Dim] = [0] * len(shape)
        lengths = list(shape)
        for own, axis in enumerate(axes):
            starts[axis], lengths[axis] = block.starts[own], block.lengths[own]
        whole = (*lengths, *block.counts)
        at = (*axes, *range(len(shape), len(whole)))
        value = repeated(block.value, whole, at)
        places = renumbered(block, dict(enumerate(axes)))
        return Block(value, places, tuple(starts), block.space)

    return each(flows[0] or (), spread)


def _transpose(made: Equation, flows: Flows) -> Blocks | None:
    order = made.attrs["permutation"]

    def moved(block: Block) -> Block:
        value = transposed(block.value, (*order, *block.behind))
        places = renumbered(block, {axis: i for i, axis in enumerate(order)})
        return Block(value, places, tuple(block.starts[axis] for axis in order), block.space)

    return each(flows[0] or (), moved)


def _reverse(made: Equation, flows: Flows) -> Blocks | None:
    axes, shape = made.attrs["axes"], made.inputs[0].shape

    def turned(block: Block) -> Block:
        starts = list(block.starts)
        for axis in axes:
            starts[axis] = shape[axis] - starts[axis] - block.lengths[axis]
        places = tuple(
            Tie(p.axis, -p.step, p.offset + p.step * (shape[p.axis] - 1))
            if isinstance(p, Tie) and p.axis in axes
            else p
            for p in block.places
        )
        known = constant_number(block.value) is not None
        value = block.value if known else reversed_(block.value, axes=axes)
        return Block(value, places, tuple(starts), block.space)

    return each(flows[0] or (), turned)


def _shifted(block: Block, low: Sequence[Dim], between: Sequence[int]) -> Block:
    """The block in a larger array: entry i of each axis stands at low + i * (between + 1)."""
    for axis, gap in enumerate(between):
        direction = block.tied(axis)
        tie = None if direction is None else block.ties[direction]
        if gap and tie is not None and tie.step % (gap + 1):
            block = loosened(block, axis)
    starts = tuple(
        start * (gap + 1) + a for start, gap, a in zip(block.starts, between, low, strict=True)
    )
    places = list(block.places)
    for direction, place in enumerate(places):
        if isinstance(place, Tie):
            step = place.step // (between[place.axis] + 1)
            places[direction] = Tie(place.axis, step, place.offset - step * low[place.axis])
    value = block.value
    if any(gap and dim != 1 for gap, dim in zip(between, block.lengths, strict=True)):
        none = (0,) * value.type.rank
        gaps = (*between, *none[block.rank :])
        value = pad(value, full((), 0, value.dtype), low=none, high=none, interior=gaps)
    return Block(value, tuple(places), starts, block.space)


def _pad(made: Equation, flows: Flows) -> Blocks | None:
    blocks, of_fill = flows
    if of_fill or (of_fill is None and not is_zero(made.inputs[1])):
        return None
    low, between = made.attrs["low"], made.attrs["interior"]
    return each(blocks or (), lambda block: _shifted(block, low, between))


def _concat(made: Equation, flows: Flows) -> Blocks | None:
    axis = made.attrs["axis"]
    start: Dim = 0
    found: dict[tuple[Place, ...], list[Block]] = {}
    for x, blocks in zip(made.inputs, flows, strict=True):
        if blocks is None and not is_zero(x):
            return None
        none = (0,) * x.type.rank
        low = (*none[:axis], start, *none[axis + 1 :])
        for block in blocks or ():
            moved = _shifted(block, low, none)
            found.setdefault(moved.places, []).append(moved)
        start = start + x.shape[axis]
    groups = ((united(group, 1.5), group) for group in found.values())
    return combined(b for one, group in groups for b in (group if one is None else [one]))


def _slice(made: Equation, flows: Flows) -> Blocks | None:
    return each(flows[0] or (), lambda block: _sliced(block, made))


def _sliced(block: Block, made: Equation) -> Block:
    """What a slice leaves of a block: perhaps nothing, an axis of length 0."""
    axes = list(zip(*(made.attrs[name] for name in ("starts", "stops", "steps")), strict=True))
    whole = made.inputs[0].shape
    for axis, cut_out in enumerate(axes):
        if _window(block, axis, whole[axis], *cut_out) is None:
            block = filled_out(loosened(block, axis), [axis], whole)
    windows = [_window(block, axis, whole[axis], *axes[axis]) for axis in range(len(axes))]
    first, last, starts = (tuple(w[i] for w in windows if w is not None) for i in range(3))
    more = len(block.behind)
    low, high = (*first, *(0,) * more), (*last, *block.counts)
    steps = (*(step for _, _, step in axes), *(1,) * more)
    shape = tuple((b - a + s - 1) // s for a, b, s in zip(low, high, steps, strict=True))
    number = constant_number(block.value)
    value = block.value
    if number is not None:
        value = full(shape, number, value.dtype)
    elif shape != value.shape:
        value = slice_(value, starts=low, stops=high, steps=steps)
    places = tuple(
        Tie(p.axis, p.step * axes[p.axis][2], p.offset + p.step * axes[p.axis][0])
        if isinstance(p, Tie)
        else p
        for p in block.places
    )
    return Block(value, places, starts, block.space)


def _window(
    block: Block, axis: int, whole: Dim, start: Dim, stop: Dim, step: int
) -> tuple[Dim, Dim, Dim] | None:
    """What a slice takes of a block's box along an axis: start and stop there, start in the result.

    None where that is not certain.
    """
    begin, length = block.starts[axis], block.lengths[axis]
    if begin == 0 and length == whole:
        return start, stop, 0
    if step > 1:
        return _strided(begin, length, start, stop, step)
    first, end = most(begin, start), least(begin + length, stop)
    if first is None or end is None:
        return None
    if (first, end) not in ((start, stop), (begin, begin + length)) and first != end:
        if is_nonnegative(first - end):
            return 0, 0, 0
        if not is_nonnegative(end - first):
            return None
    return first - begin, end - begin, first - start


def _strided(
    begin: Dim, length: Dim, start: Dim, stop: Dim, step: int
) -> tuple[Dim, Dim, Dim] | None:
    """`_window` of a slice in steps, where all is known."""
    match begin, length, start, stop:
        case int(), int(), int(), int():
            skipped = max(0, (begin - start + step - 1) // step)
            first = start + skipped * step
            end = max(min(stop, begin + length), first)
            return first - begin, end - begin, skipped
    return None


def _update_slice(made: Equation, flows: Flows) -> Blocks | None:
    (x, update), (of_x, of_update) = made.inputs, flows
    if (of_update is None and not is_zero(update)) or (of_x is None and not is_zero(x)):
        return None
    starts, steps = made.attrs["starts"], made.attrs["steps"]

    def overwritten(block: Block) -> Block:
        if _apart(block, starts, update.shape, steps):
            return block
        for axis in range(x.type.rank):
            if block.starts[axis] != 0 or block.lengths[axis] != x.shape[axis]:
                block = filled_out(loosened(block, axis), [axis], x.shape)
        zeros = full((*update.shape, *block.counts), 0, block.value.dtype)
        more = len(block.behind)
        value = update_slice(
            block.value, zeros, starts=(*starts, *(0,) * more), steps=(*steps, *(1,) * more)
        )
        return replace(block, value=value)

    kept = (b for block in of_x or () for b in settled(overwritten(block)))
    between = tuple(step - 1 for step in steps)
    new = (b for block in of_update or () for b in settled(_shifted(block, starts, between)))
    return combined((*kept, *new))


def _apart(block: Block, starts: Shape, lengths: Shape, steps: Sequence[int]) -> bool:
    """Whether a strided block of an array certainly does not touch the block's box."""
    axes = zip(block.starts, block.lengths, starts, lengths, steps, strict=True)
    for begin, length, start, count, step in axes:
        end, stop = begin + length, start + span(count, step)
        if (end != start and least(end, start) == end) or end == start:
            return True
        if (stop != begin and least(stop, begin) == stop) or stop == begin:
            return True
    return False


def _assume_shape(made: Equation, flows: Flows) -> Blocks | None:
    before, after = made.inputs[0].shape, made.attrs["shape"]
    changed = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]

    def assumed(block: Block) -> Block:
        for axis in changed:
            block = filled_out(loosened(block, axis), [axis], before)
        lengths = [after[i] if i in changed else dim for i, dim in enumerate(block.lengths)]
        shape = (*lengths, *block.counts)
        known = constant_number(block.value)
        if known is not None:
            return replace(block, value=full(shape, known, block.value.dtype))
        return replace(block, value=assume_shape(block.value, shape=shape))

    return each(flows[0] or (), assumed)


def _reshape(made: Equation, flows: Flows) -> Blocks | None:
    before, after = made.inputs[0].shape, made.attrs["shape"]
    groups = _groups(before, after)

    def regrouped(block: Block) -> Block:
        axes: dict[int, int] = {}
        starts: list[Dim] = [0] * len(after)
        lengths = list(after)
        for old, new in groups:
            if len(old) == len(new) == 1:
                axes[old[0]] = new[0]
                starts[new[0]], lengths[new[0]] = block.starts[old[0]], block.lengths[old[0]]
                continue
            for axis in old:
                block = loosened(block, axis)
            inner = old[1:] if len(new) == 1 else old
            block = filled_out(block, inner, before)
            if len(new) == 1:
                rest = product(before[axis] for axis in inner)
                starts[new[0]] = block.starts[old[0]] * rest
                lengths[new[0]] = block.lengths[old[0]] * rest
        value = reshaped(block.value, (*lengths, *block.counts))
        return Block(value, renumbered(block, axes), tuple(starts), block.space)

    return each(flows[0] or (), regrouped)


def _groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Axes of both shapes in groups of equal size, as many as is certain; those of length 1 go."""
    old = [axis for axis, dim in enumerate(before) if dim != 1]
    new = [axis for axis, dim in enumerate(after) if dim != 1]
    behind = {product(before[axis] for axis in old[i:]): i for i in range(len(old) + 1)}
    cuts = [(0, 0)]
    for j in range(1, len(new)):
        i = behind.get(product(after[axis] for axis in new[j:]), 0)
        if i > cuts[-1][0]:
            cuts.append((i, j))
    cuts.append((len(old), len(new)))
    return [
        (old[i:end], new[j:stop]) for (i, j), (end, stop) in pairwise(cuts) if end > i or stop > j
    ]


MOVE_RULES: Mapping[Op, Rule] = {
    broadcast: _broadcast,
    transpose: _transpose,
    reversed_: _reverse,
    pad: _pad,
    concat: _concat,
    slice_: _slice,
    update_slice: _update_slice,
    assume_shape: _assume_shape,
    reshape: _reshape,
}
