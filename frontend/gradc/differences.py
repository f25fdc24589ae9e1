"""Gradients by finite differences, to check derivatives against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gradc.driver import function
from gradc.errors import GradcTypeError, GradcValueError, GradientError
from gradc.gradient import grad
from gradc.ir.types import dtype_of
from gradc.tensor import asarray, sum, tensor
from gradc.tensor.variable import Tensor

Array = np.ndarray[Any, Any]

# (step of one-sided differences, absolute and relative tolerance): about the square root of the
# precision, and what is left of it after the division by the step.
_STEPS = MappingProxyType({"float64": 1e-7, "float32": 3e-4})
_TOLERANCES = MappingProxyType({"float64": 1e-4, "float32": 1e-2})


class numeric_grad:
    """The gradient of a scalar Python function at a point, by one-sided differences.

    f takes arrays and returns a number; pt is an array or a list of arrays. `gf` is the gradient,
    in pt's container. The step is `eps`, by default that of the lowest precision among pt.
    """

    type_eps = _STEPS

    def __init__(
        self, f: Callable[..., Any], pt: Any, eps: float | None = None, out_type: Any = None
    ) -> None:
        self._single = not isinstance(pt, list | tuple)
        points = [np.array(x) for x in ([pt] if self._single else pt)]
        step = max(_step(x, out_type) for x in points) if eps is None else eps
        start = float(np.asarray(f(*points)))
        found = [np.zeros(x.shape, np.float64) for x in points]
        for x, gradient in zip(points, found, strict=True):
            flat, slots = x.reshape(-1), gradient.reshape(-1)
            for i in range(flat.size):
                before = flat[i]
                flat[i] = before + step
                width = float(flat[i]) - float(before)
                slots[i] = (float(np.asarray(f(*points))) - start) / width
                flat[i] = before
        kept = [g.astype(x.dtype) for g, x in zip(found, points, strict=True)]
        self.gf: Any = kept[0] if self._single else kept

    @staticmethod
    def abs_rel_err(a: Array, b: Array) -> tuple[Array, Array]:
        """|a - b|, and the same relative to |a| + |b|, of which 1e-8 at least is taken."""
        absolute = np.abs(a - b)
        return absolute, absolute / np.maximum(np.abs(a) + np.abs(b), 1e-8)

    def abs_rel_errors(self, g_pt: Sequence[Array]) -> list[tuple[Array, Array]]:
        """The errors of gradients against these, argument by argument."""
        mine = [self.gf] if self._single else self.gf
        theirs = [g_pt] if self._single and isinstance(g_pt, np.ndarray) else list(g_pt)
        if len(mine) != len(theirs):
            raise GradcValueError(f"{len(theirs)} gradients were given for {len(mine)}")
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            if np.shape(a) != np.shape(b):
                raise GradcValueError(
                    f"the gradient of argument {i} has the shape {np.shape(b)}, not {np.shape(a)}"
                )
        return [self.abs_rel_err(a, b) for a, b in zip(mine, theirs, strict=True)]

    def max_err(
        self, g_pt: Sequence[Array], abs_tol: float, rel_tol: float
    ) -> tuple[int, int, float, float]:
        """(argument, flat position, absolute, relative error) where gradients differ most.

        That is where the smaller of both errors, each in units of its tolerance, is largest.
        """
        worst = (0, 0, 0.0, 0.0)
        largest = -1.0
        for i, (absolute, relative) in enumerate(self.abs_rel_errors(g_pt)):
            units = np.minimum(absolute / abs_tol, relative / rel_tol)
            if not np.all(np.isfinite(units)):
                raise GradcValueError(f"a gradient of argument {i} is not finite")
            if units.size and units.max() > largest:
                at = int(units.argmax())
                largest = float(units.max())
                worst = (i, at, float(absolute.flat[at]), float(relative.flat[at]))
        return worst


def verify_grad(
    fun: Callable[..., Tensor],
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
) -> None:
    """Check the gradient of a symbolic function against finite differences.

    fun takes one symbolic array for each of the float arrays `pt` and returns one. `n_tests` times
    its result is projected on a random vector, and the gradient of that number compared: an entry
    passes if its absolute or its relative error is within tolerance. `mode`, `no_debug_ref` and
    `cast_to_output_type` are PyTensor's, and change nothing.

    Raises GradientError for a gradient that differs; TypeError for a point that is no float.
    """
    points = _float_points(pt)
    tolerance = max(_by_name(_TOLERANCES, x, out_type) for x in points) if points else 1e-4
    abs_tol = tolerance if abs_tol is None else abs_tol
    rel_tol = tolerance if rel_tol is None else rel_tol
    inputs = [tensor(f"x{i}", dtype_of(x.dtype), x.shape) for i, x in enumerate(points)]
    output = fun(*inputs)
    if isinstance(output, list | tuple):
        raise NotImplementedError("verify_grad: fun returns one array; verify its results singly")
    output = asarray(output)
    direction = tensor("direction", output.dtype, output.shape)
    cost = sum(output * direction)
    value = function([*inputs, direction], cost, name="cost")
    gradient = function([*inputs, direction], grad(cost, inputs), name="gradient")
    shape = np.shape(function(inputs, output, name="output")(*points))
    random = rng or np.random.default_rng()
    for test in range(n_tests):
        along = np.asarray(random.uniform(size=shape) + 0.5, output.dtype.numpy)
        differences = numeric_grad(lambda *x, v=along: value(*x, v), points, eps, out_type)
        _compare(test, differences, gradient(*points, along), abs_tol, rel_tol)


def _float_points(pt: Sequence[Any]) -> list[Array]:
    if not isinstance(pt, list | tuple):
        raise GradcTypeError(f"verify_grad: pt is a list of arrays, not {type(pt).__name__}")
    points = [np.array(x) for x in pt]
    for i, x in enumerate(points):
        if x.dtype.name not in _STEPS:
            raise GradcTypeError(f"verify_grad: the point {i} is of {x.dtype}, not of floats")
    return points


def _compare(
    test: int,
    differences: numeric_grad,
    gradients: Sequence[Array],
    abs_tol: float,
    rel_tol: float,
) -> None:
    """Raise GradientError where a gradient is out of both tolerances."""
    argument, position, absolute, relative = differences.max_err(gradients, abs_tol, rel_tol)
    if absolute <= abs_tol or relative <= rel_tol:
        return
    found, expected = gradients[argument], differences.gf[argument]
    raise GradientError(
        f"verify_grad: in test {test}, the gradient of argument {argument} differs from finite "
        f"differences at flat position {position}: {np.ravel(found)[position]:.9g} against "
        f"{np.ravel(expected)[position]:.9g} (absolute error {absolute:.3g} > {abs_tol:g}, "
        f"relative error {relative:.3g} > {rel_tol:g})"
    )


def _step(x: Array, out_type: Any) -> float:
    return _by_name(_STEPS, x, out_type)


def _by_name(table: Mapping[str, float], x: Array, out_type: Any) -> float:
    """The table's number for the less precise one of x's dtype and `out_type`."""
    names = [x.dtype.name] + ([np.dtype(out_type).name] if out_type is not None else [])
    return max(table.get(name, table["float64"]) for name in names)
