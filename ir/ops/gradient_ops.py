"""Identities whose derivative is another one: to stop, scale, clip or forbid gradients.

The value is the operand's, at no cost: before scheduling they are gone. Their rules are

    op                  tangent of the result       cotangent of the operand
    zero_grad           zero                        zero (connected)
    disconnected_grad   zero                        disconnected
    undefined_grad      cannot be computed          cannot be computed
    grad_clip           the operand's               the result's, clipped entry by entry
    grad_scale          multiplier * the operand's  multiplier * the result's

`grad_clip` is about cotangents: its reverse rule is not linear, so it is the adjoint of no forward
rule, and a tangent passes as it is. Rules build ordinary IR (a clip, a product), so that second
and higher derivatives are those of the clipped or scaled gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.lowering import Composite
from gradc.ir.op import DISCONNECTED, Cotangent, Null, Op
from gradc.ir.ops.arithmetic import clip
from gradc.ir.ops.constants import full_like
from gradc.ir.types import ArrayType, TypeRuleError

Tangent = Value | Null | None


def _identity(
    name: str,
    jvp: Callable[..., Tangent],
    vjp: Callable[..., Cotangent],
    check: Callable[..., None] = lambda: None,
) -> Op:
    """An op that gives back its operand; `jvp(tangent)` and `vjp(cotangent)` are its derivatives.

    `check(**attrs)` raises TypeRuleError for attributes that the op does not take.
    """

    def infer(*types: ArrayType, **attrs: Any) -> ArrayType:
        if len(types) != 1:
            raise TypeRuleError(f"{name}: takes one operand, not {len(types)}")
        check(**attrs)
        return types[0]

    def forward(
        primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], **attrs: Any
    ) -> Tangent:
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

    op = Op(
        name=name,
        infer=infer,
        evaluate=lambda x, **attrs: x,
        jvp=forward,
        vjp=reverse,
        batch=batch,
        lower=Composite(lambda x, **attrs: x),
    )
    return op


def _check_bounds(*, lower: float, upper: float) -> None:
    if not lower <= upper:
        raise TypeRuleError(
            f"grad_clip: the lower bound {lower} is not below the upper bound {upper}"
        )


def _check_multiplier(*, multiplier: float) -> None:
    if isnan(multiplier):
        raise TypeRuleError("grad_scale: the multiplier is not a number")


def _clipped(cotangent: Value, *, lower: float, upper: float) -> Value:
    low, high = full_like(cotangent, lower), full_like(cotangent, upper)
    result: Value = clip(cotangent, low, high)
    return result


zero_grad: Op = _identity("zero_grad", lambda t: None, lambda c: None)

disconnected_grad: Op = _identity("disconnected_grad", lambda t: None, lambda c: DISCONNECTED)

undefined_grad: Op = _identity(
    "undefined_grad",
    lambda t, reason: Null(reason),
    lambda c, reason: Null(reason),
    check=lambda reason: None,
)

grad_clip: Op = _identity("grad_clip", lambda t, lower, upper: t, _clipped, _check_bounds)

grad_scale: Op = _identity(
    "grad_scale",
    lambda t, multiplier: t * multiplier,
    lambda c, multiplier: c * multiplier,
    _check_multiplier,
)
