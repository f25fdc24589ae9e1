"""Derivatives by a complex step: f(x + i h t) = f(x) + i h f'(x) t + O(h^2), without cancellation.

With h = 1e-100 the derivative is exact to rounding. The function has to be analytic: every op on
the way from the arguments to the results must be one that NumPy extends to complex numbers.

Squire and Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review
40 (1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.evaluate import bound
from gradc.ir.function import Equation, Function, Value

Array = np.ndarray[Any, Any]

STEP = 1e-100
_ANALYTIC = frozenset(
    (
        "add", "sub", "mul", "div", "neg", "exp", "log", "log1p", "expm1", "sin", "cos", "tanh",
        "sqrt", "xlogy", "xlog1py", "cumsum", "recurrence",
        "broadcast", "transpose", "reshape", "reverse", "assume_shape", "slice", "pad", "concat",
        "update_slice", "sum", "prod", "contract", "grad_scale", "grad_clip",
    )
)  # fmt: skip
# What gives integers or booleans, of the real parts.
_STEPS = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "argmax", "argmin", "argsort"))


def is_analytic(fn: Function) -> bool:
    """Whether a complex step gives the derivative of this function of arrays of f64."""
    moving = {p for p in fn.parameters if p.dtype.is_float}
    for made in fn.equations:
        if not any(value in moving for value in made.inputs):
            continue
        if made.op.name in _STEPS:
            continue
        if not _continues(made, moving):
            return False
        moving.update(made.outputs)
    return all(value.dtype.name != "f32" for value in moving)


def _continues(made: Equation, moving: set[Value]) -> bool:
    """Whether NumPy computes this equation with complex numbers in the place of what moves."""
    if made.op.name in ("where", "take"):
        return True
    return made.op.name in _ANALYTIC and all(value.dtype.is_float for value in made.inputs)


def complex_step(fn: Function, arrays: Sequence[Array], along: Sequence[Array]) -> list[Array]:
    """The derivative of an analytic function's results along a direction, exact to rounding.

    `along` has an array for each parameter. All sizes of `fn` are integers.
    """
    found: dict[Value, Array] = {}
    for parameter, at, direction in zip(fn.parameters, arrays, along, strict=True):
        moves = parameter.dtype.is_float and bool(np.any(direction))
        found[parameter] = np.asarray(at + 1j * STEP * direction if moves else at)
    for made in fn.equations:
        inputs = [found[value] for value in made.inputs]
        if made.op.name in _STEPS:
            inputs = [np.real(x) for x in inputs]
        with np.errstate(all="ignore"):
            result = made.op.evaluate(*inputs, **{k: bound(v, {}) for k, v in made.attrs.items()})
        results = result if isinstance(result, tuple) else (result,)
        found.update(zip(made.outputs, map(np.asarray, results), strict=True))
    return [np.imag(found[result]) / STEP for result in fn.results]
