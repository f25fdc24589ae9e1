"""`gradc grad-check`: derivatives of every exported function, checked against one another.

For f: R^n -> R^m at a random point x, with random directions t in R^n and c in R^m:

    forward      f'(x) t            from jvp
    reverse      c' f'(x)           from vjp;    <c, f'(x) t> = <c' f'(x), t>
    differences  (f(x + h t) - f(x - h t)) / 2h, in f64 also extrapolated over two steps

all computed by native code, as a built library would.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gradc import forms
from gradc.cli import FAILED, OK, UsageError
from gradc.commands.source import choose, read_module
from gradc.driver import CompiledFunction
from gradc.errors import GradcError
from gradc.ir.dims import evaluate_dim
from gradc.ir.function import Function
from gradc.ir.types import ArrayType

Array: TypeAlias = "npt.NDArray[Any]"
Native: TypeAlias = "Callable[..., tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Step of the differences, and the relative errors that are allowed."""

    step: float
    differences: float
    adjoint: float


DOUBLE = Tolerance(step=1e-4, differences=1e-6, adjoint=1e-10)
SINGLE = Tolerance(step=1e-2, differences=3e-2, adjoint=1e-4)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Relative errors of one point; the largest entry of a point decides."""

    differences: float
    adjoint: float


def check_gradients(options: argparse.Namespace) -> int:
    """Check every exported function; FAILED where one disagrees, or could not be checked."""
    if options.points < 1:
        raise UsageError("--points is at least 1")
    if not options.low < options.high:
        raise UsageError(f"--low {options.low} is not below --high {options.high}")
    module = read_module(options.file)
    chosen: Mapping[str, Function] = module.exports or module.functions
    if options.function is not None:
        chosen = {options.function: choose(module.functions, options.function)}
    failed = 0
    for name, fn in chosen.items():
        verdict, fine = _check(fn, options)
        failed += not fine
        print(f"{'ok  ' if fine else 'FAIL'} {name}: {verdict}")
    print(f"{len(chosen) - failed} of {len(chosen)} functions passed (seed {options.seed})")
    return FAILED if failed else OK


def _check(fn: Function, options: argparse.Namespace) -> tuple[str, bool]:
    """A sentence on one function, and whether it passed."""
    floats = [i for i, p in enumerate(fn.parameters) if p.dtype.is_float]
    if not floats or not any(result.dtype.is_float for result in fn.results):
        return "nothing to differentiate", True
    try:
        trio = _Trio.of(fn, floats)
    except GradcError as error:
        return str(error), False
    rng = np.random.default_rng(options.seed)
    tolerance = DOUBLE
    if any(value.dtype.name == "f32" for value in (*fn.parameters, *fn.results)):
        tolerance = SINGLE
    worst = Outcome(0.0, 0.0)
    for _ in range(options.points):
        try:
            found = _at_random_point(trio, rng, options, tolerance)
        except (ValueError, IndexError) as error:
            return f"no point could be made: {error}", False
        if found is None:
            return "not finite at a random point; choose another range by --low and --high", False
        worst = Outcome(
            max(worst.differences, found.differences), max(worst.adjoint, found.adjoint)
        )
    fine = worst.differences <= tolerance.differences and worst.adjoint <= tolerance.adjoint
    return (
        f"forward against differences {worst.differences:.1e} (allowed {tolerance.differences:.0e})"
        f", forward against reverse {worst.adjoint:.1e} (allowed {tolerance.adjoint:.0e})",
        fine,
    )


@dataclass(frozen=True, slots=True)
class _Trio:
    """A function and its two derivatives as native code; `floats` are the varied parameters."""

    fn: Function
    floats: Sequence[int]
    value: Native
    forward: Native
    reverse: Native

    @classmethod
    def of(cls, fn: Function, floats: Sequence[int]) -> _Trio:
        names = tuple(fn.parameter_names[i] for i in floats)
        made = (fn, forms.jvp(fn, names), forms.vjp(fn, names))
        return cls(fn, floats, *(CompiledFunction(f, single=False) for f in made))


def _at_random_point(
    trio: _Trio, rng: np.random.Generator, options: argparse.Namespace, tolerance: Tolerance
) -> Outcome | None:
    """The errors at one point, or None where the function is not finite there."""
    fn = trio.fn
    sizes = _random_sizes(fn, rng)
    point = [_random(p.type, sizes, rng, options) for p in fn.parameters]
    tangents = [_direction(point[i].shape, point[i].dtype, rng) for i in trio.floats]
    values = trio.value(*point)
    float_results = [i for i, result in enumerate(fn.results) if result.dtype.is_float]
    if not all(np.isfinite(values[i]).all() for i in float_results):
        return None
    pushed = trio.forward(*point, *tangents)[len(values) :]
    cotangents = [_cotangent(np.asarray(value), rng) for value in values]
    pulled = trio.reverse(*point, *cotangents)[len(values) :]
    forward = _dot(cotangents, pushed)
    reverse = _dot(tangents, pulled)
    scale = _dot(map(np.abs, cotangents), map(np.abs, pushed)) + _dot(
        map(np.abs, tangents), map(np.abs, pulled)
    )
    differences = _differences(trio, point, tangents, float_results, tolerance.step)
    if differences is None:
        return None
    size = max(1.0, *(float(np.max(np.abs(d), initial=0.0)) for d in differences))
    error = max(
        float(np.max(np.abs(np.asarray(p, float) - d), initial=0.0))
        for p, d in zip((pushed[i] for i in float_results), differences, strict=True)
    )
    return Outcome(error / size, abs(forward - reverse) / max(scale, 1e-300))


def _differences(
    trio: _Trio,
    point: Sequence[Array],
    tangents: Sequence[Array],
    results: Sequence[int],
    step: float,
) -> list[Array] | None:
    """Central differences along the tangents with steps h and h/2, extrapolated to order h^4."""

    def central(h: float) -> list[Array]:
        ends = []
        for sign in (1.0, -1.0):
            moved = list(point)
            for i, t in zip(trio.floats, tangents, strict=True):
                moved[i] = np.asarray(point[i] + sign * h * t, point[i].dtype)
            ends.append(trio.value(*moved))
        above, below = ends
        return [
            (np.asarray(above[i], float) - np.asarray(below[i], float)) / (2 * h) for i in results
        ]

    found = [
        np.asarray((4 * fine - coarse) / 3)
        for fine, coarse in zip(central(step / 2), central(step), strict=True)
    ]
    return found if all(np.isfinite(d).all() for d in found) else None


def _random_sizes(fn: Function, rng: np.random.Generator) -> dict[str, int]:
    """Sizes that meet the function's requirements, small ones first; ValueError if none do."""
    for attempt in range(200):
        sizes = {name: int(rng.integers(2, 5 + attempt // 20)) for name in fn.sizes}
        if all(r.holds(evaluate_dim(r.dim, sizes)) for r in fn.requires) and all(
            evaluate_dim(dim, sizes) >= 0 for p in fn.parameters for dim in p.shape
        ):
            return sizes
    wanted = "; ".join(r.why for r in fn.requires)
    raise ValueError(f"no sizes were found that meet what it requires: {wanted}")


def _random(
    kind: ArrayType, sizes: Mapping[str, int], rng: np.random.Generator, options: argparse.Namespace
) -> Array:
    shape = tuple(evaluate_dim(dim, sizes) for dim in kind.shape)
    if kind.dtype.is_float:
        return np.asarray(rng.uniform(options.low, options.high, shape), kind.dtype.numpy)
    return np.asarray(rng.integers(0, 2, shape), kind.dtype.numpy)


def _direction(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Array:
    return np.asarray(rng.uniform(-1.0, 1.0, shape), dtype)


def _cotangent(value: Array, rng: np.random.Generator) -> Array:
    """A random cotangent of a result; of one that is no float, zero: it does not vary."""
    if value.dtype.kind != "f":
        return np.zeros(value.shape)
    return _direction(value.shape, value.dtype, rng)


def _dot(left: Any, right: Any) -> float:
    pairs = zip(left, right, strict=True)
    return float(sum(np.sum(np.asarray(x, float) * np.asarray(y, float)) for x, y in pairs))
