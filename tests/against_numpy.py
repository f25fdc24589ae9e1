"""Functions of `gradc.tensor` against NumPy's, through the reference evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradc.tensor as gt
import numpy as np
from gradc.ir.evaluate import evaluate
from gradc.ir.types import dtype_of
from gradc.ir.verify import verify
from gradc.tracing import make_function

Array = np.ndarray[Any, Any]


def run(symbolic: Callable[..., Any], *arrays: Array, sizes: bool = True) -> Array:
    """The value of a symbolic function at arrays, whose axes are symbolic sizes or integers.

    A length of 1 stays an integer, so that it broadcasts.
    """
    inputs = [
        gt.tensor(f"x{i}", dtype_of(a.dtype), [None if sizes and n != 1 else n for n in a.shape])
        for i, a in enumerate(arrays)
    ]
    made = make_function(inputs, [symbolic(*inputs)], "f")
    verify(made)
    (result,) = evaluate(made, *arrays)
    assert result.dtype == made.results[0].dtype.numpy
    return result


def check(symbolic: Callable[..., Any], numpy: Callable[..., Any], *arrays: Array) -> None:
    """The same value, type and shape as NumPy, with integer lengths and with symbolic ones."""
    expected = np.asarray(numpy(*arrays))
    for sizes in (False, True):
        found = run(symbolic, *arrays, sizes=sizes)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6 if found.dtype == "f4" else 1e-12)
