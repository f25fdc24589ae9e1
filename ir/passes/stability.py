"""Stability: formulas that lose digits or overflow become functions that do not.

Each rule is an identity of real numbers; the right side is at least as accurate everywhere, and
finite wherever the left side is (log(1 + exp(x)) overflows at x = 710, softplus(x) is x there).
"""

from __future__ import annotations

from gradc.ir.function import Equation, Function, Value
from gradc.ir.ops.arithmetic import add, div, mul, neg, sub
from gradc.ir.ops.composite import logsumexp, softmax
from gradc.ir.ops.constants import constant_number
from gradc.ir.ops.elementwise import exp, expm1, log, log1p, sigmoid, softplus
from gradc.ir.ops.logic import where
from gradc.ir.ops.reductions import max_
from gradc.ir.ops.structural import broadcast, other_axes, reshape, sum_
from gradc.ir.passes.matching import Inputs, attrs_of, input_of, inputs_of, is_number, other_operand
from gradc.ir.passes.rewrite import Table, needs, rewrite

Axes = tuple[int, ...]


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


@needs(exp)
def _exp_minus_one(made: Equation) -> Value | None:
    """exp(x) - 1 -> expm1(x)."""
    x, y = made.inputs
    source = input_of(x, exp)
    if source is None or not is_number(y, 1):
        return None
    result: Value = expm1(source)
    return result


@needs(exp)
def _exp_plus_minus_one(made: Equation) -> Value | None:
    """exp(x) + (-1) -> expm1(x)."""
    rest = other_operand(made.inputs, -1)
    source = None if rest is None else input_of(rest, exp)
    if source is None:
        return None
    result: Value = expm1(source)
    return result


@needs(sigmoid)
def _one_minus_sigmoid(made: Equation) -> Value | None:
    """1 - sigmoid(x) -> sigmoid(-x)."""
    x, y = made.inputs
    source = input_of(y, sigmoid)
    if source is None or not is_number(x, 1):
        return None
    result: Value = sigmoid(_negated(source))
    return result


@needs(add)
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


@needs(exp, broadcast)
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
    if x is None or _is_shifted_already(x):
        return None
    result: Value = logsumexp(x, axes=attrs_of(total)["axes"])
    return result


def _is_shifted_already(x: Value) -> bool:
    """Whether x is where(x == m, 0, x - m), as logsumexp's own expansion has it."""
    branches = inputs_of(x, where)
    if branches is None:
        return False
    return is_number(branches[1], 0) and inputs_of(branches[2], sub) is not None


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


# --- shifts: added to all entries of a row, logsumexp grows by them and softmax stays -----------


def _unshifted(x: Value, axes: Axes) -> tuple[Value, Value] | None:
    """z and s, if x is z - broadcast(s) and s does not vary along `axes`."""
    terms = inputs_of(x, sub)
    shift = None if terms is None else input_of(terms[1], broadcast)
    if terms is None or shift is None or set(attrs_of(terms[1])["axes"]) & set(axes):
        return None
    return terms[0], shift


@needs(logsumexp)
def _shift_back(made: Equation) -> Value | None:
    """m + logsumexp(x - broadcast(m)) -> logsumexp(x)."""
    for m, total in (made.inputs, made.inputs[::-1]):
        x = input_of(total, logsumexp)
        parts = None if x is None else _unshifted(x, attrs_of(total)["axes"])
        if parts is not None and parts[1] is m:
            result: Value = logsumexp(parts[0], axes=attrs_of(total)["axes"])
            return result
    return None


@needs(broadcast)
def _shifted_log_softmax(made: Equation) -> Value | None:
    """(x - s) - broadcast(logsumexp(x - s)) -> x - broadcast(logsumexp(x))."""
    x, wide = made.inputs
    total = input_of(wide, broadcast)
    if total is None or input_of(total, logsumexp) is not x:
        return None
    axes = attrs_of(total)["axes"]
    parts = _unshifted(x, axes)
    if parts is None or attrs_of(wide)["axes"] != other_axes(x.type.rank, axes):
        return None
    unshifted: Value = broadcast(
        logsumexp(parts[0], axes=axes), shape=x.shape, axes=attrs_of(wide)["axes"]
    )
    return parts[0] - unshifted


