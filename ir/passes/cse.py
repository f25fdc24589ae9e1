"""Common subexpressions: of equations that compute the same, one is kept."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from gradc.ir.function import Equation, Function, Value
from gradc.ir.text import print_function
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

_COMMUTATIVE = frozenset(
    {"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or", "logical_xor"}
)
_MIRRORED = {"gt": "lt", "ge": "le"}


def share_common_subexpressions(fn: Function) -> Function:
    """`fn` in which no two equations have the same op, inputs and attributes.

    Operands of a commutative op may be swapped; a > b is b < a. The first of equals is kept.
    """
    kept: dict[Hashable, Equation] = {}
    values: dict[Value, Value] = {}
    for made in fn.equations:
        inputs: Sequence[Value] = made.inputs
        if not values.keys().isdisjoint(inputs):
            inputs = [values.get(value, value) for value in inputs]
        key = computation(made, inputs)
        first = kept.get(key)
        if first is None:
            first = made if inputs is made.inputs else rebuild_equation(made, inputs)
            kept[key] = first
        if first is not made:
            values.update(zip(made.outputs, first.outputs, strict=True))
    if len(kept) == len(fn.equations):
        return fn
    return with_results(fn, [values.get(result, result) for result in fn.results])


def _normal_contraction(made: Equation, operands: list[Value]) -> tuple[Hashable, ...]:
    """Equal for contractions that differ in the order of operands and the names of labels."""
    out = made.attrs["out"]
    places = {label: place for place, label in enumerate(out)}
    sides = [(operands[0], made.attrs["lhs"]), (operands[1], made.attrs["rhs"])]
    sides.sort(key=lambda side: (id(side[0]), [places.get(label, -1) for label in side[1]]))
    number: dict[int, int] = {}
    for label in (*sides[0][1], *sides[1][1]):
        number.setdefault(label, len(number))
    parts = (sides[0][1], sides[1][1], out)
    return sides[0][0], sides[1][0], *(tuple([number[x] for x in part]) for part in parts)


def computation(made: Equation, inputs: Sequence[Value]) -> Hashable:
    """Equal for equations that compute the same."""
    name = made.op.name
    if not made.attrs:
        if name in _COMMUTATIVE:
            a, b = inputs
            return (name, a, b) if id(a) <= id(b) else (name, b, a)
        if name in _MIRRORED:
            return _MIRRORED[name], *inputs[::-1]
        return name, *inputs
    operands = list(inputs)
    if name == "contract":
        return name, *_normal_contraction(made, operands)
    attrs = tuple(
        (name, print_function(part) if isinstance(part, Function) else part)
        for name, part in sorted(made.attrs.items())
    )
    # What is equal and not the same: 1, 1.0 and True.
    kinds = tuple([type(value) for _, value in attrs if isinstance(value, int | float)])
    return name, tuple(operands), attrs, kinds
