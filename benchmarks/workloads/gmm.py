"""Gaussian mixture with a Wishart prior, as in ADBench: the log likelihood and its gradient.

Inputs: alphas (k), means (k, d), icf (k, d (d+1)/2): logarithms of the diagonal of Q_k, then the
rows of its strict lower triangle; points (n, d); gamma and m of the prior.
Source: Srajer, Kukelova, Fitzgibbon, "A benchmark of selected algorithmic differentiation tools on
some problems in computer vision and machine learning", 2018.
"""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload, value_first


def data(sizes: Sizes) -> Arrays:
    n, d, k = sizes
    rng = np.random.default_rng(0)
    alphas, means = rng.normal(size=k), rng.normal(size=(k, d))
    icf = rng.normal(size=(k, d * (d + 1) // 2)) * 0.3
    return alphas, means, icf, rng.normal(size=(n, d)), np.asarray(1.0), np.asarray(0.5)


def outputs(sizes: Sizes) -> tuple[tuple[int, ...], ...]:
    _, d, k = sizes
    return (), (k,), (k, d), (k, d * (d + 1) // 2)


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64

    d = sizes[1]
    rows, columns = np.tril_indices(d, -1)

    @gradc.function
    def log_likelihood(
        alphas: f64["k"],
        means: f64["k", d],
        icf: f64["k", d * (d + 1) // 2],
        x: f64["n", d],
        gamma: f64,
        m: f64,
    ) -> Any:
        n, k = x.shape[0], alphas.shape[0]
        logs = icf[:, :d]
        Q = gt.zeros((k, d, d)).at[:, rows, columns].set(icf[:, d:])
        Q = Q.at[:, np.arange(d), np.arange(d)].set(gt.exp(logs))
        traces = gt.sum(logs, axis=1)
        y = gt.einsum("kab,nkb->nka", Q, x[:, None, :] - means)
        exponents = alphas + traces - 0.5 * gt.sum(y**2, axis=2)
        total = gt.sum(gt.logsumexp(exponents, axis=1)) - n * gt.logsumexp(alphas)
        prior = 0.5 * gamma**2 * gt.sum(Q**2) - m * gt.sum(traces)
        return total + prior - 0.5 * n * d * np.log(2 * np.pi)

    return gradc.value_and_grad(log_likelihood, wrt=["alphas", "means", "icf"]), log_likelihood


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    """The moments of the responsibilities, as an expert in NumPy writes it."""
    _, d, k = sizes
    rows, columns = np.tril_indices(d, -1)

    def gradient(alphas: Any, means: Any, icf: Any, x: Any, gamma: Any, m: Any) -> Any:
        n, diagonal = len(x), np.arange(d)
        Q = np.zeros((k, d, d))
        Q[:, rows, columns], Q[:, diagonal, diagonal] = icf[:, d:], np.exp(icf[:, :d])
        traces = icf[:, :d].sum(axis=1)
        u = x[None] - means[:, None]
        y = u @ Q.transpose(0, 2, 1)
        e = (alphas + traces)[:, None] - 0.5 * np.einsum("kna,kna->kn", y, y)
        top, high = e.max(axis=0), alphas.max()
        r = np.exp(e - top)
        sums, weights = r.sum(axis=0), np.exp(alphas - high)
        r /= sums
        norm = high + np.log(weights.sum())
        value = np.sum(top + np.log(sums)) - n * norm + 0.5 * gamma**2 * np.sum(Q**2)
        value -= m * traces.sum() + 0.5 * n * d * np.log(2 * np.pi)
        count = r.sum(axis=1)
        ry = r[..., None] * y
        gq = gamma**2 * Q - ry.transpose(0, 2, 1) @ u
        gicf = np.empty_like(icf)
        gicf[:, d:] = gq[:, rows, columns]
        gicf[:, :d] = gq[:, diagonal, diagonal] * Q[:, diagonal, diagonal] + count[:, None] - m
        gmeans = (ry.sum(axis=1)[:, None] @ Q)[:, 0]
        return value, count - n * np.exp(alphas - norm), gmeans, gicf

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import logsumexp

    d = sizes[1]
    rows, columns = np.tril_indices(d, -1)

    def log_likelihood(alphas: Any, means: Any, icf: Any, x: Any, gamma: Any, m: Any) -> Any:
        n, k = len(x), len(alphas)
        logs = icf[:, :d]
        Q = jnp.zeros((k, d, d)).at[:, rows, columns].set(icf[:, d:])
        Q = Q.at[:, np.arange(d), np.arange(d)].set(jnp.exp(logs))
        traces = jnp.sum(logs, axis=1)
        y = jnp.einsum("kab,nkb->nka", Q, x[:, None, :] - means)
        exponents = alphas + traces - 0.5 * jnp.sum(y**2, axis=2)
        total = jnp.sum(logsumexp(exponents, axis=1)) - n * logsumexp(alphas)
        prior = 0.5 * gamma**2 * jnp.sum(Q**2) - m * jnp.sum(traces)
        return total + prior - 0.5 * n * d * np.log(2 * np.pi)

    return jax.value_and_grad(log_likelihood, (0, 1, 2))


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    d = sizes[1]
    low = np.tril_indices(d, -1)
    rows, columns = torch.as_tensor(low[0]), torch.as_tensor(low[1])

    def log_likelihood(alphas: Any, means: Any, icf: Any, x: Any, gamma: Any, m: Any) -> Any:
        n, k = x.shape[0], alphas.shape[0]
        logs = icf[:, :d]
        lower = torch.zeros((k, d, d), dtype=x.dtype)
        flat = (rows * d + columns).expand(k, -1)
        lower = lower.reshape(k, d * d).scatter(1, flat, icf[:, d:]).reshape(k, d, d)
        Q = lower + torch.diag_embed(torch.exp(logs))
        traces = logs.sum(1)
        y = torch.einsum("kab,nkb->nka", Q, x[:, None, :] - means)
        exponents = alphas + traces - 0.5 * (y**2).sum(2)
        total = torch.logsumexp(exponents, 1).sum() - n * torch.logsumexp(alphas, 0)
        prior = 0.5 * gamma**2 * (Q**2).sum() - m * traces.sum()
        return total + prior - 0.5 * n * d * float(np.log(2 * np.pi))

    return value_first(torch.func.grad_and_value(log_likelihood, argnums=(0, 1, 2)))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    d = sizes[1]
    rows, columns = np.tril_indices(d, -1)
    inputs = [pt.vector("alphas"), pt.matrix("means"), pt.matrix("icf"), pt.matrix("x")]
    inputs += [pt.scalar("gamma"), pt.scalar("m")]
    alphas, means, icf, x, gamma, m = inputs
    n, k = x.shape[0], alphas.shape[0]
    logs = icf[:, :d]
    Q = pt.set_subtensor(pt.zeros((k, d, d))[:, rows, columns], icf[:, d:])
    Q = pt.set_subtensor(Q[:, np.arange(d), np.arange(d)], pt.exp(logs))
    traces = logs.sum(axis=1)
    y = pt.matmul(x[None] - means[:, None], Q.transpose(0, 2, 1))
    exponents = (alphas + traces)[:, None] - 0.5 * pt.sum(y**2, axis=2)
    total = pt.sum(pt.logsumexp(exponents, axis=0)) - n * pt.logsumexp(alphas)
    prior = 0.5 * gamma**2 * pt.sum(Q**2) - m * pt.sum(traces)
    cost = total + prior - 0.5 * n * d * np.log(2 * np.pi)
    return inputs, [cost, *grad(cost, [alphas, means, icf])]


def in_casadi(sizes: Sizes) -> Any:
    """A triangular matrix times all points for each component; logsumexp mapped over the points."""
    import casadi

    n, d, k = sizes
    alphas, means = casadi.MX.sym("alphas", k), casadi.MX.sym("means", d, k)
    icf, x = casadi.MX.sym("icf", d * (d + 1) // 2, k), casadi.MX.sym("x", d, n)
    gamma, m = casadi.MX.sym("gamma"), casadi.MX.sym("m")
    lower = casadi.Sparsity.lower(d)
    place = np.zeros((d, d), int)
    place[np.diag_indices(d)] = np.arange(d)
    place[np.tril_indices(d, -1)] = d + np.arange(d * (d - 1) // 2)
    rows, columns = lower.get_triplet()
    order = place[rows, columns].tolist()
    exponents, squares, traces = [], casadi.MX(0), []
    for c in range(k):
        logs = icf[:d, c]
        entries = casadi.vertcat(casadi.exp(logs), icf[d:, c])
        Q = casadi.MX(lower, entries[order])
        traces.append(casadi.sum1(logs))
        y = Q @ (x - means[:, c])
        exponents.append(alphas[c] + traces[-1] - 0.5 * casadi.sum1(y**2))
        squares += casadi.sumsqr(entries)
    scores = casadi.SX.sym("scores", k)
    reduced = casadi.Function("reduced", [scores], [casadi.logsumexp(scores)]).map(n)
    total = casadi.sum2(reduced(casadi.vertcat(*exponents))) - n * casadi.logsumexp(alphas)
    value = total + 0.5 * gamma**2 * squares - m * casadi.sum1(casadi.vertcat(*traces))
    value -= 0.5 * n * d * np.log(2 * np.pi)
    inputs = [alphas, means, icf, x, gamma, m]
    gradients = [casadi.gradient(value, v) for v in (alphas, means, icf)]
    return casadi.Function("gradient", inputs, [value, *gradients])


WORKLOAD = Workload(
    title="Gaussian mixture (ADBench), value and gradient",
    cases={
        "n=1,000 d=10 k=25": (1_000, 10, 25),
        "n=1,000 d=2 k=5": (1_000, 2, 5),
        "n=10,000 d=32 k=25": (10_000, 32, 25),
    },
    data=data,
    outputs=outputs,
    gradc=in_gradc,
    cpp="gmm",
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
)
