"""sin, cos and atan2 of f32, computed in f64 with short polynomials: about 30 bits, rounded once to
24.

The range of f64 contains every result, its subnormal ones too, so nothing needs scaling, and no
rounding error has to be carried. The polynomials stand for the terms of the f64 functions.
"""

from __future__ import annotations

from gradc.codegen.math_atan import TAN_EIGHTH_PI, atan2_specials, octant, ordered
from gradc.codegen.math_ir import Code, Term
from gradc.codegen.math_trig import PI_2_PARTS, TWO_OVER_PI, Turned, correct_large

QUARTER_PI = 0.7853981633974483
SIN_SHORT = (
    -0.16666666641658345,
    0.0083333293816332,
    -0.0001983933201840713,
    2.7182756365147944e-06,
)
COS_SHORT = (0.041666647002242437, -0.0013887371848206869, 2.44387593918911e-05)
ATAN_SHORT = (
    -0.33333332573293334,
    0.1999990904495432,
    -0.14282130209674498,
    0.11046004527165026,
    -0.08482773588242792,
    0.047561718028133707,
)


def sin(code: Code, x: Term) -> Term:
    return turned(code, x).sin(x)


def cos(code: Code, x: Term) -> Term:
    return turned(code, x).cos()


def sin_cos(code: Code, x: Term) -> tuple[Term, Term]:
    both = turned(code, x)
    return both.sin(x), both.cos()


def turned(code: Code, x: Term) -> Turned:
    """sin r and cos r."""
    r, quadrant = reduce_by_half_pi(code, code.fabs(x))
    z = r * r
    odd = code.fma(r * z, code.polynomial(SIN_SHORT, z), r)
    even = code.fma(z * z, code.polynomial(COS_SHORT, z), code.fma(z, -0.5, 1.0))
    return Turned.of(odd, even, quadrant)


def reduce_by_half_pi(code: Code, x: Term) -> tuple[Term, Term]:
    """(r, n): x = n pi/2 + r, two parts of pi/2 for x < 2^28."""
    shifted = code.fma(x, TWO_OVER_PI, x.format.round)
    n = shifted - x.format.round
    high = code.product_difference(x, n, code.constant(PI_2_PARTS[0], "double"))
    r = code.fma(n, -PI_2_PARTS[1], high)
    zero = code.constant(0.0, "double")
    r, _, quadrant = correct_large(code, x, (r, zero, code.bits(shifted)))
    return r, quadrant


def atan2(code: Code, y: Term, x: Term) -> Term:
    """The angle of (x, y) in [-pi, pi]."""
    smaller, larger, swapped = ordered(code, code.fabs(y), code.fabs(x))
    folded = smaller > TAN_EIGHTH_PI * larger
    t = code.select(folded, smaller - larger, smaller) / code.select(
        folded, smaller + larger, larger
    )
    z = t * t
    angle = code.fma(t * z, code.polynomial(ATAN_SHORT, z), t)
    eighths, sign = octant(code, folded, swapped, x)
    return atan2_specials(code, y, x, code.fma(sign, angle, eighths * QUARTER_PI))
