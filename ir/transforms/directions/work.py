"""How much work a derivative is, counted in its graph: what decides between forward and reverse."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir.dims import Dim, volume
from gradc.ir.function import Equation, Value, sorted_equations
from gradc.ir.lowering import Blocks, Contraction, IndexMap, Literal, Pointwise, Reduction, Scatter

_COMPOSITE = 40  # operations an entry of an op that is written in others, or elsewhere


def work_of(result: Value, given: Sequence[Value]) -> int:
    """About the operations that compute `result`, without those that compute `given` as well.

    A size that is known at the call only counts as a hundred. Moving entries costs nothing.
    """
    shared = set(sorted_equations(given))
    return sum(_operations(made) for made in sorted_equations([result]) if made not in shared)


def _operations(made: Equation) -> int:
    rule = made.op.lower
    entries = sum(volume(output.shape) for output in made.outputs)
    if isinstance(rule, Pointwise):
        return rule.cost * entries
    if isinstance(rule, IndexMap | Literal):
        return 0
    if isinstance(rule, Reduction):
        return volume(made.inputs[0].shape)
    if isinstance(rule, Contraction):
        return 2 * _terms(made)
    if isinstance(rule, Scatter):
        return volume(made.inputs[0].shape) + volume(made.inputs[2].shape)
    if isinstance(rule, Blocks):
        body = made.attrs["body"]
        blocks = volume(made.attrs["lead"]) / volume(body.parameters[0].shape)
        return int(blocks * sum(_operations(inner) for inner in body.equations))
    return _COMPOSITE * max([entries, *(volume(x.shape) for x in made.inputs)])


def _terms(made: Equation) -> int:
    """The number of products that a contraction adds up."""
    lengths: dict[int, Dim] = {}
    for labels, x in zip((made.attrs["lhs"], made.attrs["rhs"]), made.inputs, strict=True):
        lengths.update(zip(labels, x.shape, strict=True))
    return volume(lengths.values())
