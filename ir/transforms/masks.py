"""Cotangents that a mask cuts: what `where` did not take contributes exactly zero.

Multiplying a zero by an infinite partial derivative would make a NaN of a branch that was not
taken (sqrt at 0 under `where(x > 0, sqrt(x), 0)`). So the mask is not applied where it arises but
travels with the cotangent, through pointwise rules and through sums and moves of elements, and is
applied last: at the leaf, or before a rule that mixes elements in another way.

While the sweep runs, a masked cotangent has one of two forms: `Masked` (its value off the mask may
be anything) and `Zeroed` (its value off the mask is zero, until a multiplication spoils it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gradc.ir.function import Equation, Value
from gradc.ir.lowering import Pointwise
from gradc.ir.op import Cotangent, Disconnected, Masked, Null
from gradc.ir.ops.arithmetic import add
from gradc.ir.ops.logic import logical_and, logical_or, where
from gradc.ir.ops.reductions import any_
from gradc.ir.ops.structural import other_axes
from gradc.ir.transforms.zeros import zeros


@dataclass(frozen=True, slots=True)
class Zeroed:
    """The cotangent `value`, which is exactly zero where `mask` is false."""

    mask: Value
    value: Value


Flow: TypeAlias = "Value | Masked | Zeroed | Null | None"

# Pointwise rules that pass an exact zero on as an exact zero, whatever the primals are.
_LINEAR = frozenset({"add", "sub", "neg", "cast"})

# Ops whose reverse rule only moves or repeats elements, so that it moves a mask as it is.
_MOVES = frozenset({"transpose", "reshape", "reverse", "slice", "concat", "assume_shape", "sum"})


def finish(flow: Value | Masked | Zeroed) -> Value:
    """The cotangent as an ordinary value: the mask is applied."""
    if isinstance(flow, Masked):
        result: Value = where(flow.mask, flow.value, zeros(flow.value.type))
        return result
    return flow.value if isinstance(flow, Zeroed) else flow


def add_flows(a: Flow, b: Flow | Cotangent) -> Flow:
    """The sum of two cotangents of one value; Null poisons, None is zero."""
    if isinstance(b, Disconnected) or b is None:
        return a
    if a is None or isinstance(b, Null):
        return a if isinstance(a, Null) else b
    if isinstance(a, Null):
        return a
    if isinstance(a, Value) or isinstance(b, Value):
        total: Value = add(finish(a), finish(b))
        return total
    if a.mask is not b.mask:
        return Zeroed(logical_or(a.mask, b.mask), add(finish(a), finish(b)))
    if isinstance(a, Zeroed) and isinstance(b, Zeroed):
        return Zeroed(a.mask, add(a.value, b.value))
    return Masked(a.mask, add(a.value, b.value))


def pull_masked(made: Equation, entering: Sequence[Flow]) -> Sequence[Flow | Disconnected]:
    """Apply the reverse rule of an equation to the cotangents of its outputs, masks and all."""
    flow = entering[0]
    if len(entering) > 1 or not isinstance(flow, Masked | Zeroed):
        return _apply_rule(made, [None if f is None else _finished(f) for f in entering])
    if not isinstance(made.op.lower, Pointwise):
        return _moved(made, flow.mask, _apply_rule(made, [finish(flow)]))
    pulled = _apply_rule(made, [flow.value])
    if isinstance(flow, Zeroed) and made.op.name in _LINEAR:
        return [Zeroed(flow.mask, a) if isinstance(a, Value) else a for a in pulled]
    return [_masked(flow.mask, answer) for answer in pulled]


def _apply_rule(made: Equation, cotangents: Sequence[Value | None]) -> Sequence[Cotangent]:
    cotangent: Any = cotangents[0] if len(cotangents) == 1 else tuple(cotangents)
    pulled: Sequence[Cotangent] = made.op.vjp(made.inputs, made.result, cotangent, **made.attrs)
    if len(pulled) != len(made.inputs):
        raise TypeError(
            f"the reverse rule of {made.op.name} returned {len(pulled)} cotangents "
            f"for {len(made.inputs)} inputs"
        )
    return pulled


def _finished(flow: Flow) -> Value | None:
    return finish(flow) if isinstance(flow, Value | Masked | Zeroed) else None


def _masked(mask: Value, answer: Cotangent) -> Cotangent:
    """What a pointwise rule answered, under the mask that its cotangent was under."""
    if isinstance(answer, Value):
        return Masked(mask, answer) if answer.shape == mask.shape else answer
    if isinstance(answer, Masked):
        return Masked(logical_and(mask, answer.mask), answer.value)
    return answer


def _moved(
    made: Equation, mask: Value, pulled: Sequence[Cotangent]
) -> Sequence[Flow | Disconnected]:
    """What a rule that moves or sums elements answered, with the mask moved along."""
    if made.op.name == "broadcast":
        axes = other_axes(mask.type.rank, made.attrs["axes"])
        masks: Sequence[Cotangent] = [any_(mask, axes=axes) if axes else mask]
    elif made.op.name in _MOVES:
        masks = made.op.vjp(made.inputs, made.result, mask, **made.attrs)
    else:
        return pulled
    return [
        Zeroed(moved, answer) if isinstance(answer, Value) and isinstance(moved, Value) else answer
        for moved, answer in zip(masks, pulled, strict=True)
    ]
