"""Derivatives of graphs, with PyTensor's names and meanings; of gradc functions, by the same names.

Each function takes a cost (or expressions) and variables of its graph, or instead a function made
by `gradc.function` and the names of its parameters (see `forms.py`): `grad(cost, [w, b])`,
`grad(loss, wrt="w")`.

What one variable gives, one variable comes back; a list gives a list, a tuple a tuple.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gradc import forms
from gradc.driver import CompiledFunction
from gradc.errors import (
    DisconnectedInputError,
    GradcTypeError,
    GradcValueError,
    NullTypeGradError,
)
from gradc.ir.function import Function, Value, parameter
from gradc.ir.op import DISCONNECTED, Cotangent, Disconnected, Null
from gradc.ir.transforms.forward import push_tangents
from gradc.ir.transforms.reverse import pull_cotangents
from gradc.ir.transforms.zeros import cotangent_type, zeros
from gradc.ir.types import DisconnectedType, NullType
from gradc.null import NoGradient
from gradc.tensor.create import ones_like
from gradc.tensor.operands import asarray, assume_shape, cast, note, same_length
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

Variables = Any  # a Tensor, or a list or tuple of Tensors


@located
def grad(
    cost: Any,
    wrt: Variables = None,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = "raise",
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
        return _of_function(forms.grad, cost, wrt)
    _check_word("disconnected_inputs", disconnected_inputs, ("raise", "warn", "ignore"))
    _check_word("return_disconnected", return_disconnected, ("zero", "none", "disconnected"))
    _check_word("null_gradients", null_gradients, ("raise", "return"))
    if cost is None and not known_grads:
        raise GradcValueError("grad: there is neither a cost nor a known gradient")
    targets = _values("grad: wrt", wrt)
    seeds: list[tuple[Value, Cotangent]] = []
    if cost is not None:
        seeds.append((_scalar_cost("grad", cost), _one(cost)))
    pulled = pull_cotangents(
        seeds, targets, stop=_constants(consider_constant), known=_known(known_grads)
    )
    found = [
        _outcome(c, v, disconnected_inputs, return_disconnected, null_gradients)
        for c, v in zip(pulled, targets, strict=True)
    ]
    if add_names and isinstance(cost, Tensor) and cost.name:
        _name_gradients(cost.name, targets, found)
    return _contained(wrt, found)


@located
def value_and_grad(cost: Any, wrt: Variables = None, **options: Any) -> Any:
    """The cost and its gradient; `options` are those of `grad`."""
    if _is_function(cost):
        return _of_function(forms.value_and_grad, cost, wrt, single=False)
    return cost, grad(cost, wrt, **options)


@located
def pullback(
    f: Variables,
    wrt: Variables,
    cotangents: Variables,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = "raise",
    return_disconnected: str = "zero",
) -> Any:
    """The cotangents of `wrt` for those of `f`: cotangent * (d f / d wrt), summed over f.

    f and cotangents correspond, one to one.
    """
    _check_word("disconnected_inputs", disconnected_inputs, ("raise", "warn", "ignore"))
    _check_word("return_disconnected", return_disconnected, ("zero", "none", "disconnected"))
    outputs, targets = _values("pullback: f", f), _values("pullback: wrt", wrt)
    seeds = _matched("pullback", "cotangents", outputs, cotangents)
    pulled = pull_cotangents(seeds, targets, stop=_constants(consider_constant))
    found = [
        _outcome(c, v, disconnected_inputs, return_disconnected, "raise")
        for c, v in zip(pulled, targets, strict=True)
    ]
    return _contained(wrt, found)


def Lop(
    f: Variables,
    wrt: Variables,
    eval_points: Variables,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = "raise",
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
    _check_word("disconnected_outputs", disconnected_outputs, ("raise", "warn", "ignore"))
    _check_word("return_disconnected", return_disconnected, ("zero", "none", "disconnected"))
    outputs, targets = _values("pushforward: f", f), _values("pushforward: wrt", wrt)
    moving: dict[Value, Value] = {}
    for target, tangent in _matched("pushforward", "tangents", targets, tangents):
        moving[target] = moving[target] + tangent if target in moving else tangent
    pushed = push_tangents(outputs, moving)
    found = [
        Tensor(tangent)
        if tangent is not None
        else _outcome(
            _zero_or_disconnected(output, targets),
            output,
            disconnected_outputs,
            return_disconnected,
            "raise",
            forward=True,
        )
        for output, tangent in zip(outputs, pushed, strict=True)
    ]
    return _contained(f, found)


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


@located
def jacobian(
    expression: Any,
    wrt: Variables = None,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = "raise",
    vectorize: bool = True,
) -> Any:
    """The Jacobian, of shape expression.shape + wrt.shape: one batched pullback, no loop over rows.

    Where `wrt` is certainly smaller than the expression, it is a batched pushforward. `vectorize`
    is PyTensor's, and changes nothing.
    """
    if _is_function(expression):
        return _of_function(forms.jacobian, expression, wrt)
    _check_word("disconnected_inputs", disconnected_inputs, ("raise", "warn", "ignore"))
    (value,) = _values("jacobian: expression", expression)
    targets = _values("jacobian: wrt", wrt)
    stop = _constants(consider_constant)
    found = [_jacobian(value, target, stop, disconnected_inputs) for target in targets]
    return _contained(wrt, found)


@located
def hessian(
    cost: Any,
    wrt: Variables = None,
    consider_constant: Iterable[Tensor] | None = None,
    disconnected_inputs: str = "raise",
    blocks: str = "diagonal",
) -> Any:
    """The second derivatives of a scalar cost, of shape wrt.shape + wrt.shape.

    Of several wrt: the blocks on the diagonal, one each, or with `blocks="full"` all of them, a row
    of blocks for each. A cost that is linear in wrt has the Hessian zero.
    """
    if _is_function(cost):
        return _of_function(forms.hessian, cost, wrt)
    _check_word("blocks", blocks, ("diagonal", "full"))
    several = _contained(wrt, [Tensor(value) for value in _values("hessian: wrt", wrt)])
    targets = [several] if isinstance(several, Tensor) else list(several)
    stop = None if consider_constant is None else list(consider_constant)
    gradients = grad(cost, targets, stop, disconnected_inputs, add_names=False)
    constants = _constants(stop)

    def block(gradient: Tensor, target: Tensor) -> Tensor:
        return _jacobian(gradient.value, target.value, constants, "ignore")

    if blocks == "full":
        rows = [_contained(wrt, [block(g, t) for t in targets]) for g in gradients]
        return _contained(wrt, rows)
    pairs = zip(gradients, targets, strict=True)
    return _contained(wrt, [block(gradient, target) for gradient, target in pairs])


@located
def hessian_vector_product(
    cost: Any, wrt: Variables = None, p: Variables = None, **grad_kwargs: Any
) -> Any:
    """The Hessian of a scalar cost times the direction `p`, cross terms of several wrt included.

    Forward over reverse. Returns one product for each wrt, in wrt's container.
    """
    if _is_function(cost):
        return _of_function(forms.hvp, cost, wrt)
    targets = _values("hessian_vector_product: wrt", wrt)
    gradients = grad(cost, [Tensor(v) for v in targets], add_names=False, **grad_kwargs)
    directions = _matched("hessian_vector_product", "p", targets, p)
    moving: dict[Value, Value] = {}
    for target, tangent in directions:
        moving[target] = moving[target] + tangent if target in moving else tangent
    pushed = push_tangents([gradient.value for gradient in gradients], moving)
    found = [
        Tensor(zeros(gradient.type) if tangent is None else tangent)
        for gradient, tangent in zip(gradients, pushed, strict=True)
    ]
    return _contained(wrt, found)


def jvp(fn: CompiledFunction, wrt: forms.Wrt = None) -> CompiledFunction:
    """(parameters, tangents of wrt) -> (results, their tangents)."""
    result: CompiledFunction = _of_function(forms.jvp, fn, wrt, single=False)
    return result


def vjp(fn: CompiledFunction, wrt: forms.Wrt = None) -> CompiledFunction:
    """(parameters, cotangents of the results) -> (results, cotangents of wrt)."""
    result: CompiledFunction = _of_function(forms.vjp, fn, wrt, single=False)
    return result


def hvp(fn: CompiledFunction, wrt: forms.Wrt = None) -> CompiledFunction:
    """(parameters, the direction p) -> the Hessian times p."""
    result: CompiledFunction = _of_function(forms.hvp, fn, wrt)
    return result


def _is_function(cost: object) -> bool:
    return isinstance(cost, CompiledFunction | Function)


def _of_function(
    form: Callable[[Function, forms.Wrt], Function],
    fn: Any,
    wrt: Any,
    single: bool = True,
) -> Any:
    """A form of a function, as the kind of function that was given."""
    if not _is_function(fn):
        raise GradcTypeError(
            f"{form.__name__}: a gradc function is wanted, not {fn!r}",
            hint="decorate it with @gradc.function",
        )
    if isinstance(fn, Function):
        return form(fn, wrt)
    made = form(fn.ir, wrt)
    one_target = wrt is None or isinstance(wrt, str | int)
    return CompiledFunction(made, single and one_target and len(made.results) == 1)


def _check_word(argument: str, word: object, known: Sequence[str]) -> None:
    if word not in known:
        expected = ", ".join(map(repr, known))
        raise GradcValueError(f"{argument} is one of {expected}, not {word!r}")


def _values(what: str, variables: Variables) -> list[Value]:
    several = variables if isinstance(variables, tuple | list) else [variables]
    for x in several:
        if not isinstance(x, Tensor):
            raise GradcTypeError(f"{what}: a symbolic variable is wanted, not {x!r}")
    return [x.value for x in several]


def _contained(like: Variables, found: list[Any]) -> Any:
    """`found` in the container that `like` is."""
    if isinstance(like, tuple):
        return tuple(found)
    return found if isinstance(like, list) else found[0]


def _constants(variables: Iterable[Tensor] | None) -> list[Value]:
    if variables is None:
        return []
    if isinstance(variables, Tensor) or not isinstance(variables, Iterable):
        raise GradcTypeError(f"consider_constant is a list of variables, not {variables!r}")
    return _values("consider_constant", list(variables))


def _scalar_cost(name: str, cost: Any) -> Value:
    if isinstance(cost, NoGradient):
        raise GradcValueError(f"{name}: the cost is no array: {cost!r}")
    if not isinstance(cost, Tensor):
        raise GradcTypeError(f"{name}: the cost is a symbolic scalar, not {cost!r}")
    if cost.shape:
        raise GradcTypeError(
            f"{name}: the cost is a scalar",
            operands=(note("cost", cost),),
            hint="reduce it with sum or mean, or use jacobian or pullback",
        )
    return cost.value


def _one(cost: Tensor) -> Value:
    return ones_like(cost, cotangent_type(cost.value).dtype).value


def _known(known_grads: Mapping[Tensor, Any] | None) -> dict[Value, Cotangent]:
    if known_grads is None:
        return {}
    if not isinstance(known_grads, Mapping):
        raise GradcTypeError(f"known_grads maps variables to gradients; it is no {known_grads!r}")
    known: dict[Value, Cotangent] = {}
    for variable, gradient in known_grads.items():
        (value,) = _values("known_grads", variable)
        if isinstance(gradient, NoGradient):
            known[value] = gradient.cotangent
            continue
        if not isinstance(gradient, Tensor):
            raise GradcTypeError(
                f"known_grads: the gradient of {variable!r} is no variable: {gradient!r}"
            )
        if not gradient.dtype.is_float:
            raise GradcTypeError(
                f"known_grads: the gradient of {variable!r} is to be a float, not {gradient!r}"
            )
        known[value] = _fitted("known_grads", value, gradient)
    return known


def _matched(
    name: str, argument: str, values: Sequence[Value], given: Variables
) -> list[tuple[Value, Value]]:
    """Values with the tangents or cotangents that belong to them."""
    several = list(given) if isinstance(given, tuple | list) else [given]
    if len(several) != len(values):
        raise GradcValueError(f"{name}: {len(several)} {argument} were given for {len(values)}")
    return [(v, _fitted(name, v, asarray(x))) for v, x in zip(values, several, strict=True)]


def _fitted(name: str, value: Value, given: Tensor) -> Value:
    """A tangent or cotangent in the type that belongs to `value`."""
    wanted = cotangent_type(value)
    lengths = list(zip(given.shape, wanted.shape, strict=False))
    if given.ndim != wanted.rank or any(same_length(a, b) is None for a, b in lengths):
        raise GradcValueError(
            f"{name}: the tangent or cotangent of a variable has its shape",
            operands=(note(0, Tensor(value)), note("the tangent or cotangent", given)),
        )
    return assume_shape(cast(given, wanted.dtype), wanted.shape).value


def _outcome(
    cotangent: Cotangent,
    target: Value,
    disconnected_inputs: str,
    return_disconnected: str,
    null_gradients: str,
    forward: bool = False,
) -> Any:
    """The gradient as the user gets it."""
    if isinstance(cotangent, Disconnected):
        _report_disconnected(target, disconnected_inputs, forward)
        if return_disconnected == "none":
            return None
        if return_disconnected == "disconnected":
            return NoGradient(DisconnectedType())
    if isinstance(cotangent, Null):
        if null_gradients == "raise":
            raise NullTypeGradError(
                f"the gradient with respect to {Tensor(target)!r} cannot be computed",
                label=cotangent.reason,
            )
        return NoGradient(NullType(cotangent.reason))
    return Tensor(cotangent if isinstance(cotangent, Value) else zeros(cotangent_type(target)))


def _report_disconnected(target: Value, policy: str, forward: bool) -> None:
    what = Tensor(target)
    message = (
        f"the expression {what!r} does not depend on any variable in wrt"
        if forward
        else f"the cost does not depend on {what!r}, or only through its shape"
    )
    if policy == "raise":
        argument = "disconnected_outputs" if forward else "disconnected_inputs"
        raise DisconnectedInputError(message, hint=f'{argument}="ignore" makes the derivative zero')
    if policy == "warn":
        warnings.warn(message, UserWarning, stacklevel=5)


def _zero_or_disconnected(output: Value, targets: Sequence[Value]) -> Cotangent:
    """Why a value has no tangent: None if a path carries zeros, DISCONNECTED if there is none."""
    seed = parameter(cotangent_type(output))
    pulled = pull_cotangents([(output, seed)], targets)
    nulls = [found for found in pulled if isinstance(found, Null)]
    if nulls:
        return nulls[0]
    return DISCONNECTED if all(isinstance(found, Disconnected) for found in pulled) else None


def _jacobian(expression: Value, target: Value, stop: Sequence[Value], disconnected: str) -> Tensor:
    connection = _connection(expression, target, stop)
    if isinstance(connection, Disconnected):
        _report_disconnected(target, disconnected, forward=False)
        kind = cotangent_type(target).with_shape((*expression.shape, *target.shape))
        return Tensor(zeros(kind))
    return Tensor(forms.jacobian_of(expression, [target], stop)[0])


def _connection(expression: Value, target: Value, stop: Sequence[Value]) -> Cotangent:
    seed = parameter(cotangent_type(expression))
    (found,) = pull_cotangents([(expression, seed)], [target], stop=stop)
    return found


def _name_gradients(cost: str, targets: Sequence[Value], found: Sequence[Any]) -> None:
    """Name gradients `(d<cost>/d<wrt>)`, unless they are variables that have another use."""
    for target, gradient in zip(targets, found, strict=True):
        if target.name and isinstance(gradient, Tensor) and gradient.value.owner is not None:
            gradient.value.name = gradient.value.name or f"(d{cost}/d{target.name})"
