"""Makers of ops by algebraic kind: state what kind of function an op is, and its rules follow.

`elementwise`: one formula, its partial derivatives, its scalar code. `linear`: a linear map and its
transpose. Rules build ordinary IR out of ops that are themselves made here, so those are found when
a rule runs (as `Value`'s operators find the arithmetic ops).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, reduce, wraps
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import Dim
from gradc.ir.function import Value, no_requirements
from gradc.ir.loops import Ref
from gradc.ir.lowering import Lowering, Pointwise
from gradc.ir.op import Cotangent, Masked, Op
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType, DType, TypeRuleError, bool_

_KINDS = {"f": "floats", "i": "integers", "b": "booleans"}


@dataclass(frozen=True, slots=True)
class Quotient:
    """The partial derivative `numerator / denominator`.

    It is applied to t as `(t * numerator) / denominator`, so no reciprocal is rounded or overflows.
    """

    numerator: Value | float
    denominator: Value


@dataclass(frozen=True, slots=True)
class Cut:
    """The partial derivative `partial` where `mask` holds, and exactly zero elsewhere.

    Zero also against an infinite tangent or cotangent, as in `Masked`.
    """

    mask: Value
    partial: Value | Quotient | float


Partial: TypeAlias = "Value | Quotient | Cut | float | None"


def elementwise(
    name: str,
    *,
    evaluate: Callable[..., Any],
    partials: Sequence[Callable[..., Partial]],
    scalar: Callable[..., Ref],
    cost: int = 1,
    infer: Callable[..., ArrayType] | None = None,
    multiplies: bool = False,
) -> Op:
    """An op applied entry by entry to operands of one shape.

    `partials[i](y, *xs)` is dy/dx_i, built only when it is needed: a value, a number, a `Quotient`,
    a `Cut`, or None (zero for all arguments). Integers and booleans have no derivative.
    `scalar(k, *xs)` writes the loop code of one entry and `cost` counts its operations. `infer` is
    by default `same_type(name)`. A Python number may stand for an operand. `multiplies` as for
    `Pointwise`.
    """

    def jvp(primals: Sequence[Value], result: Value, tangents: Sequence[Value | None]) -> Any:
        if not result.dtype.is_float:
            return None
        return _sum_cut(
            _applied(t, partial(result, *primals))
            for partial, t in zip(partials, tangents, strict=True)
            if t is not None
        )

    def vjp(primals: Sequence[Value], result: Value, cotangent: Value) -> tuple[Cotangent, ...]:
        if not result.dtype.is_float:
            return (None,) * len(primals)
        return tuple(pull_wanted(partials, primals, result, cotangent, primals))

    op = Op(
        name=name,
        infer=infer or same_type(name, operands=len(partials)),
        evaluate=quiet(evaluate),
        jvp=jvp,
        vjp=vjp,
        batch=lambda *arguments, **attrs: batch_in_front(op, *arguments, **attrs),
        lower=Pointwise(scalar, cost, multiplies),
        lift=lift_numbers,
        partials=partials,
    )
    return op


def linear(
    name: str,
    *,
    infer: Callable[..., ArrayType],
    evaluate: Callable[..., Any],
    transpose: Callable[..., tuple[Cotangent, ...]],
    batch: Callable[..., Any],
    lower: Lowering,
    requires: Callable[..., Any] = no_requirements,
) -> Op:
    """An op that is linear in all its inputs together: its derivative is the op itself.

    `transpose(primals, result, cotangent, **attrs)` is its vjp rule. It may use the primals' and
    the result's types only.
    """

    def jvp(
        primals: Sequence[Value], result: Value, tangents: Sequence[Value | None], **attrs: Any
    ) -> Any:
        if all(t is None for t in tangents) or not result.dtype.is_float:
            return None
        zeros_like = _late().constants.zeros_like
        filled = (zeros_like(x) if t is None else t for x, t in zip(primals, tangents, strict=True))
        return op(*filled, **attrs)

    op = Op(name, infer, evaluate, jvp, transpose, batch, lower, requires)
    return op


# --- parts of rules --------------------------------------------------------------------------


def sum_terms(terms: Iterable[Value | None]) -> Value | None:
    """The sum of the terms that are not None; None (zero) if there is none."""
    found = [term for term in terms if term is not None]
    return reduce(lambda a, b: a + b, found) if found else None


def scaled(t: Value, partial: Value | Quotient | float) -> Value:
    """`t * partial`, without multiplying by 1 and -1."""
    if isinstance(partial, Quotient):
        return scaled(t, partial.numerator) / partial.denominator
    if isinstance(partial, Value):
        return t * partial
    if partial == 1:
        return t
    return -t if partial == -1 else t * partial


def _sum_cut(terms: Iterable[Value | Masked | None]) -> Value | Masked | None:
    """The sum of terms that masks may cut; the mask of an only one is left to the sweep."""
    found = [term for term in terms if term is not None]
    if len(found) == 1:
        return found[0]
    where = _late().logic.where
    return sum_terms(
        term if isinstance(term, Value) else where(term.mask, term.value, 0.0) for term in found
    )


def _applied(t: Value, partial: Partial) -> Value | Masked | None:
    """The partial derivative times a tangent or cotangent."""
    if partial is None:
        return None
    if isinstance(partial, Cut):
        return Masked(partial.mask, scaled(t, partial.partial))
    return scaled(t, partial)


def pull_wanted(
    partials: Sequence[Callable[..., Partial]],
    primals: Sequence[Value],
    result: Value,
    cotangent: Value,
    wanted: Collection[Value],
) -> list[Cotangent]:
    """The cotangents of those primals that are `wanted`, None for the others and for integers."""
    return [
        _applied(cotangent, partial(result, *primals))
        if x in wanted and x.type.dtype.is_float
        else None
        for partial, x in zip(partials, primals, strict=True)
    ]


def no_tangent(primals: Any, result: Any, tangents: Any, **attrs: Any) -> None:
    """The jvp rule of an op whose derivative is zero."""


def no_cotangents(primals: Sequence[Value], result: Any, cotangent: Any, **attrs: Any) -> Any:
    """The vjp rule of an op whose derivative is zero: connected, and no contribution."""
    return (None,) * len(primals)


def batch_in_front(
    op: Op, inputs: Sequence[Value], batched: Sequence[bool], size: Dim, **attrs: Any
) -> Any:
    """The batch rule of entry-by-entry ops: operands without the new axis are repeated along it."""
    return op(*(in_front(x, b, size) for x, b in zip(inputs, batched, strict=True)), **attrs)


def in_front(x: Value, batched: bool, size: Dim) -> Value:
    """`x` with the leading axis of a batch: as it is, or repeated `size` times."""
    if batched:
        return x
    axes = tuple(range(1, x.type.rank + 1))
    repeated: Value = _late().structural.broadcast(x, shape=(size, *x.shape), axes=axes)
    return repeated


def lift_numbers(name: str, inputs: Sequence[Any]) -> tuple[Value, ...]:
    """The operands, Python numbers among them turned into constants of the first value's type."""
    for x in inputs:
        if not isinstance(x, Value):
            break
    else:
        return tuple(inputs)
    model = next((x for x in inputs if isinstance(x, Value)), None)
    return tuple([lifted(name, x, model) for x in inputs])


