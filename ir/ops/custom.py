"""`custom`: a function as one op, with derivative rules of its own. All three are regions.

    value        (inputs...) -> (results...)
    pushforward  (inputs..., results..., tangents of the float inputs...)
                 -> (tangents of the float results...)
    pullback     (inputs..., results..., cotangents of the float results...)
                 -> (cotangents of the inputs whose answer is "value"...)

A rule that is missing follows from the other by transposition: both are linear in their tangents or
cotangents, so each is the other's pullback. Where both are missing, derivatives go through `value`.
A text in the place of a rule is the reason why there is no derivative. `answers` says of each input
what its cotangent is: "value", "zero", "disconnected", or "null: " and a reason. `moves` says the
same of the tangents of the float results, of which the pushforward gives those that are values;
where it is empty, all are.

Rules are inlined when they are used, so they are differentiated as any other part of a graph. The
op itself is gone before scheduling: `value` takes its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import Dim
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Requirement, UnboundValueError, Value, function, parameter
from gradc.ir.lowering import Composite
from gradc.ir.op import DISCONNECTED, Cotangent, Null, Op
from gradc.ir.ops.constants import zeros_like
from gradc.ir.ops.kinds import in_front
from gradc.ir.transforms.batch import batch
from gradc.ir.transforms.forward import pushforward as pushforward_of
from gradc.ir.transforms.inline import inline
from gradc.ir.transforms.reverse import pull_cotangents
from gradc.ir.transforms.zeros import zeros
from gradc.ir.types import ArrayType, TypeRuleError

Rule: TypeAlias = "Function | str | None"
Array: TypeAlias = "np.ndarray[Any, Any]"

VALUE, ZERO, CUT, NULL = "value", "zero", "disconnected", "null: "


def _infer(
    *types: ArrayType,
    name: str,
    value: Function,
    pushforward: Rule,
    pullback: Rule,
    answers: tuple[str, ...],
    moves: tuple[str, ...] = (),
) -> ArrayType | tuple[ArrayType, ...]:
    """The types of the value's results, for inputs of exactly its parameters' types."""
    inputs = tuple(p.type for p in value.parameters)
    results = tuple(r.type for r in value.results)
    if types != inputs:
        raise TypeRuleError(f"{name}: takes ({_listed(inputs)}), but ({_listed(types)}) was given")
    if not results:
        raise TypeRuleError(f"{name}: has no result")
    floats = _floats(results)
    if isinstance(pushforward, Function):
        wanted = (*inputs, *results, *_floats(inputs))
        if moves and len(moves) != len(floats):
            raise TypeRuleError(f"{name}: {len(moves)} moves for {len(floats)} results of floats")
        given = tuple(t for t, state in zip(floats, moves, strict=False) if state == VALUE)
        _check_region(f"{name}: the pushforward", pushforward, wanted, given if moves else floats)
    if isinstance(pullback, Function):
        if len(answers) != len(inputs):
            raise TypeRuleError(f"{name}: {len(answers)} answers for {len(inputs)} inputs")
        given = tuple(t for t, answer in zip(inputs, answers, strict=True) if answer == VALUE)
        _check_region(f"{name}: the pullback", pullback, (*inputs, *results, *floats), given)
    return results if len(results) > 1 else results[0]


def _check_region(
    what: str, fn: Function, inputs: tuple[ArrayType, ...], results: tuple[ArrayType, ...]
) -> None:
    have = tuple(p.type for p in fn.parameters), tuple(r.type for r in fn.results)
    for part, found, wanted in zip(("takes", "gives"), have, (inputs, results), strict=True):
        if found != wanted:
            raise TypeRuleError(f"{what} {part} ({_listed(found)}), not ({_listed(wanted)})")


def _evaluate(*arrays: Array, value: Function, **attrs: Any) -> Any:
    results = evaluate(value, *arrays)
    return results if len(results) > 1 else results[0]


def _requires(*types: ArrayType, value: Function, **attrs: Any) -> Iterable[Requirement]:
    return value.requires


def _expand(*inputs: Value, value: Function, **attrs: Any) -> tuple[Value, ...]:
    return inline(value, inputs)


# --- derivatives -------------------------------------------------------------------------------


def _jvp(
    primals: Sequence[Value],
    result: Value | tuple[Value, ...],
    tangents: Sequence[Value | None],
    *,
    name: str,
    value: Function,
    pushforward: Rule,
    pullback: Rule,
    answers: tuple[str, ...],
    moves: tuple[str, ...] = (),
) -> Any:
    results = result if isinstance(result, tuple) else (result,)
    if isinstance(pushforward, str) or (pushforward is None and isinstance(pullback, str)):
        return _null(str(pushforward or pullback), results)
    filled = [
        zeros_like(x) if t is None else t
        for x, t in zip(primals, tangents, strict=True)
        if x.dtype.is_float
    ]
    if isinstance(pushforward, Function):
        given = inline(pushforward, (*primals, *results, *filled))
        states = _answered(moves, given) if moves else given
        found: Sequence[Any] = [None if t is DISCONNECTED else t for t in states]
    elif isinstance(pullback, Function):
        for answer, tangent in zip(answers, tangents, strict=True):
            if answer.startswith(NULL) and tangent is not None:
                return _null(answer.removeprefix(NULL), results)
        along = [
            zeros_like(x) if t is None else t
            for x, t, answer in zip(primals, tangents, answers, strict=True)
            if answer == VALUE
        ]
        count = len(primals) + len(results)
        rule = transposed(pullback, count, f"the pullback of {name}", "cotangents", "pushforward")
        found = inline(rule, (*primals, *results, *along))
    else:
        floats = [i for i, x in enumerate(primals) if x.dtype.is_float]
        pushed = inline(pushforward_of(value, floats), (*primals, *filled))[len(results) :]
        found = tuple(t for t, r in zip(pushed, results, strict=True) if r.dtype.is_float)
    rest = iter(found)
    every = tuple(next(rest) if r.dtype.is_float else None for r in results)
    return every if len(every) > 1 else every[0]


def _null(reason: str, results: Sequence[Value]) -> Any:
    """The tangents of results that have none, for this reason."""
    every = tuple(Null(reason) if r.dtype.is_float else None for r in results)
    return every if len(every) > 1 else every[0]


def _vjp(
    primals: Sequence[Value],
    result: Value | tuple[Value, ...],
    cotangent: Any,
    *,
    name: str,
    value: Function,
    pushforward: Rule,
    pullback: Rule,
    answers: tuple[str, ...],
    moves: tuple[str, ...] = (),
) -> tuple[Cotangent, ...]:
    results = result if isinstance(result, tuple) else (result,)
    given = cotangent if isinstance(cotangent, tuple) else (cotangent,)
    if isinstance(pullback, str) or (pullback is None and isinstance(pushforward, str)):
        return (Null(str(pullback or pushforward)),) * len(primals)
    filled = [
        zeros_like(r) if c is None else c
        for r, c in zip(results, given, strict=True)
        if r.dtype.is_float
    ]
    if isinstance(pullback, Function):
        found = inline(pullback, (*primals, *results, *filled))
        return _answered(answers, found)
    if isinstance(pushforward, Function):
        count = len(primals) + len(results)
        floats = [c for r, c in zip(results, given, strict=True) if r.dtype.is_float]
        for state, c in zip(moves, floats, strict=False):
            if state.startswith(NULL) and c is not None:
                return (Null(state.removeprefix(NULL)),) * len(primals)
        if moves:
            filled = [c for c, state in zip(filled, moves, strict=True) if state == VALUE]
        rule = transposed(pushforward, count, f"the pushforward of {name}", "tangents", "pullback")
        found = inline(rule, (*primals, *results, *filled))
        return _answered([VALUE if x.dtype.is_float else ZERO for x in primals], found)
    return _through_value(value, primals, filled)


def _answered(answers: Sequence[str], found: Sequence[Value]) -> tuple[Cotangent, ...]:
    rest = iter(found)
    return tuple(
        next(rest)
        if answer == VALUE
        else None
        if answer == ZERO
        else DISCONNECTED
        if answer == CUT
        else Null(answer.removeprefix(NULL))
        for answer in answers
    )


def _through_value(
    value: Function, primals: Sequence[Value], cotangents: Sequence[Value]
) -> tuple[Cotangent, ...]:
    """The cotangents of the inputs by the rules of the ops that the value is made of."""
    floats = [r for r in value.results if r.dtype.is_float]
    seeds = [parameter(r.type) for r in floats]
    pulled = pull_cotangents(zip(floats, seeds, strict=True), value.parameters)
    arrays = [c for c in pulled if isinstance(c, Value)]
    rule = function(f"{value.name}_pullback", (*value.parameters, *seeds), arrays)
    found = iter(inline(rule, (*primals, *cotangents)))
    return tuple(next(found) if isinstance(c, Value) else c for c in pulled)


def transposed(rule: Function, fixed: int, what: str, moving: str, other: str) -> Function:
    """The transpose of a rule that is linear in its parameters from position `fixed` on.

    (fixed..., cotangents of the results...) -> (cotangents of the other parameters...). Of a linear
    map the pullback does not depend on where it is taken; TypeRuleError where it does.
    """
    varying = rule.parameters[fixed:]
    seeds = [parameter(r.type, f"c{i}") for i, r in enumerate(rule.results)]
    pulled = pull_cotangents(zip(rule.results, seeds, strict=True), varying)
    for c in pulled:
        if isinstance(c, Null):
            raise TypeRuleError(f"{what} has no transpose: {c.reason}")
    results = [
        c if isinstance(c, Value) else zeros(v.type) for c, v in zip(pulled, varying, strict=True)
    ]
    parameters = (*rule.parameters[:fixed], *seeds)
    try:
        return function(f"{rule.name}_transposed", parameters, results, rule.requires)
    except UnboundValueError as error:
        raise TypeRuleError(
            f"{what} is not linear in its {moving}, so that no {other} follows from it; "
            f"write a {other} too"
        ) from error


# --- batching ----------------------------------------------------------------------------------


def _batch(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    size: Dim,
    *,
    value: Function,
    pushforward: Rule,
    pullback: Rule,
    **attrs: Any,
) -> Any:
    """The op for `size` examples: every input has its own copy for each, so have all regions."""
    many = [in_front(x, b, size) for x, b in zip(inputs, batched, strict=True)]
    return custom(
        *many,
        value=_batched(value, size),
        pushforward=_batched(pushforward, size),
        pullback=_batched(pullback, size),
        **attrs,
    )


def _batched(rule: Any, size: Dim) -> Any:
    return batch(rule, [0] * len(rule.parameters), size) if isinstance(rule, Function) else rule


def _floats(types: Sequence[ArrayType]) -> tuple[ArrayType, ...]:
    return tuple(t for t in types if t.dtype.is_float)


def _listed(types: Iterable[ArrayType]) -> str:
    return ", ".join(map(str, types))


custom = Op(
    name="custom",
    infer=_infer,
    evaluate=_evaluate,
    jvp=_jvp,
    vjp=_vjp,
    batch=_batch,
    lower=Composite(_expand),
    requires=_requires,
)
