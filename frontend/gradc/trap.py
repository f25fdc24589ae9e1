"""The NaN trap: which operation made a NaN or an infinity, at which line and entry.

The graph as it was written runs on the reference evaluator, one equation after another. From each
result that is not finite the trap goes back, entry by entry, to the operation that made it out of
finite numbers. What a choice or a division by infinity makes finite again is no fault, unless
`everywhere` is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gradc.errors import GradcError
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import Contraction, IndexMap, Pointwise, Reduction
from gradc.ir.ops.blocks import all_at_once, map_blocks
from gradc.ir.ops.custom import custom
from gradc.ir.ops.external import called
from gradc.ir.ops.logic import where
from gradc.ir.ops.scans import cumsum, recurrence
from gradc.ir.record import dataclass
from gradc.ir.span import Span, at
from gradc.ir.transforms.inline import inline
from gradc.ir.transforms.rebuild import rebuild_equation, with_results

Array = np.ndarray[Any, Any]
Index = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NotFinite:
    """Where a number that is not finite comes from.

    op: the operation's name, "" for an argument that was not finite already. value: nan or an
    infinity. index: the entry. name: of the array, "" if it has none. order: how often the
    operation was differentiated (0: in the primal). inputs: what it was given for this entry, so
    far as that is one number each.
    """

    op: str
    value: float
    index: Index
    name: str
    shape: Index
    span: Span | None
    order: int
    inputs: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        place = f"entry [{', '.join(map(str, self.index))}] of " if self.index else ""
        array = self.name or ("an array of shape " + str(self.shape) if self.shape else "a number")
        if not self.op:
            return f"the argument {self.name} holds {_shown(self.value)}" + (
                f" at [{', '.join(map(str, self.index))}]" if self.index else ""
            )
        part = ("the primal", "the gradient", "the second derivative")[min(self.order, 2)]
        if self.order > 2:
            part = f"the derivative of order {self.order}"
        where = f"{self.span}: " if self.span else ""
        given = ", ".join(f"{name} = {_shown(x)}" for name, x in self.inputs)
        return f"{where}{self.op} made {_shown(self.value)}, in {part}: {place}{array}" + (
            f", from {given}" if given else ""
        )


class NotFiniteError(GradcError, FloatingPointError):
    """A result is not finite; `origin` says what made it so."""

    def __init__(self, function: str, origin: NotFinite) -> None:
        self.origin = origin
        super().__init__(f"{function}: a result is not finite", label=str(origin))


def find_not_finite(fn: Function, *arrays: Any, everywhere: bool = False) -> NotFinite | None:
    """What made the results of `fn` at these arguments not finite; None if they are finite.

    Of several operations it is the one that runs first. With `everywhere` it is the first operation
    that makes a number that is not finite out of finite ones, whatever becomes of it.
    """
    fn = _without_regions(fn)
    record = _Record(fn, {}, {})
    with np.errstate(all="ignore"):
        results = evaluate(fn, *arrays, observe=record.observe)
    arguments = [np.asarray(x) for x in arrays]
    record.arrays.update(zip(fn.parameters, arguments, strict=True))
    if everywhere:
        return _first_of_all(record)
    starts = [
        (value, _first_bad(array))
        for value, array in zip(fn.results, results, strict=True)
        if _is_bad(array)
    ]
    return _earliest(record, starts)


@dataclass(frozen=True, slots=True)
class _Record:
    """What an evaluation computed: every array, and the attributes of every equation."""

    fn: Function
    arrays: dict[Value, Array]
    attrs: dict[Equation, Mapping[str, Any]]

    def observe(
        self,
        made: Equation,
        inputs: Sequence[Array],
        attrs: Mapping[str, Any],
        outputs: Sequence[Array],
    ) -> None:
        self.attrs[made] = attrs
        self.arrays.update(zip(made.outputs, outputs, strict=True))


def _without_regions(fn: Function) -> Function:
    """`fn` with its regions inlined, to look inside them: those of blocks for all rows at once."""
    while any(made.op in (custom, map_blocks) for made in fn.equations):
        values: dict[Value, Value] = {}
        for made in fn.equations:
            inputs = [values.get(value, value) for value in made.inputs]
            if made.op is custom:
                with at(made.span):
                    outputs = inline(made.attrs["value"], inputs)
            elif made.op is map_blocks:
                with at(made.span):
                    outputs = all_at_once(*inputs, **made.attrs)
            else:
                outputs = rebuild_equation(made, inputs).outputs
            values.update(zip(made.outputs, outputs, strict=True))
        fn = with_results(fn, [values.get(result, result) for result in fn.results])
    return fn


def _first_of_all(record: _Record) -> NotFinite | None:
    for value in record.fn.parameters:
        if _is_bad(record.arrays[value]):
            return _described(record, value, _first_bad(record.arrays[value]))
    for made in record.fn.equations:
        if not made.inputs or any(_is_bad(record.arrays[value]) for value in made.inputs):
            continue
        for value in made.outputs:
            if _is_bad(record.arrays[value]):
                return _described(record, value, _first_bad(record.arrays[value]))
    return None


def _earliest(record: _Record, starts: list[tuple[Value, Index]]) -> NotFinite | None:
    """The first of the operations that the entries in `starts` go back to."""
    order = {made: position for position, made in enumerate(record.fn.equations)}
    origins: list[tuple[int, Value, Index]] = []
    seen: set[tuple[Value, Index]] = set()
    stack = list(starts)
    while stack:
        entry = stack.pop()
        if entry in seen:
            continue
        seen.add(entry)
        value, index = entry
        if value.owner is None:
            origins.append((-1, value, index))
            continue
        causes = list(_causes(record, value.owner, index))
        if causes:
            stack.extend(causes)
        else:
            origins.append((order[value.owner], value, index))
    if not origins:
        return None
    _, value, index = min(origins, key=lambda origin: origin[0])
    return _described(record, value, index)


def _causes(record: _Record, made: Equation, index: Index) -> Iterator[tuple[Value, Index]]:
    """The entries of the inputs that are not finite and that this entry of the result reads."""
    for value, entries in _entries_read(record, made, index):
        array = record.arrays[value]
        part = array[entries] if isinstance(entries, tuple) else array.reshape(-1)[entries]
        if not _is_bad(part):
            continue
        if isinstance(entries, int):
            yield value, tuple(int(i) for i in np.unravel_index(entries, array.shape))
        else:
            yield value, _placed(entries, _first_bad(np.asarray(part)))


# Of an array: some entries along each axis, or the one at a flat position.
Entries: TypeAlias = "tuple[int | slice, ...] | int"


def _entries_read(record: _Record, made: Equation, index: Index) -> Iterator[tuple[Value, Entries]]:
    rule, attrs = made.op.lower, record.attrs[made]
    if made.op is where:
        condition, chosen, other = made.inputs
        yield (chosen if record.arrays[condition][index] else other), index
    elif isinstance(rule, Pointwise):
        yield from ((value, index) for value in made.inputs)
    elif isinstance(rule, IndexMap):
        yield from _moved_from(record, made, index)
    elif isinstance(rule, Reduction):
        (value,) = made.inputs
        kept = iter(index)
        yield (
            value,
            tuple(
                slice(None) if a in attrs["axes"] else next(kept) for a in range(value.type.rank)
            ),
        )
    elif isinstance(rule, Contraction):
        at = dict(zip(attrs["out"], index, strict=True))
        for value, labels in zip(made.inputs, (attrs["lhs"], attrs["rhs"]), strict=True):
            yield value, tuple(at.get(label, slice(None)) for label in labels)
    elif made.op in (cumsum, recurrence):
        axis = attrs["axis"]
        for number, value in enumerate(made.inputs):  # the first multiplier is not read
            first = int(made.op is recurrence and number == 0)
            line: list[int | slice] = list(index)
            line[axis] = slice(first, index[axis] + 1)
            yield value, tuple(line)
    else:
        yield from ((value, (slice(None),) * value.type.rank) for value in made.inputs)


def _moved_from(record: _Record, made: Equation, index: Index) -> Iterator[tuple[Value, int]]:
    """The one entry that an op reads which only moves entries: found by moving their numbers."""
    numbers: list[Array] = []
    places: list[tuple[Value, int]] = [(made.inputs[0], -1)] if made.inputs else []
    for value in made.inputs:
        array = record.arrays[value]
        if not value.dtype.is_float:
            numbers.append(array)
            continue
        start = len(places)
        places += [(value, flat) for flat in range(array.size)]
        numbers.append(np.arange(start, len(places), dtype=np.float64).reshape(array.shape))
    if len(places) < 2:
        return
    found = int(np.asarray(made.op.evaluate(*numbers, **record.attrs[made]))[index])
    if found:
        yield places[found]


def _described(record: _Record, value: Value, index: Index) -> NotFinite:
    made, array = value.owner, record.arrays[value]
    number = float(array[index])
    if made is None:
        name = dict(zip(record.fn.parameters, record.fn.parameter_names, strict=True))[value]
        return NotFinite("", number, index, name, array.shape, value.span, 0, ())
    given: list[tuple[str, float]] = []
    if isinstance(made.op.lower, Pointwise):
        given = [
            (x.name or f"operand {i + 1}", float(record.arrays[x][index]))
            for i, x in enumerate(made.inputs)
        ]
    order = made.span.order if made.span else 0
    shape, name = array.shape, value.name or ""
    return NotFinite(called(made), number, index, name, shape, made.span, order, tuple(given))


def _is_bad(array: Any) -> bool:
    array = np.asarray(array)
    return array.dtype.kind == "f" and not bool(np.all(np.isfinite(array)))


def _first_bad(array: Array) -> Index:
    flat = int(np.argmin(np.isfinite(array)))
    return tuple(int(i) for i in np.unravel_index(flat, array.shape))


def _placed(entries: tuple[int | slice, ...], within: Index) -> Index:
    """The position in the whole array of a position among some of its entries."""
    rest = iter(within)
    return tuple(next(rest) + (at.start or 0) if isinstance(at, slice) else at for at in entries)


def _shown(number: float) -> str:
    return f"{number:.9g}"


def trapped(
    fn: Function,
    call: Callable[..., Any],
    arguments: Sequence[Any],
    keywords: Mapping[str, Any],
) -> Any:
    """What `call` gives, if it is finite; else NotFiniteError, which says what made it so."""
    found = call(*arguments, **keywords)
    several = found if isinstance(found, tuple) else (found,)
    if not any(_is_bad(x) for x in several):
        return found
    named = dict(zip(fn.parameter_names, arguments, strict=False)) | {
        key: x for key, x in keywords.items() if key in fn.parameter_names
    }
    arrays = [
        np.asarray(named[name], p.dtype.numpy)
        for name, p in zip(fn.parameter_names, fn.parameters, strict=True)
    ]
    origin = find_not_finite(fn, *arrays)
    if origin is None:
        raise GradcError(
            f"{fn.name}: a result is not finite in native code, and finite in the reference "
            "evaluator: the compiled order of operations overflows"
        )
    raise NotFiniteError(fn.name, origin)
