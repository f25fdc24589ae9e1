"""What a workload is: data, sizes, and the same gradient in gradc and in its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from floors import Floor

Sizes = tuple[int, ...]
Arrays = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Workload:
    """A gradient to be timed.

    title: what is computed. cases: label -> sizes; the first is what `--quick` runs.
    data: the inputs for sizes, from a fixed seed. outputs: the shapes of the results.
    gradc: sizes -> (gradient, primal or None), gradc functions of the inputs in order.
    peers: name -> (sizes -> what the peer's framework compiles or calls):
        numpy, jax, torch: a Python function of the inputs in order; casadi, pytensor: see
        frameworks.py. The C++ is peers/<cpp>.cpp.
    absent: sizes -> the peers that cannot do it, with the reasons.
    tolerance: by which results may differ, relative to the largest entry of each.
    floor: what the gradient needs at least, see floors.py.
    language: sizes -> the same model in gradc's language, or ""; it exports `gradient`, whose
        parameters have the names and the order of gradc's.
    """

    title: str
    cases: Mapping[str, Sizes]
    data: Callable[[Sizes], Arrays]
    outputs: Callable[[Sizes], tuple[tuple[int, ...], ...]]
    gradc: Callable[[Sizes], tuple[Any, Any]]
    cpp: str
    peers: Mapping[str, Callable[[Sizes], Any]] = field(default_factory=dict)
    absent: Callable[[Sizes], Mapping[str, str]] = lambda sizes: {}
    tolerance: Callable[[Sizes], float] = lambda sizes: 1e-8
    floor: Callable[[Sizes], Floor] | None = None
    language: Callable[[Sizes], str] = lambda sizes: ""


def value_first(grad_and_value: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """torch.func.grad_and_value gives the value last; here results start with it."""

    def gradient(*inputs: Any) -> Any:
        gradients, value = grad_and_value(*inputs)
        return value, gradients

    return gradient
