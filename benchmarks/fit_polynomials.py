"""Remake the polynomial coefficients of the vector mathematics: `python
benchmarks/fit_polynomials.py`.

Method: Remez's exchange in 60 digits. On n + 2 points the polynomial p of degree n is solved from
w(x) (f(x) - p(x)) = +-E with alternating sign; the points move to the extrema of the weighted error
until it is level; the coefficients are rounded to doubles. Each table prints as a Python tuple,
lowest power first, with log2 of the largest weighted error, and whether `gradc.codegen` has these
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gradc.codegen import math_short
from gradc.codegen.math_atan import ATAN_A
from gradc.codegen.math_erf import ERF_E, ERF_E_F32, ERFCX_R, ERFCX_R_F32
from gradc.codegen.math_exp import EXP_P, EXP_P_F32
from gradc.codegen.math_log import LOG_L, LOG_L_F32
from gradc.codegen.math_pow import CUBE_P_F32, POW_P
from gradc.codegen.math_trig import COS_C, SIN_S
from mpmath import MPContext

mp = MPContext()
mp.dps = 60
mpf = mp.mpf
Number = Any  # a number of mpmath
RealFunction = Callable[[Number], Number]
GRID = 300  # points on which the weighted error is looked at


@dataclass(frozen=True, slots=True)
class Fit:
    """A polynomial near `function` on [low, high], the error weighted by `weight`; `table`: the
    numbers in use.
    """

    name: str
    table: tuple[float, ...]
    function: RealFunction
    low: Number
    high: Number
    weight: RealFunction

    @property
    def degree(self) -> int:
        return len(self.table) - 1


def solve_reference(fit: Fit, points: list[Number]) -> list[Number]:
    """The coefficients for which the weighted error alternates with equal size on `points`."""
    n = fit.degree
    matrix, right = mp.matrix(n + 2, n + 2), mp.matrix(n + 2, 1)
    for row, x in enumerate(points):
        power = mpf(1)
        for column in range(n + 1):
            matrix[row, column] = power
            power *= x
        matrix[row, n + 1] = (-1) ** row / fit.weight(x)
        right[row] = fit.function(x)
    return list(mp.lu_solve(matrix, right))[: n + 1]


def extrema(samples: list[tuple[mpf, Number]], count: int) -> list[Number]:
    """`count` neighbouring points where the error alternates in sign and is largest."""
    peaks: list[tuple[mpf, Number]] = []
    for x, error in samples:
        if peaks and (error > 0) == (peaks[-1][1] > 0):
            if abs(error) > abs(peaks[-1][1]):
                peaks[-1] = (x, error)
        else:
            peaks.append((x, error))
    while len(peaks) > count:
        peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
    return [x for x, _ in peaks]


def remez(fit: Fit) -> tuple[list[Number], Number]:
    """Coefficients, lowest power first, and the largest weighted error on the grid."""
    middle, half = (fit.high + fit.low) / 2, (fit.high - fit.low) / 2
    grid = [middle - half * mp.cos(mp.pi * i / GRID) for i in range(GRID + 1)]
    values = [(x, fit.function(x), fit.weight(x)) for x in grid]
    count = fit.degree + 2
    points = [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    best: tuple[list[Number], Number] = ([], mp.inf)
    for _ in range(12):
        coefficients = solve_reference(fit, points)
        errors = [(x, w * (f - mp.polyval(coefficients[::-1], x))) for x, f, w in values]
        worst = max(abs(e) for _, e in errors)
        if worst < best[1]:
            best = (coefficients, worst)
        points = extrema(errors, count)
        if len(points) < count:
            break
    return best


def series(closed: RealFunction, order: int, at_zero: Number) -> RealFunction:
    """z -> closed(s) / s^order at s = sqrt z, `at_zero` near 0."""

    def value(z: Number) -> Number:
        s = mp.sqrt(z)
        return closed(s) / s**order if z > mpf(10) ** -9 else at_zero

    return value


def exp_rest(r: Number) -> Number:
    """(e^r - 1 - r) / r^2"""
    return (mp.expm1(r) - r) / r**2 if abs(r) > mpf(10) ** -9 else mpf(1) / 2


def erf_place(t: Number) -> Number:
    """x for t = (x - 1) / (x + 2.5)"""
    return (1 + mpf("2.5") * t) / (1 - t)


HALF_LN2 = mp.log(2) / 2 * mpf("1.0005")
LARGEST_S = mpf("0.17158") ** 2  # s = f / (2 + f) at f = sqrt 2 - 1, squared
QUARTER_PI = (mp.pi / 4 * mpf("1.001")) ** 2
EIGHTH_TURN = (mp.sqrt(2) - 1) ** 2 * mpf("1.001")
# The weight of a term makes the error that of the whole function; a small summand keeps it off 0.
FITS = (
    Fit("EXP_P", EXP_P, exp_rest, -HALF_LN2, HALF_LN2, lambda r: abs(r) + mpf("1e-3")),
    Fit(
        "LOG_L",
        LOG_L,
        series(lambda s: 2 * mp.atanh(s) - 2 * s, 3, mpf(2) / 3),
        mpf(0),
        LARGEST_S,
        lambda z: z / 2 + mpf("1e-4"),
    ),
    Fit(
        "POW_P",
        POW_P,
        series(lambda s: 2 * mp.atanh(s) - 2 * s - s**3 * 2 / 3, 5, mpf(2) / 5),
        mpf(0),
        LARGEST_S,
        lambda z: z**2 / 2 + mpf("1e-5"),
    ),
    Fit(
        "SIN_S",
        SIN_S,
        series(lambda s: mp.sin(s) - s, 3, -mpf(1) / 6),
        mpf(0),
        QUARTER_PI,
        lambda z: z + mpf("1e-3"),
    ),
    Fit(
        "COS_C",
        COS_C,
        series(lambda s: mp.cos(s) - 1 + s * s / 2, 4, mpf(1) / 24),
        mpf(0),
        QUARTER_PI,
        lambda z: z**2 + mpf("1e-3"),
    ),
    Fit(
        "ATAN_A",
        ATAN_A,
        series(lambda s: mp.atan(s) - s, 3, -mpf(1) / 3),
        mpf(0),
        EIGHTH_TURN,
        lambda z: z + mpf("1e-3"),
    ),
    Fit(
        "ERF_E",
        ERF_E,
        series(lambda s: mp.erf(s) - s, 1, 2 / mp.sqrt(mp.pi) - 1),
        mpf(0),
        mpf(1),
        lambda z: mpf(1),
    ),
    Fit(
        "ERFCX_R",
        ERFCX_R,
        lambda t: mp.exp(erf_place(t) ** 2) * mp.erfc(erf_place(t)),
        mpf(0),
        mpf(5) / mpf("8.5"),
        lambda t: mp.exp(-(erf_place(t) ** 2)) / mp.erf(erf_place(t)) + mpf(10) ** -18,
    ),
)


def short(name: str, table: tuple[float, ...], like: str, **changes: Any) -> Fit:
    """The fit of an f32 function: the same term by a shorter polynomial."""
    (fit,) = (fit for fit in FITS if fit.name == like)
    return replace(fit, name=name, table=table, **changes)


SHORT_FITS = (
    short("EXP_P_F32", EXP_P_F32, "EXP_P"),
    short("LOG_L_F32", LOG_L_F32, "LOG_L"),
    short("ERF_E_F32", ERF_E_F32, "ERF_E"),
    short(
        "ERFCX_R_F32",
        ERFCX_R_F32,
        "ERFCX_R",
        high=mpf(3) / mpf("6.5"),
        weight=lambda t: mp.exp(-(erf_place(t) ** 2)) / mp.erf(erf_place(t)) + mpf(10) ** -9,
    ),
    short("CUBE_P_F32", CUBE_P_F32, "LOG_L"),
    short("SIN_SHORT", math_short.SIN_SHORT, "SIN_S"),
    short("COS_SHORT", math_short.COS_SHORT, "COS_C"),
    short("ATAN_SHORT", math_short.ATAN_SHORT, "ATAN_A"),
)


def main() -> None:
    for fit in (*FITS, *SHORT_FITS):
        coefficients, worst = remez(fit)
        found = tuple(float(c) for c in coefficients)
        near = all(abs(a - b) <= 1e-12 * abs(b) for a, b in zip(found, fit.table, strict=True))
        same = "the same numbers" if found == fit.table else "near" if near else "OTHER NUMBERS"
        print(f"{fit.name} = (  # 2^{mp.nstr(mp.log(worst, 2), 4)}; in gradc.codegen: {same}")
        print("".join(f"    {c!r},\n" for c in found) + ")")


if __name__ == "__main__":
    main()
