"""Warnings about code that is right by the rules and certainly not what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite, isnan
from typing import Any

from gradc import syntax
from gradc.diagnostics import Diagnostic, Label
from gradc.ir.dims import SizeExpr, size
from gradc.ir.function import Function
from gradc.ir.span import Span
from gradc.ir.types import DType, f32
from gradc.tensor import Tensor

F32_INFINITE = 2.0**128 - 2.0**103  # the smallest number that rounds to infinity in f32
F32_ZERO = 2.0**-150  # the largest number that rounds to zero in f32
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
# Of functions that fill an array: the parameter with the number, which takes the array's type.
_FILLS = {"full": "fill_value", "full_like": "fill_value", "pad": "constant_values"}


def in_comparison(symbol: syntax.Operator, x: Any, y: Any, at: Span) -> Iterator[Diagnostic]:
    """A comparison with nan, or of a size with zero, whose result is known."""
    if symbol.symbol not in _COMPARISONS:
        return
    always = "true" if symbol.symbol == "!=" else "false"
    if any(isinstance(value, float) and isnan(value) for value in (x, y)):
        message = f"a comparison with nan is always {always}"
        yield Diagnostic("G0707", message, Label(at), help=("write `isnan(x)`",))
    for value, other, sign in ((x, y, symbol.symbol), (y, x, _MIRRORED.get(symbol.symbol))):
        if _is_plain_size(value) and type(other) is int and other == 0 and sign in ("<", ">="):
            message = (
                f"a size is never negative: this is always {'true' if sign == '>=' else 'false'}"
            )
            yield Diagnostic("G0707", message, Label(at))


def _is_plain_size(value: object) -> bool:
    return isinstance(value, SizeExpr) and len(value.names) == 1 and value == size(*value.names)


def in_operation(values: tuple[Any, Any], spans: tuple[Span, Span]) -> Iterator[Diagnostic]:
    """A number beside an array of f32, in which it is infinite."""
    for (value, other), span in zip((values, values[::-1]), spans, strict=True):
        if isinstance(other, Tensor) and other.dtype == f32:
            yield from in_number(value, f32, span)


def in_call(
    name: str, values: Mapping[str, Any], places: Mapping[str | int, Span]
) -> Iterator[Diagnostic]:
    """A number given to a function, which takes a type that cannot hold it."""
    arrays = [value for value in values.values() if isinstance(value, Tensor)]
    dtype = values.get("dtype") or (arrays[0].dtype if arrays else None)
    fill = _FILLS.get(name, "")
    if fill in values and isinstance(dtype, DType):
        yield from in_number(values[fill], dtype, places[fill])
    elif arrays and all(array.dtype == f32 for array in arrays):
        for key, value in values.items():
            yield from in_number(value, f32, places[key])


def in_number(value: object, dtype: DType, at: Span) -> Iterator[Diagnostic]:
    """A number that loses its fraction, or becomes infinite or zero, as `dtype`."""
    if not isinstance(value, float) or not isfinite(value):
        return
    if dtype.kind == "i" and not value.is_integer():
        message = f"{value!r} loses its fraction: it becomes {int(value)} in {dtype}"
        yield Diagnostic("G0704", message, Label(at), help=(f"write `{int(value)}`",))
    if dtype == f32 and abs(value) >= F32_INFINITE:
        message = f"{value!r} is infinite in f32, whose largest number is 3.4e38"
        yield Diagnostic("G0705", message, Label(at), help=("write `inf`, or work in f64",))
    if dtype == f32 and 0 < abs(value) <= F32_ZERO:
        message = f"{value!r} is zero in f32, whose smallest number is 1.4e-45"
        yield Diagnostic("G0705", message, Label(at), help=("write `0.0`, or work in f64",))


def in_derivative(
    form: str, function: Function, wrt: tuple[syntax.Name, ...], at: Span
) -> Iterator[Diagnostic]:
    """A derivative with respect to a parameter from which no path leads to a result."""
    named = dict(zip(function.parameter_names, function.parameters, strict=True))
    for name in wrt:
        reached = {named[name.text]}
        for equation in function.equations:
            if not reached.isdisjoint(equation.inputs):
                reached.update(equation.outputs)
        if reached.isdisjoint(function.results):
            message = f"the result does not depend on `{name.text}`: this derivative is zero"
            yield Diagnostic(
                "G0706",
                message,
                Label(name.span),
                (Label(at, f"of this `{form}`"),) if at.line != name.span.line else (),
                help=("where that is meant, write `disconnected: zero`",),
            )
