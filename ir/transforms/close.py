"""Regions of a graph: what depends on some parameters becomes a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradc.ir.function import Equation, Function, Value, function, parameter, sorted_equations
from gradc.ir.transforms.rebuild import rebuild_equation


def close(
    name: str,
    parameters: Sequence[Value],
    results: Sequence[Value],
    is_own: Callable[[Equation], bool] = lambda made: False,
) -> tuple[Function, list[Value]]:
    """The region (parameters..., captured...) -> results, and the values that it captures.

    Captured is what the region reads of the graph around it, where it is computed once, whatever
    becomes of the region. In it are the equations that depend on the parameters, those that are its
    own for another reason (`is_own`), and what depends on nothing (constants).
    """
    inside: set[Value] = set(parameters)
    fixed: set[Value] = set()
    kept: list[Equation] = []
    for made in sorted_equations(results, stop=parameters):
        if not inside.isdisjoint(made.inputs) or is_own(made):
            inside.update(made.outputs)
        elif fixed.issuperset(made.inputs):
            fixed.update(made.outputs)
        else:
            continue
        kept.append(made)
    inside |= fixed
    read = (value for made in kept for value in made.inputs)
    captured = [v for v in dict.fromkeys((*read, *results)) if v not in inside]
    values = {value: parameter(value.type, value.name, value.span) for value in captured}
    for made in kept:
        again = rebuild_equation(made, [values.get(value, value) for value in made.inputs])
        values.update(zip(made.outputs, again.outputs, strict=True))
    found = [values.get(result, result) for result in results]
    given = (*parameters, *(values[value] for value in captured))
    return function(name, given, found), captured
