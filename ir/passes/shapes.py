"""Rules for shape operations: each chain of them becomes the shortest one that means the same.

Two directions are fixed: broadcasts move towards the results (what is computed of broadcast values
is computed before the broadcast, on fewer elements), and neighbours of one kind become one. All
rules are exact: no number changes.
"""

from __future__ import annotations

from gradc.ir.dims import Dim
from gradc.ir.function import Equation, Value
from gradc.ir.lowering import Pointwise
from gradc.ir.ops.constants import constant_number, filled
from gradc.ir.ops.reductions import all_, any_, max_, min_, prod
from gradc.ir.ops.slicing import concat, pad, slice_
from gradc.ir.ops.structural import (
    assume_shape,
    broadcast,
    other_axes,
    reshape,
    reversed_,
    sum_,
    transpose,
)
from gradc.ir.passes.matching import attrs_of, input_of, inputs_of
from gradc.ir.passes.rewrite import NUMBER, Table, needs


@needs(all=(broadcast,))
def _broadcast_last(made: Equation) -> Value | None:
    """f(broadcast x, broadcast y, ...) -> broadcast f(x, y, ...), for a pointwise f.

    The operands are broadcast along the same axes; scalars may be among them.
    """
    if not made.inputs:
        return None
    shape = made.outputs[0].shape
    kept: tuple[int, ...] = ()
    for value in made.inputs:
        if input_of(value, broadcast) is None:
            return None
        axes = attrs_of(value)["axes"]
        if axes and kept and axes != kept:
            return None
        kept = axes or kept
    inner = tuple(shape[axis] for axis in kept)
    inputs = []
    for value in made.inputs:
        source = input_of(value, broadcast)
        if source is not None:
            inputs.append(source if source.shape == inner else filled(inner, source))
    computed: Value = made.op(*inputs, **made.attrs)
    result: Value = broadcast(computed, shape=shape, axes=kept)
    return result


@needs(reshape)
def _unit_reshape_last(made: Equation) -> Value | None:
    """f(reshape x, ...) -> reshape f(x, ...), for a pointwise f and axes of length 1.

    The operands are reshapes of values of one shape; broadcast scalars may be among them.
    """
    sources = [(value, input_of(value, reshape)) for value in made.inputs]
    shapes = {source.type.shape for _, source in sources if source is not None}
    if len(shapes) != 1:
        return None
    (inner,) = shapes
    if not _differ_by_units(inner, made.outputs[0].shape):
        return None
    inputs = []
    for value, source in sources:
        scalar = input_of(value, broadcast)
        if source is not None:
            inputs.append(source)
        elif scalar is not None and not scalar.shape:
            inputs.append(filled(inner, scalar))
        else:
            return None
    computed: Value = made.op(*inputs, **made.attrs)
    result: Value = reshape(computed, shape=made.outputs[0].shape)
    return result


