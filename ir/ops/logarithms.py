"""Elementwise functions built on a logarithm that are limits where the plain formula has none."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.op import Op
from gradc.ir.ops.arithmetic import abs_, maximum
from gradc.ir.ops.constants import zeros_like
from gradc.ir.ops.elementwise import log, log1p, sigmoid
from gradc.ir.ops.kinds import Cut, Quotient, elementwise, same_type
from gradc.ir.ops.logic import eq, logical_and, logical_not, where

Array = np.ndarray[Any, Any]

# --- x log y -----------------------------------------------------------------------------------


def _times_logarithm(name: str, logarithm: Op, evaluate: Callable[[Array], Array], one: int) -> Op:
    """`x * log(one + y)` (`one` is 0 or 1), and 0 where x is 0 and y no nan.

    d/dx = log(one + y), -inf at (0, -one): the limit. d/dy = x / (one + y), and 0 at (0, -one);
    beside that point it is a plain quotient, so that both mixed second derivatives are its own.
    """

    def value(x: Array, y: Array) -> Array:
        return np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * evaluate(y))

    def by_y(result: Value, x: Value, y: Value) -> Cut:
        vanishes = logical_and(eq(x, 0.0), eq(y, float(-one)))
        return Cut(logical_not(vanishes), Quotient(x, y + 1.0 if one else y))

    def scalar(k: LoopBuilder, x: Ref, y: Ref) -> Ref:
        zero = k.const(0.0, x.dtype)
        is_number = k.unary("not", k.unary("isnan", y))
        vanishes = k.binary("and", k.compare("eq", x, zero), is_number)
        return k.select(vanishes, zero, k.mul(x, k.call(logarithm.name, y)))

    return elementwise(
        name,
        evaluate=value,
        partials=(lambda result, x, y: logarithm(y), by_y),
        scalar=scalar,
        cost=24,
        infer=same_type(name, "f"),
    )


xlogy = _times_logarithm("xlogy", log, np.log, 0)
xlog1py = _times_logarithm("xlog1py", log1p, np.log1p, 1)

# --- log(e^x + e^y) ----------------------------------------------------------------------------


def _difference(x: Value, y: Value) -> Value:
    """x - y, and 0 where both are the same infinity; elsewhere its derivatives are its own."""
    both = logical_and(eq(x, y), eq(abs_(x), inf))
    found: Value = where(both, zeros_like(x), x - y)
    return found


def _logaddexp(x: Array, y: Array) -> Array:
    """max(x, y) + log(1 + exp(-|x - y|))"""
    gap = np.where(x == y, x.dtype.type(0), np.abs(x - y))
    result: Array = np.maximum(x, y) + np.log1p(np.exp(-gap))
    return result


def _logaddexp_scalar(k: LoopBuilder, x: Ref, y: Ref) -> Ref:
    zero = k.const(0.0, x.dtype)
    gap = k.select(k.compare("eq", x, y), zero, k.unary("abs", k.sub(x, y)))
    tail = k.call("log1p", k.call("exp", k.unary("neg", gap)))
    return k.add(k.binary("max", x, y), tail)


def _share(x: Value, y: Value) -> Cut:
    """exp(x) / (exp(x) + exp(y)): of two equal infinities half; of two that are -inf 0, as in
    `logsumexp`."""
    exists = logical_not(eq(maximum(x, y), -inf))
    return Cut(exists, sigmoid(_difference(x, y)))


logaddexp = elementwise(
    "logaddexp",
    evaluate=_logaddexp,
    partials=(lambda result, x, y: _share(x, y), lambda result, x, y: _share(y, x)),
    scalar=_logaddexp_scalar,
    cost=42,
    infer=same_type("logaddexp", "f"),
)
