"""The accuracy of the vector functions in units of the last place, with fma and without.

`python -m pytest -m slow -s tests/accuracy` prints the table of docs/vector_math.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from accuracy.reference import measure, points_of
from gradc.codegen.target import Target, host
from gradc.codegen.vector_math import MATH_NAMES
from gradc.ir.types import DType, f32, f64
from vector_loops import WITHOUT_FMA, native_function

BOUND = 2.0  # ULP
COUNT = 3000  # points a region


@pytest.mark.slow
@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "no-fma"])
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("name", MATH_NAMES)
def test_error_is_small_everywhere(name: str, dtype: DType, target: Target) -> None:
    points = points_of(name, dtype, COUNT)
    errors = measure(name, points, native_function(name, dtype, 8, target)(*points))
    machine = "fma" if target.has_fma else "no fma"
    print(
        f"\n| {name} | {dtype} | {machine} | {errors.largest:.2f} | {errors.mean:.2f} "
        f"| {errors.count} | {errors.worst} |"
    )
    assert errors.largest <= BOUND, f"{name} at {errors.worst}"
    assert np.isfinite(errors.mean)
