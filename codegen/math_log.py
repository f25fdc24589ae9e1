"""log, log1p, softplus: x = 2^k m, sqrt(1/2) <= m < sqrt 2, f = m - 1, s = f / (2 + f), log m = 2
atanh s.

2 atanh s = 2 s + s^3 L(s^2), written as f - (f^2/2 - s (f^2/2 + s^2 L)), which keeps f exact
(the form of W. Kahan's and K. C. Ng's libraries). L is minimax on s^2 <= 0.0295.
"""

from __future__ import annotations

import math

from gradc.codegen.math_exp import LN2_HIGH, LN2_LOW, exp_of_negative
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
SQRT_HALF_BITS = 0x3FE6A09E00000000
SQRT_2 = 1.4142135623730951
ONE_BITS = 0x3FF0000000000000
TWO_52_BITS = 0x4330000000000000
LIFT = 1024 << 52  # makes exponents positive: the low bits of the double 2^52 + k + 1024


def split_power(code: Code, x: Term) -> tuple[Term, Term, Term]:
    """(k, m, (k + 1024) * 2^52 and lower bits): x = 2^k m with sqrt(1/2) <= m < sqrt 2, for
    positive normal x.
    """
    lifted = code.bits(x) - (SQRT_HALF_BITS - LIFT)
    k = code.from_bits(lifted >> 52 | TWO_52_BITS) - (2.0**52 + 1024.0)
    m = code.from_bits((lifted & (1 << 52) - 1) + SQRT_HALF_BITS)
    return k, m, lifted


def log_sum(code: Code, k: Term, f: Term, f_low: Term | None) -> Term:
    """k ln 2 + log(1 + f), plus f_low, a last small summand."""
    s = f / (f + 2.0)
    z = s * s
    half_square = (0.5 * f) * f
    inner = s * code.fma(z, code.polynomial(LOG_L, z), half_square)
    low = code.fma(k, LN2_LOW, inner)
    if f_low is not None:
        low = low + f_low
    return code.fma(k, LN2_HIGH, f - (half_square - low))


def log(code: Code, x: Term) -> Term:
    """log x; a subnormal x is first multiplied by 2^54."""
    tiny = x < 2.0**-1022
    normal = code.select(tiny, x * 2.0**54, x)
    k, m, _ = split_power(code, normal)
    k = k - code.select(tiny, code.constant(54.0, "double"), 0.0)
    return log_specials(code, x, log_sum(code, k, m - 1.0, None))


def log_specials(code: Code, x: Term, result: Term) -> Term:
    """log at 0 (-inf), below (NaN), at inf and NaN."""
    result = code.select(code.compare("ult", x, math.inf), result, x)
    special = code.select(code.compare("oeq", x, 0.0), code.constant(-math.inf, "double"), math.nan)
    return code.select(code.compare("ule", x, 0.0), special, result)


def log1p_core(code: Code, x: Term) -> Term:
    """log(1 + x) for finite x > -1: what rounding 1 + x to u = 2^k m misses joins f = m - 1.

    Beyond 2^53 the rest is not the rounding error, but still below an ULP of u.
    """
    u, u_low = code.fast_two_sum(code.constant(1.0, "double"), x)
    k, m, lifted = split_power(code, u)
    scale = code.from_bits(code.constant(ONE_BITS + LIFT, "i64") - (lifted & (-1 << 52)))
    f, f_low = code.fast_two_sum(m - 1.0, u_low * scale)
    return log_sum(code, k, f, f_low)


def log1p(code: Code, x: Term) -> Term:
    """log(1 + x)"""
    return log1p_specials(code, x, log1p_core(code, x))


def log1p_specials(code: Code, x: Term, result: Term) -> Term:
    """log1p near 0 (x, with its sign), at -1 (-inf), below (NaN), at inf and NaN."""
    ordinary = (x < math.inf) & (code.fabs(x) > 2.0**-54)
    result = code.select(ordinary, result, x)
    at_end = code.select(x < -1.0, math.nan, code.constant(-math.inf, "double"))
    return code.select(x <= -1.0, at_end, result)


def softplus(code: Code, x: Term) -> Term:
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|), without overflow."""
    e, e_low = exp_of_negative(code, -code.fabs(x))
    return code.maximum(0.0, x) + log1p_of_unit(code, e, e_low)


def log1p_of_unit(code: Code, x: Term, x_low: Term) -> Term:
    """log(1 + x + x_low) for 0 <= x <= 1: k is 0 or 1."""
    u, u_low = code.fast_two_sum(code.constant(1.0, "double"), x)
    u_low = u_low + x_low
    above = u > SQRT_2
    m, rest = code.select(above, u * 0.5, u), code.select(above, u_low * 0.5, u_low)
    k = code.select(above, code.constant(1.0, "double"), 0.0)
    f, f_low = code.fast_two_sum(m - 1.0, rest)
    return log_sum(code, k, f, f_low)
