"""Comparisons, logical ops and `where`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gradc.ir.dims import Dim
from gradc.ir.function import Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.lowering import Pointwise
from gradc.ir.op import Cotangent, Masked, Op
from gradc.ir.ops.kinds import (
    batch_in_front,
    check_equal,
    elementwise,
    lift_numbers,
    to_bool,
)
from gradc.ir.types import ArrayType, TypeRuleError, bool_


def _zero(y: Value, *xs: Value) -> None:
    """The derivative of a boolean."""


def _compare(op: str) -> Callable[[LoopBuilder, Ref, Ref], Ref]:
    return lambda k, x, y: k.compare(op, x, y)


def _ordering(name: str, evaluate: Callable[..., Any]) -> Op:
    """A comparison of numbers, false where an operand is nan."""
    return elementwise(
        name,
        evaluate=evaluate,
        partials=(_zero, _zero),
        scalar=_compare(name),
        infer=to_bool(name, "fi"),
    )


def _logical(name: str, evaluate: Callable[..., Any], instruction: str) -> Op:
    """A logical op of two booleans."""
    return elementwise(
        name,
        evaluate=evaluate,
        partials=(_zero, _zero),
        scalar=lambda k, x, y: k.binary(instruction, x, y),
        infer=to_bool(name, "b"),
    )


def _equal_scalar(k: LoopBuilder, x: Ref, y: Ref) -> Ref:
    if x.dtype is bool_:
        return k.unary("not", k.binary("xor", x, y))
    return k.compare("eq", x, y)


def _not_equal_scalar(k: LoopBuilder, x: Ref, y: Ref) -> Ref:
    return k.binary("xor", x, y) if x.dtype is bool_ else k.compare("ne", x, y)


eq = elementwise(
    "eq",
    evaluate=np.equal,
    partials=(_zero, _zero),
    scalar=_equal_scalar,
    infer=to_bool("eq"),
)

ne = elementwise(
    "ne",
    evaluate=np.not_equal,
    partials=(_zero, _zero),
    scalar=_not_equal_scalar,
    infer=to_bool("ne"),
)

lt = _ordering("lt", np.less)
le = _ordering("le", np.less_equal)
gt = _ordering("gt", np.greater)
ge = _ordering("ge", np.greater_equal)

logical_and = _logical("logical_and", np.logical_and, "and")
logical_or = _logical("logical_or", np.logical_or, "or")
logical_xor = _logical("logical_xor", np.logical_xor, "xor")

logical_not = elementwise(
    "logical_not",
    evaluate=np.logical_not,
    partials=(_zero,),
    scalar=lambda k, x: k.unary("not", x),
    infer=to_bool("logical_not", "b", operands=1),
)

isnan = elementwise(
    "isnan",
    evaluate=np.isnan,
    partials=(_zero,),
    scalar=lambda k, x: k.unary("isnan", x),
    infer=to_bool("isnan", "f", operands=1),
)


# --- where -----------------------------------------------------------------------------------


def _infer_where(*types: ArrayType) -> ArrayType:
    """bool[*S], dtype[*S], dtype[*S] -> dtype[*S]"""
    if len(types) != 3:
        raise TypeRuleError(f"where: takes a condition and two operands, not {len(types)}")
    condition, x, y = types
    check_equal("where", x, y)
    if condition.dtype is not bool_:
        raise TypeRuleError(f"where: the condition is a boolean, not {condition}; compare it first")
    if condition.shape != x.shape:
        raise TypeRuleError(
            f"where: the condition {condition} has not the shape of the operands, {x}; "
            "broadcast them to one shape first"
        )
    return x


def _jvp_where(
    primals: Sequence[Value], result: Value, tangents: Sequence[Value | None]
) -> Value | Masked | None:
    condition, (_, dx, dy) = primals[0], tangents
    if not result.dtype.is_float or (dx is None and dy is None):
        return None
    if dx is None or dy is None:
        moving = dy if dx is None else dx
        assert moving is not None
        return Masked(logical_not(condition) if dx is None else condition, moving)
    selected: Value = where(condition, dx, dy)
    return selected


def _vjp_where(primals: Sequence[Value], result: Value, cotangent: Value) -> tuple[Cotangent, ...]:
    if not result.dtype.is_float:
        return None, None, None
    condition = primals[0]
    return None, Masked(condition, cotangent), Masked(logical_not(condition), cotangent)


def _batch_where(inputs: Sequence[Value], batched: Sequence[bool], size: Dim) -> Any:
    return batch_in_front(where, inputs, batched, size)


def _lift_where(name: str, inputs: tuple[Any, ...]) -> tuple[Value, ...]:
    condition, *operands = inputs
    if not isinstance(condition, Value):
        raise TypeRuleError(f"where: the condition is a boolean value, not {condition!r}")
    return condition, *lift_numbers(name, operands)


where = Op(
    name="where",
    infer=_infer_where,
    evaluate=np.where,
    jvp=_jvp_where,
    vjp=_vjp_where,
    batch=_batch_where,
    lower=Pointwise(lambda k, condition, x, y: k.select(condition, x, y)),
    lift=_lift_where,
)
