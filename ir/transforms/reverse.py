"""Reverse mode: cotangents are pulled back through a graph from its outputs to its inputs.

A cotangent of a value is one of five things while the sweep runs, and one of four when it is given
back (`op.Cotangent` without `Masked`):

    Value         the cotangent
    None          a zero, and a path leads to the outputs: through a value that is not a float, or
                  through a rule that says zero
    DISCONNECTED  no path leads to the outputs
    Null          a path leads through a derivative that cannot be computed; it poisons all sums
    Masked        zero outside a mask, see `masks.py`
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

from gradc.ir.collection import collection_paused
from gradc.ir.function import Equation, Function, Value, function, parameter, sorted_equations
from gradc.ir.op import DISCONNECTED, Cotangent, Disconnected, Null
from gradc.ir.ops.cast import cast
from gradc.ir.span import at, differentiated, move_to
from gradc.ir.transforms.masks import Flow, add_flows, finish, pull_masked
from gradc.ir.transforms.rebuild import unused_name
from gradc.ir.transforms.zeros import DEFAULT_FLOAT, check_cotangent, cotangent_type, zeros

Seeds: TypeAlias = "Mapping[Value, Cotangent] | Iterable[tuple[Value, Cotangent]]"


class NullGradientError(TypeError):
    """A gradient was asked for that cannot be computed; the message says why."""


@collection_paused()
def pull_cotangents(
    outputs: Seeds,
    wrt: Sequence[Value],
    *,
    stop: Collection[Value] = (),
    known: Mapping[Value, Cotangent] | None = None,
) -> list[Cotangent]:
    """The cotangent of each `wrt`: the sum over the outputs of cotangent * (d output / d wrt).

    outputs: values with the cotangents that enter at them. Those of a value that stands there
        twice, or that other outputs depend on, add up.
    wrt: any values of the graph. Each gets its total derivative, also where one depends on another.
    stop: values that count as constants: they collect a cotangent, but pass nothing on.
    known: cotangents that replace whatever flows into these values; they need not be reached.

    Given back for each wrt: a Value, None (zero, connected), DISCONNECTED or Null. A value that is
    not a float passes zero on; if it is in `wrt`, its own cotangent is in the default float.
    Every equation carries the span of the equation it is derived from.

    Raises TypeError where a cotangent's type does not fit its value.
    """
    known = known or {}
    seeds = list(outputs.items() if isinstance(outputs, Mapping) else outputs)
    for value, cotangent in (*seeds, *known.items()):
        if isinstance(cotangent, Value):
            check_cotangent(value, cotangent)
    roots = [value for value, _ in seeds]
    equations = sorted_equations((*roots, *known), stop=stop)
    reaching = _values_that_depend(equations, wrt, stop)
    flows: dict[Value, Flow] = {}
    for value, cotangent in seeds:
        _collect(flows, value, cotangent)
    with at(None):
        for made in reversed(equations):
            if known:
                _replace_known(flows, made.outputs, known)
            if not reaching.isdisjoint(made.inputs) and not flows.keys().isdisjoint(made.outputs):
                move_to(differentiated(made.span))
                _pull_through(made, flows, reaching)
    _replace_known(flows, wrt, known)
    return [_finished(value, flows) for value in wrt]


def pullback(fn: Function, wrt: Sequence[int], *, stop: Collection[Value] = ()) -> Function:
    """The function (primals..., cotangents...) -> (results..., cotangents of `wrt`...).

    It takes one cotangent a result. `wrt` are positions of parameters; what is disconnected gets
    zeros. Values in `stop` are constants. Raises NullGradientError, naming the parameter, where a
    cotangent cannot be computed.
    """
    taken = set(fn.parameter_names)
    seeds = [
        parameter(cotangent_type(result), unused_name(f"{name}_cotangent", taken))
        for result, name in zip(fn.results, _result_names(fn), strict=True)
    ]
    targets = [fn.parameters[i] for i in wrt]
    pulled = pull_cotangents(zip(fn.results, seeds, strict=True), targets, stop=stop)
    results = [
        _as_array(cotangent, target, fn.parameter_names[i])
        for cotangent, target, i in zip(pulled, targets, wrt, strict=True)
    ]
    taken = set(fn.result_names)
    names = [unused_name(f"{fn.parameter_names[i]}_cotangent", taken) for i in wrt]
    return function(
        f"{fn.name}_pullback",
        (*fn.parameters, *seeds),
        (*fn.results, *results),
        fn.requires,
        (*fn.result_names, *names) if fn.result_names else (),
    )


def is_connected(output: Value, target: Value, stop: Collection[Value] = ()) -> bool:
    """Whether `pull_cotangents` finds `target` connected to `output`: one path is enough.

    Only rules on the way are asked, where derivatives of the whole graph would be built.
    """
    reaching = _values_that_depend(sorted_equations([output], stop=stop), [target], stop)
    seen: set[Value] = set()
    stack = [output]
    while stack:
        value = stack.pop()
        if value is target:
            return True
        made = value.owner
        if made is None or value in seen or value in stop:
            continue
        seen.add(value)
        answers = zip(made.inputs, _connections(made), strict=True)
        stack += [x for x, answer in answers if x in reaching and answer is not DISCONNECTED]
    return False


def _values_that_depend(
    equations: Sequence[Equation], wrt: Sequence[Value], stop: Collection[Value]
) -> set[Value]:
    """The values of the graph that are in `wrt` or computed from it, not through `stop`."""
    reaching = set(wrt)
    cut = set(stop) - reaching
    for made in equations:
        if not reaching.isdisjoint(made.inputs):
            reaching.update([output for output in made.outputs if output not in cut])
    return reaching


def _pull_through(made: Equation, flows: dict[Value, Flow], reaching: set[Value]) -> None:
    """Pull the cotangents of an equation's outputs back to those inputs that lead to wrt."""
    entering = [flows.get(output) for output in made.outputs]
    pulled = _cotangents_of_inputs(made, entering, reaching)
    own: dict[Value, Flow] = {}  # x * x gives x two equal cotangents, which are added first
    for value, cotangent in zip(made.inputs, pulled, strict=True):
        if value in reaching and not isinstance(cotangent, Disconnected):
            _collect(own, value, _converted(made, value, cotangent))
    for value, cotangent in own.items():
        _collect(flows, value, cotangent)


