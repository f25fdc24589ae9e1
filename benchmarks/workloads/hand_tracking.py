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
    A = (weights @ join(turns).reshape((BONES, 9))).reshape((points.shape[0], 3, 3))
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


def in_casadi(sizes: Sizes) -> Any:
    """The residuals and the Jacobian of one point as scalars, mapped over all."""
    import casadi

    (n,) = sizes
    theta, offsets = casadi.SX.sym("theta", PARAMETERS), casadi.SX.sym("offsets", 3, 15)
    point, weights = casadi.SX.sym("point", 3), casadi.SX.sym("weights", BONES)
    target = casadi.SX.sym("target", 3)
    c, s = casadi.cos(theta), casadi.sin(theta)

    def turn(axis: int, i: int) -> Any:
        u, v = (axis + 1) % 3, (axis + 2) % 3
        R = casadi.SX.eye(3)
        R[u, u], R[v, v], R[u, v], R[v, u] = c[i], c[i], -s[i], s[i]
        return R

    skinned = weights[0] * point
    for f in range(5):
        first = 6 + 4 * f
        origin = rest = offsets[:, 3 * f]
        A = turn(2, first) @ turn(0, first + 1)
        for b in range(3):
            if b:
                origin = origin + A @ offsets[:, 3 * f + b]
                rest = rest + offsets[:, 3 * f + b]
                A = A @ turn(0, first + 1 + b)
            skinned += weights[1 + 3 * f + b] * (A @ (point - rest) + origin)
    r = turn(2, 2) @ turn(1, 1) @ turn(0, 0) @ skinned + theta[3:6] - target
    J = casadi.vec(casadi.densify(casadi.jacobian(r, theta)).T)
    one = casadi.Function("one", [theta, point, weights, offsets, target], [r, J])

    shapes = {"theta": (PARAMETERS, 1), "points": (3, n), "weights": (BONES, n)}
    shapes |= {"offsets": (3, 15), "targets": (3, n)}
    inputs = [casadi.MX.sym(name, *shape) for name, shape in shapes.items()]
    return casadi.Function("jacobian", inputs, one.map(n)(*inputs))


def _turn(axis: int, angle: Any, is_derived: bool = False) -> Any:
    u, v = ((1, 2), (2, 0), (0, 1))[axis]
    c, s = np.cos(angle), np.sin(angle)
    R = np.zeros((3, 3)) if is_derived else np.eye(3)
    if is_derived:
        c, s = -s, c
    R[u, u], R[v, v], R[u, v], R[v, u] = c, c, -s, s
    return R


def _product(turns: Any, by: int) -> Any:
    found = np.eye(3)
    for i, (axis, angle) in enumerate(turns):
        found = found @ _turn(axis, angle, i == by)
    return found


def _finger(angles: Any, offsets: Any, by: int) -> Any:
    """The 3 x 4 matrices [A | c] of three bones; `by`: derived by this angle, -1: not."""
    turns = list(zip((2, 0, 0, 0), angles, strict=True))
    found = np.zeros((3, 3, 4))
    rest = np.cumsum(offsets, axis=0)
    origin = offsets[0] if by < 0 else np.zeros(3)
    for b in range(3):
        before, own = turns[: b + 1], turns[: b + 2]
        if b:
            A = _product(before, by) if by < len(before) else np.zeros((3, 3))
            origin = origin + A @ offsets[b]
        A = _product(own, by) if by < len(own) else np.zeros((3, 3))
        found[b, :, :3], found[b, :, 3] = A, origin - A @ rest[b]
    return found


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    """By hand: each bone's motion A p + c and its derivatives by the finger's angles; then sums."""

    def jacobian(theta: Any, points: Any, weights: Any, offsets: Any, targets: Any) -> Any:
        n = len(points)
        angles = theta[6:].reshape(5, 4)
        bones = np.concatenate([_finger(angles[f], offsets[f], -1) for f in range(5)])
        derived = np.stack(
            [[_finger(angles[f], offsets[f], k) for k in range(4)] for f in range(5)]
        )
        one = np.concatenate([points, np.ones((n, 1))], 1)
        weighted = weights[:, :, None] * one[:, None]
        skinned = weighted[:, 0, :3] + weighted[:, 1:].reshape(n, 60) @ (
            bones.transpose(0, 2, 1).reshape(60, 3)
        )
        whole = [(2, theta[2]), (1, theta[1]), (0, theta[0])]
        G = _product(whole, -1)
        J = np.zeros((n, 3, PARAMETERS))
        for k in range(3):
            J[:, :, k] = skinned @ _product(whole, 2 - k).T
            J[:, k, 3 + k] = 1
        turned = np.einsum("ij,fkbjl->fblki", G, derived).reshape(5, 12, 12)
        for f in range(5):
            own = weighted[:, 1 + 3 * f : 4 + 3 * f].reshape(n, 12) @ turned[f]
            J[:, :, 6 + 4 * f : 10 + 4 * f] = own.reshape(n, 4, 3).transpose(0, 2, 1)
        return skinned @ G.T + theta[3:6] - targets, J

    return jacobian


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    """Columns by forward mode, a direction each: rows by reverse mode would be 1,500."""
    import pytensor.tensor as pt
    from pytensor.gradient import Rop

    shapes = {"theta": (PARAMETERS,), "points": (*sizes, 3), "weights": (*sizes, BONES)}
    shapes |= {"offsets": (5, 3, 3), "targets": (*sizes, 3)}
    inputs = [pt.tensor(x, dtype="float64", shape=shape) for x, shape in shapes.items()]
    r = residuals(pt, pt.stack, pt.constant, *inputs)
    columns = [Rop(r, inputs[0], pt.constant(row)) for row in np.eye(PARAMETERS)]
    return inputs, [r, pt.stack(columns, axis=2)]


WORKLOAD = Workload(
    title="hand tracking, residuals and dense Jacobian",
    cases={"500 points, 26 parameters": (500,)},
    data=data,
    outputs=lambda sizes: ((sizes[0], 3), (sizes[0], 3, PARAMETERS)),
    gradc=in_gradc,
    cpp="hand_tracking",
    peers={
        "jax": in_jax,
        "torch": in_torch,
        "casadi": in_casadi,
        "numpy": in_numpy,
        "pytensor": in_pytensor,
    },
)
