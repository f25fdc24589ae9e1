"""Rosenbrock's function: value, gradient and Hessian, called from Python in a loop."""

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload

LANGUAGE = """
fn value(x: f64[n]) -> f64 {
    sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
}
fn gradient(x: f64[n]) {
    value(x), grad(value, wrt: x)(x), hessian(value, wrt: x)(x)
}
export gradient
"""


def data(sizes: Sizes) -> Arrays:
    return (np.random.default_rng(0).normal(size=sizes),)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt

    (n,) = sizes
    x = gt.tensor("x", shape=(n,))
    value = gt.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    results = [value, gradc.grad(value, x), gradc.hessian(value, x)]
    return gradc.function([x], results, name="rosenbrock"), gradc.function([x], value)


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    (n,) = sizes
    low, diagonal = np.arange(n - 1), np.arange(n)

    def hessian(x: Any) -> Any:
        u, v = x[1:] - x[:-1] ** 2, 1 - x[:-1]
        g, H = np.zeros(n), np.zeros((n, n))
        g[:-1] = -400 * u * x[:-1] - 2 * v
        g[1:] += 200 * u
        H[diagonal[1:], diagonal[1:]] = 200
        H[low, low] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
        H[low, low + 1] = H[low + 1, low] = -400 * x[:-1]
        return 100 * (u @ u) + v @ v, g, H

    return hessian


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def value(x: Any) -> Any:
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    def hessian(x: Any) -> Any:
        return *jax.value_and_grad(value)(x), jax.hessian(value)(x)

    return hessian


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad
    from pytensor.gradient import hessian

    x = pt.vector("x")
    value = pt.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    return [x], [value, grad(value, x), hessian(value, x)]


def in_casadi(sizes: Sizes) -> Any:
    import casadi

    x = casadi.SX.sym("x", sizes[0])
    value = casadi.sum1(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    H, g = casadi.hessian(value, x)
    return casadi.Function("rosenbrock", [x], [value, g, casadi.densify(H)])


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def value(x: Any) -> Any:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    def gradient(x: Any) -> Any:
        g, f = torch.func.grad_and_value(value)(x)
        return g, (f, g)

    def hessian(x: Any) -> Any:
        H, (f, g) = torch.func.jacfwd(gradient, has_aux=True)(x)
        return f, g, H

    return hessian


WORKLOAD = Workload(
    title="Rosenbrock, value, gradient and Hessian",
    cases={"n=10": (10,), "n=2": (2,), "n=100": (100,)},
    data=data,
    outputs=lambda sizes: ((), sizes, (sizes[0], sizes[0])),
    gradc=in_gradc,
    cpp="rosenbrock",
    language=lambda sizes: LANGUAGE,
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "casadi": in_casadi,
        "pytensor": in_pytensor,
        "torch": in_torch,
    },
)
