"""A Bayesian regression whose coefficients share a prior, written as PyTensor's users write it.

    y[i] ~ Normal(alpha + X[i] beta, sigma)      beta[j] ~ Normal(0, tau)
    alpha ~ Normal(0, 1)                         tau, sigma ~ HalfNormal(1)

The sampler moves in R^(3 + d): q = (alpha, log tau, log sigma, beta).
"""

from __future__ import annotations

from pathlib import Path

import gradc
import gradc.tensor as gt


def build(library: Path) -> gradc.BuildReport:
    """Compile the log posterior with its gradient, and its Hessian: for any data, any d."""
    q, X, y = gt.vector("q"), gt.matrix("X"), gt.vector("y")
    alpha, log_tau, log_sigma, beta = q[0], q[1], q[2], q[3:]
    tau, sigma = gt.exp(log_tau), gt.exp(log_sigma)
    log_likelihood = _normal(y, alpha + X @ beta, sigma, log_sigma)
    log_prior = _normal(beta, 0, tau, log_tau) - 0.5 * (alpha**2 + tau**2 + sigma**2)
    log_posterior = log_likelihood + log_prior + log_tau + log_sigma  # densities of the logarithms
    return gradc.build(
        library,
        value_and_gradient=gradc.function([q, X, y], [log_posterior, gradc.grad(log_posterior, q)]),
        hessian=gradc.function([q, X, y], gradc.hessian(log_posterior, q)),
    )


def _normal(x: gt.Tensor, mean: gt.Tensor | int, sd: gt.Tensor, log_sd: gt.Tensor) -> gt.Tensor:
    """The log density of independent normal numbers, up to a constant."""
    return -0.5 * gt.sum(((x - mean) / sd) ** 2) - x.shape[0] * log_sd
