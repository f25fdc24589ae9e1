"""Shared reciprocals: several divisions by one denominator become products.

x / d -> x * (1 / d), where 1 / d is computed once:

* two or more quotients have the denominator d;
* d is repeated along axes (a sum that all entries of a row are divided by): one division a row;
* d is a number: its reciprocal is one too.

The error of a quotient grows from half a unit in the last place to at most one and a half. Where
1 / d overflows (|d| below the smallest normal number) or underflows, so does the quotient: by
default this is done in derivatives only, whose last digits nobody wrote down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import div
from gradc.ir.ops.constants import constant_number, full_like, ones_like
from gradc.ir.ops.structural import broadcast
from gradc.ir.passes.matching import attrs_of, input_of, is_derived, is_number, repeated
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results


def share_reciprocals(fn: Function) -> Function:
    """`fn` with divisions by shared, repeated or constant denominators as products."""
    return _with_reciprocals(fn, [made for made in fn.equations if _is_quotient(made)])


def share_reciprocals_in_derivatives(fn: Function) -> Function:
    """The same for the quotients that differentiation has made."""
    made_by_rules = [made for made in fn.equations if _is_quotient(made) and is_derived(made)]
    return _with_reciprocals(fn, made_by_rules)


def _with_reciprocals(fn: Function, quotients: Sequence[Equation]) -> Function:
    count = Counter(_source(made.inputs[1]) for made in quotients)
    chosen = {made for made in quotients if _is_worth_it(made, count)}
    if not chosen:
        return fn
    new: dict[Value, Value] = {value: value for value in fn.parameters}
    reciprocals: dict[Value, Value] = {}
    for made in fn.equations:
        inputs = [new[value] for value in made.inputs]
        if made in chosen:
            with at(made.span):
                new[made.outputs[0]] = _product(made, inputs, new, reciprocals)
            continue
        new.update(zip(made.outputs, rebuild_equation(made, inputs).outputs, strict=True))
    return with_results(fn, [new[result] for result in fn.results])


def _is_quotient(made: Equation) -> bool:
    return made.op is div and made.outputs[0].dtype.is_float


def _source(denominator: Value) -> Value:
    """What a denominator repeats, or the denominator itself."""
    source = input_of(denominator, broadcast)
    return denominator if source is None else source


def _is_worth_it(made: Equation, count: Counter[Value]) -> bool:
    x, denominator = made.inputs
    number = constant_number(denominator)
    if number is not None:
        return _has_reciprocal(number, denominator)
    source = _source(denominator)
    return count[source] > 1 or (source is not denominator and not is_number(x, 1))


def _has_reciprocal(number: float, like: Value) -> bool:
    """Whether 1 / number is a normal number of the dtype."""
    limits = np.finfo(like.dtype.numpy)
    return float(limits.tiny) * 2 <= abs(number) <= 1 / (float(limits.tiny) * 2)


def _product(
    made: Equation, inputs: list[Value], new: dict[Value, Value], reciprocals: dict[Value, Value]
) -> Value:
    """The numerator times the reciprocal, which is built once for each denominator."""
    x, denominator = inputs
    number = constant_number(denominator)
    if number is not None:
        return x * full_like(x, 1.0 / number)
    old = _source(made.inputs[1])
    if old not in reciprocals:
        source = new[old]
        reciprocals[old] = div(ones_like(source), source)
    factor = reciprocals[old]
    if old is not made.inputs[1]:
        factor = repeated(factor, x.shape, attrs_of(made.inputs[1])["axes"])
    return factor if is_number(made.inputs[0], 1) else x * factor
