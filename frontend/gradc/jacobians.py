"""Jacobians of values in a graph: forward or reverse mode, many directions together.

A Jacobian is a linear graph, a tangent pushed forward or a cotangent pulled back, applied to every
unit array (`ir/transforms/directions`). Where both ways are thinkable both graphs are built, and
the one with less work is taken. What is needed for that is imported when a Jacobian is asked for:
a program that wants a gradient only starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.errors import NullTypeGradError
from gradc.ir.dims import volume
from gradc.ir.function import Value, function, parameter, sorted_equations
from gradc.ir.op import Null
from gradc.ir.ops.blocks import map_blocks, new_rows, sizes_read
from gradc.ir.ops.constants import full
from gradc.ir.ops.custom import custom
from gradc.ir.ops.gradient_ops import (
    disconnected_grad,
    grad_clip,
    grad_scale,
    undefined_grad,
    zero_grad,
)
from gradc.ir.transforms.close import close
from gradc.ir.transforms.forward import push_tangents
from gradc.ir.transforms.reverse import NullGradientError, pull_cotangents
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.ir.types import i64

# Ops whose rules need not be those of derivatives: Hessians through them need not be symmetric.
_WITH_OTHER_RULES = frozenset(
    {custom, map_blocks, zero_grad, disconnected_grad, undefined_grad, grad_clip, grad_scale}
)
_CLEARLY_FEWER = 8  # times fewer directions: the other mode is not looked at


def jacobian_of(
    expression: Value,
    wrt: Sequence[Value],
    stop: Sequence[Value] = (),
    chunk: int | None = None,
) -> list[Value]:
    """The Jacobians of a value, of shape expression.shape + wrt.shape.

    By rows (one pullback for all of them) or by columns (one pushforward), whichever is less work.
    Values in `stop` count as constants. With `chunk` at most so many rows or columns are computed
    together, which bounds the memory of what lies between.
    """
    expression = _associated(expression, (*wrt, *stop))
    return [_jacobian_block(expression, target, stop, chunk) for target in wrt]


def _associated(expression: Value, held: Sequence[Value]) -> Value:
    """The same, computed from `held` by products that are less work, and to differentiate."""
    from gradc.ir.passes.association import associate_products

    equations = sorted_equations([expression], stop=held)
    free = (x for made in equations for x in made.inputs if x.owner is None)
    given = dict.fromkeys((*held, *free, *([expression] if expression.owner is None else [])))
    return associate_products(function("expression", given, [expression])).results[0]


def _jacobian_block(
    expression: Value, target: Value, stop: Sequence[Value], chunk: int | None
) -> Value:
    """By the mode with fewer directions, unless the other may be less work and is."""
    from gradc.ir.transforms.directions.work import work_of

    rows, columns = volume(expression.shape), volume(target.shape)
    modes = (pushed_along, _pulled_along) if columns < rows else (_pulled_along, pushed_along)
    first = modes[0](expression, target, stop, chunk)
    if min(rows, columns) * _CLEARLY_FEWER <= max(rows, columns) or min(rows, columns) <= 1:
        return first
    try:
        second = modes[1](expression, target, stop, chunk)
    except NullTypeGradError:  # no rule in that direction
        return first
    given = [expression]
    return second if work_of(second, given) < work_of(first, given) else first


def _pulled_along(
    expression: Value, target: Value, stop: Sequence[Value], chunk: int | None = None
) -> Value:
    """The derivative of every entry of `expression`, from a batched pullback."""
    kind = cotangent_type(expression)
    seed = parameter(kind) if expression.shape else full((), 1, kind.dtype)
    (row,) = pull_cotangents([(expression, seed)], [target], stop=stop)
    if isinstance(row, Null):
        raise NullTypeGradError(f"the Jacobian cannot be computed: {row.reason}")
    if not isinstance(row, Value):
        return zeros(cotangent_type(target).with_shape((*expression.shape, *target.shape)))
    if not expression.shape:
        return row
    return _along_basis(row, seed, chunk, first=True)


def pushed_along(
    expression: Value, target: Value, stop: Sequence[Value] = (), chunk: int | None = None
) -> Value:
    """The derivative of `expression` by every entry of `target`, from a batched pushforward."""
    tangent = parameter(cotangent_type(target))
    (column,) = pushed([expression], {target: tangent}, stop)
    kind = cotangent_type(expression)
    if column is None:
        return zeros(kind.with_shape((*expression.shape, *target.shape)))
    return _along_basis(column, tangent, chunk)


def hessian_blocks(
    cost: Value,
    gradients: Sequence[Value],
    wrt: Sequence[Value],
    stop: Sequence[Value] = (),
    chunk: int | None = None,
) -> list[list[Value]]:
    """The derivative of each gradient of a cost by every entry of each `wrt`, row by row.

    Of two blocks that are each other's transposes, the one with fewer directions is computed.
    """
    many = range(len(wrt))
    ranks = {i: n for n, i in enumerate(sorted(many, key=lambda i: volume(wrt[i].shape)))}
    mirrored = _has_symmetric_hessian(cost, wrt)
    found = {
        (i, j): pushed_along(gradients[i], wrt[j], stop, chunk)
        for i in many
        for j in many
        if ranks[j] <= ranks[i] or not mirrored
    }
    return [
        [found[i, j] if (i, j) in found else _turned(found[j, i], wrt[j].type.rank) for j in many]
        for i in many
    ]


def _has_symmetric_hessian(cost: Value, wrt: Sequence[Value]) -> bool:
    """Whether the rules on the way to a cost are those of derivatives, by independent variables."""
    if any(value.owner is not None for value in wrt):
        return False
    return all(made.op not in _WITH_OTHER_RULES for made in sorted_equations([cost]))


def pushed(
    outputs: Sequence[Value], tangents: Mapping[Value, Value], stop: Sequence[Value] = ()
) -> list[Value | None]:
    """`push_tangents`, with the user's error for a tangent that cannot be computed."""
    try:
        return push_tangents(outputs, tangents, stop=stop)
    except NullGradientError as error:
        raise NullTypeGradError(str(error)) from error