def _cotangents_of_inputs(
    made: Equation, entering: list[Flow], wanted: Collection[Value]
) -> Sequence[Flow | Disconnected]:
    """What an equation passes on to its inputs, as far as they are `wanted`."""
    null: Null | None = None
    carried: list[Flow] = []
    for output, flow in zip(made.outputs, entering, strict=True):
        null = flow if null is None and isinstance(flow, Null) else null
        carried.append(flow if output.type.dtype.is_float else None)
    if null is None and carried.count(None) < len(carried):
        return pull_masked(made, carried, wanted)
    return [
        DISCONNECTED if answer is DISCONNECTED else null or _only_null(answer)
        for answer in _connections(made)
    ]


def _connections(made: Equation) -> Sequence[Cotangent]:
    """What the reverse rule says of each input where the cotangent is a zero.

    The rule is asked with a stand-in for the cotangent. Rules are not written for results that are
    not floats: there, every input counts as connected.
    """
    if not all(output.dtype.is_float for output in made.outputs):
        return [None] * len(made.inputs)
    stand_ins = tuple(parameter(output.type) for output in made.outputs)
    cotangent = stand_ins[0] if len(stand_ins) == 1 else stand_ins
    answers: Sequence[Cotangent] = made.op.vjp(made.inputs, made.result, cotangent, **made.attrs)
    return answers


def _only_null(answer: Cotangent) -> Null | None:
    return answer if isinstance(answer, Null) else None


def _converted(made: Equation, value: Value, cotangent: Flow) -> Flow:
    """The cotangent in the type that belongs to `value`."""
    if cotangent is None or isinstance(cotangent, Null):
        return cotangent
    carrier = cotangent if isinstance(cotangent, Value) else cotangent.value
    wanted = cotangent_type(value)
    if carrier.type == wanted:
        return cotangent
    if not value.dtype.is_float and carrier.dtype.is_float and carrier.shape == wanted.shape:
        result: Value = cast(finish(cotangent), dtype=DEFAULT_FLOAT)
        return result
    raise TypeError(
        f"the reverse rule of {made.op.name} returned a cotangent of type {carrier.type} "
        f"for an input of type {value.type}"
    )


def _collect(flows: dict[Value, Flow], value: Value, cotangent: Flow | Cotangent) -> None:
    """Add a cotangent to those that have reached `value`."""
    if isinstance(cotangent, Disconnected):
        return
    if value not in flows:
        flows[value] = cotangent
        return
    flows[value] = add_flows(flows[value], cotangent)


def _replace_known(
    flows: dict[Value, Flow], values: Iterable[Value], known: Mapping[Value, Cotangent]
) -> None:
    for value in values:
        if value in known:
            flows.pop(value, None)
            _collect(flows, value, known[value])


def _finished(value: Value, flows: Mapping[Value, Flow]) -> Cotangent:
    if value not in flows:
        return DISCONNECTED
    flow = flows[value]
    if flow is None or isinstance(flow, Null):
        return flow
    with at(differentiated(value.span)):
        return finish(flow)


def _as_array(cotangent: Cotangent, target: Value, name: str) -> Value:
    """The cotangent as an array; zeros where there is none."""
    if isinstance(cotangent, Null):
        raise NullGradientError(
            f"the gradient with respect to {name} cannot be computed: {cotangent.reason}"
        )
    return cotangent if isinstance(cotangent, Value) else zeros(cotangent_type(target))


def _result_names(fn: Function) -> tuple[str, ...]:
    return fn.result_names or tuple(f"result{i}" for i in range(len(fn.results)))
