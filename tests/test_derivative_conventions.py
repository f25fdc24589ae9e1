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


def _units(x: Any) -> list[Any]:
    """The unit tangents of an array."""
    return list(np.eye(x.size).reshape(x.size, *x.shape))