def _along_basis(
    linear: Value, direction: Value, chunk: int | None, *, first: bool = False
) -> Value:
    """`linear` for each unit array in the place of `direction`: linear.shape + direction.shape.

    `first`: the axes of the directions come first. More than `chunk` directions that have to be
    held together are taken in blocks.
    """
    from gradc.ir.transforms.directions.sweep import along_directions, most_directions

    size, rank = direction.type.size, linear.type.rank
    if chunk is not None and not (isinstance(size, int) and size <= chunk):
        together = most_directions(linear, direction)
        if not isinstance(together, int) or together > chunk:
            return _in_blocks(linear, direction, chunk, 0 if first else rank)
    every = along_directions(linear, direction)
    return _turned(every, rank) if first else every


def _turned(value: Value, rank: int) -> Value:
    """A value with its first axes, `rank` of them, behind the others."""
    from gradc.ir.transforms.directions.uniform import transposed

    axes = range(value.type.rank)
    return transposed(value, (*axes[rank:], *axes[:rank]))


def _in_blocks(linear: Value, direction: Value, chunk: int, axis: int) -> Value:
    """`linear` for each unit array, `chunk` of them together; they lie along `axis`."""
    from gradc.ir.transforms.directions.sweep import along_directions
    from gradc.ir.transforms.directions.uniform import transposed

    rows = new_rows(sorted_equations([linear]))
    numbers = parameter(i64[rows], "numbers")
    block = along_directions(linear, direction, numbers)
    order = list(range(linear.type.rank))
    order.insert(axis, linear.type.rank)
    body, captured = close(
        "block",
        [numbers],
        [transposed(block, tuple(order))],
        lambda made: not rows.names.isdisjoint(sizes_read(made)),
    )
    result: Value = map_blocks(
        *captured,
        body=body,
        lead=direction.shape,
        block=chunk,
        takes=(None,) * len(captured),
        gives=(axis,),
    )
    return result
