"""Which entries of arrays are known to be zero, and which are read by nobody.

Both follow from positions that are known before a call: a triangular matrix that is written at
constant places, or is a selection by a constant mask, and a gradient of which only a triangle is
gathered.

A *pattern* is a boolean array with one axis for each axis of a value. Axes of unknown length have
length 1 in it: what it says is so at every position of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from gradc.ir.dims import SizeExpr, evaluate_dim, names_of, volume
from gradc.ir.evaluate import bound
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Contraction, IndexMap, Literal, Pointwise, Reduction, Scatter
from gradc.ir.ops.arithmetic import mul
from gradc.ir.ops.constants import iota
from gradc.ir.ops.indexing import scatter_set, take
from gradc.ir.ops.logic import where
from gradc.ir.ops.structural import broadcast
from gradc.ir.record import dataclass

Array: TypeAlias = "np.ndarray[Any, Any]"
Pattern: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
Move: TypeAlias = Callable[..., Array]

_LARGEST = 1 << 16  # entries of a pattern


@dataclass(frozen=True, slots=True)
class Structure:
    """What is known of a function's values, for those of which anything is.

    `nonzero`: where entries may be other than zero. `wanted`: where entries are read.
    """

    nonzero: Mapping[Value, Pattern]
    wanted: Mapping[Value, Pattern]

    def terms(self, made: Equation) -> Pattern | None:
        """The terms of a contraction that may be other than zero, of sums that are read.

        One axis a label, in ascending order; None if that is all of them.
        """
        a, b, out = values = (*made.inputs, *made.outputs)
        found = (self.nonzero.get(a), self.nonzero.get(b), self.wanted.get(out))
        if all(pattern is None for pattern in found) or not all(map(_is_small, values)):
            return None
        full = [
            (_everywhere(value) if pattern is None else _places_that_count(pattern)).astype(np.int8)
            for value, pattern in zip(values, found, strict=True)
        ]
        sides = zip(full, (made.attrs[name] for name in ("lhs", "rhs", "out")), strict=True)
        labels = sorted({*made.attrs["lhs"], *made.attrs["rhs"]})
        terms: Pattern = np.einsum(*(x for side in sides for x in side), labels) > 0
        return terms


NOTHING_KNOWN = Structure({}, {})


def structure_of(fn: Function) -> Structure:
    """The zeros of a function's values, and what is read of them: a sweep there and one back."""
    numbers: dict[Value, Array] = {}
    nonzero: dict[Value, Pattern] = {}
    with np.errstate(all="ignore"):
        for made in fn.equations:
            (value, *others) = made.outputs
            if others or not _is_small(value):
                continue
            found = _numbers_of(made, numbers)
            if found is not None:
                numbers[value] = found
            pattern = _nonzero_of(made, nonzero, numbers) if found is None else found != 0
            if pattern is not None and not pattern.all():
                nonzero[value] = pattern
    return Structure(nonzero, _wanted(fn, numbers))


def _lengths(value: Value) -> tuple[int, ...]:
    return tuple([extent if isinstance(extent, int) else 1 for extent in value.shape])


def _is_small(value: Value) -> bool:
    return 0 < volume(_lengths(value)) <= _LARGEST


def _everywhere(value: Value) -> Pattern:
    return np.ones(_lengths(value), bool)


def _move_of(made: Equation, numbers: Mapping[Value, Array]) -> Move | None:
    """What an index map makes of arrays that have length 1 along axes of unknown length.

    None where it does not do the same at all positions of such an axis, or where numbers that are
    not known decide what it does.
    """
    rule = made.op.lower
    if made.op is take:
        places, axis = numbers.get(made.inputs[1]), made.attrs["axis"]
        length = made.inputs[0].shape[axis]
        if places is None or not isinstance(length, int) or not _are_inside(places, length):
            return None
        return lambda x, _: np.take(x, places, axis)
    if not isinstance(rule, IndexMap) or rule.move is None or not _keeps_unknown_axes(made, rule):
        return None
    sizes = dict.fromkeys(names_of((*made.outputs[0].shape, *made.inputs[0].shape)), 1)
    return partial(rule.move, **{name: bound(x, sizes) for name, x in made.attrs.items()})


