"""Identities whose derivative is another one: to stop, scale, clip or forbid gradients.

Each is free when the function runs, and has its rules in `ir/ops/gradient_ops.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradc.derivatives import grad
from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.ops import gradient_ops
from gradc.ir.types import DisconnectedType, NoGradient, NullType
from gradc.tensor.operands import asarray, cast
from gradc.tensor.pointwise import add
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

# Called, they make a gradient of that type, as in PyTensor: `null_type()`.
disconnected_type = DisconnectedType()
null_type = NullType()


@located
def zero_grad(x: Any) -> Tensor:
    """x, whose gradient is zero, though connected."""
    return Tensor(gradient_ops.zero_grad(asarray(x).value))


def consider_constant(x: Any) -> Tensor:
    """`zero_grad` under its older name: x as a constant, to which a path still leads."""
    return zero_grad(x)


@located
def disconnected_grad(x: Any) -> Tensor:
    """x, on which nothing depends as far as gradients go: the path is cut."""
    return Tensor(gradient_ops.disconnected_grad(asarray(x).value))


@located
def undefined_grad(x: Any) -> Tensor:
    """x, through which no gradient can be computed: asking for one is an error."""
    value = asarray(x).value
    reason = f"undefined_grad forbids it at {value.name or 'an intermediate result'}"
    return Tensor(gradient_ops.undefined_grad(value, reason=reason))


@located
def grad_clip(x: Any, lower_bound: float, upper_bound: float) -> Tensor:
    """x, whose cotangent is clipped to [lower_bound, upper_bound], entry by entry."""
    lower_bound = _number("grad_clip", "lower bound", lower_bound)
    upper_bound = _number("grad_clip", "upper bound", upper_bound)
    if not upper_bound >= lower_bound:
        raise GradcValueError(
            f"grad_clip: the upper bound {upper_bound} is below the lower one, {lower_bound}",
            hint="give the lower bound first",
        )
    value = asarray(x).value
    return Tensor(gradient_ops.grad_clip(value, lower=float(lower_bound), upper=float(upper_bound)))


@located
def grad_scale(x: Any, multiplier: float) -> Tensor:
    """x, whose tangent and cotangent are multiplied by a number."""
    factor = _number("grad_scale", "multiplier", multiplier)
    return Tensor(gradient_ops.grad_scale(asarray(x).value, multiplier=factor))


def _number(name: str, what: str, given: Any) -> float:
    """A Python or NumPy number as a float; a derivative's policy is fixed when it is compiled."""
    try:
        if not isinstance(given, Tensor | str | bytes):
            return float(given)
    except (TypeError, ValueError):
        pass
    raise GradcTypeError(f"{name}: the {what} is a number, not {given!r}")


def grad_undefined(op: Any, x_pos: int, x: Any, comment: str = "") -> NoGradient:
    """The gradient of an operation with respect to its input number x_pos: it does not exist."""
    return _no_gradient(op, x_pos, "is mathematically undefined", comment)


def grad_not_implemented(op: Any, x_pos: int, x: Any, comment: str = "") -> NoGradient:
    """The gradient of an operation with respect to its input number x_pos: it is not written."""
    return _no_gradient(op, x_pos, "is not implemented", comment)


def _no_gradient(op: Any, x_pos: int, what: str, comment: str) -> NoGradient:
    reason = f"the gradient of {op} with respect to its input {x_pos} {what}"
    return NoGradient(NullType(f"{reason}: {comment}" if comment else reason))


def subgraph_grad(
    wrt: list[Tensor],
    end: list[Tensor],
    start: Mapping[Tensor, Tensor] | None = None,
    cost: Tensor | None = None,
    details: bool = False,
) -> Any:
    """Gradients in a part of a graph: from a cost, or variables with their gradients, to `end`.

    Nothing passes beyond the variables in `end`. Returns the gradients of `wrt`, in which both
    sources add up, and those of `end`; with `details` also those from `start` and from `cost`
    alone, for wrt and then end (None without that source).
    """
    if not isinstance(wrt, list) or not isinstance(end, list):
        raise GradcTypeError("subgraph_grad: wrt and end are lists of variables")
    if start is not None and not isinstance(start, Mapping):
        raise GradcTypeError("subgraph_grad: start maps variables to their gradients")
    if start is None and cost is None:
        raise GradcValueError("subgraph_grad: there is neither a cost nor a start")

    def gradients(of: Tensor | None, known: Mapping[Tensor, Tensor] | None) -> list[Tensor]:
        found: list[Tensor] = grad(of, [*wrt, *end], end, "ignore", known_grads=known)
        return found

    from_start = None if start is None else gradients(None, start)
    from_cost = None if cost is None else gradients(cost, None)
    sources = [source for source in (from_start, from_cost) if source is not None]
    total = sources[0]
    if len(sources) == 2:
        total = [add(a, cast(b, a.dtype)) for a, b in zip(*sources, strict=True)]
    found = (total[: len(wrt)], total[len(wrt) :])
    return (*found, from_start, from_cost) if details else found


def as_list_or_tuple(use_list: bool, use_tuple: bool, outputs: Any) -> Any:
    """Outputs as a list, a tuple, or the only one of them."""
    if use_list and use_tuple:
        raise GradcValueError("as_list_or_tuple: a list or a tuple, not both")
    if use_list or use_tuple:
        return list(outputs) if use_list else tuple(outputs)
    if len(outputs) != 1:
        raise GradcValueError(f"as_list_or_tuple: one output is wanted, not {len(outputs)}")
    return outputs[0]
