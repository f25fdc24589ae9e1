"""Logistic regression: mean loss and its gradient by the weights."""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np
from floors import PRODUCTS, Floor

from workloads.workload import Arrays, Sizes, Workload, value_first

LANGUAGE = """
fn loss(w: f64[d], X: f64[n, d], y: f64[n]) -> f64 {
    z = X @ w
    mean(softplus(z) - y * z)
}
export gradient = value_and_grad(loss, wrt: w)
"""


def data(sizes: Sizes) -> Arrays:
    n, d = sizes
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(n, d)), rng.normal(size=d) / 10
    return w, X, (rng.random(n) < 0.5).astype(np.float64)


def floor(sizes: Sizes) -> Floor:
    """X is read once: a product with w, and one with the residual, an entry."""
    n, d = sizes
    a_row = PRODUCTS["softplus and sigmoid"]
    return Floor(2 * n * d + a_row * n)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64

    @gradc.function
    def loss(w: f64["d"], X: f64["n", "d"], y: f64["n"]) -> Any:
        z = X @ w
        return gt.mean(gt.softplus(z) - y * z)

    return gradc.value_and_grad(loss, wrt="w"), loss


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def gradient(w: Any, X: Any, y: Any) -> Any:
        z = X @ w
        value = np.mean(np.logaddexp(0, z) - y * z)
        return value, (1 / (1 + np.exp(-z)) - y) @ X / len(y)

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def loss(w: Any, X: Any, y: Any) -> Any:
        z = X @ w
        return jnp.mean(jax.nn.softplus(z) - y * z)

    return jax.value_and_grad(loss)


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def loss(w: Any, X: Any, y: Any) -> Any:
        z = X @ w
        return torch.mean(torch.nn.functional.softplus(z) - y * z)

    return value_first(torch.func.grad_and_value(loss))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    w, X, y = pt.vector("w"), pt.matrix("X"), pt.vector("y")
    z = X @ w
    loss = pt.mean(pt.softplus(z) - y * z)
    return [w, X, y], [loss, grad(loss, w)]


def in_casadi(sizes: Sizes) -> Any:
    """Products of matrices; X lies with an observation a column."""
    import casadi

    n, d = sizes
    w, X, y = casadi.MX.sym("w", d), casadi.MX.sym("X", d, n), casadi.MX.sym("y", n)
    z = X.T @ w
    loss = casadi.sum1(casadi.fmax(z, 0) + casadi.log1p(casadi.exp(-casadi.fabs(z))) - y * z) / n
    return casadi.Function("gradient", [w, X, y], [loss, casadi.gradient(loss, w)])


WORKLOAD = Workload(
    title="logistic regression, value and gradient",
    cases={"n=100,000 d=100": (100_000, 100)},
    data=data,
    outputs=lambda sizes: ((), (sizes[1],)),
    gradc=in_gradc,
    cpp="logistic",
    floor=floor,
    language=lambda sizes: LANGUAGE,
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
)
