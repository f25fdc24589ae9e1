"""Gradients by finite differences of a Python function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gradc.errors import GradcValueError

Array = np.ndarray[Any, Any]

# The step of one-sided differences: about the square root of the precision.
_STEPS = MappingProxyType({"float64": 1e-7, "float32": 3e-4, "float16": 1e-1})


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


def _step(x: Array, out_type: Any) -> float:
    return _by_name(_STEPS, x, out_type)


def _by_name(table: Mapping[str, float], x: Array, out_type: Any) -> float:
    """The table's number for the less precise one of x's dtype and `out_type`."""
    names = [x.dtype.name] + ([np.dtype(out_type).name] if out_type is not None else [])
    return max(table.get(name, table["float64"]) for name in names)
