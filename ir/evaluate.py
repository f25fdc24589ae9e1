"""The reference evaluator: runs a function on NumPy, one equation after another.

Slow and plain: what it computes is what the function means. The native code is tested against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import SizeExpr, divide_exactly, evaluate_dim, names_of, substitute
from gradc.ir.function import Equation, Function, Value
from gradc.ir.transforms.rebuild import substitute_in_function
from gradc.ir.types import ArrayType, DType, dtype_of

Array = np.ndarray[Any, Any]
Observer: TypeAlias = Callable[
    [Equation, Sequence[Array], Mapping[str, Any], Sequence[Array]], None
]


def evaluate(
    function: Function, *arrays: Any, observe: Observer | None = None
) -> tuple[Array, ...]:
    """The results of `function` for the arguments `arrays`.

    `observe` is told each equation after it has run, with its inputs, attributes and outputs.

    Raises TypeError for a wrong number of arguments or a wrong dtype; ValueError for a shape that
    does not fit or a condition on sizes that does not hold. Nothing is converted silently, except
    that a Python number stands for a scalar.
    """
    expected = len(function.parameters)
    if len(arrays) != expected:
        names = ", ".join(function.parameter_names)
        raise TypeError(
            f"{function.name} takes {expected} arguments ({names}), {len(arrays)} were given"
        )
    given = [_argument(function, i, array) for i, array in enumerate(arrays)]
    sizes = bind_sizes(function, given)
    for requirement in function.requires:
        value = evaluate_dim(requirement.dim, sizes)
        if not requirement.holds(value):
            raise ValueError(
                f"{function.name}: {requirement.why} ({requirement.dim} {requirement.relation} "
                f"is needed, it is {value} for {_listed(sizes)})"
            )
    environment = dict(zip(function.parameters, given, strict=True))
    last = _last_uses(function)
    for equation in function.equations:
        _run(equation, environment, sizes, observe)
        for spent in last.get(equation, ()):
            del environment[spent]
    return tuple(environment[result] for result in function.results)


def bind_sizes(function: Function, arrays: Sequence[Array]) -> dict[str, int]:
    """The value of each size name, found from the arguments' shapes, all of which are checked.

    A length that is a size by itself, or a multiple of one plus a constant, binds it; every length
    is then compared with what the sizes say. Raises ValueError naming the argument and the axis.
    """
    lengths = [
        (i, axis, dim, array.shape[axis])
        for i, (parameter, array) in enumerate(zip(function.parameters, arrays, strict=True))
        for axis, dim in enumerate(parameter.shape)
    ]
    sizes: dict[str, int] = {}
    bound_by: dict[str, str] = {}
    while True:
        before = len(sizes)
        for i, axis, dim, length in lengths:
            found = _solve(dim, length, sizes)
            if found is not None:
                sizes[found[0]] = found[1]
                bound_by[found[0]] = f"{function.parameter_names[i]}, axis {axis}"
        if len(sizes) == before:
            break
    for i, axis, dim, length in lengths:
        _check_length(function, i, axis, dim, length, sizes, bound_by)
    return sizes


def _solve(dim: Any, length: int, sizes: Mapping[str, int]) -> tuple[str, int] | None:
    """The one size name that `dim` leaves open and its value, if the equation gives it."""
    rest = substitute(dim, sizes)
    if not isinstance(rest, SizeExpr) or len(rest.names) != 1:
        return None
    (name,) = rest.names
    constant = substitute(rest, {name: 0})
    factor = divide_exactly(rest - constant, SizeExpr((((name,), 1),)))
    if not isinstance(factor, int) or not isinstance(constant, int):
        return None
    value, over = divmod(length - constant, factor)
    return None if over or value < 0 else (name, value)


def _check_length(
    function: Function,
    i: int,
    axis: int,
    dim: Any,
    length: int,
    sizes: Mapping[str, int],
    bound_by: Mapping[str, str],
) -> None:
    name, type = function.parameter_names[i], function.parameters[i].type
    open_names = sorted(names_of((dim,)) - sizes.keys())
    if open_names:
        raise ValueError(
            f"{function.name}: axis {axis} of {name}: {type} has length {length}, from which "
            f"{open_names[0]} cannot be found; pass an argument one of whose lengths is "
            f"{open_names[0]}"
        )
    wanted = evaluate_dim(dim, sizes)
    if wanted != length:
        sources = ", ".join(
            f"{size} = {sizes[size]} from {bound_by[size]}" for size in sorted(names_of((dim,)))
        )
        raise ValueError(
            f"{function.name}: axis {axis} of {name}: {type} has length {length}, "
            f"{wanted} was expected" + (f" ({sources})" if sources else "")
        )


def _argument(function: Function, i: int, given: Any) -> Array:
    """Argument i as an array of the parameter's dtype and rank."""
    name, type = function.parameter_names[i], function.parameters[i].type
    array = _number(given, type.dtype) if isinstance(given, bool | int | float) else given
    array = np.asarray(array)
    if dtype_of(array.dtype) is not type.dtype:
        raise TypeError(
            f"{function.name}: {name} is {type}, an array of {array.dtype} was given; "
            f"convert it with .astype({type.dtype.numpy.name!r})"
        )
    if array.ndim != type.rank:
        raise ValueError(
            f"{function.name}: {name} is {type} with {type.rank} axes, "
            f"an array of shape {array.shape} was given"
        )
    return array.astype(type.dtype.numpy, copy=False)


