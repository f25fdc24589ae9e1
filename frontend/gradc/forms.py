"""Derivatives of whole functions: `ir.Function -> ir.Function`.

    grad            (parameters) -> (grad_w, ...)
    value_and_grad  (parameters) -> (value, grad_w, ...)
    jvp             (parameters, w_tangent, ...) -> (results, <result>_tangent, ...)
    vjp             (parameters, <result>_cotangent, ...) -> (results, w_cotangent, ...)
    jacobian        (parameters) -> (jacobian_w, ...)           result.shape + w.shape
    hessian         (parameters) -> (hessian_w, ...)            w.shape + w.shape
    hvp             (parameters, p or p_w, ...) -> (hvp_w, ...) the Hessian times the direction p

`wrt` names parameters, by name or position, one or several. The forms nest as wished. What a
function does not depend on has derivative zero, unless a `Policy` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

from gradc.errors import DisconnectedInputError, GradcTypeError, GradcValueError, NullTypeGradError
from gradc.ir.function import Function, Value, parameter
from gradc.ir.function import function as cut
from gradc.ir.op import Cotangent, Disconnected, Null
from gradc.ir.ops.constants import full
from gradc.ir.passes.pipeline import BEFORE_DERIVATIVES, optimize
from gradc.ir.record import dataclass
from gradc.ir.transforms.forward import pushforward
from gradc.ir.transforms.rebuild import unused_name
from gradc.ir.transforms.reverse import NullGradientError, pull_cotangents, pullback
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.jacobians import hessian_blocks, jacobian_of, pushed

Wrt: TypeAlias = "str | int | Sequence[str | int] | None"


@dataclass(frozen=True, slots=True)
class Policy:
    """What counts as constant, and what happens where a result does not depend on a parameter.

    constants: names of parameters, or of variables on the way: every one of that name.
    disconnected: "ignore" (the derivative is zero) or "raise" (DisconnectedInputError).
    chunk: of Jacobians and Hessians, the rows or columns that are computed together; None: all.
    """

    constants: tuple[str, ...] = ()
    disconnected: str = "ignore"
    chunk: int | None = None


PLAIN = Policy()


def grad(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The gradient of a function with one scalar result."""
    fn, held = _prepared(fn, wrt, policy)
    with _missing_listed(fn, wrt, held):
        gradients = _gradients(fn, _positions(fn, wrt), held)
    return _derived(fn, "grad", (), gradients, _labels(fn, "grad", wrt))


