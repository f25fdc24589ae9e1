"""Runs the code of docs/adding_an_op.md: the op made there passes the tests of every op."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_ops
import test_ops_native
from gradc.ir.evaluate import evaluate
from gradc.ir.function import function, parameter
from gradc.ir.types import f32, f64
from native import native
from op_case import Case

PAGE = Path(__file__).parent.parent / "docs" / "adding_an_op.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page's code defines."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize("real", (f64, f32), ids=str)
def test_the_op_of_the_page_passes_the_tests_of_every_op(page: dict[str, Any], real: Any) -> None:
    rows: list[Case] = page["rows"]
    assert len(rows) == 2
    for case in rows:
        test_ops.test_value(case, real)
        test_ops.test_forward_against_differences(case, real)
        test_ops.test_reverse_is_the_adjoint_of_forward(case, real)
        test_ops.test_batch_is_a_loop(case, real)
        test_ops_native.test_native_is_the_reference(case, real)
        test_ops_native.test_optimized_is_the_reference(case, real)
        if case.empty is not None:
            test_ops.test_no_elements(case, real)
    test_ops.test_second_order(rows[0], f64)


def test_the_op_of_the_page_keeps_its_promise(page: dict[str, Any]) -> None:
    """It does not overflow where log(cosh(x)) does."""
    x = parameter(f64["n"], "x")
    fn = function("f", [x], [page["log_cosh"](x)])
    points = np.array([0.0, 1000.0, -1e300, np.inf, np.nan])
    wanted = [0.0, 1000 - np.log(2), 1e300, np.inf, np.nan]
    for (actual,) in (native(fn)(points), evaluate(fn, points)):
        np.testing.assert_allclose(actual, wanted, rtol=1e-15)
