"""Derivatives of graphs, with PyTensor's names and meanings; of gradc functions, by the same names.

Each function takes a cost (or expressions) and variables of its graph, or instead a function made
by `gradc.function` and the names of its parameters (see `forms.py`): `grad(cost, [w, b])`,
`grad(loss, wrt="w")`.

What one variable gives, one variable comes back; a list gives a list, a tuple a tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gradc import forms
from gradc.driver import CompiledFunction
from gradc.errors import (
    GradcTypeError,
    GradcValueError,
    NullTypeGradError,
)
from gradc.gradient_arguments import (
    POLICIES,
    RAISE,
    check_word,
    constants,
    contained,
    known_cotangents,
    matched,
    one_like,
    outcome,
    refuse_options,
    report_disconnected,
    report_unused,
    scalar_cost,
    values_of,
)
from gradc.ir.collection import collection_paused
from gradc.ir.function import Function, Value, parameter
from gradc.ir.op import DISCONNECTED, Cotangent, Disconnected, Null
from gradc.ir.transforms.reverse import is_connected, pull_cotangents
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.jacobians import hessian_blocks, jacobian_of, pushed, pushed_along
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor
from gradc.why import missing_derivatives

Variables = Any  # a Tensor, or a list or tuple of Tensors


@located
def grad(
    cost: Any,
    wrt: Variables = None,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = RAISE,
    add_names: bool = True,
    known_grads: Mapping[Tensor, Any] | None = None,
    return_disconnected: str = "zero",
    null_gradients: str = "raise",
) -> Any:
    """The gradient of a scalar cost with respect to `wrt`, variables of its graph.

    consider_constant: no cotangent passes through these.
    disconnected_inputs: what to do where the cost does not depend on a variable: "raise"
        (DisconnectedInputError), "warn", "ignore".
    return_disconnected: what to return there: "zero", "none", "disconnected".
    known_grads: cotangents that replace what flows into these variables; cost may be None then.
    null_gradients: where a gradient cannot be computed, "raise" (NullTypeGradError) or "return".

    A gradient has its variable's dtype; that of an integer or boolean is f64.
    """
    if _is_function(cost):
        changed = {
            "known_grads": known_grads,
            "return_disconnected": _changed(return_disconnected, "zero"),
            "null_gradients": _changed(null_gradients, "raise"),
        }
        refuse_options("grad", **changed)
        return _of_function(forms.grad, cost, wrt, consider_constant, disconnected_inputs)
    check_word("disconnected_inputs", disconnected_inputs, POLICIES)
    check_word("return_disconnected", return_disconnected, ("zero", "none", "disconnected"))
    check_word("null_gradients", null_gradients, ("raise", "return"))
    if cost is None and not known_grads:
        raise GradcValueError("grad: there is neither a cost nor a known gradient")
    targets = values_of("grad: wrt", wrt)
    seeds: list[tuple[Value, Cotangent]] = []
    if cost is not None:
        seeds.append((scalar_cost("grad", cost), one_like(cost)))
    held, known = constants(consider_constant), known_cotangents(known_grads)
    pulled = pull_cotangents(seeds, targets, stop=held, known=known)
    if null_gradients == "raise":
        _refuse_null(pulled, targets, [*(v for v, _ in seeds), *known], held)
    found = [
        outcome(c, v, disconnected_inputs, return_disconnected, null_gradients)
        for c, v in zip(pulled, targets, strict=True)
    ]
    if add_names and isinstance(cost, Tensor) and cost.name:
        _name_gradients(cost.name, targets, found)
    return contained(wrt, found)


@located
def value_and_grad(cost: Any, wrt: Variables = None, **options: Any) -> Any:
    """The cost and its gradient; `options` are those of `grad`."""
    if _is_function(cost):
        held, policy, rest = _options_of_functions(options)
        refuse_options("value_and_grad", **rest)
        return _of_function(forms.value_and_grad, cost, wrt, held, policy, single=False)
    return cost, grad(cost, wrt, **options)


@located
def pullback(
    f: Variables,
    wrt: Variables,
    cotangents: Variables,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = RAISE,
    return_disconnected: str = "zero",
) -> Any:
    """The cotangents of `wrt` for those of `f`: cotangent * (d f / d wrt), summed over f.

    f and cotangents correspond, one to one.
    """
    check_word("disconnected_inputs", disconnected_inputs, POLICIES)
    check_word("return_disconnected", return_disconnected, ("zero", "none", "disconnected"))
    outputs, targets = values_of("pullback: f", f), values_of("pullback: wrt", wrt)
    seeds = matched("pullback", "cotangents", outputs, cotangents)
    pulled = pull_cotangents(seeds, targets, stop=constants(consider_constant))
    found = [
        outcome(c, v, disconnected_inputs, return_disconnected, "raise")
        for c, v in zip(pulled, targets, strict=True)
    ]
    return contained(wrt, found)


def Lop(
    f: Variables,
    wrt: Variables,
    eval_points: Variables,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = RAISE,
    return_disconnected: str = "zero",
) -> Any:
    """`pullback` under its older name: the vector `eval_points` times the Jacobian of f."""
    return pullback(
        f, wrt, eval_points, consider_constant, disconnected_inputs, return_disconnected
    )


@located
def pushforward(
    f: Variables,
    wrt: Variables,
    tangents: Variables,
    disconnected_outputs: str = "raise",
    return_disconnected: str = "zero",
    use_op_pushforward: bool = True,
) -> Any:
    """The tangents of `f` for given tangents of `wrt`: (d f / d wrt) * tangent, summed over wrt.

    Forward mode by the ops' own rules, always: `use_op_pushforward` changes nothing.
    """
    check_word("disconnected_outputs", disconnected_outputs, ("raise", "warn", "ignore"))
    check_word("return_disconnected", return_disconnected, ("zero", "none", "disconnected"))
    outputs, targets = values_of("pushforward: f", f), values_of("pushforward: wrt", wrt)
    moved = pushed(outputs, _directions("pushforward", "tangents", targets, tangents))
    found = [
        Tensor(tangent)
        if tangent is not None
        else outcome(
            _zero_or_disconnected(output, targets),
            output,
            disconnected_outputs,
            return_disconnected,
            "raise",
            forward=True,
        )
        for output, tangent in zip(outputs, moved, strict=True)
    ]
    return contained(f, found)


def Rop(
    f: Variables,
    wrt: Variables,
    eval_points: Variables,
    disconnected_outputs: str = "raise",
    return_disconnected: str = "zero",
    use_op_rop_implementation: bool = True,
) -> Any:
    """`pushforward` under its older name: the Jacobian of f times the vector `eval_points`."""
    return pushforward(f, wrt, eval_points, disconnected_outputs, return_disconnected)


def pushforward_through_pullback(
    outputs: Variables,
    inputs: Variables,
    tangents: Variables,
    disconnected_outputs: str = "raise",
    return_disconnected: str = "zero",
) -> Any:
    """`pushforward`, computed as the pullback of a pullback: J t = d/du (J^T u) applied to t."""
    results, targets = values_of("pushforward: outputs", outputs), values_of("inputs", inputs)
    check_word("disconnected_outputs", disconnected_outputs, ("raise", "warn", "ignore"))
    seeds = [Tensor(zeros(cotangent_type(value))) for value in results]  # of a linear map: any
    of, wrt = [Tensor(v) for v in results], [Tensor(v) for v in targets]
    pulled = pullback(of, wrt, seeds, disconnected_inputs="ignore")
    several = list(tangents) if isinstance(tangents, tuple | list) else [tangents]
    found = pullback(
        pulled,
        seeds,
        several,
        disconnected_inputs=disconnected_outputs,
        return_disconnected=return_disconnected,
    )
    return contained(outputs, found)


@located
def jacobian(
    expression: Any,
    wrt: Variables = None,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = RAISE,
    vectorize: bool = True,
    chunk: int | None = None,
) -> Any:
    """The Jacobian, of shape expression.shape + wrt.shape: all rows or columns together, no loop.

    By rows it is a pullback, by columns a pushforward, whichever is less work, and only for entries
    that depend on one another. With `chunk`, at most so many rows (or columns) are held side by
    side, which bounds the memory; more of them are taken in blocks. `vectorize` is PyTensor's, and
    changes nothing.
    """
    _check_chunk("jacobian", chunk)
    if _is_function(expression):
        return _of_function(
            forms.jacobian, expression, wrt, consider_constant, disconnected_inputs, chunk=chunk
        )
    check_word("disconnected_inputs", disconnected_inputs, POLICIES)
    (value,) = values_of("jacobian: expression", expression)
    targets = values_of("jacobian: wrt", wrt)
    stop = constants(consider_constant)
    found = [_jacobian(value, target, stop, disconnected_inputs, chunk) for target in targets]
    return contained(wrt, found)


@located
def hessian(
    cost: Any,
    wrt: Variables = None,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = RAISE,
    blocks: str = "diagonal",
    chunk: int | None = None,
) -> Any:
    """The second derivatives of a scalar cost, of shape wrt.shape + wrt.shape.

    Of several wrt: the blocks on the diagonal, one each, or with `blocks="full"` all of them, a row
    of blocks for each. A cost that is linear in wrt has the Hessian zero. It is computed forward
    over reverse, at most `chunk` columns together (all, by default).
    """
    _check_chunk("hessian", chunk)
    if _is_function(cost):
        return _of_function(
            forms.hessian, cost, wrt, consider_constant, disconnected_inputs, chunk=chunk
        )
    check_word("blocks", blocks, ("diagonal", "full"))
    several = contained(wrt, [Tensor(value) for value in values_of("hessian: wrt", wrt)])
    targets = [several] if isinstance(several, Tensor) else list(several)
    stop = None if consider_constant is None else list(consider_constant)
    gradients = grad(cost, targets, stop, disconnected_inputs, add_names=False)
    held = constants(stop)
    first, at = [g.value for g in gradients], [target.value for target in targets]
    if blocks == "full":
        rows = hessian_blocks(cost.value, first, at, held, chunk)
        return contained(wrt, [contained(wrt, list(map(Tensor, row))) for row in rows])
    pairs = zip(first, at, strict=True)
    return contained(wrt, [Tensor(pushed_along(g, x, held, chunk)) for g, x in pairs])


@located
def hessian_vector_product(
    cost: Any, wrt: Variables = None, p: Variables = None, **grad_kwargs: Any
) -> Any:
    """The Hessian of a scalar cost times the direction `p`, cross terms of several wrt included.

    Forward over reverse; `grad_kwargs` are options of `grad`, and `consider_constant` holds at both
    orders. Returns one product for each wrt, in wrt's container: zero for a linear cost, and what
    `return_disconnected` and `null_gradients` say where there is no gradient.
    """
    if _is_function(cost):
        held, policy, rest = _options_of_functions(grad_kwargs)
        refuse_options("hessian_vector_product", p=p, **rest)
        return _of_function(forms.hvp, cost, wrt, held, policy)
    targets = values_of("hessian_vector_product: wrt", wrt)
    if p is None:
        raise GradcTypeError("hessian_vector_product: p, the direction, is missing")
    options = {"add_names": False, **grad_kwargs}
    gradients = grad(cost, [Tensor(v) for v in targets], **options)
    moving = _directions("hessian_vector_product", "p", targets, p)
    held = constants(grad_kwargs.get("consider_constant"))
    arrays = [gradient.value for gradient in gradients if isinstance(gradient, Tensor)]
    products = iter(
        Tensor(zeros(value.type) if tangent is None else tangent)
        for value, tangent in zip(arrays, pushed(arrays, moving, held), strict=True)
    )
    return contained(wrt, [next(products) if isinstance(g, Tensor) else g for g in gradients])


def jacobian_vector_product(f: Any, wrt: Variables = None, tangents: Variables = None) -> Any:
    """The Jacobian times a vector: `pushforward`; of a gradc function, `jvp`."""
    if _is_function(f):
        refuse_options("jacobian_vector_product", tangents=tangents)
        return jvp(f, wrt)
    return pushforward(f, wrt, tangents)


def vector_jacobian_product(f: Any, wrt: Variables = None, cotangents: Variables = None) -> Any:
    """A vector times the Jacobian: `pullback`; of a gradc function, `vjp`."""
    if _is_function(f):
        refuse_options("vector_jacobian_product", cotangents=cotangents)
        return vjp(f, wrt)
    return pullback(f, wrt, cotangents)


def jvp(fn: CompiledFunction, wrt: forms.Wrt = None) -> CompiledFunction:
    """(parameters, tangents of wrt) -> (results, their tangents)."""
    result: CompiledFunction = _of_function(forms.jvp, fn, wrt, single=False)
    return result


def vjp(fn: CompiledFunction, wrt: forms.Wrt = None) -> CompiledFunction:
    """(parameters, cotangents of the results) -> (results, cotangents of wrt)."""
    result: CompiledFunction = _of_function(forms.vjp, fn, wrt, single=False)
    return result


def hvp(
    fn: CompiledFunction,
    wrt: forms.Wrt = None,
    consider_constant: Sequence[str] | None = None,
    disconnected_inputs: str = RAISE,
) -> CompiledFunction:
    """(parameters, the direction p) -> the Hessian times p; the options are those of `grad`."""
    result: CompiledFunction = _of_function(
        forms.hvp, fn, wrt, consider_constant, disconnected_inputs
    )
    return result


def _refuse_null(
    pulled: Sequence[Cotangent],
    targets: Sequence[Value],
    outputs: Sequence[Value],
    held: Sequence[Value],
) -> None:
    """Raise NullTypeGradError that lists every derivative that is missing, if one is."""
    null = [(v, c) for v, c in zip(targets, pulled, strict=True) if isinstance(c, Null)]
    if not null:
        return
    missing = missing_derivatives(outputs, [v for v, _ in null], held)
    reasons = missing or list(dict.fromkeys(c.reason for _, c in null))
    names = ", ".join(repr(Tensor(v)) for v in dict.fromkeys(v for v, _ in null))
    raise NullTypeGradError(
        f"the gradient with respect to {names} cannot be computed", label="; ".join(reasons)
    )


def _is_function(cost: object) -> bool:
    return isinstance(cost, CompiledFunction | Function)


def _of_function(
    form: Callable[[Function, forms.Wrt, forms.Policy], Function],
    fn: Any,
    wrt: Any,
    consider_constant: Any = None,
    disconnected: str = RAISE,
    single: bool = True,
    chunk: int | None = None,
) -> Any:
    """A form of a function, as the kind of function that was given.

    `consider_constant` names parameters, or variables on the way. `disconnected` is the policy for
    parameters that the results do not depend on.
    """
    check_word("disconnected_inputs", disconnected, POLICIES)
    if not _is_function(fn):
        raise GradcTypeError(
            f"{form.__name__}: a gradc function is wanted, not {fn!r}",
            hint="decorate it with @gradc.function",
        )
    policy = forms.PLAIN if consider_constant is None else _constants_by_name(consider_constant)
    graph = fn if isinstance(fn, Function) else fn.ir
    with collection_paused():
        made = form(graph, wrt, replace(policy, chunk=chunk))
    report_unused(graph, _names_of(graph, wrt), disconnected, policy.constants)
    if isinstance(fn, Function):
        return made
    one_target = wrt is None or isinstance(wrt, str | int)
    single = single and one_target and len(made.results) == 1
    return CompiledFunction(made, single, fast_math=fn.fast_math)


def _names_of(fn: Function, wrt: forms.Wrt) -> list[str]:
    """The parameters that a form has found in `wrt`, by name."""
    if wrt is None:
        pairs = zip(fn.parameter_names, fn.parameters, strict=True)
        return [name for name, p in pairs if p.dtype.is_float]
    several = [wrt] if isinstance(wrt, str | int) else wrt
    return [which if isinstance(which, str) else fn.parameter_names[which] for which in several]


def _options_of_functions(options: Mapping[str, Any]) -> tuple[Any, str, dict[str, Any]]:
    """The options of `grad` that functions have, constants and the policy, and all others."""
    rest = dict(options)
    return rest.pop("consider_constant", None), rest.pop("disconnected_inputs", RAISE), rest


def _constants_by_name(names: Any) -> forms.Policy:
    several = [names] if isinstance(names, str) else names
    if isinstance(several, list | tuple) and all(isinstance(name, str) for name in several):
        return forms.Policy(tuple(several))
    raise GradcTypeError(
        f"consider_constant: of a gradc function, a list of names of its variables, not {names!r}"
    )


def _changed(word: str, default: str) -> str | None:
    """A policy word, if it is not the default."""
    return None if word == default else word


def _zero_or_disconnected(output: Value, targets: Sequence[Value]) -> Cotangent:
    """Why a value has no tangent: None if a path carries zeros, DISCONNECTED if there is none."""
    seed = parameter(cotangent_type(output))
    pulled = pull_cotangents([(output, seed)], targets)
    nulls = [found for found in pulled if isinstance(found, Null)]
    if nulls:
        return nulls[0]
    return DISCONNECTED if all(isinstance(found, Disconnected) for found in pulled) else None


def _directions(
    name: str, argument: str, targets: Sequence[Value], given: Variables
) -> dict[Value, Value]:
    """The tangent of each value; those of one that stands in `targets` repeatedly add up."""
    moving: dict[Value, Value] = {}
    for target, tangent in matched(name, argument, targets, given):
        moving[target] = moving[target] + tangent if target in moving else tangent
    return moving


def _check_chunk(name: str, chunk: int | None) -> None:
    if chunk is not None and (type(chunk) is not int or chunk < 1):
        raise GradcValueError(f"{name}: chunk is a number of rows, at least 1, not {chunk!r}")


def _jacobian(
    expression: Value,
    target: Value,
    stop: Sequence[Value],
    disconnected: str,
    chunk: int | None,
) -> Tensor:
    if not is_connected(expression, target, stop):
        report_disconnected(target, disconnected, forward=False)
        kind = cotangent_type(target).with_shape((*expression.shape, *target.shape))
        return Tensor(zeros(kind))
    return Tensor(jacobian_of(expression, [target], stop, chunk)[0])


def _name_gradients(cost: str, targets: Sequence[Value], found: Sequence[Any]) -> None:
    """Name gradients `(d<cost>/d<wrt>)`, unless they are variables that have another use."""
    for target, gradient in zip(targets, found, strict=True):
        if target.name and isinstance(gradient, Tensor) and gradient.value.owner is not None:
            gradient.value.name = gradient.value.name or f"(d{cost}/d{target.name})"
