"""log, log1p, softplus: x = 2^k m, sqrt(1/2) <= m < sqrt 2, f = m - 1, s = f / (2 + f), log m = 2
atanh s.

2 atanh s = 2 s + s^3 L(s^2), written as f - (f^2/2 - s (f^2/2 + s^2 L)), which keeps f exact
(the form of W. Kahan's and K. C. Ng's libraries). L is minimax on s^2 <= 0.0295.
"""

from __future__ import annotations

import math

from gradc.codegen.math_exp import EXPONENTIALS, exp_of_negative, sigmoid_from
from gradc.codegen.math_ir import Code, Term

LOG_L = (
    0.6666666666666726,
    0.3999999999945841,
    0.2857142873406533,
    0.22222199330881925,
    0.18183528579399957,
    0.15314893948149247,
    0.14788078054248152,
)
LOG_L_F32 = (
    0.6666677412727635,
    0.3997776030518868,
    0.2986678526337135,
)
SQRT_2 = 1.4142135623730951
# A number of bits near those of sqrt(1/2): x is taken to pieces there.
SQRT_HALF_BITS = {"i64": 0x3FE6A09E00000000, "i32": 0x3F3504F3}


def split_power(code: Code, x: Term) -> tuple[Term, Term, Term]:
    """(k, m, lifted): x = 2^k m with sqrt(1/2) <= m < sqrt 2, for positive normal x; above the
    digits of `lifted` stands k + lift.
    """
    kind, digits, lift = x.format.integer, x.format.digits, _lift(x)
    lifted = code.bits(x) - (SQRT_HALF_BITS[kind] - (lift << digits))
    # The low bits of a float of this size are k + lift.
    float_of_size = x.format.bias + digits << digits
    k = code.from_bits(lifted >> digits | float_of_size) - (2.0**digits + lift)
    return k, code.from_bits((lifted & (1 << digits) - 1) + SQRT_HALF_BITS[kind]), lifted


def _lift(x: Term) -> int:
    """What makes the exponent of an x positive."""
    return x.format.bias + 1


def log_sum(code: Code, k: Term, f: Term, f_low: Term | None) -> Term:
    """k ln 2 + log(1 + f), plus f_low, a last small summand."""
    ln2 = EXPONENTIALS[f.element]
    s = f / (f + 2.0)
    z = s * s
    half_square = (0.5 * f) * f
    terms = LOG_L if f.element == "double" else LOG_L_F32
    inner = s * code.fma(z, code.polynomial(terms, z), half_square)
    low = code.fma(k, ln2.ln2_low, inner)
    if f_low is not None:
        low = low + f_low
    return code.fma(k, ln2.ln2_high, f - (half_square - low))


def log(code: Code, x: Term) -> Term:
    """log x; a subnormal x is first multiplied by a power of 2."""
    digits = x.format.digits + 2
    tiny = x < x.format.smallest
    k, m, _ = split_power(code, code.select(tiny, x * 2.0**digits, x))
    k = k - code.select(tiny, code.constant(digits, x.element), 0.0)
    return log_specials(code, x, log_sum(code, k, m - 1.0, None))


def log_specials(code: Code, x: Term, result: Term) -> Term:
    """log at 0 (-inf), below (NaN), at inf and NaN."""
    result = code.select(code.compare("ult", x, math.inf), result, x)
    special = code.select(
        code.compare("oeq", x, 0.0), code.constant(-math.inf, x.element), math.nan
    )
    return code.select(code.compare("ule", x, 0.0), special, result)


def log1p_core(code: Code, x: Term) -> Term:
    """log(1 + x) for finite x > -1: what rounding 1 + x to u = 2^k m misses joins f = m - 1.

    Beyond 2^53 the rest is not the rounding error, but still below an ULP of u.
    """
    digits = x.format.digits
    u, u_low = code.fast_two_sum(code.constant(1.0, x.element), x)
    k, m, lifted = split_power(code, u)
    # Half of 2^(1 - k), which is 0 for the largest k.
    bits_of_2 = code.constant(x.format.bias + 1 << digits, x.format.integer)
    lift = _lift(x) << digits
    scale = code.from_bits(bits_of_2 - ((lifted & (-1 << digits)) - lift))
    f, f_low = code.fast_two_sum(m - 1.0, 0.5 * u_low * scale)
    return log_sum(code, k, f, f_low)


def log1p(code: Code, x: Term) -> Term:
    """log(1 + x)"""
    return log1p_specials(code, x, log1p_core(code, x))


def log1p_specials(code: Code, x: Term, result: Term) -> Term:
    """log1p near 0 (x, with its sign), at -1 (-inf), below (NaN), at inf and NaN."""
    ordinary = (x < math.inf) & (code.fabs(x) > x.format.half_last)
    result = code.select(ordinary, result, x)
    at_end = code.select(x < -1.0, math.nan, code.constant(-math.inf, x.element))
    return code.select(x <= -1.0, at_end, result)


def softplus(code: Code, x: Term) -> Term:
    return softplus_from(code, x, *exp_of_negative(code, -code.fabs(x)))


def softplus_sigmoid(code: Code, x: Term) -> tuple[Term, Term]:
    """Both from one exponential, with the bits of each alone."""
    e, e_low = exp_of_negative(code, -code.fabs(x))
    return softplus_from(code, x, e, e_low), sigmoid_from(code, x, e)


def softplus_from(code: Code, x: Term, e: Term, e_low: Term) -> Term:
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|), without overflow, given e^-|x|."""
    return code.maximum(0.0, x) + log1p_of_unit(code, e, e_low)


def log1p_of_unit(code: Code, x: Term, x_low: Term) -> Term:
    """log(1 + x + x_low) for 0 <= x <= 1: k is 0 or 1."""
    u, u_low = code.fast_two_sum(code.constant(1.0, x.element), x)
    u_low = u_low + x_low
    above = u > SQRT_2
    m, rest = code.select(above, u * 0.5, u), code.select(above, u_low * 0.5, u_low)
    k = code.select(above, code.constant(1.0, x.element), 0.0)
    f, f_low = code.fast_two_sum(m - 1.0, rest)
    return log_sum(code, k, f, f_low)
