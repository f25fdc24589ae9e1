"""Where in the user's program an operation was called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from gradc.errors import GradcError, GradcTypeError
from gradc.ir.span import Span, at, current_span

P = ParamSpec("P")
R = TypeVar("R")


def users_line() -> Span | None:
    """The file and line of the innermost frame outside the gradc package."""
    frame = _users_frame()
    return Span(frame.f_code.co_filename, frame.f_lineno) if frame is not None else None


def users_names() -> dict[str, Any]:
    """The local names where the user's code calls gradc: an annotation may read them."""
    frame = _users_frame()
    return dict(frame.f_locals) if frame is not None else {}


def _users_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != "gradc" and not module.startswith("gradc."):
            return frame
        frame = frame.f_back
    return None


def located(operation: Callable[P, R]) -> Callable[P, R]:
    """Give the equations that `operation` builds the user's line, unless a span is set already.

    What the strict graph IR, NumPy or Python refuse about an argument becomes a GradcTypeError.
    """

    @wraps(operation)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if current_span() is not None:
                return operation(*args, **kwargs)
            with at(users_line()):
                return operation(*args, **kwargs)
        except GradcError:
            raise
        except (TypeError, ValueError, IndexError, OverflowError) as error:
            raise GradcTypeError(f"{operation.__name__}: {error}") from error

    return call
