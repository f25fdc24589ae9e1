"""Tangents and cotangents that a mask cuts: what `where` did not take contributes exactly zero.

Multiplying a zero by an infinite partial derivative would make a NaN of a branch that was not
taken (sqrt at 0 under `where(x > 0, sqrt(x), 0)`). So the mask is not applied where it arises but
travels with the flow, through pointwise rules and through sums and moves of elements, and is
applied last: at the end, or before a rule that mixes elements in another way. Both directions do
so: what lies below a `where` is protected in reverse mode, what lies above it in forward mode.

While the sweep runs, a masked flow has one of two forms: `Masked` (its value off the mask may be
anything) and `Zeroed` (its value off the mask is zero, until a multiplication spoils it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import reduce
from typing import Any, TypeAlias

from gradc.ir.dims import Shape
from gradc.ir.function import Equation, Value, parameter
from gradc.ir.lowering import Contraction, IndexMap, Scatter
from gradc.ir.op import Cotangent, Disconnected, Masked, Null
from gradc.ir.ops.arithmetic import add
from gradc.ir.ops.cast import cast
from gradc.ir.ops.constants import full
from gradc.ir.ops.kinds import pull_wanted
from gradc.ir.ops.logic import logical_and, logical_or, ne, where
from gradc.ir.ops.reductions import any_
from gradc.ir.ops.structural import broadcast, other_axes, transpose
from gradc.ir.record import dataclass
from gradc.ir.transforms.pointwise import is_pointwise
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.ir.types import TypeRuleError, bool_


@dataclass(frozen=True, slots=True)
class Zeroed:
    """The tangent or cotangent `value`, which is exactly zero where `mask` is false.

    `coarse`: the mask has gone through a sum of products. Then it hardly ever cuts, and costs a
    reduction: bounded partial derivatives, which cannot spoil a zero, are applied without it.
    """

    mask: Value
    value: Value
    coarse: bool = False


_CUT = Masked | Zeroed
Flow: TypeAlias = "Value | Masked | Zeroed | Null | None"

# Pointwise rules that pass an exact zero on as an exact zero, whatever the primals are.
_LINEAR = frozenset({"add", "sub", "neg", "cast"})

# Pointwise rules whose partial derivatives are bounded: only a nan spoils a zero.
_BOUNDED = frozenset(
    (
        "maximum", "minimum", "clip", "abs", "where", "tanh", "sigmoid", "softplus", "sin", "cos",
        "erf", "arctan2",
    )
)  # fmt: skip

# Ops whose reverse rule only moves or repeats elements, so that it moves a mask as it is.
_MOVES = frozenset({"transpose", "reshape", "reverse", "slice", "concat", "assume_shape", "sum"})

# Linear ops with coefficients >= 0 whose reverse rule adds up: a mask is moved as counts.
_COUNTS = frozenset({"take", "pad", "update_slice", "scatter_add", "scatter_set"})


def finish(flow: Value | Masked | Zeroed) -> Value:
    """The tangent or cotangent as an ordinary value: the mask is applied."""
    if isinstance(flow, Masked):
        result: Value = where(flow.mask, flow.value, zeros(flow.value.type))
        return result
    return flow.value if isinstance(flow, Zeroed) else flow


def add_flows(a: Flow, b: Flow | Cotangent) -> Flow:
    """The sum of two flows of one value; Null poisons, None is zero."""
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
        coarse = _is_coarse(a) or _is_coarse(b)
        return Zeroed(logical_or(a.mask, b.mask), add(finish(a), finish(b)), coarse)
    if isinstance(a, Zeroed) and isinstance(b, Zeroed):
        return Zeroed(a.mask, add(a.value, b.value), a.coarse)
    return Masked(a.mask, add(a.value, b.value))


def _is_coarse(flow: Flow) -> bool:
    return isinstance(flow, Zeroed) and flow.coarse


def _keeps_zeros(made: Equation, flow: Flow) -> bool:
    """Whether a pointwise rule makes zeros of the zeros of this flow, without its mask."""
    if not isinstance(flow, Zeroed):
        return False
    return made.op.name in _LINEAR or (flow.coarse and made.op.name in _BOUNDED)


# --- reverse mode ------------------------------------------------------------------------------


def pull_masked(
    made: Equation, entering: Sequence[Flow], wanted: Collection[Value]
) -> Sequence[Flow | Disconnected]:
    """Apply the reverse rule of an equation to the cotangents of its outputs, masks and all.

    What is said of inputs that are not `wanted` means nothing.
    """
    flow = entering[0]
    if len(entering) > 1 or not isinstance(flow, _CUT):
        return _pulled(made, [_finished(f) for f in entering], wanted)
    if not is_pointwise(made):
        return _moved(made, flow, _pulled(made, [finish(flow)], wanted))
    pulled = _pulled(made, [flow.value], wanted)
    if _keeps_zeros(made, flow):
        coarse = _is_coarse(flow)
        return [Zeroed(flow.mask, a, coarse) if isinstance(a, Value) else a for a in pulled]
    return [_masked(flow.mask, answer) for answer in pulled]


def _pulled(
    made: Equation, cotangents: Sequence[Value | None], wanted: Collection[Value]
) -> Sequence[Cotangent]:
    cotangent: Any = cotangents[0] if len(cotangents) == 1 else tuple(cotangents)
    if made.op.partials and cotangent is not None:
        return pull_wanted(made.op.partials, made.inputs, made.outputs[0], cotangent, wanted)
    pulled: Sequence[Cotangent] = made.op.vjp(made.inputs, made.result, cotangent, **made.attrs)
    if len(pulled) != len(made.inputs):
        raise TypeError(
            f"the reverse rule of {made.op.name} returned {len(pulled)} cotangents "
            f"for {len(made.inputs)} inputs"
        )
    return pulled


def _finished(flow: Flow) -> Value | None:
    return None if flow is None or isinstance(flow, Null) else finish(flow)


def _masked(mask: Value, answer: Cotangent) -> Cotangent:
    """What a pointwise rule answered, under the mask that its tangent or cotangent was under."""
    if isinstance(answer, Masked) or (isinstance(answer, Value) and answer.shape == mask.shape):
        return _cut(mask, answer)
    return answer


def _moved(
    made: Equation, flow: Masked | Zeroed, pulled: Sequence[Cotangent]
) -> Sequence[Flow | Disconnected]:
    """What a rule that moves or sums elements answered, with the mask moved along."""
    coarse = _is_coarse(flow) or isinstance(made.op.lower, Contraction)
    return [
        Zeroed(moved, answer, coarse) if isinstance(answer, Value) and moved is not None else answer
        for moved, answer in zip(_pulled_masks(made, flow.mask), pulled, strict=True)
    ]


def _pulled_masks(made: Equation, mask: Value) -> Sequence[Value | None]:
    """For each input, where the reverse rule may give other than zero; None: anywhere."""
    name, attrs = made.op.name, made.attrs
    if name == "broadcast":
        axes = other_axes(mask.type.rank, attrs["axes"])
        return [any_(mask, axes=axes) if axes else mask]
    if name in _MOVES:
        return _values(made.op.vjp(made.inputs, made.result, mask, **attrs))
    if name in _COUNTS:
        counts = cast(mask, dtype=made.outputs[0].dtype)
        answers = _values(made.op.vjp(made.inputs, made.result, counts, **attrs))
        return [None if a is None else ne(a, zeros(a.type)) for a in answers]
    if isinstance(made.op.lower, Contraction):
        labels = (attrs["lhs"], attrs["rhs"])
        return [
            _relabelled(mask, attrs["out"], wanted, x.shape)
            for wanted, x in zip(labels, made.inputs, strict=True)
        ]
    return [mask if name == "grad_scale" else None] * len(made.inputs)


def _values(answers: Iterable[Cotangent]) -> list[Value | None]:
    return [answer if isinstance(answer, Value) else None for answer in answers]


# --- forward mode ------------------------------------------------------------------------------


def push_masked(made: Equation, entering: Sequence[Flow]) -> Sequence[Flow]:
    """Apply the forward rule of an equation to the tangents of its inputs, masks and all."""
    null = _null_that_arrives(made, entering)
    if null is not None:
        return [null] * len(made.outputs)
    masked = any(isinstance(flow, Masked | Zeroed) for flow in entering)
    if not masked:
        return _pushed(made, [_finished(flow) for flow in entering])
    if made.op is where:
        return [_push_where(made, entering)]
    if is_pointwise(made):
        return [_push_by_masks(made, entering)]
    pushed = _pushed(made, [_finished(flow) for flow in entering])
    mask = _pushed_mask(made, entering)
    if mask is None:
        return pushed
    coarse = any(map(_is_coarse, entering)) or isinstance(made.op.lower, Contraction)
    return [Zeroed(mask, flow, coarse) if isinstance(flow, Value) else flow for flow in pushed]


def _pushed(made: Equation, tangents: Sequence[Value | None]) -> Sequence[Flow]:
    answer = made.op.jvp(made.inputs, made.result, tuple(tangents), **made.attrs)
    many: Sequence[Flow] = answer if isinstance(answer, tuple) else (answer,)
    if len(many) != len(made.outputs):
        raise TypeError(
            f"the forward rule of {made.op.name} returned {len(many)} tangents "
            f"for {len(made.outputs)} results"
        )
    return many


def _null_that_arrives(made: Equation, entering: Sequence[Flow]) -> Null | None:
    """The tangent that cannot be computed, if the results depend on the input that has it.

    The rule is asked with a stand-in for the tangent.
    """
    for i, flow in enumerate(entering):
        if not isinstance(flow, Null):
            continue
        stand_ins: list[Value | None] = [None] * len(entering)
        stand_ins[i] = parameter(cotangent_type(made.inputs[i]))
        if any(answer is not None for answer in _pushed(made, stand_ins)):
            return flow
    return None


def _push_where(made: Equation, entering: Sequence[Flow]) -> Flow:
    """The tangent of the branch that is taken, under that branch's mask."""
    condition, (_, *branches) = made.inputs[0], entering
    moving = [f for f in branches if isinstance(f, Value | Masked | Zeroed)]
    if len(moving) == 1:
        (answer,) = _pushed(made, [None, *map(_carrier, branches)])
        if isinstance(answer, Masked) and not isinstance(moving[0], Value):
            return _cut(moving[0].mask, answer)
        return answer
    mask = where(condition, *(_mask_of(x, f) for x, f in zip(made.inputs[1:], moving, strict=True)))
    value = where(condition, *map(_carrier, moving))
    exact = all(isinstance(flow, Value | Zeroed) for flow in moving)
    return Zeroed(mask, value, any(map(_is_coarse, moving))) if exact else Masked(mask, value)


