"""A linear graph applied to all unit arrays: Jacobians, column by column or row by row, at once.

A tangent that is pushed forward, or a cotangent that is pulled back, depends linearly on the one it
starts from. Its values for all unit arrays in that place are carried in compressed form
(`block.py`): what one direction does not move costs nothing for it, and ones and zeros of the unit
arrays never become code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir.dims import Dim, Shape, product, volume
from gradc.ir.function import Equation, Value, sorted_equations
from gradc.ir.op import Op
from gradc.ir.span import at
from gradc.ir.transforms.directions.block import Blocks, Space, identity, whole
from gradc.ir.transforms.directions.entries import ENTRY_RULES
from gradc.ir.transforms.directions.expand import expanded
from gradc.ir.transforms.directions.moves import MOVE_RULES
from gradc.ir.transforms.directions.positions import POSITION_RULES
from gradc.ir.transforms.directions.rule import Flows, Rule
from gradc.ir.transforms.directions.sums import SUM_RULES
from gradc.ir.transforms.directions.uniform import reshaped, transposed

_MOST_BLOCKS = 48  # of one value: each op on it is done so often
_WASTE = 1.25  # how many entries its blocks may have for each of the whole
_RULES: Mapping[Op, Rule] = {**ENTRY_RULES, **MOVE_RULES, **POSITION_RULES, **SUM_RULES}


def along_directions(linear: Value, direction: Value, numbers: Value | None = None) -> Value:
    """`linear` for each unit array in the place of `direction`: linear.shape + direction.shape.

    With `numbers` (i64[count]) for the unit arrays of these numbers: linear.shape + (count,).
    """
    space = _space(direction, numbers)
    return expanded(_sweep(linear, direction, space).get(linear, ()), linear, space)


def blocks_along(linear: Value, direction: Value) -> Blocks:
    """The derivative of `linear` by `direction`, compressed."""
    return _sweep(linear, direction, _space(direction)).get(linear, ())


def most_directions(linear: Value, direction: Value) -> Dim:
    """How many directions at most are held side by side on the way; 1 where all are on diagonals.

    A number that is not known before the call comes before all others.
    """
    most: Dim = 1
    for value, blocks in _sweep(linear, direction, _space(direction)).items():
        for block in blocks if value is not direction else ():
            count = product(block.counts)
            if not isinstance(count, int):
                return count
            most = max(most, count) if isinstance(most, int) else most
    return most


def _space(direction: Value, numbers: Value | None = None) -> Space:
    shape = direction.shape if numbers is None else numbers.shape
    return Space(shape, direction.type.size, numbers)


def _sweep(linear: Value, direction: Value, space: Space) -> dict[Value, Blocks]:
    """The derivatives of all values between the two, compressed."""
    found: dict[Value, Blocks] = {direction: identity(direction, space)}
    for made in sorted_equations([linear], stop=[direction]):
        if any(value in found for value in made.inputs):
            with at(made.span):
                flows = [found.get(value) for value in made.inputs]
                results = _applied(made, flows, space)
                for output, blocks in zip(made.outputs, results, strict=True):
                    found[output] = _bounded(blocks, output, space)
    return found


def _bounded(blocks: Blocks, output: Value, space: Space) -> Blocks:
    """The blocks, or one of all directions where that is less, or where they are too many."""
    if len(blocks) <= 1:
        return blocks
    entries = sum(volume(block.value.shape) for block in blocks)
    most = _WASTE * volume((*output.shape, *space.shape))
    if len(blocks) <= _MOST_BLOCKS and entries <= most:
        return blocks
    return whole(expanded(blocks, output, space), space)


def _applied(made: Equation, flows: Flows, space: Space) -> Sequence[Blocks]:
    rule = _RULES.get(made.op)
    answer = None if rule is None else rule(made, flows)
    return _by_all(made, flows, space) if answer is None else (answer,)


def _by_all(made: Equation, flows: Flows, space: Space) -> Sequence[Blocks]:
    """An equation for all directions, by the batch rule of its op."""
    size = product(space.shape)
    inputs = [
        x if blocks is None else _flat(expanded(blocks, x, space), space.rank, size)
        for x, blocks in zip(made.inputs, flows, strict=True)
    ]
    batched = tuple(blocks is not None for blocks in flows)
    result = made.op.batch(tuple(inputs), batched, size, **made.attrs)
    many = result if isinstance(result, tuple) else (result,)
    return [
        whole(_unflat(value, space.shape), space)
        for value, output in zip(many, made.outputs, strict=True)
    ]


def _flat(value: Value, axes: int, size: Dim) -> Value:
    """[*S, *space] as a batch, [size, *S]; the space has so many axes."""
    rank = value.type.rank - axes
    front = transposed(value, (*range(rank, value.type.rank), *range(rank)))
    return reshaped(front, (size, *value.shape[:rank]))


def _unflat(value: Value, space: Shape) -> Value:
    """A batch, [size, *S], as [*S, *space]."""
    split = reshaped(value, (*space, *value.shape[1:]))
    axes = range(split.type.rank)
    return transposed(split, (*axes[len(space) :], *axes[: len(space)]))
