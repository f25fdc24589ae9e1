"""What a `where` cuts stays cut in both directions, whatever lies below or above it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import Tensor
from gradc.ir.evaluate import evaluate
from gradc.ir.passes.pipeline import optimize
from gradc.tracing import make_function
from native import native

Expression = Callable[..., Tensor]
nan, inf = np.nan, np.inf
TABLE = np.array([0, 1, 1])

# expression of (x, y); the point; d/dx and d/dy of its sum. An infinite partial derivative lies
# below the `where` (reverse mode is at risk) or above it (forward mode is).
CASES: tuple[tuple[str, Expression, float, float, list[float]], ...] = (
    ("below", lambda x, y: gt.where(x > 0, gt.sqrt(x), y), 0.0, 2.0, [0.0, 1.0]),
    (
        "above",
        lambda x, y: gt.log(gt.where(x > -1, x, gt.arctan2(y, y))),
        0.0,
        0.0,
        [inf, 0.0],
    ),
    (
        "both",
        lambda x, y: gt.log(gt.where(x > -1, x, gt.sqrt(y))) * gt.where(x > 0, gt.log(y), 1.0),
        0.0,
        0.0,
        [inf, 0.0],
    ),
    ("maximum", lambda x, y: gt.sqrt(gt.maximum(x, y)), 0.0, -1.0, [inf, 0.0]),
    ("nested", lambda x, y: gt.log(gt.where(x < 1, x, gt.where(y < 1, y, x))), 0.0, 0.0, [inf, 0]),
    ("sum", lambda x, y: gt.log(gt.where(x < 1, x, y) + 2.0 * x), 0.0, 3.0, [inf, 0.0]),
    ("product", lambda x, y: gt.sqrt(gt.where(x < 1, 1.0, y) * x), 0.0, 3.0, [inf, 0.0]),
    ("quotient", lambda x, y: 1.0 / gt.where(x < 1, x, y), 0.0, 3.0, [-inf, 0.0]),
    ("power", lambda x, y: gt.where(x < 1, x, y) ** 0.5, 0.0, 3.0, [inf, 0.0]),
    ("clip", lambda x, y: gt.sqrt(gt.clip(y, 0.0, 1.0)) + x, 5.0, -3.0, [1.0, 0.0]),
    ("scaled", lambda x, y: gt.log(gradc.grad_scale(gt.where(x < 1, x, y), 3.0)), 0, 3, [inf, 0]),
)

# An entry-by-entry choice, a move of its entries, and a function with an infinite derivative.
MOVES: tuple[tuple[str, Expression], ...] = (
    ("transpose", lambda x: x.T),
    ("reshape", lambda x: x.reshape(-1)),
    ("flip", lambda x: gt.flip(x)),
    ("slice", lambda x: x[:, 1:]),
    ("take", lambda x: x[TABLE]),
    ("broadcast", lambda x: gt.broadcast_to(x[None], (2, 2, 3))),
    ("concat", lambda x: gt.concat([x, x * 0.0], 0)),
    ("pad", lambda x: gt.pad(x, 1)),
    ("sum", lambda x: gt.sum(x, 0)),
    ("sum of all", lambda x: gt.sum(x)),
    ("matrix product", lambda x: x @ np.ones((3, 2))),
    ("outer product", lambda x: gt.outer(np.ones(2), x[0])),
    ("set", lambda x: gt.zeros((2, 3)).at[0].set(x[1])),
    ("add", lambda x: gt.zeros((2, 3)).at[[0, 0]].add(x)),
)


def both_ways(cost: Tensor, inputs: list[Tensor], *point: Any) -> tuple[list[Any], list[Any]]:
    """The derivative by each input, by reverse mode and by unit tangents in forward mode."""
    made = make_function(inputs, gradc.grad(cost, inputs), "reverse")
    reverse = evaluate(made, *point)
    optimized = optimize(made, check=True)
    for again in (evaluate(optimized, *point), native(optimized)(*point)):
        for a, b in zip(again, reverse, strict=True):
            np.testing.assert_array_equal(a, b)
    forward = []
    for x, at in zip(inputs, point, strict=True):
        tangent = gt.tensor("t", x.dtype, x.shape)
        pushed = gradc.pushforward(cost, x, tangent)
        fn = make_function([*inputs, tangent], [pushed], "forward")
        units = np.eye(at.size).reshape(at.size, *at.shape)
        found = [evaluate(fn, *point, unit)[0] for unit in units]
        forward.append(np.reshape(found, at.shape))
    return list(reverse), forward


@pytest.mark.parametrize(
    ("expression", "x0", "y0", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_scalars(expression: Expression, x0: float, y0: float, expected: list[float]) -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    cost = expression(x, y)
    reverse, forward = both_ways(cost, [x, y], np.array(float(x0)), np.array(float(y0)))
    np.testing.assert_array_equal(reverse, expected)
    np.testing.assert_array_equal(forward, expected)


@pytest.mark.parametrize("above", [False, True], ids=["below", "above"])
@pytest.mark.parametrize(("name", "move"), MOVES, ids=[name for name, _ in MOVES])
def test_masks_travel_through_moves(name: str, move: Expression, above: bool) -> None:
    """y is taken nowhere, and sqrt has an infinite derivative at 0: d/dy is zero, never nan."""
    x, y = gt.tensor("x", shape=(2, 3)), gt.tensor("y", shape=(2, 3))
    if above:
        cost = gt.sum(gt.sqrt(move(gt.where(x < 1, 0.0, y))))
    else:
        moved = move(gt.sqrt(y))
        cost = gt.sum(gt.where(move(x) > 1, moved, 0.0))
    point = np.zeros((2, 3)), np.zeros((2, 3))
    (reverse,), (forward,) = (
        found[1:] for found in both_ways(cost + 0.0 * gt.sum(x), [x, y], *point)
    )
    np.testing.assert_array_equal(reverse, np.zeros((2, 3)))
    np.testing.assert_array_equal(forward, np.zeros((2, 3)))


def test_masks_at_second_order() -> None:
    """The Hessian of sum(where(x > 0, x**1.5, 0)): 0.75 / sqrt(x) where x > 0, else 0."""
    x = gt.tensor("x", shape=(3,))
    hessian = gradc.hessian(gt.sum(gt.where(x > 0, x**1.5, 0.0)), x)
    (found,) = evaluate(make_function([x], [hessian], "h"), np.array([0.0, 1.0, 4.0]))
    np.testing.assert_allclose(found, np.diag([0.0, 0.75, 0.375]), rtol=1e-14)


def test_a_tangent_of_both_branches_is_the_taken_one() -> None:
    x = gt.tensor("x", shape=(2,))
    chosen = gt.where(x > 0, x * x, gt.sqrt(-x))
    tangent = gradc.pushforward(chosen, x, gt.ones_like(x))
    (found,) = evaluate(make_function([x], [tangent], "f"), np.array([3.0, -4.0]))
    np.testing.assert_array_equal(found, [6.0, -0.25])
