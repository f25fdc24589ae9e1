"""pow: x^y = e^(y log |x|), the logarithm and the product as sums of two doubles (about 2^-64
relative).

log m = 2 s + s^3 (2/3 + s^2 P(s^2)), s = f / (2 + f): s, s^2, s^3 and 2/3 carry their rounding
errors. In f32 only s does, and the logarithm has about 30 bits.
"""

from __future__ import annotations

import math

from gradc.codegen.math_exp import EXPONENTIALS, exp_of_sum, quotient_pair
from gradc.codegen.math_ir import WIDTHS, Code, Term
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
CUBE_P_F32 = (
    0.6666666568450376,
    0.40000328344799063,
    0.2853767061069193,
    0.23576191485945125,
)
LARGEST = {"double": 2.0**70, "float": 2.0**40}  # beyond it, powers are 0, 1 or infinity
TWO_THIRDS = 0.6666666666666666
TWO_THIRDS_LOW = 3.700743415417188e-17


def log_pair(code: Code, x: Term) -> tuple[Term, Term]:
    """(high, low): log x for finite x > 0."""
    ln2, digits = EXPONENTIALS[x.element], x.format.digits + 2
    tiny = x < x.format.smallest
    k, m, _ = split_power(code, code.select(tiny, x * 2.0**digits, x))
    k = k - code.select(tiny, code.constant(digits, x.element), 0.0)
    f = m - 1.0
    s, s_low = quotient_pair(code, f, None, *code.fast_two_sum(code.constant(2.0, x.element), f))
    cube, rest = (cubed_pair if x.element == "double" else cubed)(code, s, s_low)
    high, low_1 = code.fast_two_sum(k * ln2.ln2_high, s + s)
    high, low_2 = code.fast_two_sum(high, cube)
    return high, (low_1 + low_2) + code.fma(k, ln2.ln2_low, rest)


def cubed(code: Code, s: Term, s_low: Term) -> tuple[Term, Term]:
    """`cubed_pair` for f32: the cube is a hundredth of the logarithm, so good to 30 bits of it."""
    z = s * s
    return s * z * code.polynomial(CUBE_P_F32, z), s_low + s_low


def cubed_pair(code: Code, s: Term, s_low: Term) -> tuple[Term, Term]:
    """(high, low): s^3 (2/3 + s^2 P(s^2)) at s + s_low, and 2 s_low."""
    z, z_low = code.exact_product(s, s)
    z_low = code.fma(s + s, s_low, z_low)
    factor, factor_low = code.fast_two_sum(
        code.constant(TWO_THIRDS, "double"), z * code.polynomial(POW_P, z)
    )
    factor_low = factor_low + TWO_THIRDS_LOW
    cube, cube_low = code.exact_product(s, z)
    cube_low = code.fma(s, z_low, code.fma(s_low, z, cube_low))
    high, low = code.exact_product(cube, factor)
    low = code.fma(cube, factor_low, code.fma(cube_low, factor, low))
    return high, (s_low + s_low) + low


def is_integer(code: Code, magnitude: Term) -> Term:
    """Whether a number >= 0 is an integer: adding 2^52 (of f64) rounds it to one."""
    last = 2.0**magnitude.format.digits
    bounded = code.minimum(last, magnitude)
    return code.compare("oeq", (bounded + last) - last, bounded)


def pow_(code: Code, x: Term, y: Term) -> Term:
    return power(code, x, y, log_pair(code, code.fabs(x)))


def pow_pow(code: Code, x: Term, y: Term, z: Term) -> tuple[Term, Term]:
    """x^y and x^z from one logarithm, with the bits of each alone."""
    logarithm = log_pair(code, code.fabs(x))
    return power(code, x, y, logarithm), power(code, x, z, logarithm)


def power(code: Code, x: Term, y: Term, logarithm: tuple[Term, Term]) -> Term:
    """x^y, behind a branch that is taken if a lane is not an ordinary power of a finite x > 0."""
    (log_high, log_low), largest = logarithm, LARGEST[x.element]
    bounded = code.minimum(largest, code.maximum(-largest, y))
    high, low = code.exact_product(bounded, log_high)
    low = code.minimum(1.0, code.maximum(-1.0, code.fma(bounded, log_low, low)))
    magnitude = exp_of_sum(code, high, low)
    special = code.compare("ule", x, 0.0) | code.compare("uge", code.fabs(x) + (y - y), math.inf)
    return code.unless_any(special, magnitude, lambda: specials(code, x, y, magnitude))


def specials(code: Code, x: Term, y: Term, magnitude: Term) -> Term:
    """All cases of C99 (annex F.9.4.4), given |x|^y for finite x other than 0."""
    size = code.fabs(x)
    extreme = code.select(code.compare("oeq", size, 0.0), -math.inf, size) * y
    at_end = code.select(extreme > 0.0, math.inf, code.select(extreme < 0.0, 0.0, extreme))
    ordinary = (size > 0.0) & (size < math.inf)
    return with_sign(code, x, y, code.select(ordinary, magnitude, at_end))


def with_sign(code: Code, x: Term, y: Term, magnitude: Term) -> Term:
    """|x|^y signed: odd powers keep the sign of x, a negative x needs an integer; x^0 = 1^y = 1."""
    y_size, kind = code.fabs(y), x.format.integer
    whole, half_whole = is_integer(code, y_size), is_integer(code, y_size * 0.5)
    sign = code.bits(x) & (-1 << 8 * WIDTHS[kind] - 1)
    odd = code.select(whole, code.select(half_whole, code.constant(0, kind), sign), 0)
    signed = code.from_bits(code.bits(magnitude) | odd)
    below = (x < 0.0) & (x > -math.inf)
    undefined = below & code.compare("eq", code.select(whole, code.constant(1, kind), 0), 0)
    result = code.select(undefined, math.nan, signed)
    one = code.compare("oeq", x, 1.0) | code.compare("oeq", y, 0.0)
    return code.select(one, 1.0, result)
