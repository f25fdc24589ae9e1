"""`gradc grad-check`: derivatives of every exported function, checked against one another.

For f: R^n -> R^m at a random point x, with random directions t in R^n and c in R^m:

    forward       f'(x) t             from jvp
    reverse       c' f'(x)            from vjp;    <c, f'(x) t> = <c' f'(x), t>
    second order  (c' f')'(x) t       from a jvp of the vjp
    differences   (f(x + h t) - f(x - h t)) / 2h, extrapolated over two steps; of f for the first
                  order, of c' f' for the second

all computed by native code, as a built library would. Differences lose digits where a value is
large against its derivative: that ratio is the *condition*, and rounding of the values, about
eps |f| / h, is no error of the derivative.

With `--why x` it says instead where the paths from the parameter x to each result end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
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
from gradc.ir.record import dataclass
from gradc.ir.transforms.forward import pushforward
from gradc.ir.types import ArrayType
from gradc.why import why_zero

Array: TypeAlias = "npt.NDArray[Any]"
Native: TypeAlias = "Callable[..., tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Step of the differences, rounding of the values, and the relative errors allowed."""

    step: float
    rounding: float
    differences: float
    adjoint: float


DOUBLE = Tolerance(step=1e-4, rounding=2.3e-16, differences=1e-6, adjoint=1e-10)
SINGLE = Tolerance(step=1e-2, rounding=1.2e-7, differences=3e-2, adjoint=1e-4)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Relative errors of the worst point, and the largest |f| / |f' t| of all.

    `place` says which entry differs most from differences, and by how much.
    """

    differences: float = 0.0
    adjoint: float = 0.0
    second_order: float = 0.0
    condition: float = 0.0
    place: str = ""

    @property
    def largest(self) -> float:
        """The larger one of the errors against differences."""
        return max(self.differences, self.second_order)

    def worst(self, other: Outcome) -> Outcome:
        """The larger error of both, each kind for itself."""
        return Outcome(
            max(self.differences, other.differences),
            max(self.adjoint, other.adjoint),
            max(self.second_order, other.second_order),
            max(self.condition, other.condition),
            self.place if self.largest > other.largest else other.place,
        )

    def is_within(self, allowed: Tolerance) -> bool:
        """Whether no error is larger than allowed."""
        return self.largest <= allowed.differences and self.adjoint <= allowed.adjoint


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one function; without numbers where it could not be checked."""

    name: str
    ok: bool
    text: str
    errors: Outcome | None = None
    allowed: Tolerance | None = None


def check_gradients(options: argparse.Namespace) -> int:
    """Check every exported function; FAILED where one disagrees, or could not be checked."""
    if options.points < 1:
        raise UsageError("--points is at least 1")
    if not options.low < options.high:
        raise UsageError(f"--low {options.low} is not below --high {options.high}")
    module = read_module(options)
    chosen: Mapping[str, Function] = module.exports or module.functions
    if options.function is not None:
        chosen = {options.function: choose(module.functions, options.function)}
    if options.why is not None:
        return _explain(chosen, options)
    verdicts = []
    for name, fn in chosen.items():
        verdicts.append(_check(name, fn, options))
        if not options.json:
            print(f"{'ok  ' if verdicts[-1].ok else 'FAIL'} {name}: {verdicts[-1].text}")
    failed = sum(not verdict.ok for verdict in verdicts)
    if options.json:
        found = {"seed": options.seed, "functions": [asdict(verdict) for verdict in verdicts]}
        print(json.dumps(found, indent=2))
    else:
        print(f"{len(chosen) - failed} of {len(chosen)} functions passed (seed {options.seed})")
    return FAILED if failed else OK


