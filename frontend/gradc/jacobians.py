"""Jacobians of values in a graph: forward or reverse mode, many directions together.

A Jacobian is a linear graph, a tangent pushed forward or a cotangent pulled back, applied to every
unit array (`ir/transforms/directions`). Where both ways are thinkable both graphs are built, and
the one with less work is taken. What is needed for that is imported when a Jacobian is asked for:
a program that wants a gradient only starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.errors import GradcValueError, NullTypeGradError
from gradc.ir.dims import product, volume
from gradc.ir.function import Value, function, parameter, sorted_equations
from gradc.ir.op import Null
from gradc.ir.ops.cast import cast
from gradc.ir.ops.constants import full, iota
from gradc.ir.ops.logic import eq
from gradc.ir.ops.slicing import concat
from gradc.ir.ops.structural import broadcast, reshape
from gradc.ir.transforms.batch import batch_values
from gradc.ir.transforms.forward import push_tangents
from gradc.ir.transforms.reverse import NullGradientError, pull_cotangents
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.ir.types import i64

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
    except (NullTypeGradError, GradcValueError):  # no rule in that direction, or too many for chunk
        return first
    given = [expression]
    return second if work_of(second, given) < work_of(first, given) else first


def _pulled_along(
    expression: Value, target: Value, stop: Sequence[Value], chunk: int | None = None
) -> Value:
    """The derivative of every entry of `expression`, from a batched pullback."""
    from gradc.ir.transforms.directions.uniform import transposed

    kind = cotangent_type(expression)
    seed = parameter(kind) if expression.shape else full((), 1, kind.dtype)
    (row,) = pull_cotangents([(expression, seed)], [target], stop=stop)
    if isinstance(row, Null):
        raise NullTypeGradError(f"the Jacobian cannot be computed: {row.reason}")
    if not isinstance(row, Value):
        return zeros(cotangent_type(target).with_shape((*expression.shape, *target.shape)))
    if not expression.shape:
        return row
    rows = _along_basis(row, seed, chunk)
    first, rank = len(target.shape), len(target.shape) + len(expression.shape)
    return transposed(rows, (*range(first, rank), *range(first)))


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


def pushed(
    outputs: Sequence[Value], tangents: Mapping[Value, Value], stop: Sequence[Value] = ()
) -> list[Value | None]:
    """`push_tangents`, with the user's error for a tangent that cannot be computed."""
    try:
        return push_tangents(outputs, tangents, stop=stop)
    except NullGradientError as error:
        raise NullTypeGradError(str(error)) from error


def _along_basis(linear: Value, direction: Value, chunk: int | None) -> Value:
    """`linear` for each unit array in the place of `direction`: linear.shape + direction.shape."""
    from gradc.ir.transforms.directions.sweep import along_directions, most_directions
    from gradc.ir.transforms.directions.uniform import reshaped, transposed

    size = direction.type.size
    if chunk is None or (isinstance(size, int) and size <= chunk):
        return along_directions(linear, direction)
    together = most_directions(linear, direction)
    if isinstance(together, int) and together <= chunk:
        return along_directions(linear, direction)
    if not isinstance(size, int):
        raise GradcValueError(
            f"chunk: the number of derivatives, {size}, is not known before the call",
            hint="leave chunk away, or give the variable a shape of integers",
        )
    starts = range(0, size, chunk)
    parts = [_batched(linear, direction, at, min(chunk, size - at)) for at in starts]
    joined: Value = concat(*parts, axis=0)
    order = (*range(1, joined.type.rank), 0)
    return reshaped(transposed(joined, order), (*linear.shape, *direction.shape))


def _batched(linear: Value, direction: Value, start: int, count: int) -> Value:
    """`linear` for some unit arrays, one after the other along a new first axis."""
    (found,) = batch_values([linear], {direction: _basis(direction, start, count)}, count)
    return found


def _basis(value: Value, start: int, count: int) -> Value:
    """Unit arrays of a value's shape, from number `start` on: [count, *shape]."""
    size = product(value.shape)
    rows = broadcast(iota(size=count, dtype=i64) + start, shape=(count, size), axes=(0,))
    columns = broadcast(iota(size=size, dtype=i64), shape=(count, size), axes=(1,))
    unit = cast(eq(rows, columns), dtype=value.dtype)
    shaped: Value = reshape(unit, shape=(count, *value.shape))
    return shaped
