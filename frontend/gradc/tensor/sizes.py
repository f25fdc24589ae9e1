"""Sizes that the user did not name.

`matrix("X")` has two axes of unknown length. Each gets a size with a reserved name, which users
never see: messages print `?`, and a compiled function names it after its input (`X_0`).
"""

from __future__ import annotations

import re
from itertools import count
from operator import index

from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import Dim, SizeExpr, names_of, parse_dim, size
from gradc.ir.types import ArrayType

_PREFIX = "__"
_NUMBERS = count()  # only ever asked for a number that nobody else has


def anonymous_size() -> SizeExpr:
    """A size equal to no other."""
    return size(f"{_PREFIX}{next(_NUMBERS)}")


def is_anonymous(name: str) -> bool:
    """Whether a size name is one of `anonymous_size`."""
    return name.startswith(_PREFIX)


def has_anonymous(dim: Dim) -> bool:
    """Whether a dimension depends on a size that the user did not name."""
    return any(is_anonymous(name) for name in names_of((dim,)))


def as_dim(length: object) -> Dim:
    """The dimension for a length given as an integer, a size expression, its text, or None."""
    if length is None:
        return anonymous_size()
    if isinstance(length, str):
        dim = _parsed(length)
        if has_anonymous(dim):
            raise GradcValueError(f"a size name must not begin with two underscores: {length!r}")
        return dim
    if isinstance(length, SizeExpr):
        return length
    number = as_integer(length)
    if number is None:
        raise GradcTypeError(
            f"a length is an integer, a size name like 'n' or '2*n+1', or None, not {length!r}"
        )
    if not 0 <= number < 2**63:
        fault = "is not negative" if number < 0 else "is below 2**63"
        raise GradcValueError(f"a length {fault}: {number}")
    return number


def as_integer(x: object) -> int | None:
    """The integer that Python's or NumPy's integer `x` is; None where it is none."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        return None
    try:
        return index(x)
    except TypeError:  # an array of several integers, a symbolic array
        return None


def as_shape(shape: object) -> tuple[Dim, ...]:
    """The shape for one length or a sequence of lengths."""
    lengths = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(as_dim(length) for length in lengths)


def display(what: ArrayType | Dim | tuple[Dim, ...]) -> str:
    """A type, shape or dimension as text, with `?` for a size without a name."""
    text = ", ".join(map(str, what)) if isinstance(what, tuple) else str(what)
    return re.sub(rf"\b{_PREFIX}\d+\b", "?", text)


def _parsed(text: str) -> Dim:
    try:
        return parse_dim(text)
    except ValueError as error:
        raise GradcValueError(str(error)) from error