def _differ_by_units(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> bool:
    return [dim for dim in a if dim != 1] == [dim for dim in b if dim != 1]


def _broadcast_of_broadcast(made: Equation) -> Value | None:
    (x,), shape, axes = made.inputs, made.attrs["shape"], made.attrs["axes"]
    if x.shape == shape:
        return x
    source = input_of(x, broadcast)
    if source is None:
        return None
    through = tuple(axes[axis] for axis in attrs_of(x)["axes"])
    result: Value = broadcast(source, shape=shape, axes=through)
    return result


@needs(reshape)
def _broadcast_of_unit_reshape(made: Equation) -> Value | None:
    """A reshape that only adds axes of length 1, which are then broadcast: one broadcast."""
    (x,), shape, axes = made.inputs, made.attrs["shape"], made.attrs["axes"]
    source = input_of(x, reshape)
    placed = None if source is None else _unit_axes_added(source.shape, x.shape)
    if source is None or placed is None:
        return None
    result: Value = broadcast(source, shape=shape, axes=tuple(axes[axis] for axis in placed))
    return result


def _unit_axes_added(shape: tuple[Dim, ...], longer: tuple[Dim, ...]) -> tuple[int, ...] | None:
    """Where the axes of `shape` lie in `longer`, if that only has more axes of length 1."""
    placed: list[int] = []
    for axis, dim in enumerate(longer):
        if len(placed) < len(shape) and dim == shape[len(placed)]:
            placed.append(axis)
        elif dim != 1:
            return None
    return tuple(placed) if len(placed) == len(shape) else None


def _transpose_of_transpose(made: Equation) -> Value | None:
    (x,), permutation = made.inputs, made.attrs["permutation"]
    if permutation == tuple(range(len(permutation))):
        return x
    source = input_of(x, transpose)
    if source is None:
        return None
    inner = attrs_of(x)["permutation"]
    result: Value = transpose(source, permutation=tuple(inner[axis] for axis in permutation))
    return result


def _transpose_of_broadcast(made: Equation) -> Value | None:
    (x,), permutation = made.inputs, made.attrs["permutation"]
    source = input_of(x, broadcast)
    if source is None:
        return None
    places = [permutation.index(axis) for axis in attrs_of(x)["axes"]]
    order = tuple(sorted(range(len(places)), key=lambda i: places[i]))
    turned: Value = transpose(source, permutation=order)
    result: Value = broadcast(turned, shape=made.outputs[0].shape, axes=tuple(sorted(places)))
    return result


def _reshape_of_reshape(made: Equation) -> Value | None:
    (x,), shape = made.inputs, made.attrs["shape"]
    if x.shape == shape:
        return x
    source = input_of(x, reshape)
    if source is None:
        return None
    result: Value = reshape(source, shape=shape)
    return result


def _reshape_of_scalar_broadcast(made: Equation) -> Value | None:
    """All elements are one: the new shape is broadcast directly."""
    source = input_of(made.inputs[0], broadcast)
    if source is None or source.shape:
        return None
    result: Value = broadcast(source, shape=made.attrs["shape"], axes=())
    return result


def _reshape_to_broadcast(made: Equation) -> Value | None:
    """A reshape of a broadcast that only adds axes of length 1 is a broadcast."""
    (x,), shape = made.inputs, made.attrs["shape"]
    source = input_of(x, broadcast)
    placed = None if source is None else _unit_axes_added(x.shape, shape)
    if source is None or placed is None:
        return None
    axes = tuple(placed[axis] for axis in attrs_of(x)["axes"])
    result: Value = broadcast(source, shape=shape, axes=axes)
    return result


def _whole_slice(made: Equation) -> Value | None:
    (x,), attrs = made.inputs, made.attrs
    zeros, ones = (0,) * x.type.rank, (1,) * x.type.rank
    whole = (attrs["starts"], attrs["stops"], attrs["steps"]) == (zeros, x.shape, ones)
    return x if whole else None


def _slice_of_slice(made: Equation) -> Value | None:
    (x,), attrs = made.inputs, made.attrs
    source, inner = input_of(x, slice_), attrs_of(x)
    if source is None or any(step != 1 for step in inner["steps"]):
        return None
    result: Value = slice_(
        source,
        starts=_added(inner["starts"], attrs["starts"]),
        stops=_added(inner["starts"], attrs["stops"]),
        steps=attrs["steps"],
    )
    return result


def _slice_of_concat(made: Equation) -> Value | None:
    """A slice that is exactly one of the parts that were joined."""
    (x,), attrs = made.inputs, made.attrs
    parts = inputs_of(x, concat)
    if parts is None or any(step != 1 for step in attrs["steps"]):
        return None
    axis, start = attrs_of(x)["axis"], 0
    for part in parts:
        starts = tuple(start if i == axis else 0 for i in range(x.type.rank))
        if (attrs["starts"], attrs["stops"]) == (starts, _added(starts, part.shape)):
            return part
        start = start + part.shape[axis]
    return None


def _added(a: tuple[Dim, ...], b: tuple[Dim, ...]) -> tuple[Dim, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _pad_by_nothing(made: Equation) -> Value | None:
    widths = (*made.attrs["low"], *made.attrs["high"], *made.attrs["interior"])
    return made.inputs[0] if all(width == 0 for width in widths) else None


def _concat_of_one(made: Equation) -> Value | None:
    return made.inputs[0] if len(made.inputs) == 1 else None


def _reverse_of_reverse(made: Equation) -> Value | None:
    (x,), axes = made.inputs, set(made.attrs["axes"])
    if not axes:
        return x
    source = input_of(x, reversed_)
    if source is None:
        return None
    left = axes.symmetric_difference(attrs_of(x)["axes"])
    result: Value = reversed_(source, axes=tuple(sorted(left)))
    return result


def _known_shape(made: Equation) -> Value | None:
    return made.inputs[0] if made.inputs[0].shape == made.attrs["shape"] else None


def _reduce_nothing(made: Equation) -> Value | None:
    return made.inputs[0] if not made.attrs["axes"] else None


def _reduced(made: Equation, x: Value, axes: tuple[int, ...]) -> Value:
    """The reduction that `made` is, of another value over other axes."""
    result: Value = made.op(x, **{**made.attrs, "axes": axes})
    return result


def _reduce_unit_axes(made: Equation) -> Value | None:
    """Over axes of length 1 a reduction is a reshape, as far as these go."""
    (x,), axes = made.inputs, made.attrs["axes"]
    units = tuple(axis for axis in axes if x.shape[axis] == 1)
    if not units:
        return None
    kept = other_axes(x.type.rank, units)
    squeezed: Value = reshape(x, shape=tuple(x.shape[axis] for axis in kept))
    rest = tuple(kept.index(axis) for axis in axes if axis not in units)
    result: Value = _reduced(made, squeezed, rest) if rest else squeezed
    return result


def _reduce_twice(made: Equation) -> Value | None:
    """sum(sum x) and its like: one reduction."""
    (x,), axes = made.inputs, made.attrs["axes"]
    source = input_of(x, made.op)
    if source is None or {**attrs_of(x), "axes": axes} != made.attrs:
        return None
    first = attrs_of(x)["axes"]
    kept = other_axes(source.type.rank, first)
    both = tuple(sorted((*first, *(kept[axis] for axis in axes))))
    return _reduced(made, source, both)


@needs(transpose)
def _reduce_transposed(made: Equation) -> Value | None:
    """A reduction of a transpose is the reduction of its source, transposed if it must be."""
    (x,), axes = made.inputs, made.attrs["axes"]
    source = input_of(x, transpose)
    if source is None:
        return None
    permutation = attrs_of(x)["permutation"]
    over = tuple(sorted(permutation[axis] for axis in axes))
    reduced = _reduced(made, source, over)
    kept = other_axes(source.type.rank, over)
    order = [kept.index(permutation[axis]) for axis in other_axes(x.type.rank, axes)]
    result: Value = transpose(reduced, permutation=tuple(order))
    return result


@needs(NUMBER)
def _reduce_before_broadcast(made: Equation) -> Value | None:
    """A reduction over axes that a broadcast took from its source: reduce, then broadcast."""
    (x,), axes = made.inputs, made.attrs["axes"]
    source = input_of(x, broadcast)
    own = attrs_of(x)["axes"] if source is not None else ()
    if source is None or not set(axes) <= set(own):
        return None
    reduced = _reduced(made, source, tuple(own.index(axis) for axis in axes))
    kept = other_axes(x.type.rank, axes)
    placed = tuple(kept.index(axis) for axis in own if axis not in axes)
    result: Value = broadcast(reduced, shape=made.outputs[0].shape, axes=placed)
    return result


@needs(pad)
def _sum_of_padded(made: Equation) -> Value | None:
    """Zeros that pad the axes that are summed over are left out."""
    (x,), axes = made.inputs, made.attrs["axes"]
    operands, padding = inputs_of(x, pad), attrs_of(x)
    if operands is None or constant_number(operands[1]) != 0:
        return None
    names = ("low", "high", "interior")
    if all(padding[name][axis] == 0 for name in names for axis in axes):
        return None
    bare = {
        name: tuple(0 if axis in axes else width for axis, width in enumerate(padding[name]))
        for name in names
    }
    result: Value = sum_(pad(*operands, **bare), axes=axes)
    return result


_REDUCTION = (
    _reduce_nothing,
    _reduce_unit_axes,
    _reduce_twice,
    _reduce_transposed,
    _reduce_before_broadcast,
)

SHAPES = Table(
    {
        broadcast: (_broadcast_of_broadcast, _broadcast_of_unit_reshape),
        transpose: (_transpose_of_transpose, _transpose_of_broadcast),
        reshape: (_reshape_of_reshape, _reshape_of_scalar_broadcast, _reshape_to_broadcast),
        slice_: (_whole_slice, _slice_of_slice, _slice_of_concat),
        pad: (_pad_by_nothing,),
        concat: (_concat_of_one,),
        reversed_: (_reverse_of_reverse,),
        assume_shape: (_known_shape,),
        sum_: (*_REDUCTION, _sum_of_padded),
        prod: _REDUCTION,
        max_: _REDUCTION,
        min_: _REDUCTION,
        any_: _REDUCTION,
        all_: _REDUCTION,
    },
    {Pointwise: (_broadcast_last, _unit_reshape_last)},
)
