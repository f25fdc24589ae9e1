"""Forward mode: tangents are pushed through a graph from its inputs to its outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gradc.ir.collection import collection_paused
from gradc.ir.function import Equation, Function, Value, function, parameter, sorted_equations
from gradc.ir.op import Null
from gradc.ir.span import at, differentiated
from gradc.ir.transforms.masks import Flow, add_flows, finish, push_masked
from gradc.ir.transforms.rebuild import unused_name
from gradc.ir.transforms.reverse import NullGradientError
from gradc.ir.transforms.zeros import check_cotangent, cotangent_type, zeros


def push_tangents(
    outputs: Sequence[Value],
    tangents: Mapping[Value, Value],
    *,
    stop: Collection[Value] = (),
) -> list[Value | None]:
    """The tangents of `outputs`: the sum over all x in `tangents` of (d output / d x) tangent(x).

    None is a symbolic zero: the output does not vary with any x, or only through values that are
    not floats. An x may be an intermediate value; if it depends on another x, what flows into it
    and its own tangent add up, so that this is the adjoint of `pull_cotangents`. The tangent of a
    float has its type, of any other value its shape and the default float. What a `where` cuts
    stays cut, as in reverse mode (`masks.py`). Values in `stop` are constants: they have the
    tangents given here, and no others.

    Raises TypeError where a tangent's type does not fit its value, NullGradientError where the
    tangent of an output cannot be computed.
    """
    for value, seed in tangents.items():
        check_cotangent(value, seed)
    moving: dict[Value, Flow] = dict(tangents)
    cut = set(stop)
    with collection_paused():
        for made in sorted_equations(outputs):
            _push_through(made, moving, tangents, cut)
    return [_finished(output, moving.get(output)) for output in outputs]


def _push_through(
    made: Equation, moving: dict[Value, Flow], tangents: Mapping[Value, Value], cut: set[Value]
) -> None:
    """Push the tangents of an equation's inputs on to those outputs that are not in `cut`."""
    if moving.keys().isdisjoint(made.inputs):
        return
    if not any(output.dtype.is_float for output in made.outputs):
        return
    with at(differentiated(made.span)):
        pushed = push_masked(made, [moving.get(value) for value in made.inputs])
        for output, flow in zip(made.outputs, pushed, strict=True):
            if flow is not None and output.dtype.is_float and output not in cut:
                _check(made, output, flow)
                moving[output] = add_flows(flow, tangents.get(output))


def pushforward(fn: Function, wrt: Sequence[int], *, stop: Collection[Value] = ()) -> Function:
    """The function (primals..., tangents of `wrt`...) -> (results..., tangents of the results...).

    `wrt` are positions of parameters. Tangents of a result that does not vary are zeros. Values in
    `stop` are constants.
    """
    taken = set(fn.parameter_names)
    moving = [fn.parameters[i] for i in wrt]
    tangents = [
        parameter(cotangent_type(fn.parameters[i]), unused_name(_tangent_of(fn, i), taken))
        for i in wrt
    ]
    pushed = push_tangents(fn.results, dict(zip(moving, tangents, strict=True)), stop=stop)
    results = [
        zeros(cotangent_type(primal)) if tangent is None else tangent
        for primal, tangent in zip(fn.results, pushed, strict=True)
    ]
    taken = set(fn.result_names)
    names = [unused_name(f"{name}_tangent", taken) for name in fn.result_names]
    return function(
        f"{fn.name}_pushforward",
        (*fn.parameters, *tangents),
        (*fn.results, *results),
        fn.requires,
        (*fn.result_names, *names),
    )


def _check(made: Equation, output: Value, flow: Flow) -> None:
    if flow is None or isinstance(flow, Null):
        return
    carrier = flow if isinstance(flow, Value) else flow.value
    if carrier.type != output.type:
        raise TypeError(
            f"the forward rule of {made.op.name} returned a tangent of type {carrier.type} "
            f"for a result of type {output.type}"
        )


def _finished(output: Value, flow: Flow) -> Value | None:
    if isinstance(flow, Null):
        name = output.name or "a result"
        raise NullGradientError(f"the tangent of {name} cannot be computed: {flow.reason}")
    if flow is None:
        return None
    with at(differentiated(output.span)):
        return finish(flow)


def _tangent_of(fn: Function, position: int) -> str:
    return f"{fn.parameter_names[position]}_tangent"
