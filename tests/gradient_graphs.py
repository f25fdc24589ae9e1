"""Values of graphs, for the tests of the gradient statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradc
import gradc.tensor as gt
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


def both(cost: Tensor, x: Tensor, point: Array) -> list[Array]:
    """The gradient by reverse mode, and by forward mode one entry at a time."""
    t = gt.tensor("t", shape=x.shape)
    pushed = gradc.pushforward(cost, x, t)
    units = np.eye(point.size).reshape(point.size, *point.shape)
    forward = [at({x: point, t: unit}, pushed) for unit in units]
    return [at({x: point}, gradc.grad(cost, x)), np.reshape(forward, point.shape)]


def equal(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-13)
