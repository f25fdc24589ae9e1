"""pow: x^y = e^(y log |x|), the logarithm and the product as sums of two doubles (about 2^-64
relative).

log m = 2 s + s^3 (2/3 + s^2 P(s^2)), s = f / (2 + f): s, s^2, s^3 and 2/3 carry their rounding
errors.
"""

from __future__ import annotations

import math

from gradc.codegen.math_exp import EXPONENTIALS, exp_of_sum, quotient_pair
from gradc.codegen.math_ir import Code, Term
from gradc.codegen.math_log import split_power

POW_P = (
    0.39999999999999997,
    0.285714285714325,
    0.22222222220378574,
    0.18181818547292877,
    0.15384577330852103,
    0.13335584136395687,
    0.11688736324221999,
    0.11880239155874953,
)
TWO_THIRDS = 0.6666666666666666
TWO_THIRDS_LOW = 3.700743415417188e-17


def log_pair(code: Code, x: Term) -> tuple[Term, Term]:
    """(high, low): log x for x >= 0, -inf at 0, inf at inf."""
    ln2 = EXPONENTIALS["double"]
    tiny = x < 2.0**-1022
    k, m, _ = split_power(code, code.select(tiny, x * 2.0**54, x))
    k = k - code.select(tiny, code.constant(54.0, "double"), 0.0)
    f = m - 1.0
    s, s_low = quotient_pair(code, f, None, *code.fast_two_sum(code.constant(2.0, "double"), f))
    cube, cube_low = cubed_pair(code, s, s_low)
    high, low_1 = code.fast_two_sum(k * ln2.ln2_high, s + s)
    high, low_2 = code.fast_two_sum(high, cube)
    low = (low_1 + low_2) + (code.fma(k, ln2.ln2_low, s_low + s_low) + cube_low)
    extreme = code.select(code.compare("oeq", x, 0.0), -math.inf, x)
    ordinary = (x > 0.0) & (x < math.inf)
    return code.select(ordinary, high, extreme), low


def cubed_pair(code: Code, s: Term, s_low: Term) -> tuple[Term, Term]:
    """(high, low): s^3 (2/3 + s^2 P(s^2)) at s + s_low."""
    z, z_low = code.exact_product(s, s)
    z_low = code.fma(s + s, s_low, z_low)
    factor, factor_low = code.fast_two_sum(
        code.constant(TWO_THIRDS, "double"), z * code.polynomial(POW_P, z)
    )
    factor_low = factor_low + TWO_THIRDS_LOW
    cube, cube_low = code.exact_product(s, z)
    cube_low = code.fma(s, z_low, code.fma(s_low, z, cube_low))
    high, low = code.exact_product(cube, factor)
    return high, code.fma(cube, factor_low, code.fma(cube_low, factor, low))


def is_integer(code: Code, magnitude: Term) -> Term:
    """Whether a number >= 0 is an integer: adding 2^52 rounds it to one."""
    bounded = code.minimum(2.0**52, magnitude)
    return code.compare("oeq", (bounded + 2.0**52) - 2.0**52, bounded)


def pow_(code: Code, x: Term, y: Term) -> Term:
    """x^y with the special cases of C99 (annex F.9.4.4)."""
    log_high, log_low = log_pair(code, code.fabs(x))
    bounded = code.minimum(2.0**70, code.maximum(-(2.0**70), y))
    high, low = code.exact_product(bounded, log_high)
    low = code.fma(bounded, log_low, low)
    low = code.select(code.fabs(high) < 1000.0, low, 0.0)
    return with_sign(code, x, y, exp_of_sum(code, high, low))


def with_sign(code: Code, x: Term, y: Term, magnitude: Term) -> Term:
    """|x|^y signed: odd powers keep the sign of x, a negative x needs an integer; x^0 = 1^y = 1."""
    y_size = code.fabs(y)
    whole, half_whole = is_integer(code, y_size), is_integer(code, y_size * 0.5)
    sign = code.bits(x) & (-1 << 63)
    odd = code.select(whole, code.select(half_whole, code.constant(0, "i64"), sign), 0)
    signed = code.from_bits(code.bits(magnitude) | odd)
    below = (x < 0.0) & (x > -math.inf)
    undefined = below & code.compare("eq", code.select(whole, code.constant(1, "i64"), 0), 0)
    result = code.select(undefined, math.nan, signed)
    one = code.compare("oeq", x, 1.0) | code.compare("oeq", y, 0.0)
    return code.select(one, 1.0, result)
