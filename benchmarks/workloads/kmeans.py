"""k-means: the sum of squared distances to the nearest centre, and its gradient by the centres."""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload, value_first

LANGUAGE = """
fn cost(centres: f64[k, d], points: f64[n, d]) -> f64 {
    squares = sum((points[:, none, :] - centres) ** 2, axis: 2)
    sum(min(squares, axis: 1))
}
export gradient = value_and_grad(cost, wrt: centres)
"""


def data(sizes: Sizes) -> Arrays:
    n, d, k = sizes
    rng = np.random.default_rng(0)
    return rng.normal(size=(k, d)), rng.normal(size=(n, d))


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64

    d = sizes[1]

    @gradc.function
    def cost(centres: f64["k", d], points: f64["n", d]) -> Any:
        squares = gt.sum((points[:, None, :] - centres) ** 2, axis=2)
        return gt.sum(gt.min(squares, axis=1))

    return gradc.value_and_grad(cost, wrt="centres"), cost


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def gradient(centres: Any, points: Any) -> Any:
        products = points @ centres.T
        nearest = np.argmin(np.sum(centres**2, axis=1) - 2 * products, axis=1)
        apart = points - centres[nearest]
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, apart)
        return np.sum(apart**2), -2 * sums

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def cost(centres: Any, points: Any) -> Any:
        squares = jnp.sum((points[:, None, :] - centres) ** 2, axis=2)
        return jnp.sum(jnp.min(squares, axis=1))

    return jax.value_and_grad(cost)


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def cost(centres: Any, points: Any) -> Any:
        squares = ((points[:, None, :] - centres) ** 2).sum(2)
        return squares.amin(1).sum()

    return value_first(torch.func.grad_and_value(cost))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    centres, points = pt.matrix("centres"), pt.matrix("points")
    squares = pt.sum((points[:, None, :] - centres[None]) ** 2, axis=2)
    cost = pt.sum(pt.min(squares, axis=1))
    return [centres, points], [cost, grad(cost, centres)]


def in_casadi(sizes: Sizes) -> Any:
    """The distances to each centre for all points, and their minimum."""
    import casadi

    n, d, k = sizes
    centres, points = casadi.MX.sym("centres", d, k), casadi.MX.sym("points", d, n)
    squares = [casadi.sum1((points - c) ** 2) for c in casadi.horzsplit(centres)]
    nearest = squares[0]
    for square in squares[1:]:
        nearest = casadi.fmin(nearest, square)
    cost = casadi.sum2(nearest)
    return casadi.Function("gradient", [centres, points], [cost, casadi.gradient(cost, centres)])


WORKLOAD = Workload(
    title="k-means, cost and gradient",
    cases={"n=10,000 d=10 k=25": (10_000, 10, 25)},
    data=data,
    outputs=lambda sizes: ((), (sizes[2], sizes[1])),
    gradc=in_gradc,
    cpp="kmeans",
    language=lambda sizes: LANGUAGE,
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
)