def _softmax_of_shifted(made: Equation) -> Value | None:
    """softmax(x - s) -> softmax(x) for a maximum s, which softmax subtracts by itself.

    Any other s stays: logsumexp(x - s), which must keep it, shares its exponentials with softmax.
    """
    axes = made.attrs["axes"]
    parts = _unshifted(made.inputs[0], axes)
    if parts is None or input_of(parts[1], max_) is None:
        return None
    result: Value = softmax(parts[0], axes=axes)
    return result


# --- what derivatives of the formulas above look like --------------------------------------------


@needs(exp)
def _weighted_logistic(made: Equation) -> Value | None:
    """(a / (1 + exp(x))) * exp(x) -> a * sigmoid(x), and sigmoid(-x) * exp(x) -> sigmoid(x)."""
    for quotient, power in (made.inputs, made.inputs[::-1]):
        parts, x = inputs_of(quotient, div), input_of(power, exp)
        opposite = input_of(quotient, sigmoid)
        if x is not None and opposite is not None and _are_opposite(opposite, x):
            result: Value = sigmoid(x)
            return result
        terms = None if parts is None else inputs_of(parts[1], add)
        one_plus = None if terms is None else other_operand(terms, 1)
        if parts is not None and x is not None and one_plus is power:
            logistic: Value = sigmoid(x)
            return parts[0] * logistic
    return None


@needs(exp, broadcast)
def _weighted_softmax(made: Equation) -> Value | None:
    """broadcast(a / sum(exp(x))) * exp(x) -> broadcast(a) * softmax(x)."""
    for wide, power in (made.inputs, made.inputs[::-1]):
        quotient, x = input_of(wide, broadcast), input_of(power, exp)
        parts = None if quotient is None else inputs_of(quotient, div)
        if parts is None or x is None or input_of(parts[1], sum_) is not power:
            continue
        axes, kept = attrs_of(parts[1])["axes"], attrs_of(wide)["axes"]
        if kept != other_axes(x.type.rank, axes):
            continue
        weights: Value = softmax(x, axes=axes)
        again: Value = broadcast(parts[0], shape=x.shape, axes=kept)
        return again * weights
    return None


@needs((div, sub))
def _cancel_positive(made: Equation) -> Value | None:
    """(a / s) * s -> a; (a / s) * (s * t) -> a * t; (a / s - w) * s -> a - w * s.

    For an s that is positive as a real number (exp, sigmoid, softmax), though it may underflow.
    """
    for x, y in (made.inputs, made.inputs[::-1]):
        if (cancelled := _without_divisor(x, y)) is not None:
            return cancelled
        terms = inputs_of(x, sub)
        if terms is not None and (cancelled := _without_divisor(terms[0], y)) is not None:
            return cancelled - terms[1] * y
    return None


def _without_divisor(quotient: Value, factor: Value) -> Value | None:
    """quotient * factor, if the divisor is positive and cancels against the factor."""
    parts = inputs_of(quotient, div)
    if parts is None or not _is_positive(parts[1]):
        return None
    a, divisor = parts
    if factor is divisor:
        return a
    for s, t in _orders(inputs_of(factor, mul)):
        if s is divisor:
            return a * t
    return None


def _orders(pair: Inputs | None) -> tuple[Inputs, ...]:
    return () if pair is None else (pair, pair[::-1])


def _is_positive(value: Value) -> bool:
    return value.owner is not None and value.owner.op in (exp, sigmoid, softmax)


def _are_opposite(x: Value, y: Value) -> bool:
    return input_of(x, neg) is y or input_of(y, neg) is x


def _negated(x: Value) -> Value:
    """-x, without negating twice."""
    inner = input_of(x, neg)
    return -x if inner is None else inner


def _softplus_of_negative(x: Value) -> Value:
    result: Value = softplus(_negated(x))
    return result


_RULES = Table(
    {
        log: (
            _log_of_exp,
            _log_of_one_plus,
            _log_of_sigmoid,
            _log_of_softmax,
            _log_of_sum_of_exp,
            _log_of_mean_of_exp,
        ),
        log1p: (_log1p_of_exp, _log1p_of_minus_sigmoid, _log1p_of_expm1),
        sub: (_exp_minus_one, _one_minus_sigmoid, _shifted_log_softmax),
        add: (_exp_plus_minus_one, _shift_back),
        mul: (_weighted_logistic, _weighted_softmax, _cancel_positive),
        softmax: (_softmax_of_shifted,),
        div: (_logistic, _normalized_exp),
    }
)
