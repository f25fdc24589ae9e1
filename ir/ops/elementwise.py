"""Elementwise functions of floats: one formula, its partial derivatives, its scalar code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.op import Op
from gradc.ir.ops.kinds import Partial, Quotient, elementwise, same_type
from gradc.ir.ops.logic import eq, logical_and, where


def _function(
    name: str,
    *,
    evaluate: Callable[..., Any],
    partial: Callable[[Value, Value], Partial],
    scalar: Callable[[LoopBuilder, Ref], Ref] | None = None,
    cost: int = 20,
) -> Op:
    """An elementwise function of one float; its code is by default a call of that name."""
    return elementwise(
        name,
        evaluate=evaluate,
        partials=(partial,),
        scalar=scalar or (lambda k, x: k.call(name, x)),
        cost=cost,
        infer=same_type(name, "f", operands=1),
    )


def _sigmoid(x: np.ndarray[Any, Any]) -> Any:
    """1 / (1 + exp(-x)), where exp never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, x.dtype.type(1)) / (1 + small)


def _softplus(x: np.ndarray[Any, Any]) -> Any:
    """log(1 + exp(x)), where exp never overflows."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _erf(x: np.ndarray[Any, Any]) -> Any:
    """`math.erf` of each entry, in double precision."""
    entries = [math.erf(entry) for entry in x.ravel().tolist()]
    return np.array(entries, x.dtype).reshape(x.shape)


def _erf_code(k: LoopBuilder, x: Ref) -> Ref:
    """From the exponential in its derivative, so that a loop with both computes one."""
    return k.call("erf_from", x, k.call("exp", k.unary("neg", k.mul(x, x))))


exp = _function("exp", evaluate=np.exp, partial=lambda y, x: y)
expm1 = _function("expm1", evaluate=np.expm1, partial=lambda y, x: y + 1.0)
log = _function("log", evaluate=np.log, partial=lambda y, x: Quotient(1.0, x))
log1p = _function("log1p", evaluate=np.log1p, partial=lambda y, x: Quotient(1.0, x + 1.0))

sqrt = _function(
    "sqrt",
    evaluate=np.sqrt,
    partial=lambda y, x: Quotient(0.5, y),
    scalar=lambda k, x: k.unary("sqrt", x),
    cost=4,
)

tanh = _function("tanh", evaluate=np.tanh, partial=lambda y, x: 1.0 - y * y)
sigmoid = _function("sigmoid", evaluate=_sigmoid, partial=lambda y, x: y * (1.0 - y))
softplus = _function("softplus", evaluate=_softplus, partial=lambda y, x: sigmoid(x), cost=40)
sin = _function("sin", evaluate=np.sin, partial=lambda y, x: cos(x))
cos: Op = _function("cos", evaluate=np.cos, partial=lambda y, x: -sin(x))
erf = _function(
    "erf",
    evaluate=_erf,
    partial=lambda y, x: exp(-(x * x)) * (2.0 / math.sqrt(math.pi)),
    scalar=_erf_code,
    cost=40,
)

floor = _function(
    "floor",
    evaluate=np.floor,
    partial=lambda y, x: None,
    scalar=lambda k, x: k.unary("floor", x),
    cost=1,
)
ceil = _function(
    "ceil",
    evaluate=np.ceil,
    partial=lambda y, x: None,
    scalar=lambda k, x: k.unary("ceil", x),
    cost=1,
)


def _square_radius(y: Value, x: Value) -> Value:
    """x*x + y*y, and 1 at the origin, so that both derivatives of the angle are 0 there."""
    origin = logical_and(eq(x, 0.0), eq(y, 0.0))
    radius: Value = where(origin, 1.0, x * x + y * y)
    return radius


arctan2 = elementwise(
    "arctan2",
    evaluate=np.arctan2,
    partials=(
        lambda angle, y, x: Quotient(x, _square_radius(y, x)),
        lambda angle, y, x: Quotient(-y, _square_radius(y, x)),
    ),
    scalar=lambda k, y, x: k.call("atan2", y, x),
    cost=40,
    infer=same_type("arctan2", "f"),
)
