"""Stability: formulas that lose digits or overflow become functions that do not.

Each rule is an identity of real numbers; the right side is at least as accurate everywhere, and
finite wherever the left side is (log(1 + exp(x)) overflows at x = 710, softplus(x) is x there).
"""

from __future__ import annotations

from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import add, div, neg, sub
from gradc.ir.ops.composite import logsumexp, softmax
from gradc.ir.ops.constants import constant_number
from gradc.ir.ops.elementwise import exp, expm1, log, log1p, sigmoid, softplus
from gradc.ir.ops.structural import broadcast, other_axes, reshape, sum_
from gradc.ir.passes.matching import attrs_of, input_of, inputs_of, is_number, other_operand
from gradc.ir.passes.rewrite import Rules, rewrite


def stabilize(fn: Function) -> Function:
    """`fn` with log1p, expm1, softplus, sigmoid, logsumexp and softmax where they are meant."""
    return rewrite(fn, _RULES)


def _log_of_exp(made: Equation) -> Value | None:
    return input_of(made.inputs[0], exp)


def _log_of_one_plus(made: Equation) -> Value | None:
    """log(1 + x) -> log1p(x); log(1 - x) -> log1p(-x)."""
    (x,) = made.inputs
    terms, difference = inputs_of(x, add), inputs_of(x, sub)
    rest: Value | None = None
    if terms is not None:
        rest = other_operand(terms, 1)
    elif difference is not None and is_number(difference[0], 1):
        rest = -difference[1]
    if rest is None:
        return None
    result: Value = log1p(rest)
    return result


def _log_of_sigmoid(made: Equation) -> Value | None:
    """log(sigmoid(x)) -> -softplus(-x)."""
    x = input_of(made.inputs[0], sigmoid)
    return None if x is None else -_softplus_of_negative(x)


def _log1p_of_exp(made: Equation) -> Value | None:
    """log1p(exp(x)) -> softplus(x)."""
    x = input_of(made.inputs[0], exp)
    if x is None:
        return None
    result: Value = softplus(x)
    return result


def _log1p_of_minus_sigmoid(made: Equation) -> Value | None:
    """log(1 - sigmoid(x)) -> -softplus(x)."""
    negated = input_of(made.inputs[0], neg)
    x = None if negated is None else input_of(negated, sigmoid)
    return None if x is None else -softplus(x)


def _log1p_of_expm1(made: Equation) -> Value | None:
    return input_of(made.inputs[0], expm1)


def _exp_minus_one(made: Equation) -> Value | None:
    """exp(x) - 1 -> expm1(x)."""
    x, y = made.inputs
    source = input_of(x, exp)
    if source is None or not is_number(y, 1):
        return None
    result: Value = expm1(source)
    return result


def _exp_plus_minus_one(made: Equation) -> Value | None:
    """exp(x) + (-1) -> expm1(x)."""
    rest = other_operand(made.inputs, -1)
    source = None if rest is None else input_of(rest, exp)
    if source is None:
        return None
    result: Value = expm1(source)
    return result


def _one_minus_sigmoid(made: Equation) -> Value | None:
    """1 - sigmoid(x) -> sigmoid(-x)."""
    x, y = made.inputs
    source = input_of(y, sigmoid)
    if source is None or not is_number(x, 1):
        return None
    result: Value = sigmoid(_negated(source))
    return result


def _logistic(made: Equation) -> Value | None:
    """1 / (1 + exp(-x)), exp(x) / (1 + exp(x)) -> sigmoid(x); 1 / (1 + exp(x)) -> sigmoid(-x)."""
    x, y = made.inputs
    terms = inputs_of(y, add)
    power = None if terms is None else other_operand(terms, 1)
    source = None if power is None else input_of(power, exp)
    if source is None:
        return None
    result: Value | None = None
    if is_number(x, 1):
        result = sigmoid(_negated(source))
    elif input_of(x, exp) is source:
        result = sigmoid(source)
    return result


def _normalized_exp(made: Equation) -> Value | None:
    """exp(x) / broadcast(sum(exp(x), axes)) -> softmax(x, axes)."""
    x, y = made.inputs
    source, total = input_of(x, exp), input_of(y, broadcast)
    if source is None or total is None:
        return None
    kept = attrs_of(y)["axes"]
    if input_of(total, reshape) is not None:
        return None
    summed = input_of(total, sum_)
    if summed is None or input_of(summed, exp) is not source:
        return None
    axes = attrs_of(total)["axes"]
    if kept != other_axes(x.type.rank, axes):
        return None
    result: Value = softmax(source, axes=axes)
    return result


def _log_of_softmax(made: Equation) -> Value | None:
    """log(softmax(x)) -> x - broadcast(logsumexp(x))."""
    (weights,) = made.inputs
    x = input_of(weights, softmax)
    if x is None:
        return None
    axes = attrs_of(weights)["axes"]
    total = logsumexp(x, axes=axes)
    kept = other_axes(x.type.rank, axes)
    result: Value = x - broadcast(total, shape=x.shape, axes=kept)
    return result


def _log_of_sum_of_exp(made: Equation) -> Value | None:
    """log(sum(exp(x), axes)) -> logsumexp(x, axes)."""
    (total,) = made.inputs
    powers = input_of(total, sum_)
    x = None if powers is None else input_of(powers, exp)
    if x is None:
        return None
    result: Value = logsumexp(x, axes=attrs_of(total)["axes"])
    return result


def _log_of_mean_of_exp(made: Equation) -> Value | None:
    """log(sum(exp(x), axes) / c) -> logsumexp(x, axes) - log(c), for a positive number c."""
    quotient = inputs_of(made.inputs[0], div)
    if quotient is None:
        return None
    total, count = quotient
    powers = input_of(total, sum_)
    x = None if powers is None else input_of(powers, exp)
    number = constant_number(count)
    if x is None or number is None or not number > 0:
        return None
    result: Value = logsumexp(x, axes=attrs_of(total)["axes"]) - log(count)
    return result


def _negated(x: Value) -> Value:
    """-x, without negating twice."""
    inner = input_of(x, neg)
    return -x if inner is None else inner


def _softplus_of_negative(x: Value) -> Value:
    result: Value = softplus(_negated(x))
    return result


_RULES: Rules = {
    log: (
        _log_of_exp,
        _log_of_one_plus,
        _log_of_sigmoid,
        _log_of_softmax,
        _log_of_sum_of_exp,
        _log_of_mean_of_exp,
    ),
    log1p: (_log1p_of_exp, _log1p_of_minus_sigmoid, _log1p_of_expm1),
    sub: (_exp_minus_one, _one_minus_sigmoid),
    add: (_exp_plus_minus_one,),
    div: (_logistic, _normalized_exp),
}
