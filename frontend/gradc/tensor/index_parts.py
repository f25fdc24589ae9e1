"""An index expression taken apart: what is a strided view, and what is gathered."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import GradcIndexError, GradcTypeError, GradcValueError
from gradc.ir.dims import Dim, SizeExpr
from gradc.ir.record import dataclass
from gradc.ir.types import i32, i64
from gradc.tensor.operands import asarray, cast, note
from gradc.tensor.sizes import as_integer, display
from gradc.tensor.variable import Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """One axis, reversed first if `flipped`, read from `start` to before `stop` in steps."""

    start: Dim
    stop: Dim
    step: int = 1
    flipped: bool = False

    def is_whole(self, length: Dim) -> bool:
        """Whether the run is the axis itself, in one order or the other."""
        return self.start == 0 and self.stop == length and self.step == 1


@dataclass(frozen=True, slots=True)
class IndexParts:
    """An index: first one run an axis, then axes dropped and added, then a gather over some axes.

    layout: for each axis of the view, the array's axis it shows, or None for a new axis.
    arrays: pairs of an axis of the view and the integer array that indexes it.
    position: where the axes of the broadcast index arrays stand in the result.
    """

    runs: tuple[Run, ...]
    layout: tuple[int | None, ...]
    arrays: tuple[tuple[int, Tensor], ...]
    position: int


def take_apart(x: Tensor, index: Any) -> IndexParts:
    """The parts of `x[index]`; errors say which item of the index is wrong, and why."""
    items = _expanded(x, index if isinstance(index, tuple) else (index,))
    runs: list[Run] = []
    layout: list[int | None] = []
    arrays: list[tuple[int, Tensor]] = []
    gathered: list[
        tuple[int, int]
    ] = []  # (place in `items`, axis of the view) of integers and arrays
    for place, item in enumerate(items):
        if item is None:
            layout.append(None)
            continue
        axis = len(runs)
        length = x.shape[axis]
        if isinstance(item, slice):
            runs.append(_run_of_slice(item, length, x))
            layout.append(axis)
            continue
        gathered.append((place, len(layout)))
        if _is_number(item):
            runs.append(_run_of_number(item, length, axis, x))
            continue
        runs.append(Run(0, length))
        arrays.append((len(layout), _index_array(item, x)))
        layout.append(axis)
    places = [place for place, _ in gathered]
    together = not places or places[-1] - places[0] + 1 == len(places)
    position = gathered[0][1] if gathered and together else 0
    return IndexParts(tuple(runs), tuple(layout), tuple(arrays), position)


def _expanded(x: Tensor, items: tuple[Any, ...]) -> list[Any]:
    """The items with `...` written out, one item for every axis."""
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise GradcIndexError("an index may hold one `...` only")
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > x.ndim:
        raise GradcIndexError(
            f"{used} indices for an array with {x.ndim} axes", operands=(note(0, x),)
        )
    rest = [slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(items)
    return [*items[:at], *rest, *items[at + len(dots) :]]


def _is_number(item: Any) -> bool:
    """Whether an item is an integer or a size: known, as an expression, when compiled."""
    if isinstance(item, bool | np.bool_ | Tensor | np.ndarray):
        return False
    return isinstance(item, SizeExpr) or as_integer(item) is not None


def _as_bound(bound: Any, x: Tensor) -> Dim:
    if isinstance(bound, SizeExpr):
        return bound
    if isinstance(bound, Tensor):
        raise GradcTypeError(
            "a slice whose bounds are computed has no length known before the call",
            operands=(note(0, x),),
            hint="use sizes (x.shape[0] - 1) as bounds, or gt.take(x, start + gt.arange(n))",
        )
    number = as_integer(bound)
    if number is None:
        raise GradcTypeError(f"a slice's bounds are integers, sizes or None, not {bound!r}")
    return number


def _run_of_slice(item: slice, length: Dim, x: Tensor) -> Run:
    """The run of a slice: clamped as in Python if the length is known, else checked at the call."""
    step = 1 if item.step is None else _as_bound(item.step, x)
    if not isinstance(step, int) or step == 0:
        raise GradcValueError(f"a slice's step is a non-zero integer, not {step}")
    start = None if item.start is None else _as_bound(item.start, x)
    stop = None if item.stop is None else _as_bound(item.stop, x)
    known = not any(isinstance(bound, SizeExpr) for bound in (start, stop, length))
    if known:
        start, stop, _ = slice(start, stop, step).indices(length)  # type: ignore[arg-type]
    else:
        start = _from_front(start, length, 0 if step > 0 else length - 1)
        stop = _from_front(stop, length, length if step > 0 else -1, keep=item.stop is None)
    if step < 0:
        start, stop = length - 1 - start, length - 1 - stop
    if isinstance(start, int) and isinstance(stop, int):
        stop = max(start, stop)
    return Run(start, stop, abs(step), step < 0)


def _from_front(bound: Dim | None, length: Dim, default: Dim, keep: bool = False) -> Dim:
    if bound is None or keep:
        return default
    return length + bound if isinstance(bound, int) and bound < 0 else bound


def _run_of_number(item: Any, length: Dim, axis: int, x: Tensor) -> Run:
    number: Dim = item if isinstance(item, SizeExpr) else int(item.__index__())
    if isinstance(number, int) and isinstance(length, int) and not -length <= number < length:
        raise GradcIndexError(
            f"the index {number} is out of range",
            label=f"axis {axis} has length {display(length)}",
            operands=(note(0, x),),
        )
    start = length + number if isinstance(number, int) and number < 0 else number
    return Run(start, start + 1)


def _index_array(item: Any, x: Tensor) -> Tensor:
    array = asarray(item, "i64") if isinstance(item, list | tuple) and not item else asarray(item)
    if array.dtype.kind == "b":
        raise GradcIndexError(
            "an array cannot be indexed by a boolean mask",
            label="the number of chosen elements is not known before the call",
            operands=(note(0, x), note("the mask", array)),
            hint="use gt.where(mask, x, 0), or a sum weighted by the mask",
        )
    if array.dtype not in (i32, i64):
        raise GradcIndexError(
            f"an index is an integer, a slice, None, ... or an array of integers, not {array!r}"
        )
    return cast(array, i64)
