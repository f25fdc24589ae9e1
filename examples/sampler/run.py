"""Sample the posterior of a hierarchical regression with the gradient of a compiled library.

python examples/sampler/run.py [--draws N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import gradc
import numpy as np
from hmc import Array, find_mode, r_hat, sample
from model import build

DATA = Path(__file__).with_name("diabetes.csv")
CHAINS = 4


def load_data() -> tuple[list[str], Array, Array]:
    """Names; measurements of 442 patients, (n, d); progression a year later, (n,): standardised."""
    table = np.loadtxt(DATA, delimiter=",", skiprows=1)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    names = DATA.read_text().partition("\n")[0].split(",")
    return names[:-1], table[:, :-1], table[:, -1]


def exact_means(samples: Array, X: Array, y: Array) -> Array:
    """The posterior mean of beta from draws of tau and sigma alone.

    Given these, beta is normal with a mean that linear algebra gives; its average over the draws
    is the mean of beta, too, which the sampler has to agree with (Rao and Blackwell).
    """
    inside, target = X.T @ X, X.T @ y
    means = []
    for alpha, log_tau, log_sigma in samples[::5, :3]:
        variance = np.exp(2 * log_sigma)
        precision = inside / variance + np.eye(X.shape[1]) * np.exp(-2 * log_tau)
        means.append(np.linalg.solve(precision, (target - alpha * X.sum(axis=0)) / variance))
    return np.asarray(np.mean(means, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1500, help="of each of four chains")
    draws = parser.parse_args().draws
    names, X, y = load_data()
    with tempfile.TemporaryDirectory() as folder:
        report = build(Path(folder) / "libregression.so")
        posterior = gradc.load(report.library)
    print(f"library   {report.bytes[report.library.name]:,} bytes, ", end="")
    print(f"built in {1e3 * sum(report.seconds.values()):.0f} ms")
    print(f"data      {X.shape[0]} patients, {X.shape[1]} measurements")

    def density(q: Array) -> tuple[float, Array]:
        value, gradient = posterior.value_and_gradient(q, X, y)
        return value, gradient

    mode = find_mode(density, lambda q: posterior.hessian(q, X, y), np.zeros(3 + X.shape[1]))
    scale = np.linalg.cholesky(np.linalg.inv(-posterior.hessian(mode, X, y)))
    start = time.perf_counter()
    seeds = np.random.default_rng(2026).spawn(CHAINS)
    chains = [sample(density, mode, scale, draws, rng) for rng in seeds]
    seconds = time.perf_counter() - start
    gradients = sum(chain.gradients for chain in chains)
    print(f"sampling  {CHAINS} chains of {draws} draws in {seconds:.2f} s, ", end="")
    print(f"{1e6 * seconds / gradients:.1f} microseconds a gradient with NumPy around it")
    print(f"accepted  {np.mean([chain.acceptance for chain in chains]):.2f}")
    show(names, np.array([chain.samples for chain in chains]), X, y)


def show(names: list[str], chains: Array, X: Array, y: Array) -> None:
    """Print the posterior of the coefficients; stop where the chains do not agree."""
    samples = chains.reshape(-1, chains.shape[2])
    beta = samples[:, 3:]
    worst = float(r_hat(chains).max())
    apart = np.abs(beta.mean(axis=0) - exact_means(samples, X, y)) / beta.std(axis=0)
    low, high = np.quantile(beta, [0.05, 0.95], axis=0)
    print(f"\n{'':20} {'mean':>7} {'sd':>6} {'5 %':>7} {'95 %':>7}")
    for j, name in enumerate(names):
        print(f"{name:20} {beta[:, j].mean():7.3f} {beta[:, j].std():6.3f} ", end="")
        print(f"{low[j]:7.3f} {high[j]:7.3f}")
    print(f"\nR-hat     at most {worst:.3f}")
    print(f"exact     means agree to {apart.max():.3f} standard deviations")
    if worst > 1.05 or apart.max() > 0.2:
        raise SystemExit("the chains have not converged")


if __name__ == "__main__":
    main()
