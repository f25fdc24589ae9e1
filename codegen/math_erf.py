"""erf: x + x E(x^2) for |x| < 1, 1 - exp(-x^2) R(t) beyond, t = (|x| - 1) / (|x| + 2).

E is minimax for the relative error of erf, R (near exp(x^2) erfc(x) on [1, 6]) for the absolute
one. The exponential is that of the derivative, so whoever has it passes it on.
"""

from __future__ import annotations

from gradc.codegen.math_exp import exp
from gradc.codegen.math_ir import Code, Term

ERF_E = (
    0.1283791670955126,
    -0.3761263890318375,
    0.11283791670954885,
    -0.02686617064507789,
    0.005223977624828577,
    -0.0008548326981434284,
    0.00012055331133281978,
    -1.4925595780100056e-05,
    1.646100860492709e-06,
    -1.635039756121271e-07,
    1.466033760728403e-08,
    -1.1374989461747561e-09,
    5.960741139270484e-11,
)
ERFCX_R = (
    0.427583576155807,
    -0.956242051743616,
    0.9348095750571007,
    -0.57099509114508,
    0.16453663764971324,
    0.028471671857983907,
    -0.03027977096713252,
    -0.0039212860011582805,
    0.005778859974175342,
    0.0019731434996538466,
    -0.0017189616338804873,
    -5.260368363287234e-05,
)


def erf(code: Code, x: Term) -> Term:
    """erf x; 1 to the last bit from |x| = 5.93 on."""
    return erf_from(code, x, exp(code, -(x * x)))


def erf_from(code: Code, x: Term, e: Term) -> Term:
    """erf x, given e = exp(-x^2) as the product and `exp` round it."""
    magnitude = code.minimum(6.0, code.fabs(x))
    near = code.fma(x, code.polynomial(ERF_E, magnitude * magnitude), x)
    t = (magnitude - 1.0) / (magnitude + 2.5)
    far = code.product_difference(code.constant(1.0, "double"), e, code.polynomial(ERFCX_R, t))
    return code.select(magnitude < 1.0, near, code.copysign(far, x))
