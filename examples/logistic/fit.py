"""Fit the model with the built library: data, and Newton's method with conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
DATA = Path(__file__).with_name("breast_cancer.csv")
L2 = 1e-3


def load_data(path: Path = DATA) -> tuple[Array, Array]:
    """Standardised features with a leading column of ones, (n, d), and labels 0 or 1, (n,)."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    features, labels = table[:, :-1], table[:, -1]
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.column_stack([np.ones(len(features)), features]), labels


def newton_cg(
    value_and_grad: Callable[[Array], tuple[float, Array]],
    hessian_product: Callable[[Array, Array], Array],
    w: Array,
    tolerance: float = 1e-12,
    report: Callable[[int, float, float], None] = lambda iteration, value, norm: None,
) -> Array:
    """The minimiser of a convex function: Newton steps solved by conjugate gradients.

    Stops when the gradient's largest entry is below `tolerance`. Steps are halved until the value
    falls by a tenth of what the gradient promises (Nocedal and Wright, Numerical Optimization,
    section 7.1).
    """
    for iteration in range(100):
        value, gradient = value_and_grad(w)
        norm = float(np.abs(gradient).max())
        report(iteration, float(value), norm)
        if norm < tolerance:
            break
        step = _solve(lambda p, w=w: hessian_product(w, p), -gradient)
        scale, slope = 1.0, gradient @ step
        for _ in range(30):
            if value_and_grad(w + scale * step)[0] <= value + 0.1 * scale * slope:
                break
            scale /= 2
        if norm < 1e-9:
            scale = 1.0  # the decrease is below the rounding of the value
        w = w + scale * step
    return w


def _solve(product: Callable[[Array], Array], b: Array) -> Array:
    """The solution of H x = b by conjugate gradients, to a relative residual of 1e-10."""
    x, residual = np.zeros_like(b), b.copy()
    direction, rho = residual.copy(), residual @ residual
    stop = 1e-20 * rho
    for _ in range(10 * len(b)):
        if rho <= stop:
            break
        image = product(direction)
        alpha = rho / (direction @ image)
        x += alpha * direction
        residual -= alpha * image
        rho, previous = residual @ residual, rho
        direction = residual + (rho / previous) * direction
    return x
