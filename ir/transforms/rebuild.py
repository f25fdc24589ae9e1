"""Building equations and functions again with other inputs: what every transform is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gradc.ir.dims import Dim, SizeExpr, names_of, substitute
from gradc.ir.function import (
    Equation,
    Function,
    Requirement,
    Value,
    equation,
    requirements_of,
    sorted_equations,
)
from gradc.ir.span import current_span
from gradc.ir.types import ArrayType


def rebuild_equation(
    made: Equation, inputs: Sequence[Value], sizes: Mapping[str, Dim] | None = None
) -> Equation:
    """`made` with other inputs and sizes; `made` itself where nothing changes.

    The names of the outputs and the source span stay; without a span it gets that of the caller.
    """
    attrs = substitute_attrs(made.attrs, sizes) if sizes else made.attrs
    if attrs is made.attrs and tuple(inputs) == made.inputs:  # values are equal if they are one
        return made
    span = made.span or current_span()
    if attrs is not made.attrs or not _of_equal_types(inputs, made.inputs):
        again = equation(made.op, inputs, attrs, span)
        for new, old in zip(again.outputs, made.outputs, strict=True):
            new.name = old.name
        return again
    again = Equation(made.op, tuple(inputs), attrs, (), span)
    again.outputs = tuple([Value(x.type, x.name, again, x.index, span) for x in made.outputs])
    return again


def _of_equal_types(new: Sequence[Value], old: Sequence[Value]) -> bool:
    for a, b in zip(new, old, strict=True):
        if a.type is not b.type and a.type != b.type:
            return False
    return True


def substitute_attrs(attrs: Mapping[str, Any], sizes: Mapping[str, Dim]) -> Mapping[str, Any]:
    """The attributes with sizes replaced; `attrs` itself where none of them reads one."""
    changed = {
        key: new
        for key, value in attrs.items()
        if (new := substitute_in(value, sizes)) is not value
    }
    return {**attrs, **changed} if changed else attrs


def substitute_in(attribute: Any, sizes: Mapping[str, Dim]) -> Any:
    """An attribute (a dimension, tuple, type, region, ...) with sizes replaced."""
    if isinstance(attribute, SizeExpr):
        return attribute if attribute.names.isdisjoint(sizes) else substitute(attribute, sizes)
    if isinstance(attribute, tuple):
        parts = tuple(substitute_in(part, sizes) for part in attribute)
        return attribute if all(map(_same, parts, attribute)) else parts
    if isinstance(attribute, ArrayType):
        shape = substitute_in(attribute.shape, sizes)
        return attribute if shape is attribute.shape else attribute.with_shape(shape)
    if isinstance(attribute, Function):
        return substitute_in_function(attribute, sizes)
    return attribute


def substitute_in_function(fn: Function, sizes: Mapping[str, Dim]) -> Function:
    """`fn` with the named sizes replaced everywhere; its parameters become new values."""
    values: dict[Value, Value] = {}
    for old in fn.parameters:
        values[old] = Value(substitute_in(old.type, sizes), old.name, span=old.span)
    equations = []
    for made in fn.equations:
        again = rebuild_equation(made, [values.get(v, v) for v in made.inputs], sizes)
        values.update(zip(made.outputs, again.outputs, strict=True))
        equations.append(again)
    return replace(
        fn,
        parameters=tuple(values[p] for p in fn.parameters),
        equations=tuple(equations),
        results=tuple(values.get(r, r) for r in fn.results),
        requires=tuple(substitute_requirement(r, sizes) for r in fn.requires),
    )


def substitute_requirement(requirement: Requirement, sizes: Mapping[str, Dim]) -> Requirement:
    """The condition with sizes replaced."""
    if names_of((requirement.dim,)).isdisjoint(sizes):
        return requirement
    return replace(requirement, dim=substitute(requirement.dim, sizes))


def with_results(fn: Function, results: Sequence[Value]) -> Function:
    """A function of the same parameters, names and conditions that computes other `results`.

    Equations that `fn` does not have bring their conditions, where these say anything new.
    """
    equations = sorted_equations(results, stop=fn.parameters)
    old = set(fn.equations)
    stated = {(condition.dim, condition.relation) for condition in fn.requires}
    added = [
        condition
        for made in equations
        if made not in old
        for condition in requirements_of(made)
        if (condition.dim, condition.relation) not in stated
    ]
    conditions = (*fn.requires, *dict.fromkeys(added))
    return replace(fn, equations=equations, results=tuple(results), requires=conditions)


def unused_name(name: str, taken: set[str]) -> str:
    """`name`, lengthened by underscores until it is not in `taken`; then it is."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _same(a: object, b: object) -> bool:
    return a is b
