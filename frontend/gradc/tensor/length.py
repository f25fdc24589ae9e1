"""The length of an axis, as users compute with it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from gradc.ir.dims import Dim, SizeExpr

_FLOATS = (float, np.floating)


class Length(SizeExpr):
    """A symbolic length.

    With integers and lengths it gives lengths, as `2*n + 1` in a shape. With a float, and for `/`
    and `**`, it is the i64 scalar that the function finds when it runs.
    """

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return self._operate("__add__", other)

    def __radd__(self, other: Any) -> Any:
        return self._operate("__radd__", other)

    def __sub__(self, other: Any) -> Any:
        return self._operate("__sub__", other)

    def __rsub__(self, other: Any) -> Any:
        return self._operate("__rsub__", other)

    def __mul__(self, other: Any) -> Any:
        return self._operate("__mul__", other)

    def __rmul__(self, other: Any) -> Any:
        return self._operate("__rmul__", other)

    def __floordiv__(self, other: Any) -> Any:
        return self._operate("__floordiv__", other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._operate("__rfloordiv__", other)

    def __neg__(self) -> Any:
        return as_length(super().__neg__())

    def __truediv__(self, other: Any) -> Any:
        return self._array() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self._array()

    def __pow__(self, other: Any) -> Any:
        return self._array() ** other

    def _operate(self, name: str, other: Any) -> Any:
        if isinstance(other, _FLOATS):
            return getattr(self._array(), name)(other)
        return as_length(getattr(super(), name)(other))

    def _array(self) -> Any:
        return import_module("gradc.tensor").asarray(self)


def as_length(dim: Dim) -> Any:
    """A dimension for the user: an integer stays one. (NotImplemented passes through.)"""
    return Length(dim.terms) if isinstance(dim, SizeExpr) else dim
