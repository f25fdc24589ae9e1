"""Perceptron 784-512-512-10 with tanh and cross entropy: loss and the gradients of all weights."""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload, value_first

WEIGHTS = (0, 1, 2, 3, 4, 5)


LANGUAGE = """
fn loss(
    W1: f64[d, h], b1: f64[h], W2: f64[h, h], b2: f64[h], W3: f64[h, c], b3: f64[c],
    X: f64[n, d], label: i64[n]
) -> f64 {
    h1 = tanh(X @ W1 + b1)
    scores = tanh(h1 @ W2 + b2) @ W3 + b3
    mean(logsumexp(scores, axis: 1) - take_along_axis(scores, label[:, none], axis: 1)[:, 0])
}
export gradient = value_and_grad(loss, wrt: (W1, b1, W2, b2, W3, b3))
"""


def data(sizes: Sizes) -> Arrays:
    batch, inputs, hidden, classes, bits = sizes
    rng = np.random.default_rng(0)
    dtype = np.float32 if bits == 32 else np.float64
    layers = ((inputs, hidden), (hidden, hidden), (hidden, classes))
    weights: list[Any] = []
    for rows, columns in layers:
        weights.append((rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(dtype))
        weights.append((rng.normal(size=columns) / 10).astype(dtype))
    X = rng.normal(size=(batch, inputs)).astype(dtype)
    return *weights, X, rng.integers(0, classes, batch)


def outputs(sizes: Sizes) -> tuple[tuple[int, ...], ...]:
    _, d, h, c, _ = sizes
    return (), (d, h), (h,), (h, h), (h,), (h, c), (c,)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt

    real = gradc.f32 if sizes[-1] == 32 else gradc.f64

    @gradc.function
    def loss(
        W1: real["d", "h"],
        b1: real["h"],
        W2: real["h", "h"],
        b2: real["h"],
        W3: real["h", "c"],
        b3: real["c"],
        X: real["n", "d"],
        label: gradc.i64["n"],
    ) -> Any:
        h1 = gt.tanh(X @ W1 + b1)
        h2 = gt.tanh(h1 @ W2 + b2)
        scores = h2 @ W3 + b3
        own = gt.take_along_axis(scores, label[:, None], axis=1)[:, 0]
        return gt.mean(gt.logsumexp(scores, axis=1) - own)

    return gradc.value_and_grad(loss, wrt=list(WEIGHTS)), loss


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    def gradient(W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any, X: Any, label: Any) -> Any:
        n, rows = len(X), np.arange(len(X))
        h1 = np.tanh(X @ W1 + b1)
        h2 = np.tanh(h1 @ W2 + b2)
        scores = h2 @ W3 + b3
        top = scores.max(axis=1)
        p = np.exp(scores - top[:, None])
        sums = p.sum(axis=1)
        value = np.mean(top + np.log(sums) - scores[rows, label])
        p /= sums[:, None] * n
        p[rows, label] -= 1 / n
        g2 = (p @ W3.T) * (1 - h2 * h2)
        g1 = (g2 @ W2.T) * (1 - h1 * h1)
        return value, X.T @ g1, g1.sum(0), h1.T @ g2, g2.sum(0), h2.T @ p, p.sum(0)

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def loss(W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any, X: Any, label: Any) -> Any:
        h1 = jnp.tanh(X @ W1 + b1)
        h2 = jnp.tanh(h1 @ W2 + b2)
        scores = h2 @ W3 + b3
        own = jnp.take_along_axis(scores, label[:, None], axis=1)[:, 0]
        return jnp.mean(jax.scipy.special.logsumexp(scores, axis=1) - own)

    return jax.value_and_grad(loss, WEIGHTS)


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def loss(W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any, X: Any, label: Any) -> Any:
        h1 = torch.tanh(X @ W1 + b1)
        h2 = torch.tanh(h1 @ W2 + b2)
        return torch.nn.functional.cross_entropy(h2 @ W3 + b3, label)

    return value_first(torch.func.grad_and_value(loss, argnums=WEIGHTS))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    dtype = "float32" if sizes[-1] == 32 else "float64"
    weights = [pt.tensor(dtype=dtype, shape=(None,) * rank) for rank in (2, 1, 2, 1, 2, 1)]
    X, label = pt.matrix("X", dtype=dtype), pt.lvector("label")
    W1, b1, W2, b2, W3, b3 = weights
    h2 = pt.tanh(pt.tanh(X @ W1 + b1) @ W2 + b2)
    scores = h2 @ W3 + b3
    rows = pt.arange(X.shape[0])
    loss = pt.mean(pt.logsumexp(scores, axis=1) - scores[rows, label], dtype=dtype)
    return [*weights, X, label], [loss, *grad(loss, weights)]


def in_casadi(sizes: Sizes) -> Any:
    """Products of matrices, and one observation's cross entropy mapped over all."""
    import casadi

    from workloads.softmax_regression import cross_entropy

    n, d, h, classes, _ = sizes
    shapes = ((h, d), (h, 1), (h, h), (h, 1), (classes, h), (classes, 1))
    weights = [casadi.MX.sym(f"w{i}", *shape) for i, shape in enumerate(shapes)]
    X, label = casadi.MX.sym("X", d, n), casadi.MX.sym("label", n)
    W1, b1, W2, b2, W3, b3 = weights
    h1 = casadi.tanh(W1 @ X + b1)
    h2 = casadi.tanh(W2.T @ h1 + b2)  # square: as it lies
    loss = casadi.sum2(cross_entropy(classes).map(n)(W3 @ h2 + b3, label.T)) / n
    gradients = [casadi.gradient(loss, w) for w in weights]
    return casadi.Function("gradient", [*weights, X, label], [loss, *gradients])


WORKLOAD = Workload(
    title="perceptron 784-512-512-10, loss and gradient",
    cases={
        "batch 128, f64": (128, 784, 512, 10, 64),
        "batch 128, f32": (128, 784, 512, 10, 32),
    },
    data=data,
    outputs=outputs,
    gradc=in_gradc,
    cpp="mlp",
    language=lambda sizes: LANGUAGE.replace("f64", f"f{sizes[-1]}"),
    absent=lambda sizes: {"casadi": "it computes in f64 only"} if sizes[-1] == 32 else {},
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
    tolerance=lambda sizes: 1e-4 if sizes[-1] == 32 else 1e-8,
)
