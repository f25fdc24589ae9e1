"""exp, expm1, tanh, sigmoid: x = n ln 2 + r, |r| <= ln 2 / 2, and e^r = 1 + r + r^2 P(r).

P is minimax for the relative error of e^r - 1 (`benchmarks/fit_polynomials.py`). ln 2 is split in
two (Cody and Waite): the upper part has 11 zero bits at the end, so that n times it is exact
without fma.
"""

from __future__ import annotations

from gradc.codegen.math_ir import Code, Term

LOG2_E = 1.4426950408889634
LN2_HIGH = float.fromhex("0x1.62e42fefa3800p-1")
LN2_LOW = float.fromhex("0x1.ef35793c76730p-45")
# x + ROUND - ROUND is x rounded to an integer, which stands in the low bits of x + ROUND.
ROUND = 1.5 * 2.0**52
BIAS = 1023.0
# Beyond these e^x is 0 and infinity, and n = -1082 and 1024 are the halves of floats still.
LOWEST, HIGHEST = -750.0, 710.0

EXP_P = (
    0.5000000000000006,
    0.16666666666666685,
    0.041666666666573794,
    0.008333333333314557,
    0.0013888888932362536,
    0.00019841269903081272,
    2.4801504434661683e-05,
    2.7557227910343094e-06,
    2.7626339951578346e-07,
    2.5114489633877208e-08,
)


def reduce_by_ln2(code: Code, x: Term, bias: float = BIAS) -> tuple[Term, Term, Term]:
    """(biased, r, r_low): x = n ln 2 + r + r_low; the low 11 bits of `biased` are n + bias."""
    biased = code.fma(x, LOG2_E, ROUND + bias)
    n = biased - (ROUND + bias)
    high = code.fma(n, -LN2_HIGH, x)
    r = code.fma(n, -LN2_LOW, high)
    return biased, r, code.fma(n, -LN2_LOW, high - r)


def power_of_two(code: Code, biased: Term) -> Term:
    """2^n from the low bits of n + 1023 + 1.5 * 2^52."""
    return code.from_bits(code.bits(biased) << 52)


def expm1_reduced(code: Code, r: Term, r_low: Term) -> tuple[Term, Term]:
    """(q, q_low): e^(r + r_low) - 1 with about 60 bits."""
    tail = code.fma(r * r, code.polynomial(EXP_P, r), r_low)
    return code.fast_two_sum(r, tail)


def exp(code: Code, x: Term) -> Term:
    """e^x; the rounding error of r is let go: it adds 0.1 ULP."""
    biased, q = exp_parts(code, code.minimum(HIGHEST, code.maximum(LOWEST, x)))
    return times_power(code, 1.0 + q, biased)


def exp_of_negative(code: Code, x: Term) -> tuple[Term, Term]:
    """(e^x, about what rounding took from it) for x <= 0, any numbers for NaN."""
    biased, q = exp_parts(code, code.maximum(LOWEST, x))
    p, p_low = code.fast_two_sum(code.constant(1.0, "double"), q)
    e = times_power(code, p, biased)
    return e, e * p_low


def exp_parts(code: Code, x: Term) -> tuple[Term, Term]:
    """(n + 2 * 1023, e^r - 1)"""
    biased, r = reduce_roughly(code, x, 2.0 * BIAS)
    return biased, code.fma(r * r, code.polynomial(EXP_P, r), r)


def reduce_roughly(code: Code, x: Term, bias: float = BIAS) -> tuple[Term, Term]:
    """(n + bias, r) without r's rounding error."""
    biased = code.fma(x, LOG2_E, ROUND + bias)
    n = biased - (ROUND + bias)
    return biased, code.fma(n, -LN2_LOW, code.fma(n, -LN2_HIGH, x))


def exp_of_sum(code: Code, x: Term, x_low: Term) -> Term:
    """e^(x + x_low), rounded nearly right."""
    bounded = code.minimum(HIGHEST, code.maximum(LOWEST, x))
    biased, r, r_low = reduce_by_ln2(code, bounded, 2.0 * BIAS)
    q, q_low = expm1_reduced(code, *code.fast_two_sum(r, r_low + x_low))
    p, p_low = code.fast_two_sum(code.constant(1.0, "double"), q)
    return times_power(code, p + (p_low + q_low), biased)


def times_power(code: Code, p: Term, biased: Term) -> Term:
    """p 2^n by two factors near 2^(n/2), from the low bits of n + 2 * 1023.

    The first product is exact: the second alone rounds, overflows, and is subnormal.
    """
    bits = code.bits(biased)
    half = bits >> 1
    return p * code.from_bits(half << 52) * code.from_bits((bits - half) << 52)


def expm1(code: Code, x: Term) -> Term:
    """e^x - 1 = 2 (2^(n-1) q + (2^(n-1) - 1/2)), x itself near 0."""
    x_bounded = code.minimum(710.0, code.maximum(-40.0, x))
    biased, r, r_low = reduce_by_ln2(code, x_bounded)
    q, q_low = expm1_reduced(code, r, r_low)
    half = power_of_two(code, biased - 1.0)
    sum_high, sum_low = code.two_sum(half - 0.5, half * q)
    result = 2.0 * (sum_high + (sum_low + half * q_low))
    return code.select(code.compare("ugt", code.fabs(x), 2.0**-54), result, x)


def tanh(code: Code, x: Term) -> Term:
    """tanh |x| = F / (F + 2), F = e^(2|x|) - 1; the quotient is corrected by its residual."""
    magnitude = code.minimum(20.0, code.fabs(x))
    doubled = magnitude + magnitude
    biased, r = reduce_roughly(code, doubled)
    q, q_low = code.fast_two_sum(r, (r * r) * code.polynomial(EXP_P, r))
    scale = power_of_two(code, biased)
    numerator, numerator_low = code.fast_two_sum(scale - 1.0, scale * q)
    numerator_low = code.fma(scale, q_low, numerator_low)
    denominator = numerator + 2.0
    denominator_low = (numerator - (denominator - 2.0)) + numerator_low
    quotient = divide(code, numerator, numerator_low, denominator, denominator_low)
    return code.copysign(quotient, x)


def divide(code: Code, a: Term, a_low: Term | None, b: Term, b_low: Term) -> Term:
    """(a + a_low) / (b + b_low), rounded nearly right."""
    q, reciprocal, residual = division(code, a, a_low, b, b_low)
    return code.fma(residual, reciprocal, q)


def quotient_pair(
    code: Code, a: Term, a_low: Term | None, b: Term, b_low: Term
) -> tuple[Term, Term]:
    """(q, q_low): (a + a_low) / (b + b_low)."""
    q, reciprocal, residual = division(code, a, a_low, b, b_low)
    return q, residual * reciprocal


def division(
    code: Code, a: Term, a_low: Term | None, b: Term, b_low: Term
) -> tuple[Term, Term, Term]:
    """(q, 1 / b, what q (b + b_low) lacks of a + a_low), q = a (1 / b)."""
    reciprocal = 1.0 / b
    q = a * reciprocal
    residual = code.product_difference(a, q, b)
    if a_low is not None:
        residual = residual + a_low
    return q, reciprocal, code.fma(-q, b_low, residual)


def sigmoid(code: Code, x: Term) -> Term:
    """1 / (1 + e^-x) = (x < 0 ? E : 1) / (1 + E), E = e^-|x|."""
    e, _ = exp_of_negative(code, -code.fabs(x))
    numerator = code.select(x < 0.0, e, 1.0)
    denominator, denominator_low = code.fast_two_sum(code.constant(1.0, "double"), e)
    return divide(code, numerator, None, denominator, denominator_low)
