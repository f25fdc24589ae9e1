"""Black-Scholes: prices of European calls with delta, gamma, vega, theta and rho."""

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.workload import Arrays, Sizes, Workload


def data(sizes: Sizes) -> Arrays:
    (n,) = sizes
    rng = np.random.default_rng(0)
    S, K = rng.uniform(50, 150, n), rng.uniform(50, 150, n)
    return S, K, rng.uniform(0.1, 2, n), rng.uniform(0, 0.1, n), rng.uniform(0.1, 0.6, n)


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


WORKLOAD = Workload(
    title="Black-Scholes price and 5 Greeks",
    cases={"1,000,000 options": (1_000_000,)},
    data=data,
    outputs=lambda sizes: (sizes,) * 6,
    gradc=in_gradc,
    cpp="black_scholes",
    peers={"numpy": in_numpy, "jax": in_jax, "torch": in_torch, "pytensor": in_pytensor},
)
