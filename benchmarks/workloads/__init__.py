"""The workloads, one module each with a value WORKLOAD."""

from __future__ import annotations

from importlib import import_module

from workloads.workload import Workload

NAMES = (
    "logistic",
    "gmm",
    "black_scholes",
    "hierarchical",
    "log_sum_exp",
    "softmax_regression",
    "kmeans",
    "n_body",
    "mlp",
    "bundle_adjustment",
    "hand_tracking",
    "robot_arm",
    "robot_arm_hvp",
    "rosenbrock",
)


def workload(name: str) -> Workload:
    """The workload of a module of this package."""
    found = import_module(f"workloads.{name}").WORKLOAD
    assert isinstance(found, Workload)
    return found