def _explain(chosen: Mapping[str, Function], options: argparse.Namespace) -> int:
    """Print where the paths from one parameter end, in every function that has it."""
    having = {name: fn for name, fn in chosen.items() if options.why in fn.parameter_names}
    if not having:
        known = dict.fromkeys(p for fn in chosen.values() for p in fn.parameter_names)
        raise UsageError(f"--why {options.why}: the parameters are {', '.join(known)}")
    found = {name: why_zero(fn, options.why) for name, fn in having.items()}
    if options.json:
        print(json.dumps({name: asdict(why) for name, why in found.items()}, indent=2))
        return OK
    for name, why in found.items():
        print(f"{name}: {why}")
    return OK


def _check(name: str, fn: Function, options: argparse.Namespace) -> Verdict:
    floats = [i for i, p in enumerate(fn.parameters) if p.dtype.is_float]
    if not floats or not any(result.dtype.is_float for result in fn.results):
        return Verdict(name, True, "nothing to differentiate")
    try:
        made = _Derivatives.of(fn, floats)
    except GradcError as error:
        return Verdict(name, False, str(error))
    rng = np.random.default_rng(options.seed)
    allowed = DOUBLE
    if any(value.dtype.name == "f32" for value in (*fn.parameters, *fn.results)):
        allowed = SINGLE
    worst = Outcome()
    for _ in range(options.points):
        try:
            found = _at_random_point(made, rng, options, allowed)
        except (ValueError, IndexError) as error:
            return Verdict(name, False, f"no point could be made: {error}")
        except _NotFiniteError as error:
            return Verdict(name, False, str(error))
        worst = worst.worst(found)
    return Verdict(name, worst.is_within(allowed), _text(worst, allowed), worst, allowed)


class _NotFiniteError(Exception):
    """A value or a derivative at a random point is no number to compare."""


def _text(worst: Outcome, allowed: Tolerance) -> str:
    return (
        f"forward against differences {worst.differences:.1e} (allowed {allowed.differences:.0e}), "
        f"forward against reverse {worst.adjoint:.1e} (allowed {allowed.adjoint:.0e}), "
        f"second order {worst.second_order:.1e} (allowed {allowed.differences:.0e}), "
        f"condition {worst.condition:.1e}"
        + (f"; {worst.place}" if worst.largest > allowed.differences else "")
    )


@dataclass(frozen=True, slots=True)
class _Derivatives:
    """A function and its derivatives as native code; `floats` are the varied parameters."""

    fn: Function
    floats: Sequence[int]
    value: Native
    forward: Native
    reverse: Native
    second: Native

    @classmethod
    def of(cls, fn: Function, floats: Sequence[int]) -> _Derivatives:
        names = tuple(fn.parameter_names[i] for i in floats)
        reverse = forms.vjp(fn, names)
        made = (fn, forms.jvp(fn, names), reverse, pushforward(reverse, floats))
        return cls(fn, floats, *(CompiledFunction(f, single=False) for f in made))


