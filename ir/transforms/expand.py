"""Expansion of composite ops into the ops they are written in."""

from __future__ import annotations

from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Composite
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results


def expand_composites(fn: Function) -> Function:
    """`fn` without composite ops; what they expand to carries their spans.

    An expansion may hold composites again, which are expanded in turn.
    """
    while any(isinstance(made.op.lower, Composite) for made in fn.equations):
        fn = _expand_once(fn)
    return fn


def _expand_once(fn: Function) -> Function:
    values: dict[Value, Value] = {}
    for made in fn.equations:
        inputs = [values.get(value, value) for value in made.inputs]
        values.update(zip(made.outputs, _outputs(made, inputs), strict=True))
    return with_results(fn, [values.get(result, result) for result in fn.results])


def _outputs(made: Equation, inputs: list[Value]) -> tuple[Value, ...]:
    if not isinstance(made.op.lower, Composite):
        return rebuild_equation(made, inputs).outputs
    with at(made.span):
        result = made.op.lower.expand(*inputs, **made.attrs)
    return result if isinstance(result, tuple) else (result,)