def lifted(name: str, x: Any, model: Value | None) -> Value:
    """`x` if it is a value, else the constant `x` with the type of `model`.

    Raises TypeRuleError for what is no number, or no number of that type.
    """
    if isinstance(x, Value):
        return x
    number = x.item() if isinstance(x, np.ndarray | np.generic) and x.ndim == 0 else x
    if not isinstance(number, bool | int | float) or model is None:
        raise TypeRuleError(
            f"{name}: operands are values, or Python numbers beside a value; not {x!r} "
            f"({type(x).__name__})"
        )
    advice = _refusal(number, model.dtype)
    if advice:
        raise TypeRuleError(f"{name}: {x!r} beside an operand of type {model.type}: {advice}")
    constant: Value = _late().constants.full_like(model, number)
    return constant


def _refusal(number: Any, dtype: DType) -> str:
    """What to do about a number that is none of this dtype; "" if it is one."""
    if (dtype is bool_) != isinstance(number, bool):
        return "write True or False" if dtype is bool_ else "write a number, not a boolean"
    if dtype.kind != "i":
        return ""
    if not isinstance(number, int) and not float(number).is_integer():
        return "an integer is needed here, or cast the operand to a float"
    limits = np.iinfo(dtype.numpy)
    if not limits.min <= number <= limits.max:
        return f"{dtype} holds integers from {limits.min} to {limits.max}"
    return ""


def quiet(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """`evaluate` without NumPy's warnings: infinities, nans and wrapped integers are results."""

    @wraps(evaluate)
    def evaluate_quietly(*arrays: Any, **attrs: Any) -> Any:
        with np.errstate(all="ignore"):
            return evaluate(*arrays, **attrs)

    return evaluate_quietly


# --- type rules ------------------------------------------------------------------------------


def same_type(name: str, kinds: str = "fi", operands: int = 2) -> Callable[..., ArrayType]:
    """The type rule of operands that all have one type, which is the result's.

    `kinds` are the kinds of dtype the op takes, as in `DType.kind`.
    """

    def infer(*types: ArrayType) -> ArrayType:
        if len(types) != operands:
            raise TypeRuleError(f"{name}: takes {operands} operands, not {len(types)}")
        first = types[0]
        for other in types:
            if other is not first:
                check_equal(name, first, other)
        if first.dtype.kind not in kinds:
            check_kind(name, first, kinds)
        return first

    return infer


def to_bool(name: str, kinds: str = "fib", operands: int = 2) -> Callable[..., ArrayType]:
    """The type rule of operands that all have one type, with a boolean result."""
    same = same_type(name, kinds, operands)
    return lambda *types: same(*types).with_dtype(bool_)


def check_equal(name: str, first: ArrayType, other: ArrayType) -> None:
    """Raise TypeRuleError, saying what to do, if two operands differ in type."""
    if first == other:
        return
    if first.dtype != other.dtype and first.shape == other.shape:
        advice = f"cast one of them, to {first.dtype} or to {other.dtype}"
    elif first.dtype == other.dtype:
        advice = "broadcast the operands to one shape first; sizes that differ in name differ"
    else:
        advice = "cast one of them and broadcast them to one shape first"
    raise TypeRuleError(f"{name}: the operands have the types {first} and {other}; {advice}")


def check_kind(name: str, type: ArrayType, kinds: str) -> None:
    """Raise TypeRuleError, saying what to do, if the dtype's kind is not among `kinds`."""
    if type.dtype.kind in kinds:
        return
    takes = " or ".join(_KINDS[kind] for kind in kinds)
    advice = "cast it first" if kinds != "b" else "compare it with something first"
    raise TypeRuleError(f"{name}: takes {takes}, not {type}; {advice}")


@cache
def _late() -> Any:
    """The ops that rules build: made by this module, so found only when a rule runs."""
    from gradc.ir import ops
    from gradc.ir.ops import constants, logic, structural  # noqa: F401

    return ops
