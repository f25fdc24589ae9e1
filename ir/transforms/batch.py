"""Batching: a graph for one example becomes a graph for `size` of them, along a new first axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir.dims import Dim
from gradc.ir.function import Function, Value, function, parameter, sorted_equations
from gradc.ir.ops.structural import broadcast, transpose
from gradc.ir.span import at
from gradc.ir.types import ArrayType


def batch_values(
    outputs: Sequence[Value], batched: Mapping[Value, Value], size: Dim
) -> list[Value]:
    """`outputs` for every example: each gets a leading axis of length `size`.

    `batched` gives, for values of the graph, the same value with that axis. Outputs that do not
    depend on these are broadcast. Raises TypeError where a batched value's type does not fit.
    """
    for value, many in batched.items():
        wanted = ArrayType(value.dtype, (size, *value.shape))
        if many.type != wanted:
            raise TypeError(
                f"{value.name or 'a value'}: {value.type} in a batch of {size} has the type "
                f"{wanted}, but {many.type} was given"
            )
    found = dict(batched)
    for made in sorted_equations(outputs, stop=batched):
        flags = tuple(value in found for value in made.inputs)
        if not any(flags):
            continue
        inputs = tuple(found.get(value, value) for value in made.inputs)
        with at(made.span):
            result = made.op.batch(inputs, flags, size, **made.attrs)
        many_results = result if isinstance(result, tuple) else (result,)
        for output, value in zip(made.outputs, many_results, strict=True):
            found.setdefault(output, value)
    return [found[out] if out in found else _repeated(out, size) for out in outputs]


def batch(fn: Function, in_axes: Sequence[int | None], size: Dim) -> Function:
    """`fn` for `size` examples at once: every result gets a leading axis of that length.

    `in_axes` says for each parameter at which axis its examples lie, or None: one for all.

    Raises ValueError where `in_axes` does not fit the parameters.
    """
    if len(in_axes) != len(fn.parameters):
        raise ValueError(
            f"{fn.name} has {len(fn.parameters)} parameters, but in_axes has {len(in_axes)} entries"
        )
    parameters: list[Value] = []
    batched: dict[Value, Value] = {}
    for name, single, axis in zip(fn.parameter_names, fn.parameters, in_axes, strict=True):
        if axis is None:
            parameters.append(single)
            continue
        rank = len(single.shape)
        if not 0 <= axis <= rank:
            raise ValueError(f"the batch axis of {name} is one of 0 to {rank}, not {axis}")
        shape = (*single.shape[:axis], size, *single.shape[axis:])
        many = parameter(single.type.with_shape(shape), name, single.span)
        parameters.append(many)
        batched[single] = _to_front(many, axis)
    results = batch_values(fn.results, batched, size)
    return function(f"{fn.name}_batch", parameters, results, fn.requires, fn.result_names)


def _to_front(value: Value, axis: int) -> Value:
    """`value` with `axis` as the first axis."""
    if axis == 0:
        return value
    rest = (i for i in range(len(value.shape)) if i != axis)
    moved: Value = transpose(value, permutation=(axis, *rest))
    return moved


def _repeated(value: Value, size: Dim) -> Value:
    axes = tuple(range(1, len(value.shape) + 1))
    result: Value = broadcast(value, shape=(size, *value.shape), axes=axes)
    return result
