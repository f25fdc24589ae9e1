"""Strided blocks of an array: `slice` and its adjoint `pad`, `update_slice`, and `concat`.

A strided axis of m entries spans m * step - (step - 1) positions. For m = 0 that is 1 - step: the
one formula holds for every m, so that lengths stay polynomials where m is a symbol. Therefore the
stop of an empty slice may lie below its start by less than a step, and padding an empty axis with
`interior` entries between neighbours counts -interior.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Requirement, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.lowering import Alignment, Index, IndexMap, Operand
from gradc.ir.op import Cotangent, Op
from gradc.ir.ops.conditions import at_least, is_ascending
from gradc.ir.ops.constants import scalar, zeros_like
from gradc.ir.ops.kinds import in_front, linear
from gradc.ir.ops.structural import broadcast, check_axis, check_dims, sum_
from gradc.ir.types import ArrayType, TypeRuleError

Array = np.ndarray[Any, Any]
Dims = tuple[Dim, ...]
Steps = tuple[int, ...]


def span(length: Dim, step: int) -> Dim:
    """The positions from the first to the last of `length` entries, both counted."""
    return length * step - (step - 1)


def _window(start: int, length: int, step: int) -> slice:
    """The NumPy slice of `length` entries from `start` on."""
    return slice(start, start + max(length * step - step + 1, 0), step)


def _view(windows: Iterable[slice]) -> tuple[Any, ...]:
    """The index of a part of an array, which is an array also if there is no axis."""
    return (..., *windows)


def check_count(name: str, x: ArrayType, **attributes: tuple[Any, ...]) -> None:
    """Raise TypeRuleError unless each attribute has one dimension an axis of x."""
    for attribute, entries in attributes.items():
        check_dims(name, attribute, entries)
        if len(entries) != x.rank:
            raise TypeRuleError(
                f"{name}: {attribute} has {len(entries)} entries, one for each of the {x.rank} "
                f"axes of {x} was expected"
            )


def check_steps(name: str, steps: Steps) -> None:
    """Raise TypeRuleError unless all steps are positive integers."""
    if not all(isinstance(step, int) and step >= 1 for step in steps):
        raise TypeRuleError(f"{name}: steps are positive integers, not {steps}")


# --- slice -------------------------------------------------------------------------------------


def _require_slice(
    x: ArrayType, *, starts: Dims, stops: Dims, steps: Steps
) -> Iterator[Requirement]:
    axes = zip(x.shape, starts, stops, steps, strict=True)
    for axis, (length, start, stop, step) in enumerate(axes):
        if is_ascending(0, start, stop, length):
            continue
        what = f"the slice {start}:{stop}" + (f":{step}" if step > 1 else "")
        what += f" of axis {axis} of {x}, whose length is {length},"
        yield from at_least(start, 0, f"{what} needs {start} >= 0")
        yield from at_least(stop + step - 1, start, f"{what} needs {stop} >= {start}")
        yield from at_least(length, stop, f"{what} needs {length} >= {stop}")


def _infer_slice(x: ArrayType, *, starts: Dims, stops: Dims, steps: Steps) -> ArrayType:
    check_count("slice", x, starts=starts, stops=stops, steps=steps)
    check_steps("slice", steps)
    list(_require_slice(x, starts=starts, stops=stops, steps=steps))
    axes = zip(starts, stops, steps, strict=True)
    return x.with_shape(tuple((stop - start + step - 1) // step for start, stop, step in axes))


def _evaluate_slice(x: Array, *, starts: Steps, stops: Steps, steps: Steps) -> Array:
    axes = zip(starts, stops, steps, strict=True)
    part: Array = x[_view(slice(start, max(start, stop), step) for start, stop, step in axes)]
    return part


def _pad_slice(
    primals: Sequence[Value],
    result: Value,
    cotangent: Value,
    *,
    starts: Dims,
    stops: Dims,
    steps: Steps,
) -> tuple[Cotangent]:
    axes = zip(primals[0].shape, starts, result.shape, steps, strict=True)
    high = tuple(length - start - span(m, step) for length, start, m, step in axes)
    interior = tuple(step - 1 for step in steps)
    return (pad(cotangent, scalar(0, cotangent.dtype), low=starts, high=high, interior=interior),)


def _batch_slice(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    size: Dim,
    *,
    starts: Dims,
    stops: Dims,
    steps: Steps,
) -> Any:
    return slice_(*inputs, starts=(0, *starts), stops=(size, *stops), steps=(1, *steps))


def _read_slice(
    k: LoopBuilder,
    index: Index,
    operands: Sequence[Operand],
    *,
    starts: Dims,
    stops: Dims,
    steps: Steps,
) -> Ref:
    axes = zip(index.coordinates, starts, steps, strict=True)
    return operands[0](*(k.add(k.mul(i, k.index(step)), k.size(start)) for i, start, step in axes))


def _align_slice(x: ArrayType, *, starts: Dims, stops: Dims, steps: Steps) -> tuple[Alignment]:
    axes = zip(x.shape, starts, stops, steps, strict=True)
    return (
        tuple(
            axis if (start, stop, step) == (0, length, 1) else None
            for axis, (length, start, stop, step) in enumerate(axes)
        ),
    )


slice_: Op = linear(
    "slice",
    infer=_infer_slice,
    evaluate=_evaluate_slice,
    transpose=_pad_slice,
    batch=_batch_slice,
    lower=IndexMap(_read_slice, _align_slice, move=_evaluate_slice),
    requires=_require_slice,
)


# --- pad ---------------------------------------------------------------------------------------


def _padded(x: ArrayType, low: Dims, high: Dims, interior: Steps) -> Shape:
    axes = zip(x.shape, low, high, interior, strict=True)
    return tuple(a + span(length, between + 1) + b for length, a, b, between in axes)


def _require_pad(
    x: ArrayType, fill: ArrayType, *, low: Dims, high: Dims, interior: Steps
) -> Iterator[Requirement]:
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        if is_ascending(0, a) and is_ascending(0, b):
            continue
        what = f"padding axis {axis} of {x} by {a} and {b}"
        yield from at_least(a, 0, f"{what} needs {a} >= 0")
        yield from at_least(b, 0, f"{what} needs {b} >= 0")
    for axis, length in enumerate(_padded(x, low, high, interior)):
        if interior[axis]:
            what = f"padding axis {axis} of {x} by {interior[axis]} between neighbours"
            yield from at_least(length, 0, f"{what} needs {length} >= 0")


def _infer_pad(
    x: ArrayType, fill: ArrayType, *, low: Dims, high: Dims, interior: Steps
) -> ArrayType:
    check_count("pad", x, low=low, high=high, interior=interior)
    if fill != ArrayType(x.dtype):
        raise TypeRuleError(f"pad: the fill of {x} is a scalar {x.dtype}, not {fill}")
    if not all(isinstance(between, int) and between >= 0 for between in interior):
        raise TypeRuleError(f"pad: interior paddings are integers from 0 up, not {interior}")
    list(_require_pad(x, fill, low=low, high=high, interior=interior))
    return x.with_shape(_padded(x, low, high, interior))


def _evaluate_pad(x: Array, fill: Array, *, low: Steps, high: Steps, interior: Steps) -> Array:
    axes = list(zip(x.shape, low, high, interior, strict=True))
    result = np.full([a + m * (i + 1) - i + b for m, a, b, i in axes], fill, x.dtype)
    result[_view(_window(a, m, i + 1) for m, a, _, i in axes)] = x
    return result


def _transpose_pad(
    primals: Sequence[Value],
    result: Value,
    cotangent: Value,
    *,
    low: Dims,
    high: Dims,
    interior: Steps,
) -> tuple[Cotangent, Cotangent]:
    """To x its entries of the cotangent, to the fill the sum of the others."""
    x, _ = primals
    steps = tuple(between + 1 for between in interior)
    axes = zip(low, x.shape, steps, strict=True)
    stops = tuple(a + span(length, step) for a, length, step in axes)
    to_x = slice_(cotangent, starts=low, stops=stops, steps=steps)
    rest = update_slice(cotangent, zeros_like(to_x), starts=low, steps=steps)
    return to_x, sum_(rest, axes=tuple(range(rest.type.rank)))


def _batch_pad(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    size: Dim,
    *,
    low: Dims,
    high: Dims,
    interior: Steps,
) -> Any:
    x, fill = inputs
    block = in_front(x, batched[0], size)
    low, high, interior = (0, *low), (0, *high), (0, *interior)
    if not batched[1]:
        return pad(block, fill, low=low, high=high, interior=interior)
    base = broadcast(fill, shape=_padded(block.type, low, high, interior), axes=(0,))
    return update_slice(base, block, starts=low, steps=tuple(between + 1 for between in interior))


def _inside(
    k: LoopBuilder, index: Index, starts: Dims, shape: Shape, steps: Steps, whole: Shape
) -> tuple[Ref | None, list[Ref]]:
    """Whether a position lies in a strided block (None: surely), and its coordinates there.

    Along each axis i = start + j * step, with 0 <= j < length.
    """
    condition: Ref | None = None
    inner = []
    axes = zip(index.coordinates, starts, shape, steps, whole, strict=True)
    for coordinate, start, length, step, around in axes:
        offset = k.sub(coordinate, k.size(start))
        if step > 1:
            on_grid = k.compare("eq", k.mod(offset, k.index(step)), k.index(0))
            condition = k.both(condition, on_grid)
            offset = k.floordiv(offset, k.index(step))
        if start != 0:
            condition = k.both(condition, k.compare("ge", offset, k.index(0)))
        if start + span(length, step) != around:
            condition = k.both(condition, k.compare("lt", offset, k.size(length)))
        inner.append(offset)
    return condition, inner


def _read_block(
    k: LoopBuilder,
    index: Index,
    block: Operand,
    otherwise: Operand,
    at: Index,
    starts: Dims,
    steps: Steps,
) -> Ref:
    """`block` where `index` lies in it, else `otherwise` read at `at`: zeros there are absent."""
    shape = block.type.shape
    condition, inner = _inside(k, index, starts, shape, steps, index.shape)
    if condition is None:
        return block(*inner)
    return k.guard(condition, lambda: block(*inner), k.absent(otherwise.read(at)))


def _read_pad(
    k: LoopBuilder,
    index: Index,
    operands: Sequence[Operand],
    *,
    low: Dims,
    high: Dims,
    interior: Steps,
) -> Ref:
    x, fill = operands
    steps = tuple(between + 1 for between in interior)
    return _read_block(k, index, x, fill, Index(k, (), ()), low, steps)


def _align_pad(
    x: ArrayType, fill: ArrayType, *, low: Dims, high: Dims, interior: Steps
) -> tuple[Alignment, Alignment]:
    axes = enumerate(zip(low, high, interior, strict=True))
    return tuple(axis if widths == (0, 0, 0) else None for axis, widths in axes), ()


pad: Op = linear(
    "pad",
    infer=_infer_pad,
    evaluate=_evaluate_pad,
    transpose=_transpose_pad,
    batch=_batch_pad,
    lower=IndexMap(_read_pad, _align_pad, move=_evaluate_pad),
    requires=_require_pad,
)


# --- update_slice ------------------------------------------------------------------------------


def _require_update(
    x: ArrayType, update: ArrayType, *, starts: Dims, steps: Steps
) -> Iterator[Requirement]:
    axes = zip(x.shape, update.shape, starts, steps, strict=True)
    for axis, (length, m, start, step) in enumerate(axes):
        stop = start + span(m, step)
        if is_ascending(0, start) and is_ascending(stop, length):
            continue
        what = f"writing {update} into {x} from {start} on along axis {axis}"
        what += f" in steps of {step}" if step > 1 else ""
        yield from at_least(start, 0, f"{what} needs {start} >= 0")
        yield from at_least(length, stop, f"{what} needs {length} >= {stop}")


def _infer_update(x: ArrayType, update: ArrayType, *, starts: Dims, steps: Steps) -> ArrayType:
    check_count("update_slice", x, starts=starts, steps=steps)
    check_steps("update_slice", steps)
    if (update.dtype, update.rank) != (x.dtype, x.rank):
        raise TypeRuleError(f"update_slice: the update of {x} has its dtype and rank, not {update}")
    list(_require_update(x, update, starts=starts, steps=steps))
    return x


def _evaluate_update(x: Array, update: Array, *, starts: Steps, steps: Steps) -> Array:
    result = x.copy()
    axes = zip(starts, update.shape, steps, strict=True)
    result[_view(_window(start, m, step) for start, m, step in axes)] = update
    return result


def _transpose_update(
    primals: Sequence[Value], result: Value, cotangent: Value, *, starts: Dims, steps: Steps
) -> tuple[Cotangent, Cotangent]:
    axes = zip(starts, primals[1].shape, steps, strict=True)
    stops = tuple(start + span(m, step) for start, m, step in axes)
    to_update = slice_(cotangent, starts=starts, stops=stops, steps=steps)
    zeros = zeros_like(to_update)
    return update_slice(cotangent, zeros, starts=starts, steps=steps), to_update


def _batch_update(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, starts: Dims, steps: Steps
) -> Any:
    in_batch = (
        in_front(x, is_batched, size) for x, is_batched in zip(inputs, batched, strict=True)
    )
    return update_slice(*in_batch, starts=(0, *starts), steps=(1, *steps))


def _read_update(
    k: LoopBuilder, index: Index, operands: Sequence[Operand], *, starts: Dims, steps: Steps
) -> Ref:
    x, update = operands
    return _read_block(k, index, update, x, index, starts, steps)


def _align_update(
    x: ArrayType, update: ArrayType, *, starts: Dims, steps: Steps
) -> tuple[Alignment, Alignment]:
    axes = enumerate(zip(x.shape, update.shape, starts, steps, strict=True))
    whole = (
        axis if (length, 0, 1) == (m, start, step) else None
        for axis, (length, m, start, step) in axes
    )
    return tuple(range(x.rank)), tuple(whole)


update_slice: Op = linear(
    "update_slice",
    infer=_infer_update,
    evaluate=_evaluate_update,
    transpose=_transpose_update,
    batch=_batch_update,
    lower=IndexMap(_read_update, _align_update, move=_evaluate_update),
    requires=_require_update,
)


# --- concat ------------------------------------------------------------------------------------


def _infer_concat(*parts: ArrayType, axis: int) -> ArrayType:
    if not parts:
        raise TypeRuleError("concat: at least one array was expected")
    first = parts[0]
    check_axis("concat", first, axis)
    for part in parts:
        fitting = part.shape[:axis] + first.shape[axis : axis + 1] + part.shape[axis + 1 :]
        if part.with_shape(fitting) != first:
            raise TypeRuleError(
                f"concat: {first} and {part} may differ only in the length of axis {axis}"
            )
    length: Dim = 0
    for part in parts:
        length = length + part.shape[axis]
    return first.with_shape((*first.shape[:axis], length, *first.shape[axis + 1 :]))


def _evaluate_concat(*parts: Array, axis: int) -> Array:
    return np.concatenate(parts, axis)


def _transpose_concat(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axis: int
) -> tuple[Cotangent, ...]:
    cotangents = []
    start: Dim = 0
    for part in primals:
        stop = start + part.shape[axis]
        cotangents.append(_along(cotangent, axis, start, stop))
        start = stop
    return tuple(cotangents)


def _along(x: Value, axis: int, start: Dim, stop: Dim) -> Value:
    """x[start:stop] along one axis."""
    rank = x.type.rank
    starts = tuple(start if i == axis else 0 for i in range(rank))
    stops = tuple(stop if i == axis else x.shape[i] for i in range(rank))
    result: Value = slice_(x, starts=starts, stops=stops, steps=(1,) * rank)
    return result


def _batch_concat(inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axis: int) -> Any:
    in_batch = (
        in_front(x, is_batched, size) for x, is_batched in zip(inputs, batched, strict=True)
    )
    return concat(*in_batch, axis=axis + 1)


def _read_concat(k: LoopBuilder, index: Index, operands: Sequence[Operand], *, axis: int) -> Ref:
    """Each part is read only where the coordinate lies between its start and its stop.

    Zeros that are known are absent.
    """
    coordinates = index.coordinates
    value = k.const(0, operands[0].type.dtype)
    start: Dim = 0
    for part in operands:
        stop = start + part.type.shape[axis]
        inside = _between(k, coordinates[axis], start, stop, index.shape[axis])
        inner = list(coordinates)
        inner[axis] = k.sub(coordinates[axis], k.size(start))
        if inside is None:
            return k.absent(part(*inner))
        value = k.absent(k.guard(inside, partial(part, *inner), value))
        start = stop
    return value


def _between(k: LoopBuilder, i: Ref, start: Dim, stop: Dim, length: Dim) -> Ref | None:
    """start <= i < stop, given 0 <= i < length; None: surely."""
    above = None if start == 0 else k.compare("ge", i, k.size(start))
    return k.both(above, None if stop == length else k.compare("lt", i, k.size(stop)))


def _align_concat(*parts: ArrayType, axis: int) -> tuple[Alignment, ...]:
    kept = tuple(None if i == axis else i for i in range(parts[0].rank))
    return (kept,) * len(parts)


def _join_concat(*parts: ArrayType, axis: int) -> Iterator[Shape]:
    start: Dim = 0
    for part in parts:
        yield tuple(start if i == axis else 0 for i in range(part.rank))
        start = start + part.shape[axis]


concat: Op = linear(
    "concat",
    infer=_infer_concat,
    evaluate=_evaluate_concat,
    transpose=_transpose_concat,
    batch=_batch_concat,
    lower=IndexMap(_read_concat, _align_concat, move=_evaluate_concat, joins=_join_concat),
)
