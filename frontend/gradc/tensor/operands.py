"""Conversion, promotion, broadcasting: what operands undergo before the strict graph IR sees them.

Promotion is NumPy 2's: a Python number (and a size, as in `x / x.shape[0]`) is weak and takes the
type of the array beside it; arrays and NumPy scalars are strong. Broadcasting stretches only an
axis whose length is statically 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from gradc.errors import GradcTypeError, GradcValueError, OperandNote
from gradc.ir.dims import Dim, Shape, SizeExpr
from gradc.ir.function import Value
from gradc.ir.ops.table import OPS_BY_NAME
from gradc.ir.types import ALL_DTYPES, DTYPES_BY_NAME, DType, constant_data, dtype_of, f64, i64
from gradc.null import NoGradient
from gradc.tensor.repetition import once
from gradc.tensor.sizes import display, has_anonymous
from gradc.tensor.variable import Tensor

ArrayLike: TypeAlias = Any  # a Tensor, a number, a size, or what `numpy.asarray` takes
_WEAK = int | float | SizeExpr
_STRONG = np.generic | bool
_JOINING = "to join symbolic arrays use gt.stack or gt.concat"


def build(name: str, *inputs: Tensor, **attrs: Any) -> Tensor:
    """The array made by the graph op `name`."""
    return Tensor(OPS_BY_NAME[name](*[tensor.value for tensor in inputs], **attrs))


def is_weak(x: object) -> bool:
    """Whether `x` is a Python number or a size, which take the type of the array beside them."""
    return isinstance(x, _WEAK) and not isinstance(x, _STRONG)


def as_dtype(dtype: object) -> DType:
    """The element type for gradc's, NumPy's or Python's name or object of it."""
    if isinstance(dtype, DType):
        return dtype
    if isinstance(dtype, str) and dtype in DTYPES_BY_NAME:
        return DTYPES_BY_NAME[dtype]
    try:
        return dtype_of(dtype)
    except (TypeError, ValueError) as error:
        have = ", ".join(known.name for known in ALL_DTYPES)
        raise GradcTypeError(f"{dtype!r} is no element type; gradc has {have}") from error


def asarray(x: ArrayLike, dtype: object = None) -> Tensor:
    """`x` as a symbolic array: itself, a constant, or a size's value; cast to `dtype` if given.

    A Python int becomes i64, a float f64.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(x, Tensor | Value):
        return cast(x if isinstance(x, Tensor) else Tensor(x), wanted)
    if isinstance(x, SizeExpr):
        return cast(build("size_value", dim=x), wanted)
    return build("constant", value=constant_data(_numpy(x, wanted)))


def cast(x: Tensor, dtype: DType | None) -> Tensor:
    """`x` with elements of `dtype`; itself where they are that already."""
    own = x.value.type.dtype
    return x if dtype is None or own is dtype or own == dtype else build("cast", x, dtype=dtype)


def result_type(operands: Sequence[ArrayLike]) -> DType:
    """The common element type of operands, as NumPy 2 finds it."""
    return _common_type(tuple([_kind(x) for x in operands]))


def _kind(x: ArrayLike) -> DType | type:
    """An operand's element type; int or float for one that is weak."""
    if isinstance(x, Tensor):
        return x.dtype
    if is_weak(x):
        return float if isinstance(x, float) else int
    return asarray(x).dtype


@cache
def _common_type(kinds: tuple[DType | type, ...]) -> DType:
    strong = [kind.numpy for kind in kinds if isinstance(kind, DType)]
    if not strong:
        return f64 if float in kinds else i64
    weak = [kind(1) for kind in kinds if not isinstance(kind, DType)]
    return dtype_of(np.result_type(*strong, *weak))


def promote(*operands: ArrayLike, dtype: DType | None = None) -> list[Tensor]:
    """The operands with one element type: `dtype`, or their common type."""
    converted = [x if isinstance(x, Tensor) or is_weak(x) else asarray(x) for x in operands]
    common = dtype or result_type(converted)
    return [_converted(x, common) for x in converted]


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """The arrays stretched to their common shape; GradcValueError says what does not fit."""
    shape = broadcast_shapes(*arrays)
    return [stretch(x, shape) for x in arrays]


def broadcast_operands(*arrays: Tensor) -> list[Tensor]:
    """The same for operands of an op, which nobody else sees: equal ones are stretched once."""
    shape = broadcast_shapes(*arrays)
    return [_stretched_once(x, shape) for x in arrays]


def _stretched_once(x: Tensor, shape: Shape) -> Tensor:
    if x.value.type.shape == shape:
        return x
    return once((x.value, shape), lambda: stretch(x, shape))


