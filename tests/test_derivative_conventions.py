"""Every row of docs/derivative_conventions.md: both modes, evaluated and compiled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, function
from gradc.ir.passes.pipeline import optimize
from native import native

PAGE = Path(__file__).parent.parent / "docs" / "derivative_conventions.md"
NUMBERS = {"nan": np.nan, "inf": np.inf, "dict": dict}
NAMES = {**vars(gt), "i64": gradc.i64, "f64": gradc.f64}


def rows() -> list[Any]:
    found = re.findall(r"^\| `(.+)` \| `(.+)` \| `(.+)` \|$", PAGE.read_text(), re.MULTILINE)
    return [pytest.param(*row, id=f"{row[0]} at {row[1]}") for row in found]


def numbers(text: str) -> list[Any]:
    return [np.array(value, "f8") for value in eval(f"[{text}]", NUMBERS)]


def in_all_ways(fn: Function, arrays: list[Any]) -> list[Any]:
    """The results evaluated, evaluated after optimization, and compiled."""
    optimized = optimize(fn, check=True)
    return [evaluate(fn, *arrays), evaluate(optimized, *arrays), native(optimized)(*arrays)]


def test_the_page_has_rows() -> None:
    assert len(rows()) > 30


@pytest.mark.parametrize(("expression", "at", "derivative"), rows())
def test_row(expression: str, at: str, derivative: str) -> None:
    point = {name: np.array(x, "f8") for name, x in eval(f"dict({at})", NUMBERS).items()}
    inputs = [gt.tensor(name, shape=x.shape, dtype="f64") for name, x in point.items()]
    cost = eval(expression, {**NAMES, **dict(zip(point, inputs, strict=True))})
    wanted, arrays = numbers(derivative), list(point.values())

    pulled = gradc.grad(cost, inputs)
    reverse = function("reverse", [x.value for x in inputs], [g.value for g in pulled])
    for results in in_all_ways(reverse, arrays):
        for actual, expected in zip(results, wanted, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-14)

    for i, x in enumerate(inputs):
        tangent = gt.tensor("tangent", shape=arrays[i].shape, dtype="f64")
        pushed = gradc.pushforward(cost, x, tangent)
        forward = function("forward", [*[x.value for x in inputs], tangent.value], [pushed.value])
        for unit, expected in zip(_units(arrays[i]), wanted[i].flat, strict=True):
            for (actual,) in in_all_ways(forward, [*arrays, unit]):
                np.testing.assert_allclose(actual, expected, rtol=1e-14)


@pytest.mark.parametrize(("expression", "at", "derivative"), rows())
def test_second_order(expression: str, at: str, derivative: str) -> None:
    """Forward over reverse and reverse over reverse agree wherever both are finite.

    Every entry of the Hessian is compared, evaluated and compiled.
    """
    point = {name: np.array(x, "f8") for name, x in eval(f"dict({at})", NUMBERS).items()}
    inputs = [gt.tensor(name, shape=x.shape, dtype="f64") for name, x in point.items()]
    cost = eval(expression, {**NAMES, **dict(zip(point, inputs, strict=True))})
    gradients = gradc.grad(cost, inputs)
    arrays = list(point.values())
    for gradient in gradients:
        for i, x in enumerate(inputs):
            tangent = gt.tensor("tangent", shape=arrays[i].shape, dtype="f64")
            weight = gt.tensor("weight", shape=gradient.shape, dtype="f64")
            pushed = gradc.pushforward(gradient, x, tangent, disconnected_outputs="ignore")
            pulled = gradc.pullback(gradient, x, weight, disconnected_inputs="ignore")
            values = [v.value for v in inputs]
            forward = function("forward", [*values, tangent.value], [pushed.value])
            reverse = function("reverse", [*values, weight.value], [pulled.value])
            columns = _by_units(forward, arrays, arrays[i].shape, gradient.shape)
            rows = _by_units(reverse, arrays, gradient.shape, arrays[i].shape)
            for found in columns:
                np.testing.assert_array_equal(found, columns[0])
            for found in rows:
                np.testing.assert_array_equal(found, rows[0])
            both = np.isfinite(columns[0].T) & np.isfinite(rows[0])
            np.testing.assert_allclose(columns[0].T[both], rows[0][both], rtol=1e-13)


def _by_units(fn: Function, arrays: list[Any], units: Any, result: Any) -> list[Any]:
    """The linear map of fn's last parameter as a matrix [unit, result], in every way to run it."""
    count = int(np.prod(result, dtype=int))
    lines = [in_all_ways(fn, [*arrays, unit]) for unit in _units(np.zeros(units))]
    ways = zip(*lines, strict=True)
    return [np.array([found[0].reshape(count) for found in way]) for way in ways]


def _units(x: Any) -> list[Any]:
    """The unit tangents of an array."""
    return list(np.eye(x.size).reshape(x.size, *x.shape))
