"""Axis arguments: integers, negative or not, tuples of them, or None."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.errors import GradcIndexError, GradcTypeError, GradcValueError
from gradc.tensor.operands import note
from gradc.tensor.sizes import as_integer
from gradc.tensor.variable import Tensor


def as_axis(axis: object, rank: int, x: Tensor | None = None) -> int:
    """The axis in [0, rank) that an integer names; GradcIndexError where there is none."""
    number = as_integer(axis)
    if number is None:
        raise GradcTypeError(f"an axis is an integer, not {axis!r}")
    if not -rank <= number < rank:
        have = f"{rank} axis" if rank == 1 else f"{rank} axes"
        raise GradcIndexError(
            f"there is no axis {number}",
            label=f"the array has {have}",
            operands=() if x is None else (note(0, x),),
        )
    return number % rank


def as_axes(axis: object, rank: int, x: Tensor | None = None) -> tuple[int, ...]:
    """The axes that an integer, a sequence or None (all of them) names, ascending."""
    if axis is None:
        return tuple(range(rank))
    wanted = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(sorted(distinct_axes(wanted, rank, x)))


def distinct_axes(axes: Sequence[object], rank: int, x: Tensor | None = None) -> tuple[int, ...]:
    """Axes in the order given; GradcValueError where one comes twice."""
    found = tuple(as_axis(axis, rank, x) for axis in axes)
    if len(set(found)) != len(found):
        raise GradcValueError(f"an axis is named twice in {tuple(axes)}")
    return found
