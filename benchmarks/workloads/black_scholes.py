"""Black-Scholes: prices of European calls with delta, gamma, vega, theta and rho."""

from collections.abc import Callable
from typing import Any

import numpy as np
from floors import PRODUCTS, Floor

from workloads.workload import Arrays, Sizes, Workload

LANGUAGE = """
fn normal_cdf(x: f64[n]) -> f64[n] {
    0.5 * (1 + erf(x / sqrt(2.0)))
}

fn price(S: f64[n], K: f64[n], T: f64[n], r: f64[n], sigma: f64[n]) -> f64[n] {
    d1 = (log(S / K) + (r + 0.5 * sigma ** 2) * T) / (sigma * sqrt(T))
    S * normal_cdf(d1) - K * exp(-r * T) * normal_cdf(d1 - sigma * sqrt(T))
}

fn total(S: f64[n], K: f64[n], T: f64[n], r: f64[n], sigma: f64[n]) -> f64 {
    sum(price(S, K, T, r, sigma))
}

fn all_deltas(S: f64[n], K: f64[n], T: f64[n], r: f64[n], sigma: f64[n]) -> f64 {
    sum(grad(total, wrt: S)(S, K, T, r, sigma))
}

fn gradient(S: f64[n], K: f64[n], T: f64[n], r: f64[n], sigma: f64[n]) {
    delta, vega, by_time, rho = grad(total, wrt: (S, sigma, T, r))(S, K, T, r, sigma)
    gamma = grad(all_deltas, wrt: S)(S, K, T, r, sigma)
    price(S, K, T, r, sigma), delta, gamma, vega, by_time, rho
}
export gradient
"""


def data(sizes: Sizes) -> Arrays:
    (n,) = sizes
    rng = np.random.default_rng(0)
    S, K = rng.uniform(50, 150, n), rng.uniform(50, 150, n)
    return S, K, rng.uniform(0.1, 2, n), rng.uniform(0, 0.1, n), rng.uniform(0.1, 0.6, n)


def floor(sizes: Sizes) -> Floor:
    """A logarithm, an exponential, two error functions, and 21 products an option, by hand.

    The density takes the exponential inside the first error function.
    """
    once = PRODUCTS["log"] + PRODUCTS["exp"] + 2 * PRODUCTS["erf"] + 21
    return Floor(once * sizes[0])


def in_gradc(sizes: Sizes) -> tuple[Any, Any]:
    import gradc
    import gradc.tensor as gt

    S, K, T, r, sigma = (gt.tensor(name, shape=("n",)) for name in ("S", "K", "T", "r", "sigma"))

    def normal_cdf(x: Any) -> Any:
        return 0.5 * (1 + gt.erf(x / np.sqrt(2)))

    d1 = (gt.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * gt.sqrt(T))
    d2 = d1 - sigma * gt.sqrt(T)
    price = S * normal_cdf(d1) - K * gt.exp(-r * T) * normal_cdf(d2)
    delta, vega, by_time, rho = gradc.grad(gt.sum(price), [S, sigma, T, r])
    gamma = gradc.grad(gt.sum(delta), S)
    inputs = [S, K, T, r, sigma]
    greeks = gradc.function(inputs, [price, delta, gamma, vega, by_time, rho], name="greeks")
    return greeks, gradc.function(inputs, price, name="price")


def in_numpy(sizes: Sizes) -> Callable[..., Any]:
    """By hand; the error function of SciPy, because NumPy has none."""
    from scipy.special import erf

    def greeks(S: Any, K: Any, T: Any, r: Any, sigma: Any) -> Any:
        root = np.sqrt(T)
        width = sigma * root
        d1 = (np.log(S / K) + (r + 0.5 * sigma**2) * T) / width
        N1, N2 = (0.5 * (1 + erf(x / np.sqrt(2))) for x in (d1, d1 - width))
        density = np.exp(-0.5 * d1**2) / np.sqrt(2 * np.pi)
        strike = K * np.exp(-r * T) * N2
        vega = S * density * root
        by_time = 0.5 * vega * sigma / T + r * strike
        return S * N1 - strike, N1, density / (S * width), vega, by_time, T * strike

    return greeks


