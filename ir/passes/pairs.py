"""Pairs: where exchanging i and j keeps or negates every entry, so it does what is made of them.

Such a matrix is its own transpose, or the negative of it. The force between two bodies is
w[i, j] (x[i] - x[j]) with a symmetric w, so the sums over its rows and over its columns, which a
gradient subtracts, are one sum. The exchange is exact in floating point: a + b, a b and the like do
not depend on the order of operands, and a - b is -(b - a). What changes is the order in which terms
are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod
from typing import TypeAlias

from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Pointwise
from gradc.ir.ops.arithmetic import add, div, maximum, minimum, mul, neg, sub
from gradc.ir.ops.contract import contract
from gradc.ir.ops.logic import eq, ne
from gradc.ir.ops.structural import broadcast, sum_, transpose
from gradc.ir.passes.matching import Inputs, attrs_of, input_of
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

Pair: TypeAlias = "tuple[int, int]"  # two axes of equal length, the first one first
Signs: TypeAlias = "Mapping[Value, Mapping[Pair, int]]"  # what an exchange multiplies entries by

_OF_MIRRORED = {add: 1, mul: 1, maximum: 1, minimum: 1, eq: 1, ne: 1, sub: -1}


def share_pairs(fn: Function) -> Function:
    """`fn` without what an exchange of two axes does not change.

    Sums over the first of them are sums over the second, and transposes what they are made of, or
    their negatives.
    """
    if not any(_may_be_exchanged(made) for made in fn.equations):
        return fn
    signs: dict[Value, dict[Pair, int]] = {}
    new: dict[Value, Value] = {value: value for value in fn.parameters}
    for made in fn.equations:
        signs[made.outputs[0]] = _signs(made, signs)
        inputs = [new[value] for value in made.inputs]
        with at(made.span):
            exchanged = _exchanged(made, inputs, signs) if _may_be_exchanged(made) else None
        if exchanged is not None:
            new[made.outputs[0]] = exchanged
        else:
            new.update(zip(made.outputs, rebuild_equation(made, inputs).outputs, strict=True))
    return with_results(fn, [new[result] for result in fn.results])


def _may_be_exchanged(made: Equation) -> bool:
    return made.op in (sum_, contract, transpose) and bool(_pairs(made.inputs[0]))


def _pairs(value: Value) -> list[Pair]:
    axes = combinations(range(value.type.rank), 2)
    return [(p, q) for p, q in axes if value.shape[p] == value.shape[q]]


# --- what an exchange of two axes does to a value ------------------------------------------------


def _signs(made: Equation, known: Signs) -> dict[Pair, int]:
    """The pairs of axes whose exchange multiplies each entry of the result by 1 or by -1."""
    if len(made.outputs) > 1:
        return {}
    found = {pair: _sign(made, pair, known) for pair in _pairs(made.outputs[0])}
    return {pair: sign for pair, sign in found.items() if sign is not None}


def _sign(made: Equation, pair: Pair, known: Signs) -> int | None:
    if made.op is broadcast:
        return _sign_along(made.inputs[0], made.attrs["axes"], pair, known)
    if made.op is sum_:
        (operand,) = made.inputs
        kept = [axis for axis in range(operand.type.rank) if axis not in made.attrs["axes"]]
        return known.get(operand, {}).get((kept[pair[0]], kept[pair[1]]))
    if made.op is contract:
        first, second = (made.attrs["out"][axis] for axis in pair)
        sides = zip(made.inputs, (made.attrs["lhs"], made.attrs["rhs"]), strict=True)
        return _product([_sign_along(x, own, (first, second), known) for x, own in sides])
    if isinstance(made.op.lower, Pointwise) and made.inputs:
        return _sign_of_pointwise(made, pair, known)
    return None


def _sign_along(x: Value, labels: Sequence[int], pair: Pair, known: Signs) -> int | None:
    """The sign of an operand whose axes have these labels; 1 if it has neither of the two."""
    places = [labels.index(label) for label in pair if label in labels]
    if not places:
        return 1
    return known.get(x, {}).get((min(places), max(places))) if len(places) == 2 else None


def _sign_of_pointwise(made: Equation, pair: Pair, known: Signs) -> int | None:
    if made.op in _OF_MIRRORED and _are_mirrored(made.inputs, pair):
        return _OF_MIRRORED[made.op]
    signs = [known.get(x, {}).get(pair) for x in made.inputs]
    if made.op is mul or made.op is div:
        return _product(signs)
    if made.op in (add, sub, neg) and len(set(signs)) == 1:
        return signs[0]
    return 1 if set(signs) == {1} else None


def _product(signs: Sequence[int | None]) -> int | None:
    return None if None in signs else prod(sign for sign in signs if sign is not None)


def _are_mirrored(operands: Inputs, pair: Pair) -> bool:
    """Whether two operands repeat one value, and the exchange makes each the other."""
    first, second = operands
    source = input_of(first, broadcast)
    if source is None or source is not input_of(second, broadcast):
        return False
    swapped = {pair[0]: pair[1], pair[1]: pair[0]}
    exchanged = tuple(swapped.get(axis, axis) for axis in attrs_of(first)["axes"])
    return exchanged == tuple(attrs_of(second)["axes"])


# --- transposes and sums -------------------------------------------------------------------------


def _exchanged(made: Equation, inputs: Sequence[Value], signs: Signs) -> Value | None:
    """The same by an exchange of two axes, with its sign."""
    if made.op is transpose:
        return _exchanged_axes(made, inputs, signs)
    found = _exchanged_sum if made.op is sum_ else _exchanged_contraction
    return found(made, inputs, signs)


def _exchanged_axes(made: Equation, inputs: Sequence[Value], signs: Signs) -> Value | None:
    """What is transposed, if that exchanges two axes and nothing more."""
    order = made.attrs["permutation"]
    pair = tuple(axis for axis, place in enumerate(order) if axis != place)
    sign = signs.get(made.inputs[0], {}).get(pair) if len(pair) == 2 else None
    return None if sign is None else _signed(inputs[0], sign)


def _exchanged_sum(made: Equation, inputs: Sequence[Value], signs: Signs) -> Value | None:
    axes = made.attrs["axes"]
    for (p, q), sign in signs.get(made.inputs[0], {}).items():
        between = range(p + 1, q)
        if p in axes and q not in axes and all(axis in axes for axis in between):
            other = tuple(sorted({*axes, q} - {p}))
            return _signed(sum_(inputs[0], axes=other), sign)
    return None


def _exchanged_contraction(made: Equation, inputs: Sequence[Value], signs: Signs) -> Value | None:
    lhs, rhs, out = (made.attrs[name] for name in ("lhs", "rhs", "out"))
    for x, own in zip(made.inputs, (lhs, rhs), strict=True):
        for p, q in signs.get(x, {}):
            summed, kept = own[p], own[q]
            if summed in out or kept not in out:
                continue
            sides = zip(made.inputs, (lhs, rhs), strict=True)
            sign = _product([_sign_along(y, o, (summed, kept), signs) for y, o in sides])
            if sign is not None:
                other = tuple(summed if label == kept else label for label in out)
                return _signed(contract(*inputs, lhs=lhs, rhs=rhs, out=other), sign)
    return None


def _signed(value: Value, sign: int) -> Value:
    return value if sign > 0 else neg(value)
