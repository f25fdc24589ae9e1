"""Checks the derivative rules of a function: against differences, against each other, twice.

With f the function, J its Jacobian, t a tangent, u a cotangent, all random:

    forward       J t against differences of f along t
    reverse       <u, J t> = <J^T u, t>, which is the contract of pullbacks
    second order  the derivative of J^T u along t against its differences, and its symmetry:
                  of <u, f> every Hessian is symmetric
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.driver import CompiledFunction, function
from gradc.errors import GradcTypeError, GradientError
from gradc.gradient import pullback, pushforward
from gradc.ir.op import Null
from gradc.ir.record import dataclass
from gradc.ir.transforms.reverse import pull_cotangents
from gradc.ir.types import dtype_of
from gradc.tensor import asarray, tensor
from gradc.tensor.variable import Tensor

Array = np.ndarray[Any, Any]
Arrays = Sequence[Array]


@dataclass(frozen=True, slots=True)
class RuleReport:
    """The largest errors found, relative to the largest entry of what was compared."""

    forward: float
    reverse: float
    second_order: float
    symmetry: float


@dataclass(frozen=True, slots=True)
class _Precision:
    """The step of fourth-order differences, and what relative errors may be."""

    step: float
    differences: float
    rounding: float


_F64 = _Precision(1e-3, 1e-6, 1e-9)
_F32 = _Precision(3e-2, 2e-2, 1e-4)


def check_rule(
    op: Callable[..., Any],
    *points: Any,
    rng: np.random.Generator | None = None,
    tests: int = 2,
    tolerance: float | None = None,
    second_order: bool = True,
) -> RuleReport:
    """Check the rules of `op`, a function of symbolic arrays, at the arrays `points`.

    Each of `tests` times tangents and cotangents are random. `tolerance` bounds the relative error
    against differences. Integers are held fixed, and so are inputs without a derivative. Returns
    the largest errors.

    Raises GradientError, which names the rule and the worst entry.
    """
    arrays = [np.asarray(x) for x in points]
    checked = _Checked.of(op, arrays)
    limits = _F32 if any(x.dtype == np.float32 for x in arrays) else _F64
    if tolerance is not None:
        limits = _Precision(limits.step, tolerance, limits.rounding)
    random = rng or np.random.default_rng(0)
    reports = [_checked_once(checked, arrays, limits, random, second_order) for _ in range(tests)]
    worst = [max(errors) for errors in zip(*reports, strict=True)]
    return RuleReport(*worst)


@dataclass(frozen=True, slots=True)
class _Checked:
    """The compiled functions; `moving` are the positions of the inputs that are varied.

    `rule`: the one that is written, from which the forward direction comes.

    value: points -> results; forward: points, tangents -> tangents of the results;
    reverse: points, cotangents -> cotangents; second: points, cotangents, tangents -> the
    derivative of `reverse` along the tangents.
    """

    name: str
    rule: str
    moving: tuple[int, ...]
    names: tuple[str, ...]
    value: CompiledFunction
    forward: CompiledFunction
    reverse: CompiledFunction
    second: CompiledFunction

    @classmethod
    def of(cls, op: Callable[..., Any], points: Arrays) -> _Checked:
        name = getattr(op, "name", getattr(op, "__name__", "the function"))
        inputs = [tensor(f"x{i}", dtype_of(x.dtype), x.shape) for i, x in enumerate(points)]
        found = op(*inputs)
        results = [asarray(x) for x in (found if isinstance(found, tuple | list) else [found])]
        results = [r for r in results if r.dtype.is_float]
        moving = _moving(inputs, results)
        if not results or not moving:
            raise GradcTypeError(
                f"check_rule: {name} has no derivative: no result that is a float depends on an "
                "input that is one"
            )
        wrt = [inputs[i] for i in moving]
        tangents = [tensor(f"t{i}", x.dtype, x.shape) for i, x in enumerate(wrt)]
        seeds = [tensor(f"u{i}", r.dtype, r.shape) for i, r in enumerate(results)]
        pushed = pushforward(results, wrt, tangents, "ignore")
        pulled = pullback(results, wrt, seeds, disconnected_inputs="ignore")
        twice = pushforward(pulled, wrt, tangents, "ignore")
        written = getattr(op, "pullback", None) and not getattr(op, "pushforward", None)
        return cls(
            str(name),
            "pullback" if written else "pushforward",
            moving,
            tuple(f"argument {i}" for i in moving),
            function(inputs, results, name="value"),
            function([*inputs, *tangents], pushed, name="forward"),
            function([*inputs, *seeds], pulled, name="reverse"),
            function([*inputs, *seeds, *tangents], twice, name="second"),
        )


def _moving(inputs: Sequence[Tensor], results: Sequence[Tensor]) -> tuple[int, ...]:
    """The float inputs that have a derivative, as far as the rules say."""
    seeds = [(r.value, tensor("u", r.dtype, r.shape).value) for r in results]
    pulled = pull_cotangents(seeds, [x.value for x in inputs])
    return tuple(
        i
        for i, (x, c) in enumerate(zip(inputs, pulled, strict=True))
        if x.dtype.is_float and not isinstance(c, Null)
    )


def _checked_once(
    checked: _Checked,
    points: Arrays,
    limits: _Precision,
    random: np.random.Generator,
    second_order: bool,
) -> tuple[float, float, float, float]:
    wrt = [points[i] for i in checked.moving]
    tangents, others = _random_like(wrt, random), _random_like(wrt, random)
    cotangents = _random_like(checked.value(*points), random)

    def moved(by: float) -> list[Array]:
        return _moved(checked, points, tangents, by)

    name = checked.name
    pushed = checked.forward(*points, *tangents)
    forward = max(
        _check_argument(checked, points, tangents, k, limits) for k in range(len(checked.moving))
    )
    pulled = checked.reverse(*points, *cotangents)
    what = f"the pullback of {name} is not the transpose of its pushforward: <u, J t> = <J^T u, t>"
    reverse = _compare_products(
        what, _terms(cotangents, pushed), _terms(pulled, tangents), limits.rounding
    )
    if not second_order:
        return forward, reverse, 0.0, 0.0
    twice = checked.second(*points, *cotangents, *tangents)
    differences = _differences(lambda by: checked.reverse(*moved(by), *cotangents), limits.step)
    what = f"the derivative of the pullback of {name} is wrong: the second order"
    second = _compare(what, checked.names, twice, differences, limits.differences)
    mirrored = checked.second(*points, *cotangents, *others)
    what = f"the second derivative of {name} is not symmetric"
    symmetry = _compare_products(
        what, _terms(others, twice), _terms(tangents, mirrored), limits.rounding
    )
    return forward, reverse, second, symmetry


def _moved(checked: _Checked, points: Arrays, tangents: Arrays, by: float) -> list[Array]:
    arrays = list(points)
    for i, t in zip(checked.moving, tangents, strict=True):
        arrays[i] = (points[i] + by * t).astype(points[i].dtype)
    return arrays


def _check_argument(
    checked: _Checked, points: Arrays, tangents: Arrays, number: int, limits: _Precision
) -> float:
    """The error of the derivative along the tangent of one argument alone."""
    alone = [t if k == number else np.zeros_like(t) for k, t in enumerate(tangents)]
    pushed = checked.forward(*points, *alone)
    differences = _differences(
        lambda by: checked.value(*_moved(checked, points, alone, by)), limits.step
    )
    along = checked.names[number]
    outputs = [f"result {k}" for k in range(len(pushed))]
    what = f"the {checked.rule} of {checked.name} is not its derivative, along {along}"
    return _compare(what, outputs, pushed, differences, limits.differences)


def _differences(f: Callable[[float], Any], step: float) -> list[Array]:
    """The derivative of f at 0 by central differences of the fourth order."""
    far_below, below, above, far_above = (
        [np.asarray(x, np.float64) for x in f(by * step)] for by in (-2, -1, 1, 2)
    )
    return [
        (8 * (b - a) - (d - c)) / (12 * step)
        for a, b, c, d in zip(below, above, far_below, far_above, strict=True)
    ]


def _compare(
    what: str, names: Sequence[str], found: Arrays, expected: Arrays, tolerance: float
) -> float:
    """The largest error; GradientError, naming the worst entry, where it is above the tolerance."""
    largest = 0.0
    for name, mine, theirs in zip(names, found, expected, strict=True):
        if not np.size(theirs):
            continue
        scale = max(float(np.max(np.abs(theirs))), float(np.max(np.abs(mine))), 1e-3)
        errors = np.abs(np.asarray(mine, np.float64) - theirs) / scale
        worst = np.unravel_index(
            int(np.argmax(np.where(np.isnan(errors), np.inf, errors))), np.shape(errors)
        )
        error = float(errors[worst])
        if not error <= tolerance:
            entry = f"[{', '.join(map(str, worst))}]" if worst else ""
            raise GradientError(
                f"check_rule: {what}; at {name}{entry} the rule gives {mine[worst]:.9g}, "
                f"differences {theirs[worst]:.9g} (relative error {error:.3g} > {tolerance:g})"
            )
        largest = max(largest, error)
    return largest


def _compare_products(what: str, left: Arrays, right: Arrays, tolerance: float) -> float:
    """The error of equal inner products, given as their terms."""
    a, b = (sum(float(np.sum(t)) for t in terms) for terms in (left, right))
    size = max(sum(float(np.sum(np.abs(t))) for t in terms) for terms in (left, right))
    error = abs(a - b) / max(size, 1e-300) if size else abs(a - b)
    if not error <= tolerance:
        raise GradientError(
            f"check_rule: {what}; {a:.9g} against {b:.9g} "
            f"(relative error {error:.3g} > {tolerance:g})"
        )
    return error


def _terms(a: Arrays, b: Arrays) -> list[Array]:
    return [np.asarray(x, np.float64) * y for x, y in zip(a, b, strict=True)]


def _random_like(arrays: Arrays, random: np.random.Generator) -> list[Array]:
    return [np.asarray(random.standard_normal(np.shape(x)), np.asarray(x).dtype) for x in arrays]
