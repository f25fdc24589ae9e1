"""Cheaper forms of powers, quotients and roots: within the errors that docs/numerics.md states."""

from __future__ import annotations

from collections.abc import Callable

import gradc.tensor as gt
import mpmath
import numpy as np
import pytest
from gradc.driver import function
from gradc.ir.evaluate import evaluate
from gradc.ir.passes.pipeline import optimize
from gradc.tensor.variable import Tensor

# exponent, largest error in units in the last place
POWERS = ((2.0, 0.51), (3.0, 1.5), (4.0, 2.5), (0.5, 0.51), (1.5, 1.5), (-0.5, 1.5))
POWERS += ((-1.0, 0.51), (-2.0, 1.5))


def ordinary(count: int = 800) -> np.ndarray:
    """Positive numbers whose powers are normal numbers."""
    return np.exp(np.random.default_rng(3).uniform(-150, 150, count))


def errors(found: np.ndarray, exact: list[mpmath.mpf]) -> np.ndarray:
    """The errors in units in the last place of the results."""
    pairs = zip(found, np.spacing(np.abs(found)), exact, strict=True)
    found_errors = [abs(mpmath.mpf(float(x)) - y) / mpmath.mpf(float(u)) for x, u, y in pairs]
    return np.array([float(error) for error in found_errors])


@pytest.mark.parametrize(("exponent", "bound"), POWERS)
def test_powers(exponent: float, bound: float) -> None:
    x = gt.vector("x")
    f = function([x], x**exponent)
    assert "pow" not in f.stage("optimized")
    values = ordinary()
    with mpmath.workprec(200):
        exact = [mpmath.mpf(float(v)) ** mpmath.mpf(exponent) for v in values]
        assert errors(f(values), exact).max() <= bound


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, 1.5, -0.5, -1.0, -2.0])
def test_powers_at_the_ends(exponent: float) -> None:
    """Zero, infinity, NaN and negative numbers give what pow gives."""
    x = gt.vector("x")
    points = np.array([0.0, np.inf, np.nan, 1.0, -1.0, -2.5, 1e300, 1e-300])
    with np.errstate(all="ignore"):
        wanted = points**exponent
    np.testing.assert_allclose(function([x], x**exponent)(points), wanted, rtol=4e-16)


@pytest.mark.parametrize("divisor", [2.0, -4.0, 0.125, 2.0**90])
def test_division_by_a_power_of_two_is_exact(divisor: float) -> None:
    x = gt.vector("x")
    f = function([x], x / divisor)
    assert "div" not in f.stage("optimized")
    values = np.concatenate([ordinary(), -ordinary(), [0.0, np.inf, np.nan]])
    np.testing.assert_array_equal(f(values), values / divisor)


@pytest.mark.parametrize("divisor", [3.0, 10.0, 2.0**200])
def test_other_divisions_stay(divisor: float) -> None:
    x = gt.vector("x")
    f = function([x], x / divisor)
    assert "div" in f.stage("optimized")
    np.testing.assert_array_equal(f(ordinary()), ordinary() / divisor)


SQUARES: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("square", lambda x: x * x),
    ("exp", gt.exp),
    ("abs", gt.abs),
)


@pytest.mark.parametrize("inner", [make for _, make in SQUARES], ids=[name for name, _ in SQUARES])
def test_a_squared_root_of_what_is_not_negative(inner: Callable[[Tensor], Tensor]) -> None:
    x = gt.vector("x")
    f = function([x], gt.sqrt(inner(x)) * gt.sqrt(inner(x)))
    assert "sqrt" not in f.stage("optimized")
    values = np.array([-3.0, -0.0, 0.5, 2.0, np.inf, np.nan])
    np.testing.assert_array_equal(f(values), function([x], inner(x))(values))


def test_a_squared_root_of_what_may_be_negative_stays() -> None:
    x = gt.vector("x")
    f = function([x], gt.sqrt(x) * gt.sqrt(x))
    found = f(np.array([4.0, -1.0]))
    assert found[0] == 4.0
    assert np.isnan(found[1])


def test_powers_of_single_precision() -> None:
    x = gt.vector("x", dtype=gt.asarray(np.float32(1)).dtype)
    values = np.exp(np.random.default_rng(3).uniform(-20, 20, 500)).astype(np.float32)
    for exponent, bound in POWERS:
        found = function([x], x**exponent)(values)
        exact = values.astype(float) ** exponent
        assert found.dtype == np.float32
        assert (np.abs(found - exact) / np.spacing(found)).max() <= bound


def test_the_reference_agrees() -> None:
    x = gt.vector("x")
    fn = function([x], [x**1.5, x**-0.5, x**-2.0]).ir
    values = ordinary(50)
    for a, b in zip(evaluate(optimize(fn), values), evaluate(fn, values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