def _keeps_unknown_axes(made: Equation, rule: IndexMap) -> bool:
    """Whether axes of unknown length are sizes by themselves, and run along one another whole."""
    alignments = rule.align(*(value.type for value in made.inputs), **made.attrs)
    kept = {axis for axes in alignments for axis in axes}
    whole = all(
        isinstance(extent, int) or axis is not None
        for value, axes in zip(made.inputs, alignments, strict=True)
        for extent, axis in zip(value.shape, axes, strict=True)
    )
    found = all(
        isinstance(extent, int) or (_is_size(extent) and (axis in kept or made.op is broadcast))
        for axis, extent in enumerate(made.outputs[0].shape)
    )
    own = made.inputs[0].shape
    return (
        whole
        and found
        and all(
            isinstance(item, int) or (alignments[0][axis] is not None and item == own[axis])
            for name, items in made.attrs.items()
            if name != "shape" and isinstance(items, tuple)
            for axis, item in enumerate(items)
        )
    )


def _is_size(extent: SizeExpr) -> bool:
    """Whether a length is 1 where all sizes are."""
    return evaluate_dim(extent, dict.fromkeys(extent.names, 1)) == 1


def _are_inside(places: Array, length: int) -> bool:
    return bool(((places >= 0) & (places < length)).all())


# --- zeros -------------------------------------------------------------------------------------


def _numbers_of(made: Equation, numbers: Mapping[Value, Array]) -> Array | None:
    """The entries of a value that no argument changes: a constant, a mask of positions."""
    rule = made.op.lower
    if isinstance(rule, Literal) or (made.op is iota and isinstance(made.attrs["size"], int)):
        return np.asarray(made.op.evaluate(**made.attrs))
    if not made.inputs or any(value not in numbers for value in made.inputs):
        return None
    arrays = [numbers[value] for value in made.inputs]
    if isinstance(rule, Pointwise):
        is_plain = rule.prepared is None and not made.outputs[0].dtype.is_float
        return np.asarray(made.op.evaluate(*arrays, **made.attrs)) if is_plain else None
    move = _move_of(made, numbers)
    return None if move is None else move(*arrays)


def _nonzero_of(
    made: Equation, nonzero: Mapping[Value, Pattern], numbers: Mapping[Value, Array]
) -> Pattern | None:
    """Where the result may be other than zero; None if nothing is known."""
    if nonzero.keys().isdisjoint(made.inputs):
        return None
    if not made.outputs[0].dtype.is_float or not all(map(_is_small, made.inputs)):
        return None
    rule = made.op.lower
    patterns = [nonzero.get(value, _everywhere(value)) for value in made.inputs]
    if isinstance(rule, Contraction):
        lhs, rhs, out = (made.attrs[name] for name in ("lhs", "rhs", "out"))
        a, b = (_places_that_count(pattern).astype(np.int64) for pattern in patterns)
        terms: Pattern = np.einsum(a, lhs, b, rhs, out) > 0
        return terms
    if isinstance(rule, Scatter):
        return _scattered(made, patterns, numbers)
    if isinstance(rule, Pointwise):
        return _nonzero_of_entries(made, patterns, numbers)
    if isinstance(rule, Reduction) and rule.kind == "sum":
        total: Pattern = patterns[0].any(axis=made.attrs["axes"])
        return total
    move = _move_of(made, numbers)
    return None if move is None else move(*patterns)


def _places_that_count(pattern: Pattern) -> Pattern:
    """A pattern as a factor: a number 0 is no place, and does not make a nan vanish."""
    return pattern if pattern.any() else ~pattern


def _nonzero_of_entries(
    made: Equation, patterns: Sequence[Pattern], numbers: Mapping[Value, Array]
) -> Pattern | None:
    """Of an op that works entry by entry."""
    if made.op is mul:
        x, y = map(_places_that_count, patterns)
        return x & y
    if made.op is where and made.inputs[0] in numbers:
        return np.where(numbers[made.inputs[0]], *patterns[1:])
    if made.op is where:
        return patterns[1] | patterns[2]
    zeros = (np.zeros((), value.dtype.numpy) for value in made.inputs)
    keeps_zero = bool(made.op.evaluate(*zeros, **made.attrs) == 0)
    return np.logical_or.reduce(patterns) if keeps_zero else None


