"""erf: x + x E(x^2) for |x| < 1, 1 - exp(Q(|x|)) beyond, Q = log erfc.

E is minimax for the relative, Q (a polynomial on [1, 6]) for the absolute error of erf.
"""

from __future__ import annotations

from gradc.codegen.math_exp import expm1_reduced, power_of_two, reduce_by_ln2
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
LOG_ERFC_Q = (
    -5.030962937853751e-07,
    -1.1283740871010297,
    -0.6366436387201763,
    -0.10270341015452326,
    0.01899012282217207,
    0.00041070630909722275,
    -0.0019160266634003279,
    0.0007707118943900946,
    -0.00013509480740111351,
    -2.0243981597623577e-05,
    2.2813378769648946e-05,
    -8.664287930306639e-06,
    2.1349755480478117e-06,
    -3.7317303520040254e-07,
    4.6405305004139965e-08,
    -3.932618824520022e-09,
    2.0440207622291124e-10,
    -4.926118522570961e-12,
)


def erf(code: Code, x: Term) -> Term:
    """erf x; 1 to the last bit from |x| = 5.93 on."""
    magnitude = code.minimum(6.0, code.fabs(x))
    near = code.fma(x, code.polynomial(ERF_E, magnitude * magnitude), x)
    exponent = code.polynomial(LOG_ERFC_Q, magnitude)
    biased, r, r_low = reduce_by_ln2(code, exponent)
    q, _ = expm1_reduced(code, r, r_low)
    scale = power_of_two(code, biased)
    far = (1.0 - scale) - scale * q
    return code.select(magnitude < 1.0, near, code.copysign(far, x))
