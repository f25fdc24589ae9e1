"""The verifier: whether a function keeps the rules of the IR."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradc.ir.dims import SizeExpr, names_of
from gradc.ir.function import Equation, Function, Value
from gradc.ir.types import ArrayType, ConstantData, DType, TypeRuleError

_PLAIN = (bool, int, float, str, SizeExpr, DType, ArrayType, ConstantData, Function, type(None))


class InvalidFunctionError(ValueError):
    """A function breaks a rule of the IR; the message names the function and the equation."""


def verify(fn: Function) -> None:
    """Raise InvalidFunctionError with the first rule of the IR that `fn` breaks.

    Parameters are distinct and have no owner's outputs among them; every value is defined before
    it is used, once, by the equation that it names as its owner; the outputs have the types that
    the op's rule infers; attributes are hashable data; results are defined; there is a name for
    each parameter (and result, if these have names); every size is one of the parameters'.
    Regions keep the same rules, with the sizes of the function around them.
    """
    _verify(fn, frozenset())


def _verify(fn: Function, outer_sizes: frozenset[str]) -> None:
    _verify_names(fn)
    sizes = outer_sizes.union(fn.sizes)
    defined = set(fn.parameters)
    if len(defined) != len(fn.parameters):
        raise InvalidFunctionError(f"{fn.name}: one value stands twice among the parameters")
    for position, made in enumerate(fn.equations):
        where = f"{fn.name}, equation {position} ({made.op.name})"
        _verify_inputs(made, defined, where)
        _verify_attrs(made.attrs.items(), sizes, where)
        _verify_outputs(made, defined, where)
        _verify_sizes((dim for out in made.outputs for dim in out.shape), sizes, where)
        defined.update(made.outputs)
    for position, result in enumerate(fn.results):
        if result not in defined:
            raise InvalidFunctionError(f"{fn.name}: result {position} ({result!r}) is not defined")
    _verify_requires(fn, sizes)


def _verify_names(fn: Function) -> None:
    if len(fn.parameter_names) != len(fn.parameters):
        raise InvalidFunctionError(
            f"{fn.name}: {len(fn.parameters)} parameters, but {len(fn.parameter_names)} names"
        )
    if fn.result_names and len(fn.result_names) != len(fn.results):
        raise InvalidFunctionError(
            f"{fn.name}: {len(fn.results)} results, but {len(fn.result_names)} names"
        )


def _verify_inputs(made: Equation, defined: set[Value], where: str) -> None:
    for position, value in enumerate(made.inputs):
        if value not in defined:
            raise InvalidFunctionError(
                f"{where}: input {position} ({value!r}) is used before it is defined"
            )


def _verify_outputs(made: Equation, defined: set[Value], where: str) -> None:
    for position, value in enumerate(made.outputs):
        if value in defined:
            raise InvalidFunctionError(f"{where}: output {position} is defined a second time")
        if value.owner is not made or value.index != position:
            raise InvalidFunctionError(f"{where}: output {position} names another owner")
    try:
        inferred = made.op.infer(*(value.type for value in made.inputs), **made.attrs)
    except (TypeRuleError, TypeError) as error:
        raise InvalidFunctionError(f"{where}: {error}") from error
    many = inferred if isinstance(inferred, tuple) else (inferred,)
    found = tuple(value.type for value in made.outputs)
    if many != found:
        raise InvalidFunctionError(
            f"{where}: the op's rule infers {_listed(many)}, but the outputs have {_listed(found)}"
        )


def _verify_attrs(attrs: Iterable[tuple[str, Any]], sizes: frozenset[str], where: str) -> None:
    for key, attribute in attrs:
        pending = [attribute]
        while pending:
            part = pending.pop()
            if isinstance(part, tuple):
                pending.extend(part)
            elif not isinstance(part, _PLAIN):
                raise InvalidFunctionError(
                    f"{where}: the attribute {key} holds {type(part).__name__}, which is no "
                    "attribute: those are numbers, text, dimensions, types, constants, functions "
                    "and tuples of them"
                )
            elif isinstance(part, SizeExpr):
                _verify_sizes([part], sizes, where)
            elif isinstance(part, Function):
                _verify(part, sizes)


def _verify_sizes(dims: Iterable[Any], sizes: frozenset[str], where: str) -> None:
    unknown = names_of(dims) - sizes
    if unknown:
        raise InvalidFunctionError(
            f"{where}: reads the size {min(unknown)}, which is in no parameter's shape"
        )


def _verify_requires(fn: Function, sizes: frozenset[str]) -> None:
    for requirement in fn.requires:
        if requirement.relation not in ("== 0", ">= 0"):
            raise InvalidFunctionError(
                f"{fn.name}: a condition is '== 0' or '>= 0', not {requirement.relation!r}"
            )
        _verify_sizes([requirement.dim], sizes, f"{fn.name}, condition {requirement.why!r}")


def _listed(types: Iterable[ArrayType]) -> str:
    return ", ".join(map(str, types))
