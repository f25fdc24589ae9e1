"""Source spans: where in the user's file a value was written."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import field

from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A region of a source file. Lines and columns count from 1; the end column is exclusive.

    A Python position has only a line: its columns are 0. `order` counts how often what was written
    there was differentiated: 0 for the primal. It is no part of the place, nor of its text.
    """

    file: str
    line: int
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    order: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"
        )


def differentiated(span: Span | None) -> Span | None:
    """The same place, for what differentiation makes of what stands there."""
    if span is None:
        return None
    return Span(span.file, span.line, span.column, span.end_line, span.end_column, span.order + 1)


_CURRENT: ContextVar[Span | None] = ContextVar("gradc_span", default=None)


def current_span() -> Span | None:
    """The span that equations built now are given."""
    return _CURRENT.get()


def move_to(span: Span | None) -> None:
    """Give every equation built from now on this span, until the `at` block around this ends."""
    _CURRENT.set(span)


class at:  # a class, not a generator: passes enter one for each equation
    """Give every equation built inside the `with` block this span."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._span)

    def __exit__(self, *raised: object) -> None:
        _CURRENT.reset(self._token)
