"""Contractions: sums of products are recognised, and absorb what surrounds them.

A contraction multiplies two operands over labelled axes and sums; a label stands in at least two of
its left, right and result labels. All rules are identities of real numbers: the order in which
terms are added changes, so the last bits may, and where infinities meet zeros, so may a nan.
"""

from __future__ import annotations

from gradc.ir.dims import product
from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import div, mul, neg
from gradc.ir.ops.constants import filled
from gradc.ir.ops.contract import contract
from gradc.ir.ops.structural import broadcast, other_axes, sum_, transpose
from gradc.ir.passes.indexing import sum_of_chosen
from gradc.ir.passes.matching import Inputs, attrs_of, input_of, inputs_of, repeated, scalar_factor
from gradc.ir.passes.rewrite import NUMBER, Table, needs, rewrite
from gradc.ir.passes.structured import (
    product_with_diagonal,
    product_with_one_hot,
    product_with_padded,
    product_without_sum,
    repeat_after_contraction,
    sum_of_diagonal,
    summed_axis_first,
)

Labels = tuple[int, ...]


def form_contractions(fn: Function) -> Function:
    """`fn` with sums of broadcast products as contractions, and transposes absorbed in labels."""
    return rewrite(fn, _RULES)


@needs(mul)
def _sum_of_product(made: Equation) -> Value | None:
    """sum(broadcast a * broadcast b, axes) -> contract(a, b), where not both have all axes."""
    factors = inputs_of(made.inputs[0], mul)
    if factors is None or not factors[0].dtype.is_float:
        return None
    rank, axes = made.inputs[0].type.rank, made.attrs["axes"]
    (a, lhs), (b, rhs) = (_source(factor) for factor in factors)
    if len(lhs) == rank and len(rhs) == rank:
        return None
    if len({*lhs, *rhs}) < rank:  # the length of an axis that neither has would be lost
        return None
    return _contracted((a, b), lhs, rhs, other_axes(rank, axes))


def _source(value: Value) -> tuple[Value, Labels]:
    """What `value` is a broadcast of, and the axes where that lies; labels are axes."""
    source = input_of(value, broadcast)
    if source is None:
        return value, tuple(range(value.type.rank))
    return source, attrs_of(value)["axes"]


def _contracted(operands: Inputs, lhs: Labels, rhs: Labels, out: Labels) -> Value | None:
    """The contraction, if it is one that needs both operands and every label stands twice.

    Labels of one operand alone that are not in the result are summed before.
    """
    if not set(out) <= {*lhs, *rhs} or not (set(lhs) & set(rhs)) - set(out):
        return None
    a, b = operands
    return _summed_apart(a, b, lhs, rhs, out)


def _without(x: Value, labels: Labels, wanted: set[int]) -> tuple[Value, Labels]:
    """`x` summed over the axes whose labels are not wanted."""
    alone = tuple(axis for axis, label in enumerate(labels) if label not in wanted)
    if not alone:
        return x, labels
    return sum_(x, axes=alone), tuple(label for label in labels if label in wanted)


@needs(mul)
def _pull_factor_out_of_sum(made: Equation) -> Value | None:
    """sum(x * broadcast(s), axes) -> broadcast(s) * sum(x, axes), if s does not lie on `axes`."""
    (product,), axes = made.inputs, made.attrs["axes"]
    factors = inputs_of(product, mul)
    if factors is None or not product.dtype.is_float:
        return None
    kept = other_axes(product.type.rank, axes)
    for x, factor in (factors, factors[::-1]):
        source = input_of(factor, broadcast)
        if source is None or set(attrs_of(factor)["axes"]) & set(axes):
            continue
        summed: Value = sum_(x, axes=axes)
        placed = tuple(kept.index(axis) for axis in attrs_of(factor)["axes"])
        return summed * repeated(source, summed.shape, placed)
    return None


@needs(div)
def _pull_divisor_out_of_sum(made: Equation) -> Value | None:
    """sum(x / broadcast(s), axes) -> sum(x, axes) / broadcast(s), if s does not lie on `axes`."""
    (quotient,), axes = made.inputs, made.attrs["axes"]
    parts = inputs_of(quotient, div)
    source = None if parts is None else input_of(parts[1], broadcast)
    if parts is None or source is None or set(attrs_of(parts[1])["axes"]) & set(axes):
        return None
    kept = other_axes(quotient.type.rank, axes)
    summed: Value = sum_(parts[0], axes=axes)
    placed = tuple(kept.index(axis) for axis in attrs_of(parts[1])["axes"])
    result: Value = div(summed, repeated(source, summed.shape, placed))
    return result


@needs(neg)
def _sum_of_negative(made: Equation) -> Value | None:
    """sum(-x) -> -sum(x)."""
    x = input_of(made.inputs[0], neg)
    return None if x is None else -sum_(x, axes=made.attrs["axes"])


@needs(contract)
def _sum_of_contraction(made: Equation) -> Value | None:
    """sum(contract(a, b)) -> one contraction with fewer result labels."""
    (product,) = made.inputs
    operands = inputs_of(product, contract)
    if operands is None:
        return None
    attrs = attrs_of(product)
    out = tuple(label for axis, label in enumerate(attrs["out"]) if axis not in made.attrs["axes"])
    return _contracted(operands, attrs["lhs"], attrs["rhs"], out)


