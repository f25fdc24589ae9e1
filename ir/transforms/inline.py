"""Inlining: the equations of a function are built again for other arguments and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir.dims import Dim, SizeExpr, divide_exactly, names_of, size, substitute
from gradc.ir.function import Function, Requirement, Value
from gradc.ir.transforms.rebuild import rebuild_equation, substitute_requirement


def inline(
    fn: Function, arguments: Sequence[Value], sizes: Mapping[str, Dim] | None = None
) -> tuple[Value, ...]:
    """The results of `fn` at `arguments`, as values of the caller's graph.

    The sizes of `fn` are bound by the arguments' shapes (and by `sizes`) and replaced everywhere.

    Raises TypeError where the number, dtype, rank or a dimension of the arguments does not fit.
    """
    bound = bind_sizes(fn, arguments, sizes)
    changed = {name: dim for name, dim in bound.items() if dim != size(name)}
    values = dict(zip(fn.parameters, arguments, strict=True))
    for made in fn.equations:
        again = rebuild_equation(made, [values.get(v, v) for v in made.inputs], changed)
        values.update(zip(made.outputs, again.outputs, strict=True))
    return tuple(values.get(result, result) for result in fn.results)


def conditions_at(
    fn: Function, arguments: Sequence[Value], sizes: Mapping[str, Dim] | None = None
) -> tuple[Requirement, ...]:
    """The conditions of `fn` on the sizes of the caller, who passes them on to `function`.

    Those that its equations imply are collected anew from the inlined equations; the others would
    be lost without this.
    """
    bound = bind_sizes(fn, arguments, sizes)
    return tuple(substitute_requirement(condition, bound) for condition in fn.requires)


def bind_sizes(
    fn: Function, arguments: Sequence[Value], sizes: Mapping[str, Dim] | None = None
) -> dict[str, Dim]:
    """The dimension that each size of `fn` stands for when it is applied to `arguments`.

    Raises TypeError as `inline` does.
    """
    if len(arguments) != len(fn.parameters):
        raise TypeError(
            f"{fn.name} takes {len(fn.parameters)} arguments ({', '.join(fn.parameter_names)}), "
            f"but {len(arguments)} were given"
        )
    bound: dict[str, Dim] = dict(sizes or {})
    triples = list(zip(fn.parameter_names, fn.parameters, arguments, strict=True))
    for name, wanted, given in triples:
        if wanted.dtype != given.dtype or len(wanted.shape) != len(given.shape):
            raise TypeError(
                f"{fn.name}: the argument {name} has the type {wanted.type}, "
                f"but {given.type} was given"
            )
        for dim, actual in zip(wanted.shape, given.shape, strict=True):
            if isinstance(dim, SizeExpr) and dim == size_named(dim):
                bound.setdefault(str(dim), actual)
    for name, wanted, given in triples:
        _bind_expressions(wanted, given, bound)
        _check_shape(fn.name, name, wanted, given, bound)
    return bound


def size_named(dim: SizeExpr) -> Dim | None:
    """The size that `dim` consists of, or None where it is a larger expression."""
    return size(only) if len(dim.names) == 1 and (only := next(iter(dim.names))) else None


def _bind_expressions(wanted: Value, given: Value, bound: dict[str, Dim]) -> None:
    """Bind sizes that stand only in expressions with one unknown, such as `2*n + 1`."""
    for dim, actual in zip(wanted.shape, given.shape, strict=True):
        free = names_of((dim,)) - bound.keys()
        if len(free) != 1:
            continue
        (unknown,) = free
        rest = substitute(dim, {**bound, unknown: 0})
        slope = substitute(dim, {**bound, unknown: 1}) - rest
        found = divide_exactly(actual - rest, slope) if slope != 0 else None
        if found is not None:
            bound[unknown] = found


def _check_shape(
    function: str, name: str, wanted: Value, given: Value, bound: Mapping[str, Dim]
) -> None:
    """Raise TypeError unless the parameter's shape, with sizes bound, is the argument's."""
    for axis, (dim, actual) in enumerate(zip(wanted.shape, given.shape, strict=True)):
        expected = substitute(dim, bound)
        if expected == actual:
            continue
        reason = f"{dim}, which is {expected} here" if dim != expected else f"{dim}"
        raise TypeError(
            f"{function}: axis {axis} of the argument {name} has the length {reason}, but "
            f"{given.type} was given, with {actual}; if they are equal, say so with assume_shape"
        )
