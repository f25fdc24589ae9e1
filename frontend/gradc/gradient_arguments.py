"""What the derivative functions do with their arguments, and how they hand back what they found."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradc.errors import (
    DisconnectedInputError,
    DisconnectedInputWarning,
    GradcTypeError,
    GradcValueError,
    NullTypeGradError,
)
from gradc.ir.function import Function, Value
from gradc.ir.op import Cotangent, Disconnected, Null
from gradc.ir.ops.gradient_ops import disconnected_grad
from gradc.ir.span import Span
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.ir.types import DisconnectedType, NullType
from gradc.null import NoGradient, cotangent_of
from gradc.tensor.create import ones_like
from gradc.tensor.operands import asarray, assume_shape, cast, note, same_length
from gradc.tensor.source import users_line
from gradc.tensor.variable import Tensor

Variables = Any  # a Tensor, or a list or tuple of Tensors


class _Default(str):
    """The word of a policy that the caller has left as it is."""

    __slots__ = ()


RAISE = _Default("raise")
POLICIES = ("raise", "warn", "ignore")


def report_unused(fn: Function, wrt: Sequence[str], policy: str, held: Sequence[str]) -> None:
    """Do what the policy says about parameters in `wrt` from which no path leads to a result.

    Left as it is, the policy of functions is to warn: their derivative is zero.
    """
    used = _leading_to_results(fn, held)
    parameters = dict(zip(fn.parameter_names, fn.parameters, strict=True))
    for name in wrt:
        if parameters[name] in used:
            continue
        message = f"the result of {fn.name} does not depend on {name}, or only through its shape"
        if policy == "raise" and policy is not RAISE:
            raise DisconnectedInputError(
                message, hint='disconnected_inputs="ignore" makes the derivative zero'
            )
        if policy != "ignore":
            _warn(
                f'{message}: its derivative is zero (disconnected_inputs="ignore": that is meant)'
            )


def _leading_to_results(fn: Function, held: Sequence[str]) -> set[Value]:
    """The values from which a path leads to a result, not through one that is held constant."""
    found = set(fn.results)
    for made in reversed(fn.equations):
        if made.op is disconnected_grad or found.isdisjoint(made.outputs):
            continue
        if not held or any(v in found and v.name not in held for v in made.outputs):
            found.update(made.inputs)
    return found


def _warn(message: str) -> None:
    line = users_line() or Span("<unknown>", 0)
    warnings.warn_explicit(message, DisconnectedInputWarning, line.file, line.line)


def refuse_options(name: str, **options: Any) -> None:
    """Raise GradcTypeError for options that are about variables, where a function was given."""
    for option, value in options.items():
        if value is not None:
            raise GradcTypeError(
                f"{name}: {option} is for variables of a graph, not for a gradc function",
                hint="call the function with variables, and differentiate its result",
            )


def check_word(argument: str, word: object, known: Sequence[str]) -> None:
    if word not in known:
        expected = ", ".join(map(repr, known))
        raise GradcValueError(f"{argument} is one of {expected}, not {word!r}")


def values_of(what: str, variables: Variables) -> list[Value]:
    several = variables if isinstance(variables, tuple | list) else [variables]
    for x in several:
        if not isinstance(x, Tensor):
            raise GradcTypeError(f"{what}: a symbolic variable is wanted, not {x!r}")
    return [x.value for x in several]


def contained(like: Variables, found: list[Any]) -> Any:
    """`found` in the container that `like` is."""
    if isinstance(like, tuple):
        return tuple(found)
    return found if isinstance(like, list) else found[0]


def constants(variables: Iterable[Tensor] | None) -> list[Value]:
    if variables is None:
        return []
    if isinstance(variables, Tensor) or not isinstance(variables, Iterable):
        raise GradcTypeError(f"consider_constant is a list of variables, not {variables!r}")
    return values_of("consider_constant", list(variables))


def scalar_cost(name: str, cost: Any) -> Value:
    if isinstance(cost, NoGradient):
        raise GradcValueError(f"{name}: the cost is no array: {cost!r}")
    if not isinstance(cost, Tensor):
        raise GradcTypeError(f"{name}: the cost is a symbolic scalar, not {cost!r}")
    if cost.shape:
        raise GradcTypeError(
            f"{name}: the cost is a scalar",
            operands=(note("cost", cost),),
            hint="reduce it with sum or mean, or use jacobian or pullback",
        )
    return cost.value


def one_like(cost: Tensor) -> Value:
    return ones_like(cost, cotangent_type(cost.value).dtype).value


def known_cotangents(known_grads: Mapping[Tensor, Any] | None) -> dict[Value, Cotangent]:
    if known_grads is None:
        return {}
    if not isinstance(known_grads, Mapping):
        raise GradcTypeError(f"known_grads maps variables to gradients; it is no {known_grads!r}")
    known: dict[Value, Cotangent] = {}
    for variable, gradient in known_grads.items():
        (value,) = values_of("known_grads", variable)
        if isinstance(gradient, NullType | DisconnectedType):
            gradient = NoGradient(gradient)
        if isinstance(gradient, NoGradient):
            known[value] = cotangent_of(gradient)
            continue
        if not isinstance(gradient, Tensor):
            raise GradcTypeError(
                f"known_grads: the gradient of {variable!r} is no variable: {gradient!r}"
            )
        if not gradient.dtype.is_float:
            raise GradcTypeError(
                f"known_grads: the gradient of {variable!r} is to be a float, not {gradient!r}"
            )
        known[value] = fitted("known_grads", value, gradient)
    return known


def matched(
    name: str, argument: str, values: Sequence[Value], given: Variables
) -> list[tuple[Value, Value]]:
    """Values with the tangents or cotangents that belong to them."""
    several = list(given) if isinstance(given, tuple | list) else [given]
    if len(several) != len(values):
        raise GradcValueError(f"{name}: {len(several)} {argument} were given for {len(values)}")
    return [(v, fitted(name, v, asarray(x))) for v, x in zip(values, several, strict=True)]


def fitted(name: str, value: Value, given: Tensor) -> Value:
    """A tangent or cotangent in the type that belongs to `value`."""
    wanted = cotangent_type(value)
    lengths = list(zip(given.shape, wanted.shape, strict=False))
    if given.ndim != wanted.rank or any(same_length(a, b) is None for a, b in lengths):
        raise GradcValueError(
            f"{name}: the tangent or cotangent of a variable has its shape",
            operands=(note(0, Tensor(value)), note("the tangent or cotangent", given)),
        )
    return assume_shape(cast(given, wanted.dtype), wanted.shape).value


def outcome(
    cotangent: Cotangent,
    target: Value,
    disconnected_inputs: str,
    return_disconnected: str,
    null_gradients: str,
    forward: bool = False,
) -> Any:
    """The gradient as the user gets it."""
    if isinstance(cotangent, Disconnected):
        report_disconnected(target, disconnected_inputs, forward)
        if return_disconnected == "none":
            return None
        if return_disconnected == "disconnected":
            return NoGradient(DisconnectedType())
    if isinstance(cotangent, Null):
        if null_gradients == "raise":
            raise NullTypeGradError(
                f"the gradient with respect to {Tensor(target)!r} cannot be computed",
                label=cotangent.reason,
            )
        return NoGradient(NullType(cotangent.reason))
    return Tensor(cotangent if isinstance(cotangent, Value) else zeros(cotangent_type(target)))


def report_disconnected(target: Value, policy: str, forward: bool) -> None:
    what = Tensor(target)
    message = (
        f"the expression {what!r} does not depend on any variable in wrt"
        if forward
        else f"the cost does not depend on {what!r}, or only through its shape"
    )
    if policy == "raise":
        argument = "disconnected_outputs" if forward else "disconnected_inputs"
        raise DisconnectedInputError(message, hint=f'{argument}="ignore" makes the derivative zero')
    if policy == "warn":
        _warn(message)
