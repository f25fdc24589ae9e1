"""Softmax regression: mean cross entropy of X W + b, labels as numbers; gradients by W and b."""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload, value_first

LANGUAGE = """
fn loss(W: f64[d, c], b: f64[c], X: f64[n, d], label: i64[n]) -> f64 {
    scores = X @ W + b
    mean(logsumexp(scores, axis: 1) - take_along_axis(scores, label[:, none], axis: 1)[:, 0])
}
export gradient = value_and_grad(loss, wrt: (W, b))
"""


def data(sizes: Sizes) -> Arrays:
    n, d, classes = sizes
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(d, classes)) / 10, rng.normal(size=classes)
    return W, b, rng.normal(size=(n, d)), rng.integers(0, classes, n)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64, i64

    @gradc.function
    def loss(W: f64["d", "c"], b: f64["c"], X: f64["n", "d"], label: i64["n"]) -> Any:
        scores = X @ W + b
        own = gt.take_along_axis(scores, label[:, None], axis=1)[:, 0]
        return gt.mean(gt.logsumexp(scores, axis=1) - own)

    return gradc.value_and_grad(loss, wrt=["W", "b"]), loss


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def gradient(W: Any, b: Any, X: Any, label: Any) -> Any:
        scores, rows = X @ W + b, np.arange(len(X))
        top = scores.max(axis=1)
        p = np.exp(scores - top[:, None])
        sums = p.sum(axis=1)
        value = np.mean(top + np.log(sums) - scores[rows, label])
        p /= sums[:, None]
        p[rows, label] -= 1
        p /= len(X)
        return value, X.T @ p, p.sum(axis=0)

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def loss(W: Any, b: Any, X: Any, label: Any) -> Any:
        scores = X @ W + b
        own = jnp.take_along_axis(scores, label[:, None], axis=1)[:, 0]
        return jnp.mean(jax.scipy.special.logsumexp(scores, axis=1) - own)

    return jax.value_and_grad(loss, (0, 1))


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def loss(W: Any, b: Any, X: Any, label: Any) -> Any:
        return torch.nn.functional.cross_entropy(X @ W + b, label)

    return value_first(torch.func.grad_and_value(loss, argnums=(0, 1)))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    W, b, X, label = inputs = [pt.matrix("W"), pt.vector("b"), pt.matrix("X"), pt.lvector("label")]
    scores = X @ W + b
    loss = pt.mean(pt.logsumexp(scores, axis=1) - scores[pt.arange(X.shape[0]), label])
    return inputs, [loss, *grad(loss, [W, b])]


def in_casadi(sizes: Sizes) -> Any:
    """Products of matrices, and one observation's cross entropy mapped over all."""
    import casadi

    n, d, classes = sizes
    W, b = casadi.MX.sym("W", classes, d), casadi.MX.sym("b", classes)
    X, label = casadi.MX.sym("X", d, n), casadi.MX.sym("label", n)
    losses = cross_entropy(classes).map(n)(W @ X + b, label.T)
    loss = casadi.sum2(losses) / n
    gradients = [casadi.gradient(loss, v) for v in (W, b)]
    return casadi.Function("gradient", [W, b, X, label], [loss, *gradients])


def cross_entropy(classes: int) -> Any:
    """CasADi's logsumexp(scores) - scores[label] of one observation."""
    import casadi

    scores, label = casadi.SX.sym("scores", classes), casadi.SX.sym("label")
    own = sum(casadi.if_else(label == j, scores[j], 0) for j in range(classes))
    return casadi.Function("loss", [scores, label], [casadi.logsumexp(scores) - own])


WORKLOAD = Workload(
    title="softmax regression, value and gradient",
    cases={"n=20,000 d=100, 10 classes": (20_000, 100, 10)},
    data=data,
    outputs=lambda sizes: ((), (sizes[1], sizes[2]), (sizes[2],)),
    gradc=in_gradc,
    cpp="softmax_regression",
    language=lambda sizes: LANGUAGE,
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
)
