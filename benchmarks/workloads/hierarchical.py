"""Hierarchical regression, as the radon model: a line for each group, drawn from a common prior.

y_i ~ N(a_g + b_g x_i, s^2), a_g = mu_a + s_a za_g, b_g = mu_b + s_b zb_g, z ~ N(0, 1); top is mu_a,
mu_b, log s_a, log s_b, log s, with standard normal priors. The log density and its gradient.
"""

# ruff: noqa: F821  sizes are quoted names
from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload, value_first

LANGUAGE = """
fn log_density(
    top: f64[5], za: f64[groups], zb: f64[groups], x: f64[n], y: f64[n], group: i64[n]
) -> f64 {
    a = top[0] + exp(top[2]) * za
    b = top[1] + exp(top[3]) * zb
    residual = (y - a[group] - b[group] * x) / exp(top[4])
    prior = sum(za ** 2) + sum(zb ** 2) + sum(top ** 2)
    -0.5 * (sum(residual ** 2) + prior) - n * top[4]
}
export gradient = value_and_grad(log_density, wrt: (top, za, zb))
"""


def data(sizes: Sizes) -> Arrays:
    n, groups = sizes
    rng = np.random.default_rng(0)
    za, zb, x = rng.normal(size=groups), rng.normal(size=groups), rng.normal(size=n)
    group = rng.integers(0, groups, n)
    top = np.array([0.3, -0.2, -0.5, -1.0, 0.2])
    y = 0.3 + za[group] + (zb[group] - 0.2) * x + rng.normal(size=n)
    return top, za, zb, x, y, group


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt
    from gradc import f64, i64

    @gradc.function
    def log_density(
        top: f64[5],
        za: f64["groups"],
        zb: f64["groups"],
        x: f64["n"],
        y: f64["n"],
        group: i64["n"],
    ) -> Any:
        a = top[0] + gt.exp(top[2]) * za
        b = top[1] + gt.exp(top[3]) * zb
        residual = (y - a[group] - b[group] * x) / gt.exp(top[4])
        prior = gt.sum(za**2) + gt.sum(zb**2) + gt.sum(top**2)
        return -0.5 * (gt.sum(residual**2) + prior) - x.shape[0] * top[4]

    return gradc.value_and_grad(log_density, wrt=["top", "za", "zb"]), log_density


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    groups = sizes[1]

    def gradient(top: Any, za: Any, zb: Any, x: Any, y: Any, group: Any) -> Any:
        sa, sb, precision = np.exp(top[2]), np.exp(top[3]), np.exp(-2 * top[4])
        r = y - (top[0] + sa * za)[group] - (top[1] + sb * zb)[group] * x
        square = precision * (r @ r)
        a = precision * np.bincount(group, r, groups)
        b = precision * np.bincount(group, r * x, groups)
        value = -0.5 * (square + za @ za + zb @ zb + top @ top) - len(x) * top[4]
        by_top = [a.sum(), b.sum(), sa * (a @ za), sb * (b @ zb), square - len(x)]
        return value, by_top - top, sa * a - za, sb * b - zb

    return gradient


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def log_density(top: Any, za: Any, zb: Any, x: Any, y: Any, group: Any) -> Any:
        a = top[0] + jnp.exp(top[2]) * za
        b = top[1] + jnp.exp(top[3]) * zb
        residual = (y - a[group] - b[group] * x) / jnp.exp(top[4])
        prior = jnp.sum(za**2) + jnp.sum(zb**2) + jnp.sum(top**2)
        return -0.5 * (jnp.sum(residual**2) + prior) - len(x) * top[4]

    return jax.value_and_grad(log_density, (0, 1, 2))


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def log_density(top: Any, za: Any, zb: Any, x: Any, y: Any, group: Any) -> Any:
        a = top[0] + torch.exp(top[2]) * za
        b = top[1] + torch.exp(top[3]) * zb
        residual = (y - a[group] - b[group] * x) / torch.exp(top[4])
        prior = (za**2).sum() + (zb**2).sum() + (top**2).sum()
        return -0.5 * ((residual**2).sum() + prior) - x.shape[0] * top[4]

    return value_first(torch.func.grad_and_value(log_density, argnums=(0, 1, 2)))


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    top, za, zb, x, y = (pt.vector(name) for name in ("top", "za", "zb", "x", "y"))
    group = pt.lvector("group")
    a = top[0] + pt.exp(top[2]) * za
    b = top[1] + pt.exp(top[3]) * zb
    residual = (y - a[group] - b[group] * x) / pt.exp(top[4])
    prior = pt.sum(za**2) + pt.sum(zb**2) + pt.sum(top**2)
    density = -0.5 * (pt.sum(residual**2) + prior) - x.shape[0] * top[4]
    return [top, za, zb, x, y, group], [density, *grad(density, [top, za, zb])]


def in_casadi(sizes: Sizes) -> Any:
    """The groups are constants of the model: CasADi's indices are known when it is built."""
    import casadi

    n, groups = sizes
    names = {"top": 5, "za": groups, "zb": groups, "x": n, "y": n, "group": n}
    inputs = [casadi.MX.sym(name, size) for name, size in names.items()]
    top, za, zb, x, y, _ = inputs
    group = data(sizes)[5].tolist()
    a = top[0] + casadi.exp(top[2]) * za
    b = top[1] + casadi.exp(top[3]) * zb
    residual = (y - a[group] - b[group] * x) / casadi.exp(top[4])
    prior = casadi.sumsqr(za) + casadi.sumsqr(zb) + casadi.sumsqr(top)
    density = -0.5 * (casadi.sumsqr(residual) + prior) - n * top[4]
    gradients = [casadi.gradient(density, v) for v in (top, za, zb)]
    return casadi.Function("gradient", inputs, [density, *gradients])


WORKLOAD = Workload(
    title="hierarchical regression, value and gradient",
    cases={
        "919 observations, 85 groups": (919, 85),
        "100,000 observations, 85 groups": (100_000, 85),
    },
    data=data,
    outputs=lambda sizes: ((), (5,), (sizes[1],), (sizes[1],)),
    gradc=in_gradc,
    cpp="hierarchical",
    language=lambda sizes: LANGUAGE,
    peers={
        "numpy": in_numpy,
        "jax": in_jax,
        "torch": in_torch,
        "pytensor": in_pytensor,
        "casadi": in_casadi,
    },
)
