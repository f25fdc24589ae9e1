"""erf: x + x E(x^2) for |x| < 1, 1 - exp(-x^2) R(t) beyond, t = (|x| - 1) / (|x| + 2).

E is minimax for the relative error of erf, R (near exp(x^2) erfc(x) on [1, 6]) for the absolute
one. The exponential is that of the derivative, so whoever has it passes it on.
"""

from __future__ import annotations

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


ERF_E_F32 = (
    0.1283791659139839,
    -0.3761262713503077,
    0.11283600165828474,
    -0.026854444202604705,
    0.0051895346586251,
    -0.0008020835570813898,
    7.889101034357745e-05,
)
ERFCX_R_F32 = (
    0.42758357974808264,
    -0.9562433322719598,
    0.9348771663547262,
    -0.5721991444520144,
    0.17351556166535298,
)
TERMS = {"double": (ERF_E, ERFCX_R), "float": (ERF_E_F32, ERFCX_R_F32)}


def erf_from(code: Code, x: Term, e: Term) -> Term:
    """erf x, given e = exp(-x^2) as the product and `exp` round it; 1 from |x| = 5.93 on."""
    small, large = TERMS[x.element]
    magnitude = code.minimum(6.0, code.fabs(x))
    near = code.fma(x, code.polynomial(small, magnitude * magnitude), x)
    t = (magnitude - 1.0) / (magnitude + 2.5)
    far = code.product_difference(code.constant(1.0, x.element), e, code.polynomial(large, t))
    return code.select(magnitude < 1.0, near, code.copysign(far, x))
