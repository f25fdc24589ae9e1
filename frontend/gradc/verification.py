"""`verify_grad`: the derivatives of a symbolic function against independent ones.

For outputs f_k of arguments x, with random cotangents u_k and random tangents t:

    reverse       the gradient of <u, f>, entry by entry
    forward       the tangents f_k'(x) t
    second order  the derivative of that gradient along t (the Hessian of <u, f> times t)

are compared with a complex step where every op is analytic, else with differences of values (of
gradients, for the second order), computed in f64 also for arguments of f32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gradc.complex_step import complex_step, is_analytic
from gradc.derivatives import grad, hessian_vector_product, pushforward
from gradc.driver import CompiledFunction
from gradc.errors import GradcTypeError, GradcValueError, GradientError
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.record import dataclass
from gradc.ir.types import DType, dtype_of, f64
from gradc.tensor import asarray, tensor
from gradc.tensor import sum as sum_entries
from gradc.tensor.variable import Tensor
from gradc.tracing import make_function

Array = np.ndarray[Any, Any]
Arrays = Sequence[Array]

# Absolute and relative tolerance, and the step of central differences, by the lowest precision.
_TOLERANCES = MappingProxyType({"float64": 1e-4, "float32": 1e-2})
_STEPS = MappingProxyType({"float64": 1e-5, "float32": 1e-2})


def verify_grad(
    fun: Callable[..., Any],
    pt: Sequence[Any],
    n_tests: int = 2,
    rng: np.random.Generator | None = None,
    eps: float | None = None,
    out_type: Any = None,
    abs_tol: float | None = None,
    rel_tol: float | None = None,
    mode: Any = None,
    cast_to_output_type: bool = False,
    no_debug_ref: bool = True,
    order: int = 1,
) -> None:
    """Check the derivatives of a symbolic function, in both directions, at a point.

    fun takes one symbolic array for each of the float arrays `pt` and returns one, or several in a
    list or tuple. An entry passes if its absolute or its relative error is within tolerance.
    n_tests: how often, with new random directions.
    eps: the step of central differences; by default a complex step is taken where possible.
    order: 2 checks second derivatives, too.
    out_type: a NumPy dtype; tolerances are those of the least precise of this and `pt`.
    `mode`, `cast_to_output_type` and `no_debug_ref` are PyTensor's, and change nothing.

    Raises GradientError that names the worst entry; TypeError for a point that is no float;
    ValueError for options with which nothing would be checked.
    """
    points = _float_points(pt)
    _check_options(n_tests, eps, order, abs_tol=abs_tol, rel_tol=rel_tol)
    names = [x.dtype.name for x in points] + ([np.dtype(out_type).name] if out_type else [])
    default = max((_of(_TOLERANCES, name) for name in names), default=1e-4)
    tolerance = _Tolerance(
        default if abs_tol is None else abs_tol, default if rel_tol is None else rel_tol
    )
    given = _derivatives(fun, points, [dtype_of(x.dtype) for x in points], order)
    exact = _derivatives(fun, points, [f64] * len(points), order)
    random = np.random.default_rng() if rng is None else rng
    for test in range(n_tests):
        _verify(test, given, exact, points, random, eps, tolerance)


def _check_options(n_tests: int, eps: float | None, order: int, **tolerances: float | None) -> None:
    """Raise GradcValueError for options with which nothing would be checked."""
    if order not in (1, 2):
        raise GradcValueError(f"verify_grad: order is 1 or 2, not {order!r}")
    if not isinstance(n_tests, int) or n_tests < 1:
        raise GradcValueError(
            f"verify_grad: n_tests is a number of tests, at least 1, not {n_tests!r}"
        )
    if eps is not None and not eps > 0:
        raise GradcValueError(f"verify_grad: eps is a step above 0, not {eps!r}")
    for name, tolerance in tolerances.items():
        if tolerance is not None and not tolerance >= 0:
            raise GradcValueError(f"verify_grad: {name} is a number, 0 at least, not {tolerance!r}")


@dataclass(frozen=True, slots=True)
class _Tolerance:
    absolute: float
    relative: float


@dataclass(frozen=True, slots=True)
class _Derivatives:
    """The values and derivatives of one function, each of (arguments, cotangents, tangents)."""

    values: Function  # of the arguments only
    gradient: Function
    forward: Function
    products: Function | None


def _derivatives(
    fun: Callable[..., Any], points: Arrays, dtypes: Sequence[DType], order: int
) -> _Derivatives:
    pairs = list(zip(points, dtypes, strict=True))
    inputs = [tensor(f"x{i}", dtype, x.shape) for i, (x, dtype) in enumerate(pairs)]
    tangents = [tensor(f"t{i}", dtype, x.shape) for i, (x, dtype) in enumerate(pairs)]
    made = fun(*inputs)
    outputs = [asarray(f) for f in (made if isinstance(made, list | tuple) else [made])]
    for k, output in enumerate(outputs):
        if not output.dtype.is_float:
            raise GradcTypeError(f"verify_grad: output {k} is no array of floats: {output!r}")
    cotangents = [tensor(f"u{k}", f.dtype, f.shape) for k, f in enumerate(outputs)]
    total = asarray(0.0)
    for output, cotangent in zip(outputs, cotangents, strict=True):
        total = total + sum_entries(output * cotangent)
    gradients = grad(total, inputs, disconnected_inputs="ignore", add_names=False)
    everything = [*inputs, *cotangents, *tangents]
    return _Derivatives(
        make_function(inputs, outputs, "values"),
        make_function(everything, gradients, "gradient"),
        make_function(everything, _tangents(outputs, inputs, tangents), "forward"),
        None
        if order == 1
        else make_function(
            everything,
            hessian_vector_product(total, inputs, tangents, disconnected_inputs="ignore"),
            "products",
        ),
    )


def _tangents(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], tangents: Sequence[Tensor]
) -> list[Tensor]:
    found: list[Tensor] = pushforward(
        list(outputs), list(inputs), list(tangents), disconnected_outputs="ignore"
    )
    return found


def _verify(
    test: int,
    given: _Derivatives,
    exact: _Derivatives,
    points: Arrays,
    rng: np.random.Generator,
    eps: float | None,
    tolerance: _Tolerance,
) -> None:
    """One test: raise GradientError where a derivative is out of both tolerances."""
    cotangents = [_draw(rng, f) for f in exact.values.results]
    tangents = [_draw(rng, p) for p in exact.values.parameters]
    wide = [x.astype("f8") for x in points]
    reference = _Reference(exact, wide, cotangents, eps)
    arguments = _narrowed(given.gradient, [*points, *cotangents, *tangents])

    def run(fn: Function) -> Arrays:
        found: Arrays = CompiledFunction(fn, single=False)(*arguments)
        return found

    compare = _Comparison(test, tolerance)
    compare("the gradient of argument", run(given.gradient), reference.gradient(), "reverse")
    compare("the tangent of output", run(given.forward), reference.along(tangents), "forward")
    if given.products is not None:
        wanted = reference.second(tangents)
        compare("the second derivative by argument", run(given.products), wanted, "second order")


@dataclass(frozen=True, slots=True)
class _Reference:
    """Derivatives by a complex step or by central differences, in f64."""

    exact: _Derivatives
    points: Arrays
    cotangents: Arrays
    eps: float | None

    def along(self, tangents: Arrays) -> Arrays:
        """The derivative of every output along a direction."""
        return self._directional(self.exact.values, self.points, tangents)

    def gradient(self) -> Arrays:
        """The gradient of <cotangents, outputs>, one entry at a time."""
        found = [np.zeros(x.shape) for x in self.points]
        for i, slots in enumerate(found):
            for place in np.ndindex(slots.shape):
                units = [np.zeros(x.shape) for x in self.points]
                units[i][place] = 1.0
                pairs = zip(self.cotangents, self.along(units), strict=True)
                slots[place] = sum(float(np.sum(u * moved)) for u, moved in pairs)
        return found

    def second(self, tangents: Arrays) -> Arrays:
        """The derivative of the gradient along a direction."""
        fixed = [*self.cotangents, *tangents]
        still = [np.zeros_like(x) for x in fixed]
        return self._directional(self.exact.gradient, [*self.points, *fixed], [*tangents, *still])

    def _directional(self, fn: Function, at: Arrays, along: Arrays) -> Arrays:
        if self.eps is None and is_analytic(fn):
            return complex_step(fn, at, along)
        step = self.eps or _step(fn)
        ahead = evaluate(fn, *(x + step * t for x, t in zip(at, along, strict=True)))
        behind = evaluate(fn, *(x - step * t for x, t in zip(at, along, strict=True)))
        return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


@dataclass(frozen=True, slots=True)
class _Comparison:
    test: int
    tolerance: _Tolerance

    def __call__(self, what: str, found: Arrays, wanted: Arrays, direction: str) -> None:
        """Raise GradientError that names the entry with the largest error in tolerances."""
        worst, message = 1.0, ""
        for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
            with np.errstate(all="ignore"):
                absolute = np.abs(a - b)
                relative = absolute / np.maximum(np.abs(a) + np.abs(b), 1e-8)
            units = np.minimum(
                absolute / self.tolerance.absolute, relative / self.tolerance.relative
            )
            units = np.where(np.isfinite(units), units, np.inf)
            if units.size == 0 or units.max() <= worst:
                continue
            worst = float(units.max())
            at = np.unravel_index(int(units.argmax()), units.shape)
            place = f" at [{', '.join(map(str, map(int, at)))}]" if at else ""
            message = (
                f"verify_grad: in test {self.test} ({direction}), {what} {i} differs most{place}: "
                f"{a[at]:.9g} against {b[at]:.9g} (absolute error {absolute[at]:.3g}, allowed "
                f"{self.tolerance.absolute:g}; relative error {relative[at]:.3g}, allowed "
                f"{self.tolerance.relative:g})"
            )
        if message:
            raise GradientError(message)


def _draw(rng: np.random.Generator, value: Any) -> Array:
    """A random direction without small entries, which would hide an error."""
    shape = tuple(int(dim) for dim in value.shape)
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice((-1.0, 1.0), shape))


def _narrowed(fn: Function, arrays: Arrays) -> Arrays:
    pairs = zip(arrays, fn.parameters, strict=True)
    return [np.asarray(a, p.dtype.numpy) for a, p in pairs]


def _step(fn: Function) -> float:
    values = [*fn.parameters, *(output for made in fn.equations for output in made.outputs)]
    single = any(value.dtype.name == "f32" for value in values)
    return _STEPS["float32" if single else "float64"]


def _of(table: Mapping[str, float], name: str) -> float:
    return table.get(name, table["float64"])


def _float_points(pt: Sequence[Any]) -> list[Array]:
    if not isinstance(pt, list | tuple):
        raise GradcTypeError(f"verify_grad: pt is a list of arrays, not {type(pt).__name__}")
    points = [np.array(x) for x in pt]
    for i, x in enumerate(points):
        if x.dtype.name not in _STEPS:
            raise GradcTypeError(f"verify_grad: the point {i} is of {x.dtype}, not of floats")
    return points
