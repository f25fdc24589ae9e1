"""exp, expm1, tanh, sigmoid: x = n ln 2 + r, |r| <= ln 2 / 2, and e^r = 1 + r + r^2 P(r).

P is minimax for the relative error of e^r - 1 (`benchmarks/fit_polynomials.py`). ln 2 is split in
two (Cody and Waite): the upper part has as many zero bits at the end as n has digits, so that n
times it is exact without fma.
"""

from __future__ import annotations

from gradc.codegen.math_ir import Code, Term
from gradc.ir.record import dataclass

LOG2_E = 1.4426950408889634
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
EXP_P_F32 = (
    0.500000006174281,
    0.1666654292576236,
    0.04166628219894722,
    0.00836659807650697,
    0.0013946454270987061,
)


@dataclass(frozen=True, slots=True)
class Exponential:
    """What e^x takes in a format.

    Below `lowest` it is 0, above `highest` infinity; the halves of n are exponents there, too.
    """

    p: tuple[float, ...]
    ln2_high: float
    ln2_low: float
    lowest: float
    highest: float


EXPONENTIALS = {
    "double": Exponential(
        EXP_P,
        float.fromhex("0x1.62e42fefa3800p-1"),
        float.fromhex("0x1.ef35793c76730p-45"),
        -750.0,
        710.0,
    ),
    "float": Exponential(
        EXP_P_F32, float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20"), -104.0, 89.0
    ),
}


def reduce_by_ln2(code: Code, x: Term, biases: int = 1) -> tuple[Term, Term, Term]:
    """(shifted, r, r_low): x = n ln 2 + r + r_low; the low bits of `shifted` are n + that many
    times the bias of the format.
    """
    ln2 = EXPONENTIALS[x.element]
    shift = x.format.round + biases * x.format.bias
    shifted = code.fma(x, LOG2_E, shift)
    n = shifted - shift
    high = code.fma(n, -ln2.ln2_high, x)
    r = code.fma(n, -ln2.ln2_low, high)
    return shifted, r, code.fma(n, -ln2.ln2_low, high - r)


def power_of_two(code: Code, shifted: Term) -> Term:
    """2^n from the low bits of n + bias."""
    return code.from_bits(code.bits(shifted) << shifted.format.digits)


def expm1_reduced(code: Code, r: Term, r_low: Term) -> tuple[Term, Term]:
    """(q, q_low): e^(r + r_low) - 1 with about seven bits more than the format has."""
    tail = code.fma(r * r, code.polynomial(EXPONENTIALS[r.element].p, r), r_low)
    return code.fast_two_sum(r, tail)


def exp(code: Code, x: Term) -> Term:
    """e^x; the rounding error of r is let go: it adds 0.1 ULP."""
    shifted, q = exp_parts(code, bounded(code, x))
    return times_power(code, 1.0 + q, shifted)


def exp_of_negative(code: Code, x: Term) -> tuple[Term, Term]:
    """(e^x, about what rounding took from it) for x <= 0, any numbers for NaN."""
    shifted, q = exp_parts(code, code.maximum(EXPONENTIALS[x.element].lowest, x))
    p, p_low = code.fast_two_sum(code.constant(1.0, x.element), q)
    e = times_power(code, p, shifted)
    return e, e * p_low


def bounded(code: Code, x: Term) -> Term:
    """x, within the limits beyond which e^x is 0 and infinity."""
    limits = EXPONENTIALS[x.element]
    return code.minimum(limits.highest, code.maximum(limits.lowest, x))


def exp_parts(code: Code, x: Term) -> tuple[Term, Term]:
    """(n + twice the bias, e^r - 1), r without its rounding error."""
    shifted, r, _ = reduce_by_ln2(code, x, 2)
    return shifted, code.fma(r * r, code.polynomial(EXPONENTIALS[x.element].p, r), r)


def exp_of_sum(code: Code, x: Term, x_low: Term) -> Term:
    """e^(x + x_low), in f64 rounded nearly right."""
    shifted, r, r_low = reduce_by_ln2(code, bounded(code, x), 2)
    if x.element == "float":
        r = r + (r_low + x_low)
        terms = EXPONENTIALS[x.element].p
        return times_power(code, 1.0 + code.fma(r * r, code.polynomial(terms, r), r), shifted)
    q, q_low = expm1_reduced(code, *code.fast_two_sum(r, r_low + x_low))
    p, p_low = code.fast_two_sum(code.constant(1.0, x.element), q)
    return times_power(code, p + (p_low + q_low), shifted)


def times_power(code: Code, p: Term, shifted: Term) -> Term:
    """p 2^n by two factors near 2^(n/2), from the low bits of n + twice the bias.

    The first product is exact: the second alone rounds, overflows, and is subnormal.
    """
    bits, digits = code.bits(shifted), p.format.digits
    half = bits >> 1
    return p * code.from_bits(half << digits) * code.from_bits((bits - half) << digits)


def expm1(code: Code, x: Term) -> Term:
    """e^x - 1 = 2 (2^(n-1) q + (2^(n-1) - 1/2)), x itself near 0."""
    within = code.minimum(EXPONENTIALS[x.element].highest, code.maximum(-40.0, x))
    shifted, r, r_low = reduce_by_ln2(code, within)
    q, q_low = expm1_reduced(code, r, r_low)
    half = power_of_two(code, shifted - 1.0)
    sum_high, sum_low = code.two_sum(half - 0.5, half * q)
    result = 2.0 * (sum_high + (sum_low + half * q_low))
    return code.select(code.compare("ugt", code.fabs(x), x.format.half_last), result, x)


def tanh(code: Code, x: Term) -> Term:
    """tanh |x| = F / (F + 2), F = e^(2|x|) - 1; the quotient is corrected by its residual."""
    magnitude = code.minimum(20.0, code.fabs(x))
    shifted, r, _ = reduce_by_ln2(code, magnitude + magnitude)
    q, q_low = code.fast_two_sum(r, (r * r) * code.polynomial(EXPONENTIALS[x.element].p, r))
    scale = power_of_two(code, shifted)
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
    e, _ = exp_of_negative(code, -code.fabs(x))
    return sigmoid_from(code, x, e)


def sigmoid_from(code: Code, x: Term, e: Term) -> Term:
    """1 / (1 + e^-x) = (x < 0 ? E : 1) / (1 + E), given E = e^-|x|."""
    numerator = code.select(x < 0.0, e, 1.0)
    denominator, denominator_low = code.fast_two_sum(code.constant(1.0, x.element), e)
    return divide(code, numerator, None, denominator, denominator_low)