def broadcast_shapes(*arrays: Tensor) -> Shape:
    """The shape that arrays have after broadcasting."""
    shapes = [shape for x in arrays if (shape := x.value.type.shape)]  # scalars fit to all
    if not shapes or shapes.count(shapes[0]) == len(shapes):
        return shapes[0] if shapes else ()
    rank = max(x.ndim for x in arrays)
    padded = [(1,) * (rank - x.ndim) + x.type.shape for x in arrays]
    return tuple(_common_length(lengths, arrays) for lengths in zip(*padded, strict=True))


def stretch(x: Tensor, shape: Shape) -> Tensor:
    """`x` broadcast to `shape`, which must be what broadcasting gives.

    A length without a name that meets another length is assumed to equal it: the call checks it.
    """
    own = x.type.shape
    if own == shape:
        return x
    offset = len(shape) - len(own)
    kept = [axis for axis, length in enumerate(own) if length != 1 or shape[axis + offset] == 1]
    if own:
        x = reshape_to(x, tuple(own[axis] for axis in kept))
        x = assume_shape(x, tuple(shape[axis + offset] for axis in kept))
        if x.type.shape == shape:
            return x
    return build("broadcast", x, shape=shape, axes=tuple(axis + offset for axis in kept))


def assume_shape(x: Tensor, shape: Shape) -> Tensor:
    """`x`, of whose shape the call is to check that it is `shape`."""
    return x if x.type.shape == shape else build("assume_shape", x, shape=shape)


def reshape_to(x: Tensor, shape: Shape) -> Tensor:
    """`x` with another shape of the same size."""
    return x if x.type.shape == shape else build("reshape", x, shape=shape)


def same_length(a: Dim, b: Dim) -> Dim | None:
    """The length that `a` and `b` both have, or may turn out to have; None where they differ."""
    if a == b:
        return a
    if has_anonymous(a):
        return b
    return a if has_anonymous(b) else None


def note(position: int | str, x: Tensor) -> OperandNote:
    """What an operand is, for an error."""
    what = x.name or (f"operand {position + 1}" if isinstance(position, int) else position)
    if not x.shape:
        return OperandNote(position, f"{what} is a scalar of type {x.dtype}")
    axes = "axis" if x.ndim == 1 else "axes"
    return OperandNote(position, f"{what} has {x.ndim} {axes}: {display(x.shape)}")


def notes(arrays: Iterable[Tensor]) -> tuple[OperandNote, ...]:
    """What the operands are, for an error."""
    return tuple(note(i, x) for i, x in enumerate(arrays))


def _common_length(lengths: Sequence[Dim], arrays: Sequence[Tensor]) -> Dim:
    found: Dim = 1
    for length in lengths:
        if length == 1:
            continue
        common = length if found == 1 else same_length(found, length)
        if common is None:
            raise GradcValueError(
                "these shapes cannot be broadcast together",
                label=f"{found} against {length}",
                operands=notes(arrays),
                hint="only an axis whose length is 1 when compiled is stretched; sizes with "
                "different names are different, so give equal sizes the same name",
            )
        found = common
    return found


def _converted(x: ArrayLike, dtype: DType) -> Tensor:
    if isinstance(x, Tensor):
        return cast(x, dtype)
    if isinstance(x, SizeExpr):
        return asarray(x, dtype)
    if dtype.kind == "i" and isinstance(x, int):
        limits = np.iinfo(dtype.numpy)
        if not limits.min <= x <= limits.max:
            raise GradcValueError(
                f"the number {x} does not fit in {dtype}",
                hint="cast the array to i64 or to a float",
            )
    number = x.hex() if isinstance(x, float) else x  # 0.0 is not -0.0
    return once((number, dtype), lambda: _constant(x, dtype))


def _constant(x: ArrayLike, dtype: DType) -> Tensor:
    with np.errstate(over="ignore"):  # what is too large for f32 is infinite there
        return build("constant", value=constant_data(x, dtype))


def _numpy(x: object, dtype: DType | None) -> np.ndarray[Any, Any]:
    if isinstance(x, NoGradient):
        raise GradcTypeError(f"there is no gradient to compute with: {x.type}")
    try:
        array = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise GradcTypeError(
            f"cannot make an array of {type(x).__name__}: {error}", hint=_JOINING
        ) from error
    if array.dtype == object:
        raise GradcTypeError(
            f"cannot make an array of {type(x).__name__}",
            hint=_JOINING,
        )
    if array.size == 0 and dtype is None and isinstance(x, list | tuple):
        array = array.astype(np.float64)
    try:
        dtype_of(array.dtype)
    except TypeError as error:
        raise GradcTypeError(str(error)) from error
    return array if dtype is None else array.astype(dtype.numpy)
