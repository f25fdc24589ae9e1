"""log(sum(exp(x))) and its gradient, the softmax of x."""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np
from floors import PRODUCTS, Floor

from workloads.workload import Arrays, Sizes, Workload, value_first

LANGUAGE = """
fn log_sum_exp(x: f64[n]) -> f64 {
    logsumexp(x)
}
export gradient = value_and_grad(log_sum_exp, wrt: x)
"""


def data(sizes: Sizes) -> Arrays:
    return (np.random.default_rng(0).normal(size=sizes),)


def floor(sizes: Sizes) -> Floor:
    """One exponential and one multiplication an entry; the sum needs all of x before any result."""
    return Floor((PRODUCTS["exp"] + 1) * sizes[0], passes=2)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64

    @gradc.function
    def log_sum_exp(x: f64["n"]) -> Any:
        return gt.logsumexp(x)

    return gradc.value_and_grad(log_sum_exp, wrt="x"), log_sum_exp


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def gradient(x: Any) -> Any:
        top = x.max()
        e = np.exp(x - top)
        total = e.sum()
        return top + np.log(total), e / total

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax

    return jax.value_and_grad(jax.scipy.special.logsumexp)


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    return value_first(torch.func.grad_and_value(lambda x: torch.logsumexp(x, 0)))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    x = pt.vector("x")
    value = pt.logsumexp(x)
    return [x], [value, grad(value, x)]


def in_casadi(sizes: Sizes) -> Any:
    import casadi

    x = casadi.MX.sym("x", sizes[0])
    value = casadi.logsumexp(x)
    return casadi.Function("gradient", [x], [value, casadi.gradient(value, x)])


WORKLOAD = Workload(
    title="log-sum-exp, value and gradient",
    cases={"n=1,000,000": (1_000_000,)},
    data=data,
    outputs=lambda sizes: ((), sizes),
    gradc=in_gradc,
    cpp="log_sum_exp",
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