@needs(contract)
def _transpose_of_contraction(made: Equation) -> Value | None:
    (product,) = made.inputs
    operands = inputs_of(product, contract)
    if operands is None:
        return None
    attrs = attrs_of(product)
    out = tuple(attrs["out"][axis] for axis in made.attrs["permutation"])
    result: Value = contract(*operands, lhs=attrs["lhs"], rhs=attrs["rhs"], out=out)
    return result


@needs(transpose)
def _absorb_transpose(made: Equation) -> Value | None:
    """A transpose of an operand only renames its labels."""
    sides = [_untransposed(x, made.attrs[side]) for x, side in _sides(made)]
    if all(x is old for (x, _), old in zip(sides, made.inputs, strict=True)):
        return None
    (a, lhs), (b, rhs) = sides
    result: Value = contract(a, b, lhs=lhs, rhs=rhs, out=made.attrs["out"])
    return result


def _untransposed(x: Value, labels: Labels) -> tuple[Value, Labels]:
    source = input_of(x, transpose)
    if source is None:
        return x, labels
    permutation = attrs_of(x)["permutation"]
    return source, tuple(labels[permutation.index(axis)] for axis in range(len(labels)))


@needs(NUMBER)
def _absorb_broadcast(made: Equation) -> Value | None:
    """A broadcast of an operand only drops labels that the other operand has, too.

    Where it drops the summed ones, the other operand is summed over them by itself.
    """
    (a, lhs), (b, rhs) = ((x, made.attrs[side]) for x, side in _sides(made))
    out = made.attrs["out"]
    narrow, kept = _unbroadcast(a, lhs)
    if narrow is not a and set(lhs) <= {*kept, *rhs}:
        return _summed_apart(narrow, b, kept, rhs, out)
    narrow, kept = _unbroadcast(b, rhs)
    if narrow is not b and set(rhs) <= {*kept, *lhs}:
        return _summed_apart(a, narrow, lhs, kept, out)
    return None


def _summed_apart(a: Value, b: Value, lhs: Labels, rhs: Labels, out: Labels) -> Value:
    """The contraction; each operand is summed before over the labels that only it has."""
    a, lhs = _without(a, lhs, {*rhs, *out})
    b, rhs = _without(b, rhs, {*lhs, *out})
    result: Value = contract(a, b, lhs=lhs, rhs=rhs, out=out)
    return result


def _unbroadcast(x: Value, labels: Labels) -> tuple[Value, Labels]:
    source = input_of(x, broadcast)
    if source is None:
        return x, labels
    return source, tuple(labels[axis] for axis in attrs_of(x)["axes"])


@needs(mul)
def _pull_factor_out(made: Equation) -> Value | None:
    """contract(a * s, b) -> s * contract(a, b) for a broadcast scalar s.

    Only where the result has no more entries than the operand, so that no more products are made.
    """
    for (x, side), position in zip(_sides(made), (0, 1), strict=True):
        factors = inputs_of(x, mul)
        found = None if factors is None else scalar_factor(factors)
        if found is None or not _is_no_larger(made, x, made.attrs[side]):
            continue
        rest, factor = found
        operands = [rest if i == position else value for i, value in enumerate(made.inputs)]
        product: Value = contract(*operands, **made.attrs)
        return product * filled(product.shape, factor)
    return None


def _is_no_larger(made: Equation, x: Value, labels: tuple[int, ...]) -> bool:
    """Whether a result has no more entries than an operand with these labels; unknown is many."""
    out = made.attrs["out"]
    more = product(
        dim for label, dim in zip(out, made.outputs[0].shape, strict=True) if label not in labels
    )
    fewer = product(dim for label, dim in zip(labels, x.shape, strict=True) if label not in out)
    return isinstance(more, int) and (not isinstance(fewer, int) or more <= fewer)


@needs(neg)
def _pull_negative_out(made: Equation) -> Value | None:
    """contract(-a, b) -> -contract(a, b)."""
    a, b = made.inputs
    minus_a, minus_b = input_of(a, neg), input_of(b, neg)
    if minus_a is None and minus_b is None:
        return None
    product: Value = contract(
        a if minus_a is None else minus_a, b if minus_b is None else minus_b, **made.attrs
    )
    return product if minus_a is not None and minus_b is not None else -product


@needs(neg)
def _negative_twice(made: Equation) -> Value | None:
    return input_of(made.inputs[0], neg)


def _sides(made: Equation) -> tuple[tuple[Value, str], tuple[Value, str]]:
    a, b = made.inputs
    return (a, "lhs"), (b, "rhs")


_RULES = Table(
    {
        sum_: (
            _sum_of_negative,
            _sum_of_product,
            _pull_factor_out_of_sum,
            _pull_divisor_out_of_sum,
            _sum_of_contraction,
            sum_of_diagonal,
            sum_of_chosen,
        ),
        transpose: (_transpose_of_contraction,),
        contract: (
            _absorb_transpose,
            _absorb_broadcast,
            repeat_after_contraction,
            product_without_sum,
            product_with_diagonal,
            product_with_padded,
            product_with_one_hot,
            _pull_factor_out,
            _pull_negative_out,
            summed_axis_first,
        ),
        neg: (_negative_twice,),
    }
)