def _push_by_masks(made: Equation, entering: Sequence[Flow]) -> Flow:
    """A pointwise rule, which is linear in the tangents, applied to those under each mask apart."""
    groups: dict[Value | None, list[int]] = {}
    for i, flow in enumerate(entering):
        if isinstance(flow, Value | Masked | Zeroed):
            groups.setdefault(None if isinstance(flow, Value) else flow.mask, []).append(i)
    total: Flow = None
    for mask, positions in groups.items():
        chosen = [flow if i in positions else None for i, flow in enumerate(entering)]
        (answer,) = _pushed(made, [_carrier(flow) for flow in chosen])
        exact = all(_keeps_zeros(made, entering[i]) for i in positions)
        if mask is not None and exact and isinstance(answer, Value):
            answer = Zeroed(mask, answer, any(map(_is_coarse, chosen)))
        elif mask is not None and not exact and isinstance(answer, Value | Masked):
            answer = _cut(mask, answer)
        total = add_flows(total, answer)
    return total


def _cut(mask: Value, answer: Value | Masked) -> Masked:
    """What a pointwise rule answered, under the mask that its tangent or cotangent was under."""
    if isinstance(answer, Masked):
        return Masked(logical_and(mask, answer.mask), answer.value)
    return Masked(mask, answer)


