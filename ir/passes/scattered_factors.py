"""Factors of sums at indices: scatter_add(0, i, s * x) -> s * scatter_add(0, i, x) for a scalar s.

As for other sums, an infinite s makes no nan of entries of x that are 0. The loop over the indices
has a product less for each of its points. Instead each entry of the result is multiplied where it
is read: so that no loop is added, only what works entry by entry, or sums, may read it. In
derivatives, where quotients by a scalar are products with its reciprocal, that is such a factor.
"""

from __future__ import annotations

from functools import reduce

from gradc.ir.dims import product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Pointwise, Reduction
from gradc.ir.ops.arithmetic import div, mul, neg
from gradc.ir.ops.constants import filled, ones_like, scalar
from gradc.ir.ops.indexing import scatter_add
from gradc.ir.ops.structural import broadcast
from gradc.ir.passes.matching import input_of, inputs_of, is_derived, is_number, scalar_factor
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results


def pull_factors_out_of_scatters(fn: Function) -> Function:
    """`fn` with scalar factors of what is added at indices as factors of the sums."""
    chosen = _sums_read_entry_by_entry(fn)
    if not chosen:
        return fn
    new: dict[Value, Value] = {value: value for value in fn.parameters}
    for made in fn.equations:
        again = rebuild_equation(made, [new[value] for value in made.inputs])
        new.update(zip(made.outputs, again.outputs, strict=True))
        if made in chosen:
            with at(made.span):
                new[made.outputs[0]] = _with_factors_behind(again)
    return with_results(fn, [new[result] for result in fn.results])


def _sums_read_entry_by_entry(fn: Function) -> set[Equation]:
    """The sums at indices, from zeros on, that nothing reads but what may run in one loop."""
    found = {made for made in fn.equations if made.op is scatter_add and _is_sum(made)}
    for made in fn.equations if found else ():
        if not isinstance(made.op.lower, Pointwise | Reduction):
            found.difference_update(value.owner for value in made.inputs if value.owner)
    return found.difference(result.owner for result in fn.results if result.owner)


def _is_sum(made: Equation) -> bool:
    """Whether a scatter adds to zeros, and not to more entries than it adds."""
    base, _, updates = made.inputs
    entries, added = product(base.shape), product(updates.shape)
    is_larger = isinstance(entries, int) and isinstance(added, int) and entries > added
    return base.dtype.is_float and is_number(base, 0) and not is_larger


def _with_factors_behind(made: Equation) -> Value:
    base, indices, updates = made.inputs
    rest, factors = _factors_apart(updates, is_derived(made))
    if not factors:
        return made.outputs[0]
    total: Value = scatter_add(base, indices, rest, **made.attrs)
    for factor in factors:
        total = total * filled(total.shape, factor)
    return total


def _factors_apart(x: Value, divides: bool) -> tuple[Value, list[Value]]:
    """A product without its scalar factors, and those: also of one of its factors, and so on.

    A negative has the factor -1. If it `divides`, scalar divisors are factors, by reciprocals.
    """
    others: list[Value] = []
    scalars: list[Value] = []
    while True:
        factors = inputs_of(x, mul) or ()
        found = scalar_factor(factors) if factors else None
        inner = [
            factor for factor in factors if factor.owner and factor.owner.op in (mul, div, neg)
        ]
        negated = input_of(x, neg)
        parts = inputs_of(x, div) if divides else None
        divisor = None if parts is None else input_of(parts[1], broadcast)
        if found is not None:
            x, factor = found
            scalars.append(factor)
        elif negated is not None:
            x = negated
            scalars.append(scalar(-1, x.dtype))
        elif len(inner) == 1:
            (x,) = inner
            others += [factor for factor in factors if factor is not x]
        elif parts is not None and divisor is not None and not divisor.shape:
            x = parts[0]
            scalars.append(ones_like(divisor) / divisor)
        else:
            return reduce(mul, reversed(others), x), scalars
