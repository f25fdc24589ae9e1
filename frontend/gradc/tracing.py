"""Cutting a function out of a graph of symbolic arrays, and tracing annotated Python functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, get_origin

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.collection import collection_paused
from gradc.ir.dims import Dim, SizeExpr, names_of, size, substitute
from gradc.ir.function import Function, Requirement, UnboundValueError, Value
from gradc.ir.function import function as cut
from gradc.ir.span import Span
from gradc.ir.transforms.rebuild import substitute_in_function, unused_name
from gradc.ir.types import ArrayType, DType, TypeRuleError, bool_, f64, i64
from gradc.tensor.operands import asarray
from gradc.tensor.repetition import made_once
from gradc.tensor.sizes import as_shape, display, has_anonymous, is_anonymous
from gradc.tensor.source import users_names
from gradc.tensor.variable import Tensor


class MissingInputError(GradcValueError):
    """The outputs depend on a variable that is not among the inputs."""


class RepeatedInputError(GradcValueError):
    """One variable stands twice among the inputs."""


@collection_paused()
def make_function(
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    name: str,
    result_names: Sequence[str] = (),
) -> Function:
    """The function of the graph that computes `outputs` from `inputs`.

    Parameters and results get distinct names; sizes without a name are equated where the graph
    demands it of plain sizes, and are named after their parameter (`X_0`). An input may be any
    variable of the graph: the graph is cut there.

    Raises RepeatedInputError, MissingInputError, GradcTypeError for what is no variable, and
    GradcValueError where two lengths that must be equal are not.
    """
    parameters = [_input(x, position) for position, x in enumerate(inputs)]
    results = [asarray(x).value for x in outputs]
    _refuse_repeated(parameters)
    try:
        made = cut(name, parameters, results)
    except UnboundValueError as error:
        raise MissingInputError(_reworded(str(error), {})) from error
    taken: set[str] = set()
    names = tuple(
        unused_name(_identifier(p.name) or f"x{i}", taken) for i, p in enumerate(parameters)
    )
    made = replace(made, parameter_names=names)
    made = name_sizes(made)
    _refuse_unknown_sizes(made)
    wanted = list(result_names) or _result_names(results)
    taken.update(made.sizes)
    return replace(made, result_names=tuple(unused_name(n, taken) for n in wanted))


def trace(python: Callable[..., Any], name: str | None = None) -> tuple[Function, bool]:
    """The function that an annotated Python function computes, and whether it returns one array.

    Each parameter is annotated with its type: `f64["n", 3]`, or `f64` for a scalar. The result is
    an array, or a tuple or list of arrays, or a dictionary of named arrays.
    """
    name = name or _identifier(python.__name__)
    inputs = [_parameter(p, name, python) for p in _signature(python).parameters.values()]
    with collection_paused(), made_once():
        outcome = python(*inputs)
    if isinstance(outcome, Mapping):
        return make_function(inputs, list(outcome.values()), name, list(outcome)), False
    many = outcome if isinstance(outcome, tuple | list) else [outcome]
    if any(x is None for x in many) or not many:
        raise GradcTypeError(
            f"{name} returns {outcome!r}", hint="return the array, or a tuple of arrays"
        )
    return make_function(inputs, many, name), many is not outcome


def name_sizes(fn: Function) -> Function:
    """`fn` with equal sizes united, and those without a name named after their parameter.

    Only equalities between plain sizes, or of a plain size with an integer, are settled here; all
    others stay conditions that the call checks.
    """
    found = _unified(fn.requires)
    taken = {*fn.parameter_names}.union(*(names_of(p.shape) for p in fn.parameters))
    for name, parameter in zip(fn.parameter_names, fn.parameters, strict=True):
        for axis, length in enumerate(parameter.shape):
            for old in sorted(names_of((substitute(length, found),))):
                if is_anonymous(old):
                    new = size(unused_name(f"{name}_{axis}", taken))
                    found = {k: substitute(dim, {old: new}) for k, dim in found.items()}
                    found[old] = new
    if not found:
        return fn
    try:
        settled = substitute_in_function(fn, found)
    except TypeRuleError as error:
        raise GradcValueError(_reworded(str(error), found)) from error
    kept = (replace(r, why=_reworded(r.why, found)) for r in settled.requires)
    return replace(settled, requires=tuple(r for r in dict.fromkeys(kept) if not _is_certain(r)))


def _input(x: Any, position: int) -> Value:
    if isinstance(x, Tensor):
        return x.value
    if isinstance(x, Value):
        return x
    raise GradcTypeError(f"input {position} is no symbolic variable: {x!r}")


def _refuse_repeated(parameters: Sequence[Value]) -> None:
    positions: dict[Value, int] = {}
    for position, value in enumerate(parameters):
        first = positions.setdefault(value, position)
        if first < position:
            raise RepeatedInputError(
                f"the variable {value.name or value} is both input {first} and input {position}",
                hint="name it once",
            )


def _refuse_unknown_sizes(fn: Function) -> None:
    """Raise MissingInputError for a size that no parameter's shape tells."""
    known = set(fn.sizes)
    seen: set[object] = set()
    for made in fn.equations:
        dims = [dim for output in made.outputs for dim in output.type.shape]
        dims += [dim for dim in made.attrs.values() if isinstance(dim, SizeExpr)]
        if seen.issuperset(dims):
            continue
        seen.update(dims)
        for unknown in sorted(names_of(dims) - known):
            what = "a size" if is_anonymous(unknown) else f"the size {unknown}"
            where = f" (made at {made.span})" if made.span else ""
            raise MissingInputError(
                f"{fn.name}: the shape of an array{where} has {what} that no input has",
                hint="add the variable with this size to the inputs, or give the size a number",
            )


