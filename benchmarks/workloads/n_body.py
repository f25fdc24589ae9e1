"""Potential energy of bodies with softened gravity, and its gradient by their positions."""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload, value_first

LANGUAGE = """
fn energy(x: f64[n, 3], mass: f64[n], eps: f64) -> f64 {
    apart = x[:, none, :] - x[none, :, :]
    distance = sqrt(sum(apart ** 2, axis: 2) + eps ** 2)
    -0.5 * (sum(mass[:, none] * mass / distance) - sum(mass ** 2) / eps)
}
export gradient = value_and_grad(energy, wrt: x)
"""


def data(sizes: Sizes) -> Arrays:
    (n,) = sizes
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)), rng.uniform(0.5, 2, n), np.asarray(0.1)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64

    @gradc.function
    def energy(x: f64["n", 3], mass: f64["n"], eps: f64) -> Any:
        apart = x[:, None, :] - x[None, :, :]
        distance = gt.sqrt(gt.sum(apart**2, axis=2) + eps**2)
        pairs = gt.sum(mass[:, None] * mass / distance)
        return -0.5 * (pairs - gt.sum(mass**2) / eps)  # without each body's pair with itself

    return gradc.value_and_grad(energy, wrt="x"), energy


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def gradient(x: Any, mass: Any, eps: Any) -> Any:
        apart = x[:, None] - x[None]
        inverse = 1 / np.sqrt(np.einsum("ijk,ijk->ij", apart, apart) + eps**2)
        weights = mass[:, None] * mass * inverse
        value = -0.5 * (np.sum(weights) - np.sum(mass**2) / eps)
        return value, np.einsum("ij,ijk->ik", weights * inverse**2, apart)

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def energy(x: Any, mass: Any, eps: Any) -> Any:
        apart = x[:, None, :] - x[None, :, :]
        distance = jnp.sqrt(jnp.sum(apart**2, axis=2) + eps**2)
        pairs = jnp.sum(mass[:, None] * mass / distance)
        return -0.5 * (pairs - jnp.sum(mass**2) / eps)

    return jax.value_and_grad(energy)


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def energy(x: Any, mass: Any, eps: Any) -> Any:
        apart = x[:, None, :] - x[None, :, :]
        distance = torch.sqrt((apart**2).sum(2) + eps**2)
        pairs = (mass[:, None] * mass / distance).sum()
        return -0.5 * (pairs - (mass**2).sum() / eps)

    return value_first(torch.func.grad_and_value(energy))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    x, mass, eps = inputs = [pt.matrix("x"), pt.vector("mass"), pt.scalar("eps")]
    apart = x[:, None, :] - x[None, :, :]
    distance = pt.sqrt(pt.sum(apart**2, axis=2) + eps**2)
    pairs = pt.sum(mass[:, None] * mass[None] / distance)
    energy = -0.5 * (pairs - pt.sum(mass**2) / eps)
    return inputs, [energy, grad(energy, x)]


def in_casadi(sizes: Sizes) -> Any:
    """All pairs as matrices."""
    import casadi

    (n,) = sizes
    x, mass, eps = casadi.MX.sym("x", n, 3), casadi.MX.sym("mass", n), casadi.MX.sym("eps")
    square = eps**2
    for i in range(3):
        column = casadi.repmat(x[:, i], 1, n)
        square = square + (column - column.T) ** 2
    pairs = casadi.sum1(casadi.sum2(mass @ mass.T / casadi.sqrt(square)))
    energy = -0.5 * (pairs - casadi.sumsqr(mass) / eps)
    return casadi.Function("gradient", [x, mass, eps], [energy, casadi.gradient(energy, x)])


WORKLOAD = Workload(
    title="pairwise n-body energy and its gradient",
    cases={"1,000 bodies": (1_000,)},
    data=data,
    outputs=lambda sizes: ((), (sizes[0], 3)),
    gradc=in_gradc,
    cpp="n_body",
    language=lambda sizes: LANGUAGE,
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
)