def _carrier(flow: Flow) -> Value | None:
    """The value of a flow, its mask left aside; None for a zero."""
    if isinstance(flow, Masked | Zeroed):
        return flow.value
    return flow if isinstance(flow, Value) else None


def _mask_of(x: Value, flow: Flow) -> Value:
    """Where a flow may be other than zero."""
    if isinstance(flow, Masked | Zeroed):
        return flow.mask
    everywhere: Value = full(x.shape, flow is not None, bool_)
    return everywhere


def _pushed_mask(made: Equation, entering: Sequence[Flow]) -> Value | None:
    """Where the result of a linear forward rule may be other than zero; None: anywhere."""
    lower, attrs = made.op.lower, made.attrs
    if made.op.name == "sum":
        (mask,) = (_mask_of(x, f) for x, f in zip(made.inputs, entering, strict=True))
        return any_(mask, axes=attrs["axes"]) if attrs["axes"] else mask
    if isinstance(lower, Contraction):
        if any(isinstance(flow, Value) for flow in entering):
            return None
        given = (attrs["lhs"], attrs["rhs"])
        moved = [
            _relabelled(_mask_of(x, f), labels, attrs["out"], made.outputs[0].shape)
            for x, f, labels in zip(made.inputs, entering, given, strict=True)
            if f is not None
        ]
        return reduce(logical_or, moved)
    masks = [
        _mask_of(x, f) if x.dtype.is_float else x
        for x, f in zip(made.inputs, entering, strict=True)
    ]
    if isinstance(lower, IndexMap):
        return _applied(made, masks)
    if isinstance(lower, Scatter):
        dtype = made.outputs[0].dtype
        counts = _applied(made, [cast(m, dtype=dtype) if m.dtype is bool_ else m for m in masks])
        return None if counts is None else ne(counts, zeros(counts.type))
    return masks[0] if made.op.name == "grad_scale" else None


def _applied(made: Equation, masks: Sequence[Value]) -> Value | None:
    """The op applied to masks in place of its operands; None if it does not take booleans."""
    try:
        result = made.op(*masks, **made.attrs)
    except TypeRuleError:
        return None
    return result if isinstance(result, Value) else None


def _relabelled(mask: Value, labels: Sequence[int], wanted: Sequence[int], shape: Shape) -> Value:
    """A mask over axes `labels` as one over `wanted`: any along those that go, repeated anew."""
    gone = tuple(axis for axis, label in enumerate(labels) if label not in wanted)
    kept = [label for label in labels if label in wanted]
    reduced = any_(mask, axes=gone) if gone else mask
    order = sorted(range(len(kept)), key=lambda axis: wanted.index(kept[axis]))
    ordered = transpose(reduced, permutation=tuple(order))
    result: Value = broadcast(
        ordered, shape=shape, axes=tuple(wanted.index(kept[axis]) for axis in order)
    )
    return result
