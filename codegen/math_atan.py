"""atan2: the quotient t of the smaller by the larger magnitude, |t| <= tan(pi/8) after t -> (t -
1)/(t + 1).

atan t = t + t^3 A(t^2), A minimax; the angle is m pi/4 +- atan t. Quotient and sum keep their
rounding errors.
"""

from __future__ import annotations

import math

from gradc.codegen.math_exp import quotient_pair
from gradc.codegen.math_ir import Code, Term

ATAN_A = (
    -0.3333333333333323,
    0.19999999999961338,
    -0.1428571428084489,
    0.11111110811424013,
    -0.09090898468707331,
    0.07692071589465914,
    -0.06663221798922908,
    0.05848677042253989,
    -0.05042592756950224,
    0.038142423359018435,
    -0.01798708659572076,
)
QUARTER_PI_HIGH = float.fromhex("0x1.921fb54442d10p-1")  # 50 bits: times 0 ... 4 it is exact
QUARTER_PI_LOW = float.fromhex("0x8.469898cc51701p-53")
TAN_EIGHTH_PI = 0.41421356237309503


def atan2(code: Code, y: Term, x: Term) -> Term:
    """The angle of (x, y) in [-pi, pi], with C99's special cases (annex F.9.1.4)."""
    smaller, larger, swapped = ordered(code, code.fabs(y), code.fabs(x))
    total, total_low = code.fast_two_sum(larger, smaller)
    difference, difference_low = code.fast_two_sum(-larger, smaller)
    folded = smaller > TAN_EIGHTH_PI * larger
    t, t_low = quotient_pair(
        code,
        code.select(folded, difference, smaller),
        code.select(folded, difference_low, 0.0),
        code.select(folded, total, larger),
        code.select(folded, total_low, 0.0),
    )
    z = t * t
    angle_low = code.fma(t * z, code.polynomial(ATAN_A, z), t_low)
    eighths, sign = octant(code, folded, swapped, x)
    angle, low = code.fast_two_sum(eighths * QUARTER_PI_HIGH, sign * t)
    low = low + code.fma(sign, angle_low, eighths * QUARTER_PI_LOW)
    return atan2_specials(code, y, x, angle + low)


def atan2_specials(code: Code, y: Term, x: Term, angle: Term) -> Term:
    """The angle with the sign of y; NaN where x or y is."""
    return code.select(code.compare("uno", x, y), x + y, code.copysign(angle, y))


def octant(code: Code, folded: Term, swapped: Term, x: Term) -> tuple[Term, Term]:
    """(m, +-1): the angle is m pi/4 +- atan t."""
    one = code.constant(1.0, "double")
    eighths, sign = turned(code, swapped, 2.0, code.select(folded, one, 0.0), one)
    return turned(code, code.compare("slt", code.bits(x), 0), 4.0, eighths, sign)


def turned(code: Code, when: Term, about: float, eighths: Term, sign: Term) -> tuple[Term, Term]:
    """The angle eighths pi/4 + sign a replaced by `about` pi/4 minus it where `when` holds."""
    return code.select(when, about - eighths, eighths), code.select(when, -sign, sign)


def ordered(code: Code, y: Term, x: Term) -> tuple[Term, Term, Term]:
    """(smaller, larger, y is larger), scaled away from over- and underflow, with the quotient of
    0/0 0, of inf/inf 1.
    """
    swapped = y > x
    smaller, larger = code.select(swapped, x, y), code.select(swapped, y, x)
    scale = code.select(larger < 2.0**-700, code.constant(2.0**300, "double"), 1.0)
    scale = code.select(larger > 2.0**900, code.constant(2.0**-200, "double"), scale)
    infinite = code.compare("oeq", larger, math.inf)
    both = code.compare("oeq", smaller, math.inf)
    only_one = code.select(both, code.constant(1.0, "double"), 0.0)
    smaller = code.select(infinite, only_one, smaller * scale)
    larger = code.select(infinite, 1.0, larger * scale)
    return smaller, code.select(code.compare("oeq", larger, 0.0), 1.0, larger), swapped