def value_and_grad(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The scalar result and its gradient."""
    fn, held = _prepared(fn, wrt, policy)
    with _missing_listed(fn, wrt, held):
        gradients = _gradients(fn, _positions(fn, wrt), held)
    names = [_value_name(fn), *_labels(fn, "grad", wrt)]
    return _derived(fn, "value_and_grad", (), [fn.results[0], *gradients], names)


def jvp(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The results and their directional derivatives along the tangents of `wrt`."""
    fn, held = _prepared(fn, wrt, policy)
    with _missing_listed(fn, wrt, held):
        return pushforward(_with_result_names(fn), _positions(fn, wrt), stop=held)


def vjp(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The results, and the cotangents of `wrt` for given cotangents of the results."""
    fn, held = _prepared(fn, wrt, policy)
    with _missing_listed(fn, wrt, held):
        return pullback(_with_result_names(fn), _positions(fn, wrt), stop=held)


def jacobian(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The Jacobian of every result by every `wrt`: result.shape + wrt.shape, result by result."""
    fn, held = _prepared(fn, wrt, policy)
    targets = [fn.parameters[i] for i in _positions(fn, wrt)]
    with _missing_listed(fn, wrt, held):
        blocks = [
            block
            for result in fn.results
            for block in jacobian_of(result, targets, held, policy.chunk)
        ]
    single = len(fn.results) == 1
    names = [
        label if single else f"{label}_of_{result}"
        for result in _with_result_names(fn).result_names
        for label in _labels(fn, "jacobian", wrt)
    ]
    return _derived(fn, "jacobian", (), blocks, names)


def hessian(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The second derivatives of a scalar result; of several wrt, all blocks, row by row."""
    fn, held = _prepared(fn, wrt, policy)
    positions = _positions(fn, wrt)
    targets = [fn.parameters[i] for i in positions]
    with _missing_listed(fn, wrt, held):
        gradients = _gradients(fn, positions, held)
        rows = hessian_blocks(fn.results[0], gradients, targets, held, policy.chunk)
    labels = _labels(fn, "hessian", wrt)
    if len(labels) > 1:
        labels = [f"{label}_{fn.parameter_names[i]}" for label in labels for i in positions]
    return _derived(fn, "hessian", (), [block for row in rows for block in row], labels)


def hvp(fn: Function, wrt: Wrt = None, policy: Policy = PLAIN) -> Function:
    """The Hessian of a scalar result times a direction: forward over reverse, cross terms included.

    The direction is one more parameter, `p`; of several wrt, `p_<name>` for each.
    """
    fn, held = _prepared(fn, wrt, policy)
    positions = _positions(fn, wrt)
    with _missing_listed(fn, wrt, held):
        gradients = _gradients(fn, positions, held)
    taken = {*fn.parameter_names, *fn.sizes}
    directions = []
    for i in positions:
        name = "p" if len(positions) == 1 else f"p_{fn.parameter_names[i]}"
        kind = cotangent_type(fn.parameters[i])
        directions.append(parameter(kind, unused_name(name, taken)))
    along = dict(zip((fn.parameters[i] for i in positions), directions, strict=True))
    with _missing_listed(fn, wrt, held):
        tangents = pushed(gradients, along, held)
    products = [zeros(g.type) if t is None else t for g, t in zip(gradients, tangents, strict=True)]
    return _derived(fn, "hvp", directions, products, _labels(fn, "hvp", wrt))


def _prepared(fn: Function, wrt: Wrt, policy: Policy) -> tuple[Function, list[Value]]:
    """The function as its derivative is taken, and the values in it that count as constants.

    It is simplified: less to differentiate, and stable formulas; not where a policy is about what
    stands in it.
    """
    if not policy.constants and policy.disconnected == "ignore":
        return optimize(fn, BEFORE_DERIVATIVES), []
    held = [value for name in policy.constants for value in _named(fn, name)]
    if policy.disconnected == "raise":
        _refuse_disconnected(fn, wrt, held)
    return fn, held


def _named(fn: Function, name: str) -> list[Value]:
    """The values called `name`: a parameter, or what is bound to that name on the way."""
    known = list(zip(fn.parameter_names, fn.parameters, strict=True))
    known += [(v.name, v) for made in fn.equations for v in made.outputs if v.name]
    found = [value for label, value in known if label == name]
    if not found:
        raise GradcValueError(
            f"{fn.name} has no variable {name!r} to hold constant",
            label=f"its variables are {', '.join(dict.fromkeys(label for label, _ in known))}",
        )
    return found


def _refuse_disconnected(fn: Function, wrt: Wrt, held: Sequence[Value]) -> None:
    """Raise DisconnectedInputError if the results do not depend on one of `wrt`."""
    positions = _positions(fn, wrt)
    seeds = [(result, parameter(cotangent_type(result))) for result in fn.results]
    pulled = pull_cotangents(seeds, [fn.parameters[i] for i in positions], stop=held)
    for i, cotangent in zip(positions, pulled, strict=True):
        if isinstance(cotangent, Disconnected):
            raise DisconnectedInputError(
                f"the result of {fn.name} does not depend on {fn.parameter_names[i]}, or only "
                "through its shape"
            )


def _positions(fn: Function, wrt: Wrt) -> list[int]:
    """The positions of the parameters that `wrt` names."""
    if wrt is None:
        floats = [i for i, p in enumerate(fn.parameters) if p.dtype.is_float]
        if len(floats) != 1:
            raise GradcTypeError(
                f"{fn.name}: with respect to which of its parameters?",
                label=", ".join(fn.parameter_names),
                hint='name them: wrt="w", or wrt=["w", "b"]',
            )
        return floats
    several = [wrt] if isinstance(wrt, str | int) else list(wrt)
    if not several:
        raise GradcValueError(f"{fn.name}: wrt names no parameter")
    return [_position(fn, which) for which in several]


def _position(fn: Function, which: str | int) -> int:
    if isinstance(which, str) and which in fn.parameter_names:
        return fn.parameter_names.index(which)
    count = len(fn.parameters)
    if isinstance(which, int) and not isinstance(which, bool) and -count <= which < count:
        return which % count
    raise GradcValueError(
        f"{fn.name} has no parameter {which!r}",
        label=f"its parameters are {', '.join(fn.parameter_names)}",
    )


def _gradients(fn: Function, positions: Sequence[int], held: Sequence[Value] = ()) -> list[Value]:
    """The gradients of the scalar result; zeros where it does not depend on a parameter."""
    if len(fn.results) != 1 or fn.results[0].shape:
        found = ", ".join(str(result.type) for result in fn.results)
        raise GradcTypeError(
            f"{fn.name}: a gradient is that of one scalar result",
            label=f"its results are {found}",
            hint="reduce it with sum or mean, or use jacobian or vjp",
        )
    cost = fn.results[0]
    one: Value = full((), 1, cotangent_type(cost).dtype)
    targets = [fn.parameters[i] for i in positions]
    pulled = pull_cotangents([(cost, one)], targets, stop=held)
    return [
        _as_value(cotangent, fn.parameters[i], fn.parameter_names[i])
        for cotangent, i in zip(pulled, positions, strict=True)
    ]


def _as_value(cotangent: Cotangent, target: Value, name: str) -> Value:
    if isinstance(cotangent, Null):
        raise NullTypeGradError(
            f"the gradient with respect to {name} cannot be computed: {cotangent.reason}"
        )
    return cotangent if isinstance(cotangent, Value) else zeros(cotangent_type(target))


@contextmanager
def _missing_listed(fn: Function, wrt: Wrt, held: Sequence[Value]) -> Iterator[None]:
    """Turn the error about a derivative that cannot be computed into one that lists them all."""
    try:
        yield
    except (NullTypeGradError, NullGradientError) as error:
        from gradc.why import explain, missing_derivatives

        nulls = [
            i
            for i in dict.fromkeys(_positions(fn, wrt))
            if explain(fn.results, fn.parameters[i], held).verdict == "null"
        ]
        if not nulls:
            raise NullTypeGradError(str(error)) from error
        names = ", ".join(fn.parameter_names[i] for i in nulls)
        missing = missing_derivatives(fn.results, [fn.parameters[i] for i in nulls], held)
        raise NullTypeGradError(
            f"the derivative with respect to {names} cannot be computed", label="; ".join(missing)
        ) from error


def _labels(fn: Function, what: str, wrt: Wrt) -> list[str]:
    return [f"{what}_{fn.parameter_names[i]}" for i in _positions(fn, wrt)]


def _value_name(fn: Function) -> str:
    name = fn.result_names[0] if fn.result_names else "result"
    return "value" if name == "result" else name


def _with_result_names(fn: Function) -> Function:
    count = len(fn.results)
    names = ("result",) if count == 1 else tuple(f"result{i}" for i in range(count))
    return fn if fn.result_names else replace(fn, result_names=names)


def _derived(
    fn: Function,
    what: str,
    added: Sequence[Value],
    results: Sequence[Value],
    names: Sequence[str],
) -> Function:
    """The function of fn's parameters and the added ones; result names differ from all of these."""
    parameter_names = (*fn.parameter_names, *(value.name or "p" for value in added))
    taken = {*parameter_names, *fn.sizes}
    distinct = [unused_name(name, taken) for name in names]
    parameters = (*fn.parameters, *added)
    made = cut(f"{fn.name}_{what}", parameters, results, fn.requires, distinct)
    return replace(made, parameter_names=parameter_names)