def in_jax(sizes: Sizes) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import erf

    def total(S: Any, K: Any, T: Any, r: Any, sigma: Any) -> Any:
        d1 = (jnp.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * jnp.sqrt(T))
        d2 = d1 - sigma * jnp.sqrt(T)
        N1, N2 = (0.5 * (1 + erf(x / np.sqrt(2))) for x in (d1, d2))
        price = S * N1 - K * jnp.exp(-r * T) * N2
        return jnp.sum(price), price

    by_all = jax.grad(total, (0, 4, 2, 3), has_aux=True)

    def delta(S: Any, *others: Any) -> Any:
        first, price = by_all(S, *others)
        return jnp.sum(first[0]), (price, first)

    def greeks(*inputs: Any) -> Any:
        gamma, (price, (first, vega, by_time, rho)) = jax.grad(delta, has_aux=True)(*inputs)
        return price, first, gamma, vega, by_time, rho

    return greeks


def in_torch(sizes: Sizes) -> Callable[..., Any]:
    import torch

    def total(S: Any, K: Any, T: Any, r: Any, sigma: Any) -> Any:
        d1 = (torch.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * torch.sqrt(T))
        d2 = d1 - sigma * torch.sqrt(T)
        N1, N2 = (0.5 * (1 + torch.erf(x / 2**0.5)) for x in (d1, d2))
        price = S * N1 - K * torch.exp(-r * T) * N2
        return torch.sum(price), price

    by_all = torch.func.grad(total, argnums=(0, 4, 2, 3), has_aux=True)

    def delta(S: Any, *others: Any) -> Any:
        first, price = by_all(S, *others)
        return torch.sum(first[0]), (price, first)

    def greeks(*inputs: Any) -> Any:
        gamma, (price, first) = torch.func.grad(delta, has_aux=True)(*inputs)
        return price, first[0], gamma, *first[1:]

    return greeks


def in_pytensor(sizes: Sizes) -> tuple[Any, Any]:
    import pytensor.tensor as pt
    from pytensor import grad

    S, K, T, r, sigma = inputs = [pt.vector(name) for name in ("S", "K", "T", "r", "sigma")]
    d1 = (pt.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * pt.sqrt(T))
    d2 = d1 - sigma * pt.sqrt(T)
    N1, N2 = (0.5 * (1 + pt.erf(x / np.sqrt(2))) for x in (d1, d2))
    price = S * N1 - K * pt.exp(-r * T) * N2
    delta, vega, by_time, rho = grad(pt.sum(price), [S, sigma, T, r])
    return inputs, [price, delta, grad(pt.sum(delta), S), vega, by_time, rho]


def in_casadi(sizes: Sizes) -> Any:
    """One option as scalars, with its derivatives, mapped over all."""
    import casadi

    S, K, T, r, sigma = inputs = [casadi.SX.sym(x) for x in ("S", "K", "T", "r", "sigma")]
    d1 = (casadi.log(S / K) + (r + 0.5 * sigma**2) * T) / (sigma * casadi.sqrt(T))
    d2 = d1 - sigma * casadi.sqrt(T)
    N1, N2 = (0.5 * (1 + casadi.erf(x / np.sqrt(2))) for x in (d1, d2))
    price = S * N1 - K * casadi.exp(-r * T) * N2
    delta, vega, by_time, rho = (casadi.gradient(price, x) for x in (S, sigma, T, r))
    results = [price, delta, casadi.gradient(delta, S), vega, by_time, rho]
    return casadi.Function("one", inputs, results).map(sizes[0])


WORKLOAD = Workload(
    title="Black-Scholes price and 5 Greeks",
    cases={"1,000,000 options": (1_000_000,)},
    data=data,
    outputs=lambda sizes: (sizes,) * 6,
    gradc=in_gradc,
    cpp="black_scholes",
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
