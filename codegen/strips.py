"""Small products with zeros in known places, in strips: boxes that hold the terms that count.

A triangular matrix is cut into strips of a few rows; each is multiplied as far as it reaches. What
is left of zeros in a strip is computed with the rest, so that loops stay loops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from gradc.codegen.schedule import contraction_root, nest_of
from gradc.codegen.steps import Nest, Root, extents_of
from gradc.codegen.straight import rows_in_front
from gradc.ir.dims import Dim
from gradc.ir.function import Equation, Value
from gradc.ir.record import dataclass
from gradc.ir.structure import Pattern, Structure

_ROWS = 4  # of a strip: as many as are written out
_MOST_STRIPS = 8
_WORTH = 0.8  # of the terms


@dataclass(frozen=True, slots=True)
class _Strips:
    """Boxes of the terms of a product, one after the other along a label: spans by label."""

    label: int
    boxes: tuple[Mapping[int, range], ...]

    @property
    def terms(self) -> int:
        return sum(prod(map(len, box.values())) for box in self.boxes)


def may_have_strips(made: Equation) -> bool:
    """Whether an axis of a product's result is long enough, and not too long, for strips."""
    extents = extents_of(made)
    return any(_may_be_cut(extents[label]) for label in made.attrs["out"])


def _may_be_cut(extent: Dim) -> bool:
    return isinstance(extent, int) and _ROWS < extent <= _ROWS * _MOST_STRIPS


def nest_in_strips(made: Equation, structure: Structure, stored: Collection[Value]) -> Nest | None:
    """A product over rows as a nest for each strip, if that saves enough terms."""
    terms = structure.terms(made)
    strips = None if terms is None else _best_strips(made, terms)
    if strips is None:
        return None
    root = rows_in_front(contraction_root(made), made)
    axes = dict(zip(made.attrs["lhs"], root.reads[0], strict=True))
    axes |= dict(zip(made.attrs["rhs"], root.reads[1], strict=True))
    order = tuple(axis for axis in range(len(root.space)) if axis != axes[strips.label])
    whole = nest_of(root, stored)
    whole.parts = tuple(
        _part(root, {axes[x]: span for x, span in box.items() if axes[x] != 0}, order, stored)
        for box in strips.boxes
    )
    return whole


def _part(
    root: Root, spans: Mapping[int, range], order: tuple[int, ...], stored: Collection[Value]
) -> Nest:
    """The nest of a box of a root's space, in which all rows are."""
    every = [spans.get(axis, range(0)) for axis in range(len(root.space))]
    lengths = (len(span) or extent for span, extent in zip(every, root.space, strict=True))
    part = nest_of(replace(root, space=tuple(lengths)), stored, order)
    part.origin = tuple(span.start for span in every)
    return part


def _best_strips(made: Equation, terms: Pattern) -> _Strips | None:
    """The strips along the label of the result that leave out most; None if that is little."""
    labels = sorted(extents_of(made))
    ways = [
        _Strips(label, tuple(_boxes(terms, labels, axis)))
        for axis, label in enumerate(labels)
        if label in made.attrs["out"] and _may_be_cut(terms.shape[axis])
    ]
    best = min(ways, key=lambda way: way.terms, default=None)
    return best if best is not None and best.terms <= _WORTH * terms.size else None


def _boxes(terms: Pattern, labels: Sequence[int], axis: int) -> Iterator[Mapping[int, range]]:
    """A few rows after the other along an axis, each as far as there are terms: spans by label."""
    length = terms.shape[axis]
    for start in range(0, length, _ROWS):
        places = np.nonzero(np.take(terms, range(start, min(start + _ROWS, length)), axis))
        if not places[0].size:
            continue
        spans = {
            label: range(int(found.min()), int(found.max()) + 1)
            for label, found, extent in zip(labels, places, terms.shape, strict=True)
            if extent > 1
        }
        own = spans[labels[axis]]
        yield spans | {labels[axis]: range(start + own.start, start + own.stop)}
