"""Hamiltonian Monte Carlo for a density with a gradient, and what its samples are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
STEP = 0.5  # of a leapfrog, in standard deviations
Density = Callable[[Array], tuple[float, Array]]  # the logarithm of the density, and its gradient


@dataclass(frozen=True, slots=True)
class Chain:
    """Samples, (draws, d); the fraction of proposals accepted; how many gradients it took."""

    samples: Array
    acceptance: float
    gradients: int


def find_mode(density: Density, hessian: Callable[[Array], Array], q: Array) -> Array:
    """A maximum, by Newton's method with steps that are halved until the density rises."""
    for _ in range(100):
        value, gradient = density(q)
        curvature, axes = np.linalg.eigh(-hessian(q))
        step = axes @ ((axes.T @ gradient) / np.maximum(np.abs(curvature), 1e-3))
        scale = 1.0
        while density(q + scale * step)[0] < value and scale > 1e-6:
            scale /= 2
        q = q + scale * step
        if np.abs(step).max() < 1e-9:
            break
    return q


def sample(
    density: Density, center: Array, scale: Array, draws: int, rng: np.random.Generator
) -> Chain:
    """A chain started near `center`, in coordinates u with q = center + scale u.

    Leapfrog trajectories of 3 to 5 steps, each accepted or not by Metropolis' rule
    (Neal, MCMC using Hamiltonian dynamics, 2011). The first fifth of the chain is left out.
    """
    warm, accepted, gradients, kept = draws // 4, 0, 0, []
    u = rng.normal(size=len(center))
    value, slope = _at(density, center, scale, u)
    for draw in range(warm + draws):
        momentum = rng.normal(size=len(u))
        energy = 0.5 * momentum @ momentum - value
        new, new_value, new_slope = u, value, slope
        steps = int(rng.integers(3, 6))
        for _ in range(steps):
            momentum = momentum + 0.5 * STEP * new_slope
            new = new + STEP * momentum
            new_value, new_slope = _at(density, center, scale, new)
            momentum = momentum + 0.5 * STEP * new_slope
        gradients += steps
        if np.log(rng.uniform()) < energy - (0.5 * momentum @ momentum - new_value):
            u, value, slope = new, new_value, new_slope
            accepted += draw >= warm
        if draw >= warm:
            kept.append(center + scale @ u)
    return Chain(np.array(kept), accepted / draws, gradients)


def _at(density: Density, center: Array, scale: Array, u: Array) -> tuple[float, Array]:
    value, gradient = density(center + scale @ u)
    return value, scale.T @ gradient


def r_hat(chains: Array) -> Array:
    """Gelman and Rubin's statistic of (chains, draws, d), chains cut in half; 1 is converged."""
    half = chains.shape[1] // 2
    parts = np.concatenate([chains[:, :half], chains[:, half : 2 * half]])
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = half * parts.mean(axis=1).var(axis=0, ddof=1)
    return np.asarray(np.sqrt(((half - 1) / half * within + between / half) / within))
