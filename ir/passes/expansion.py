"""Expansion of composite ops, and what can be said better once they are expanded."""

from __future__ import annotations

from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import add, sub
from gradc.ir.ops.elementwise import exp, log
from gradc.ir.ops.logic import where
from gradc.ir.ops.structural import broadcast, sum_
from gradc.ir.passes.matching import attrs_of, input_of, inputs_of
from gradc.ir.passes.rewrite import Table, needs, rewrite
from gradc.ir.transforms.expand import expand_composites


def expand_to_primitives(fn: Function) -> Function:
    """`fn` without composite ops.

    What is subtracted from a large x and is close to it is subtracted in two steps: of
    x - logsumexp(x), which is x - (log(sum) + m), is made (x - m) - log(sum). The first difference
    is exact for the entries near the maximum m, so that no digit is lost, however large x is.
    """
    return rewrite(expand_composites(fn), _RULES)


@needs(broadcast)
def _subtract_maximum_first(made: Equation) -> Value | None:
    x, wide = made.inputs
    total = input_of(wide, broadcast)
    terms = None if total is None else inputs_of(total, add)
    if terms is None:
        return None
    logarithm, shift = terms
    difference = _shifted_exponent(logarithm)
    parts = None if difference is None else inputs_of(difference, sub)
    if difference is None or parts is None or parts[0] is not x:
        return None
    if input_of(parts[1], broadcast) is not shift:
        return None
    again: Value = broadcast(logarithm, shape=x.shape, axes=attrs_of(wide)["axes"])
    return difference - again


def _shifted_exponent(logarithm: Value) -> Value | None:
    """x - m, if `logarithm` is log(sum(exp(where(x == m, 0, x - m))))."""
    powers = input_of(logarithm, log)
    for op in (sum_, exp):
        powers = None if powers is None else input_of(powers, op)
    branches = None if powers is None else inputs_of(powers, where)
    return None if branches is None else branches[2]


_RULES = Table({sub: (_subtract_maximum_first,)})