def _scattered(
    made: Equation, patterns: Sequence[Pattern], numbers: Mapping[Value, Array]
) -> Pattern | None:
    """Of a scatter to constant places: where its base is, or its updates are."""
    base, _, updates = patterns
    places, axis = _places_of(made, numbers), made.attrs["axis"]
    if places is None:
        return None
    result = base.copy()
    rows, entries = np.moveaxis(result, axis, 0), np.moveaxis(updates, axis, 0)
    rows[places] = entries if made.op is scatter_set else entries | rows[places]
    return result


def _places_of(made: Equation, numbers: Mapping[Value, Array]) -> Array | None:
    """The places of a scatter along its axis, if they are known, and each is named once."""
    places, length = numbers.get(made.inputs[1]), made.inputs[0].shape[made.attrs["axis"]]
    if places is None or not isinstance(length, int) or places.ndim != 1:
        return None
    is_valid = _are_inside(places, length) and len(set(places.tolist())) == places.size
    return places if is_valid else None


# --- what is read ------------------------------------------------------------------------------


def _wanted(fn: Function, numbers: Mapping[Value, Array]) -> dict[Value, Pattern]:
    """Where values are read, of those that are not read everywhere: from the results backwards."""
    read: dict[Value, Pattern] = {}
    whole = set(fn.results)
    for made in reversed(fn.equations):
        (value, *others) = made.outputs
        patterns = None
        if not others and all(map(_is_small, (value, *made.inputs))):
            wanted = None if value in whole else read.get(value)
            patterns = _read_by(made, wanted, numbers)
        for x, pattern in zip(made.inputs, patterns or (None,) * len(made.inputs), strict=True):
            if pattern is None or not x.dtype.is_float or pattern.all():
                whole.add(x)
            else:
                read[x] = read[x] | pattern if x in read else pattern
    return {v: p for v, p in read.items() if v not in whole and not p.all()}


def _read_by(
    made: Equation, wanted: Pattern | None, numbers: Mapping[Value, Array]
) -> Sequence[Pattern] | None:
    """Where an equation reads its inputs, if its result is read where it is `wanted`.

    None stands for everywhere.
    """
    rule, pattern = made.op.lower, wanted
    if pattern is None:
        pattern = _everywhere(made.outputs[0])
    if isinstance(rule, IndexMap):
        is_whole = wanted is None and _rearranges(made, rule)
        return None if is_whole else _moved_back(made, pattern, numbers)
    if isinstance(rule, Scatter):
        return _read_by_scatter(made, pattern, numbers)
    if made.op is where and made.inputs[0] in numbers:
        chosen = numbers[made.inputs[0]]
        return [pattern, pattern & chosen, pattern & ~chosen]
    if wanted is None:
        return None
    if isinstance(rule, Pointwise):
        return [pattern] * len(made.inputs)
    if isinstance(rule, Reduction):
        wide = np.expand_dims(pattern, made.attrs["axes"])
        return [np.broadcast_to(wide, _lengths(made.inputs[0]))]
    return None


def _rearranges(made: Equation, rule: IndexMap) -> bool:
    """Whether every entry of the operands stands once in the result, which has no others."""
    given = sum([volume(_lengths(value)) for value in made.inputs])
    return not rule.repeats and given == volume(_lengths(made.outputs[0]))


def _moved_back(
    made: Equation, wanted: Pattern, numbers: Mapping[Value, Array]
) -> Sequence[Pattern] | None:
    """What an index map reads: entries are numbered, and those numbers looked for in its result."""
    move = _move_of(made, numbers)
    if move is None:
        return None
    counts = [volume(_lengths(value)) for value in made.inputs]
    starts = np.cumsum([0, *counts])
    numbered = [
        np.arange(start, start + count).reshape(_lengths(value))
        for value, start, count in zip(made.inputs, starts[:-1], counts, strict=True)
    ]
    found = np.zeros(starts[-1], bool)
    found[move(*numbered)[wanted]] = True
    return [found[entries] for entries in numbered]


def _read_by_scatter(
    made: Equation, wanted: Pattern, numbers: Mapping[Value, Array]
) -> Sequence[Pattern] | None:
    """A base is read where it is not replaced, updates where their places are."""
    places, axis = _places_of(made, numbers), made.attrs["axis"]
    if places is None:
        return None
    base, updates = wanted.copy(), np.take(wanted, places, axis)
    if made.op is scatter_set:
        np.moveaxis(base, axis, 0)[places] = False
    return [base, _everywhere(made.inputs[1]), updates]
