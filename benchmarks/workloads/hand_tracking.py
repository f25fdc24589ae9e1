"""Hand tracking, as in ADBench: points of a skinned hand, and the Jacobian by its 26 parameters.

Parameters: the hand's turn (3) and place (3), then for each finger spread, and three bends. A hand
is a palm and 5 x 3 bones; a point moves with the weighted mean of the bones' motions. Inputs:
theta, points (n, 3), weights (n, 16), offsets of the joints (5, 3, 3), targets (n, 3).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload

PARAMETERS, BONES = 26, 16


def data(sizes: Sizes) -> Arrays:
    (n,) = sizes
    rng = np.random.default_rng(0)
    weights = rng.uniform(size=(n, BONES)) ** 4
    weights /= weights.sum(axis=1, keepdims=True)
    points, offsets = rng.normal(size=(n, 3)), rng.normal(size=(5, 3, 3))
    return rng.normal(size=PARAMETERS) / 3, points, weights, offsets, rng.normal(size=(n, 3))


def residuals(
    xp: Any,
    join: Any,
    number: Any,
    theta: Any,
    points: Any,
    weights: Any,
    offsets: Any,
    targets: Any,
) -> Any:
    """positions - targets, in any array module."""
    c, s = xp.cos(theta), xp.sin(theta)
    zero, one = number(0.0), number(1.0)

    def about_x(i: int) -> Any:
        rows = [one, zero, zero], [zero, c[i], -s[i]], [zero, s[i], c[i]]
        return join([join(row) for row in rows])

    def about_y(i: int) -> Any:
        rows = [c[i], zero, s[i]], [zero, one, zero], [-s[i], zero, c[i]]
        return join([join(row) for row in rows])

    def about_z(i: int) -> Any:
        rows = [c[i], -s[i], zero], [s[i], c[i], zero], [zero, zero, one]
        return join([join(row) for row in rows])

    turns = [join([join([one, zero, zero]), join([zero, one, zero]), join([zero, zero, one])])]
    shifts = [join([zero, zero, zero])]
    for f in range(5):
        first = 6 + 4 * f
        origin = rest = offsets[f, 0]
        turn = about_z(first) @ about_x(first + 1)
        for b in range(3):
            if b:
                origin = origin + turn @ offsets[f, b]
                rest = rest + offsets[f, b]
                turn = turn @ about_x(first + 1 + b)
            turns.append(turn)
            shifts.append(origin - turn @ rest)
    moved = weights @ join(shifts)
    A = (weights @ join(turns).reshape(BONES, 9)).reshape(points.shape[0], 3, 3)
    skinned = (A * points[:, None, :]).sum(2) + moved
    return skinned @ (about_z(2) @ about_y(1) @ about_x(0)).T + theta[3:6] - targets


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt

    theta, offsets = gt.tensor("theta", shape=(PARAMETERS,)), gt.tensor("offsets", shape=(5, 3, 3))
    points, targets = gt.tensor("points", shape=("n", 3)), gt.tensor("targets", shape=("n", 3))
    weights = gt.tensor("weights", shape=("n", BONES))
    inputs = [theta, points, weights, offsets, targets]
    r = residuals(gt, gt.stack, gt.asarray, *inputs)
    jacobian = gradc.function(inputs, [r, gradc.jacobian(r, theta)], name="jacobian")
    return jacobian, gradc.function(inputs, r, name="residuals")


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def twice(*inputs: Any) -> Any:
        r = residuals(jnp, jnp.stack, jnp.asarray, *inputs)
        return r, r

    def jacobian(*inputs: Any) -> Any:
        J, r = jax.jacfwd(twice, has_aux=True)(*inputs)
        return r, J

    return jacobian


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def twice(*inputs: Any) -> Any:
        number = lambda x: torch.tensor(x, dtype=torch.float64)  # noqa: E731
        r = residuals(torch, torch.stack, number, *inputs)
        return r, r

    def jacobian(*inputs: Any) -> Any:
        J, r = torch.func.jacfwd(twice, has_aux=True)(*inputs)
        return r, J

    return jacobian


WORKLOAD = Workload(
    title="hand tracking, residuals and dense Jacobian",
    cases={"500 points, 26 parameters": (500,)},
    data=data,
    outputs=lambda sizes: ((sizes[0], 3), (sizes[0], 3, PARAMETERS)),
    gradc=in_gradc,
    cpp="hand_tracking",
    peers={"jax": in_jax, "torch": in_torch},
)
