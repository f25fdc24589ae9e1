"""Arrays that are read, or added to, at the same indices: laid side by side.

`a[group]` and `b[group]` are two loads an index, far apart; from one array that holds a[i] beside
b[i] both are one load of a pair. So it is with the derivatives that are added up at `group`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field

from gradc.ir.dims import Dim
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Contraction, Reduction, Scatter
from gradc.ir.ops.constants import full
from gradc.ir.ops.indexing import checked_indices, scatter_add, take
from gradc.ir.ops.slicing import concat, slice_
from gradc.ir.ops.structural import reshape
from gradc.ir.passes.matching import is_number
from gradc.ir.record import dataclass
from gradc.ir.span import at
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

_MOST_COLUMNS = 4
_FEWEST_INDICES = 128  # fewer are hardly work


@dataclass(frozen=True, slots=True)
class _Group:
    """Equations that become one; `is_checked`: their indices are checked before."""

    members: Sequence[Equation]
    is_checked: bool


def lay_side_by_side(fn: Function) -> tuple[Function, frozenset[Value]]:
    """The function with arrays joined by columns, and those arrays, which are to be stored."""
    if not any(map(_is_candidate, fn.equations)):
        return fn, frozenset()
    levels = _levels(fn)
    group_of = {made: group for group in _groups(fn, levels) for made in group.members}
    if not group_of:
        return fn, frozenset()
    found = _Rewritten()
    # What reads or adds at one level needs what comes before it alone.
    order = sorted(fn.equations, key=lambda made: (levels[made], not _is_candidate(made)))
    for made in order:
        with at(made.span):
            if made not in group_of:
                again = rebuild_equation(made, [found(value) for value in made.inputs]).outputs
                found.values.update(zip(made.outputs, again, strict=True))
            elif made.outputs[0] not in found.values:
                _write_group(group_of[made], found)
    return with_results(fn, [found(result) for result in fn.results]), frozenset(found.stored)


@dataclass(slots=True)
class _Rewritten:
    """What stands for each value now, what is to be stored, and the indices that were checked."""

    values: dict[Value, Value] = field(default_factory=dict)
    stored: set[Value] = field(default_factory=set)
    checked: dict[tuple[Value, Dim], Value] = field(default_factory=dict)

    def __call__(self, value: Value) -> Value:
        return self.values.get(value, value)


def _is_candidate(made: Equation) -> bool:
    """Whether an equation reads an array of one axis at indices, or adds up in one from zero."""
    if made.op not in (take, scatter_add) or made.inputs[0].type.rank != 1:
        return False
    count = made.inputs[1].type.size
    if isinstance(count, int) and count < _FEWEST_INDICES:
        return False
    return made.op is take or is_number(made.inputs[0], 0)


def _levels(fn: Function) -> Mapping[Equation, int]:
    """How many candidates stand behind one another up to each equation, itself counted."""
    level: dict[Value, int] = {}
    found: dict[Equation, int] = {}
    for made in fn.equations:
        before = max((level.get(value, 0) for value in made.inputs), default=0)
        found[made] = before + _is_candidate(made)
        level.update(dict.fromkeys(made.outputs, found[made]))
    return found


def _groups(fn: Function, levels: Mapping[Equation, int]) -> Iterator[_Group]:
    """The equations of one level that read, or add, at the same indices along the same axis.

    Alone are those with indices that are worth to be checked before: where something is added at
    them, and the machine is to know early where.
    """
    alike: dict[object, list[Equation]] = {}
    for made in filter(_is_candidate, fn.equations):
        array, indices = made.inputs[:2]
        alike.setdefault((levels[made], made.op, indices, array.type), []).append(made)
    added = {_places(group[0]) for group in alike.values() if group[0].op is scatter_add}
    walked = _walked(fn)
    for group in alike.values():
        array, indices = group[0].inputs[:2]
        pays = _pays(array.shape[0], indices.type.size, walked)
        count = _MOST_COLUMNS if pays else 1
        for first in range(0, len(group), count):
            part, is_checked = group[first : first + count], _places(group[0]) in added
            if len(part) > 1 or is_checked:
                yield _Group(part, is_checked)


def _places(made: Equation) -> tuple[Value, Dim]:
    """The indices of an equation, and the length of the axis into which they point."""
    return made.inputs[1], made.inputs[0].shape[0]


def _walked(fn: Function) -> Collection[Dim]:
    """The lengths of axes that the function runs over in any case."""
    loops = (made for made in fn.equations if isinstance(made.op.lower, Contraction | Reduction))
    values = [value for made in loops for value in made.inputs]
    sums = (made for made in fn.equations if isinstance(made.op.lower, Scatter))
    values += [value for made in sums for value in made.outputs]
    return {dim for value in (*values, *fn.results) for dim in value.shape}


def _pays(length: Dim, count: Dim, walked: Collection[Dim]) -> bool:
    """Whether copying an array of some length costs little beside reading it at `count` indices."""
    if isinstance(length, int) and isinstance(count, int):
        return length <= count
    return length in walked


def _write_group(group: _Group, found: _Rewritten) -> None:
    """One equation for those of a group, and their values as columns of what it gives."""
    first, count = group.members[0], len(group.members)
    indices = _indices(group, found)
    columns = [found(made.inputs[0 if first.op is take else 2]) for made in group.members]
    array = columns[0] if count == 1 else _beside(columns)
    if first.op is take:
        given = take(array, indices, axis=0)
        found.stored.update([array] if count > 1 else ())
    else:
        base = first.inputs[0]
        given = full((*base.shape, count), 0, base.dtype) if count > 1 else found(base)
        given = scatter_add(given, indices, array, axis=0)
    for number, made in enumerate(group.members):
        found.values[made.outputs[0]] = given if count == 1 else _column(given, number)


def _indices(group: _Group, found: _Rewritten) -> Value:
    """The indices of a group, checked before where that is wanted."""
    places = _places(group.members[0])
    indices, length = places
    if not group.is_checked:
        return found(indices)
    if places not in found.checked:
        found.checked[places] = checked_indices(found(indices), length=length)
    return found.checked[places]


def _beside(columns: Sequence[Value]) -> Value:
    """Arrays of one shape as the entries of a last axis."""
    parts = [reshape(column, shape=(*column.shape, 1)) for column in columns]
    result: Value = concat(*parts, axis=columns[0].type.rank)
    return result


def _column(joined: Value, number: int) -> Value:
    """The entries at one place of the last axis."""
    *shape, _ = joined.shape
    starts, stops = (0,) * len(shape), tuple(shape)
    part = slice_(
        joined, starts=(*starts, number), stops=(*stops, number + 1), steps=(1,) * joined.type.rank
    )
    result: Value = reshape(part, shape=tuple(shape))
    return result