def _at_random_point(
    made: _Derivatives, rng: np.random.Generator, options: argparse.Namespace, allowed: Tolerance
) -> Outcome:
    """The errors at one point. Raises _NotFiniteError where something is not finite there."""
    fn, floats = made.fn, made.floats
    sizes = _random_sizes(fn, rng)
    point = [_random(p.type, sizes, rng, options) for p in fn.parameters]
    tangents = [_direction(point[i].shape, point[i].dtype, rng) for i in floats]
    values = made.value(*point)
    moving = [i for i, result in enumerate(fn.results) if result.dtype.is_float]
    results = fn.result_names or [f"result {i}" for i in range(len(values))]
    results = ["the result"] if len(values) == 1 else results
    gradients = [f"the gradient of {fn.parameter_names[i]}" for i in floats]
    beyond = "; choose another range by --low and --high"
    _check_finite([(results[i], values[i]) for i in moving], beyond)
    pushed = made.forward(*point, *tangents)[len(values) :]
    cotangents = [_cotangent(np.asarray(value), rng) for value in values]
    pulled = made.reverse(*point, *cotangents)[len(values) :]
    bent = made.second(*point, *cotangents, *tangents)[2 * len(values) + len(floats) :]

    def moved(step: float) -> list[Array]:
        found = list(point)
        for i, t in zip(floats, tangents, strict=True):
            found[i] = np.asarray(point[i] + step * t, point[i].dtype)
        return found

    def first_at(step: float) -> list[Array]:
        found = made.value(*moved(step))
        return [np.asarray(found[i], float) for i in moving]

    def gradient_at(step: float) -> list[Array]:
        found = made.reverse(*moved(step), *cotangents)[len(values) :]
        return [np.asarray(g, float) for g in found]

    tangents_of = [f"the tangent of {results[i]}" for i in moving]
    _check_finite(zip(tangents_of, [pushed[i] for i in moving], strict=True))
    _check_finite(zip(gradients, pulled, strict=True))
    first = _against_differences(tangents_of, [pushed[i] for i in moving], first_at, allowed)
    changes = [f"the second derivative, {gradient} along a direction," for gradient in gradients]
    _check_finite(zip(changes, bent, strict=True))
    second = _against_differences(changes, bent, gradient_at, allowed)
    gap = abs(_dot(cotangents, pushed) - _dot(tangents, pulled))
    scale = _dot(map(np.abs, cotangents), map(np.abs, pushed)) + _dot(
        map(np.abs, tangents), map(np.abs, pulled)
    )
    place = first[2] if first[0] >= second[0] else second[2]
    return Outcome(first[0], gap / max(scale, 1e-300), second[0], first[1], place)


def _check_finite(named: Iterable[tuple[str, Any]], advice: str = "") -> None:
    """Raise _NotFiniteError that names the first entry that is not finite."""
    for name, x in named:
        array = np.asarray(x)
        if not np.isfinite(array).all():
            at = np.unravel_index(int(np.argmin(np.isfinite(array))), array.shape)
            number = array[at]
            raise _NotFiniteError(f"{name}{_entry(at)} is {number} at a random point{advice}")


def _entry(at: Sequence[Any]) -> str:
    return f"[{', '.join(str(int(i)) for i in at)}]" if at else ""


def _against_differences(
    names: Sequence[str],
    derivatives: Sequence[Array],
    at: Callable[[float], list[Array]],
    allowed: Tolerance,
) -> tuple[float, float, str]:
    """The error of derivatives relative to the largest entry, their condition, the worst entry.

    `at(step)` are the values a step along the tangents. Central differences with steps h and h/2
    are extrapolated to order h^4. What rounding of the values explains is no error. Raises
    _NotFiniteError where a value is not finite.
    """

    def central(h: float) -> list[Array]:
        return [(a - b) / (2 * h) for a, b in zip(at(h), at(-h), strict=True)]

    h = allowed.step
    found = [
        np.asarray((4 * fine - coarse) / 3)
        for fine, coarse in zip(central(h / 2), central(h), strict=True)
    ]
    beside = " near it; choose another range by --low and --high"
    _check_finite(zip([f"the difference for {name}" for name in names], found, strict=True), beside)
    values = max((_largest(v) for v in at(0.0)), default=0.0)
    size = max((_largest(d) for d in (*found, *derivatives)), default=0.0)
    noise = 16 * allowed.rounding * values / h
    error, place = 0.0, ""
    for name, mine, wanted in zip(names, derivatives, found, strict=True):
        gap = np.abs(np.asarray(mine, float) - wanted)
        if _largest(gap) > error:
            error = _largest(gap)
            at_worst = np.unravel_index(int(np.argmax(gap)), gap.shape)
            pair = f"{np.asarray(mine)[at_worst]:.9g}, differences say {wanted[at_worst]:.9g}"
            place = f"{name}{_entry(at_worst)} is {pair}"
    relative = max(0.0, error - noise) / max(size, 1e-300)
    return relative, values / size if size else 0.0, place


def _largest(x: Array) -> float:
    """The largest magnitude; nan counts as infinite, nothing as 0."""
    return float(np.max(np.nan_to_num(np.abs(x), nan=np.inf), initial=0.0))


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
