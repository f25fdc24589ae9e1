"""Identities whose derivative is another one: to stop, scale, clip or forbid gradients.

Each is free when the function runs: it is gone before scheduling. In forward mode `grad_scale`
scales the tangent, `zero_grad` and `disconnected_grad` drop it, and `grad_clip`, whose reverse rule
is not linear and so the adjoint of no forward rule, leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradc.errors import GradcTypeError, GradcValueError
from gradc.gradient import grad
from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.lowering import Composite
from gradc.ir.op import DISCONNECTED, Cotangent, Null, Op
from gradc.ir.ops.arithmetic import clip
from gradc.ir.ops.constants import full_like
from gradc.ir.types import ArrayType, NullType, TypeRuleError
from gradc.null import NoGradient
from gradc.tensor.operands import asarray, cast
from gradc.tensor.pointwise import add
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor


def _identity(name: str, jvp: Callable[..., Value | None], vjp: Callable[..., Cotangent]) -> Op:
    """An op that gives back its input; `jvp(tangent)` and `vjp(cotangent)` are its derivatives."""

    def infer(x: ArrayType, **attrs: Any) -> ArrayType:
        return x

    def forward(
        primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], **attrs: Any
    ) -> Value | None:
        (tangent,) = tangents
        return None if tangent is None else jvp(tangent, **attrs)

    def reverse(
        primals: Sequence[Value], result: Value, cotangent: Value, **attrs: Any
    ) -> tuple[Cotangent]:
        return (vjp(cotangent, **attrs),)

    def batch(
        inputs: Sequence[Value], batched: Sequence[bool], size: Dim, **attrs: Any
    ) -> Value | tuple[Value, ...]:
        result: Value = op(*inputs, **attrs)
        return result

    lower = Composite(lambda x, **attrs: x)
    op = Op(name, infer, lambda x, **attrs: x, forward, reverse, batch, lower)
    return op


def _forbidden(tangent: Value, *, reason: str) -> Value | None:
    raise TypeRuleError(f"a derivative is not defined: {reason}")


def _clipped(cotangent: Value, *, lower: float, upper: float) -> Value:
    low, high = full_like(cotangent, lower), full_like(cotangent, upper)
    result: Value = clip(cotangent, low, high)
    return result


_ZERO = _identity("zero_grad", lambda t: None, lambda c: None)
_DISCONNECTED = _identity("disconnected_grad", lambda t: None, lambda c: DISCONNECTED)
_UNDEFINED = _identity("undefined_grad", _forbidden, lambda c, reason: Null(reason))
_CLIP = _identity("grad_clip", lambda t, lower, upper: t, _clipped)
_SCALE = _identity(
    "grad_scale", lambda t, multiplier: t * multiplier, lambda c, multiplier: c * multiplier
)


@located
def zero_grad(x: Any) -> Tensor:
    """x, whose gradient is zero, though connected."""
    return Tensor(_ZERO(asarray(x).value))


@located
def disconnected_grad(x: Any) -> Tensor:
    """x, on which nothing depends as far as gradients go: the path is cut."""
    return Tensor(_DISCONNECTED(asarray(x).value))


@located
def undefined_grad(x: Any) -> Tensor:
    """x, through which no gradient can be computed: asking for one is an error."""
    value = asarray(x).value
    reason = f"undefined_grad forbids it at {value.name or 'an intermediate result'}"
    return Tensor(_UNDEFINED(value, reason=reason))


@located
def grad_clip(x: Any, lower_bound: float, upper_bound: float) -> Tensor:
    """x, whose cotangent is clipped to [lower_bound, upper_bound], entry by entry."""
    if not upper_bound >= lower_bound:
        raise GradcValueError(
            f"grad_clip: the upper bound {upper_bound} is below the lower one, {lower_bound}"
        )
    value = asarray(x).value
    return Tensor(_CLIP(value, lower=float(lower_bound), upper=float(upper_bound)))


@located
def grad_scale(x: Any, multiplier: float) -> Tensor:
    """x, whose tangent and cotangent are multiplied by a number."""
    return Tensor(_SCALE(asarray(x).value, multiplier=float(multiplier)))


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
