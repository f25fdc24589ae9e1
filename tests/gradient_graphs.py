"""Values of graphs, for the tests of the gradient statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gradc import Tensor
from gradc.ir.evaluate import evaluate
from gradc.ir.verify import verify
from gradc.tracing import make_function

Array = np.ndarray[Any, Any]
Point = Mapping[Tensor, Any]


def at(point: Point, outputs: Tensor | Sequence[Tensor]) -> Any:
    """The outputs' values at a point, by the reference evaluator: an array, or a list of them."""
    several = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    made = make_function(list(point), several, "f")
    verify(made)
    arrays = [np.asarray(value, x.dtype.numpy) for x, value in point.items()]
    found = list(evaluate(made, *arrays))
    return found[0] if isinstance(outputs, Tensor) else found


def slope(f: Callable[[float], float], x: float) -> float:
    """The derivative of a smooth function of a number, by differences of fourth order."""
    h = 1e-3
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


def equal(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-13)