def _number(given: float, dtype: DType) -> Any:
    """A Python number in the dtype of a scalar parameter, where its kind allows it."""
    kinds = "b" if isinstance(given, bool) else "if" if isinstance(given, int) else "f"
    return np.asarray(given, dtype.numpy) if dtype.kind in kinds else given


def _last_uses(function: Function) -> dict[Equation, list[Value]]:
    """The values that no equation after this one reads, and that are no results."""
    found: dict[Equation, list[Value]] = {}
    seen = set(function.results)
    for equation in reversed(function.equations):
        for value in (*equation.outputs, *equation.inputs):
            if value not in seen:
                seen.add(value)
                found.setdefault(equation, []).append(value)
    return found


def _run(
    equation: Equation,
    environment: dict[Value, Array],
    sizes: Mapping[str, int],
    observe: Observer | None,
) -> None:
    """Evaluate one equation; its outputs get the dtypes and shapes that their types say."""
    inputs = [environment[value] for value in equation.inputs]
    attrs = {name: bound(value, sizes) for name, value in equation.attrs.items()}
    result = equation.op.evaluate(*inputs, **attrs)
    outputs = result if isinstance(result, tuple) else (result,)
    for value, computed in zip(equation.outputs, outputs, strict=True):
        array = np.asarray(computed)
        shape = tuple(evaluate_dim(dim, sizes) for dim in value.shape)
        if array.dtype != value.dtype.numpy or array.shape != shape:
            raise AssertionError(
                f"the op {equation.op.name} computed {array.dtype}{list(array.shape)}, but its "
                f"type rule says {value.type}, {value.dtype.numpy}{list(shape)}: a bug in the op"
            )
        environment[value] = array
    if observe is not None:
        observe(equation, inputs, attrs, [environment[value] for value in equation.outputs])


def bound(attribute: Any, sizes: Mapping[str, int]) -> Any:
    """An equation's attribute with integers for sizes, inside tuples, types and regions too."""
    if isinstance(attribute, SizeExpr):
        return evaluate_dim(attribute, sizes)
    if isinstance(attribute, tuple):
        return tuple(bound(item, sizes) for item in attribute)
    if isinstance(attribute, ArrayType):
        return attribute.with_shape(bound(attribute.shape, sizes))
    if isinstance(attribute, Function):
        return substitute_in_function(attribute, sizes)
    return attribute


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sizes.items()) or "no sizes"