def _identifier(name: str | None) -> str:
    """A name as an identifier: other characters become underscores."""
    text = re.sub(r"\W", "_", name or "", flags=re.ASCII)
    return f"_{text}" if text[:1].isdigit() else text


def _result_names(results: Sequence[Value]) -> list[str]:
    if len(results) == 1:
        return [_identifier(results[0].name) or "result"]
    return [_identifier(value.name) or f"result{i}" for i, value in enumerate(results)]


def _unified(requires: Iterable[Requirement]) -> dict[str, Dim]:
    """What plain sizes without a name must be, by the equalities of the graph."""
    found: dict[str, Dim] = {}
    for requirement in requires:
        dim = substitute(requirement.dim, found)
        if requirement.relation != "== 0":
            continue
        if isinstance(dim, int):
            if dim:
                raise GradcValueError(_reworded(requirement.why, found))
            continue
        solution = _solved(dim)
        if solution is not None:
            name, value = solution
            found = {k: substitute(old, {name: value}) for k, old in found.items()}
            found[name] = value
    return found


def _solved(dim: SizeExpr) -> tuple[str, Dim] | None:
    """(name, value) where `dim == 0` says that a size without a name is a size or an integer."""
    if any(len(m) > 1 or abs(c) != 1 for m, c in dim.terms if m) or len(dim.names) > 2:
        return None
    for name in sorted(dim.names, key=_age, reverse=True):
        if not is_anonymous(name):
            continue
        rest = dim - size(name)
        for value in (-1 * rest, dim + size(name)):
            if name not in names_of((value,)) and _is_plain(value):
                return name, value
    return None


def _is_plain(dim: Dim) -> bool:
    return (isinstance(dim, int) and dim >= 0) or (
        isinstance(dim, SizeExpr) and len(dim.names) == 1 and dim == size(next(iter(dim.names)))
    )


def _age(name: str) -> int:
    """The number of a size without a name: later ones are greater."""
    digits = re.sub(r"\D", "", name)
    return int(digits) if is_anonymous(name) and digits else -1


def _is_certain(requirement: Requirement) -> bool:
    return isinstance(requirement.dim, int) and requirement.holds(requirement.dim)


def _reworded(text: str, found: Mapping[str, Dim]) -> str:
    """A message with the names that sizes have got."""
    for name, dim in found.items():
        text = re.sub(rf"\b{name}\b", str(dim), text)
    return re.sub(r"\b__\d+\b", "?", text)


def _signature(python: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(python, eval_str=True, locals=users_names())
    except NameError as error:
        raise GradcTypeError(
            f"an annotation of {python.__name__} cannot be read: {error}"
        ) from error


def _parameter(parameter: inspect.Parameter, function: str, python: Callable[..., Any]) -> Tensor:
    if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
        raise GradcTypeError(
            f"{function}: the parameter {parameter} cannot be compiled",
            hint="write one parameter for each array",
        )
    found = _annotated_type(parameter.annotation)
    if found is None:
        given = (
            "nothing" if parameter.annotation is parameter.empty else f"{parameter.annotation!r}"
        )
        raise GradcTypeError(
            f"{function}: the parameter {parameter.name} is annotated with {given}",
            hint=f'write its type, {parameter.name}: f64["n", 3], or f64 for a scalar',
        )
    code = getattr(python, "__code__", None)
    span = Span(code.co_filename, code.co_firstlineno) if code else None
    return Tensor(Value(found, parameter.name, span=span))


def _annotated_type(annotation: Any) -> ArrayType | None:
    """The array type that an annotation means; None where it means none.

    `Annotated[Tensor, f64["n"]]` means f64["n"], and tells a type checker that it is a Tensor.
    """
    if get_origin(annotation) is Annotated:
        found = (_annotated_type(part) for part in annotation.__metadata__)
        return next((kind for kind in found if kind is not None), None)
    if isinstance(annotation, DType):
        return ArrayType(annotation)
    if isinstance(annotation, ArrayType):
        named = [dim for dim in annotation.shape if isinstance(dim, SizeExpr)]
        if any(map(has_anonymous, named)):
            raise GradcValueError(f"{display(annotation)}: a size name begins with two underscores")
        return annotation.with_shape(as_shape(annotation.shape))
    numbers = ((float, f64), (int, i64), (bool, bool_))
    return next((ArrayType(dtype) for kind, dtype in numbers if annotation is kind), None)
