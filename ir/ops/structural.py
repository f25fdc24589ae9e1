"""Ops that rearrange the axes of one array, and `sum`, the adjoint of `broadcast`.

All are linear. Each says how an entry of the result is read from the operand, so that none of them
costs anything in a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape, SizeExpr, product
from gradc.ir.function import Requirement, Value
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.lowering import Alignment, Index, IndexMap, Operand, Reduction
from gradc.ir.op import Cotangent, Op
from gradc.ir.ops.conditions import equal
from gradc.ir.ops.kinds import linear
from gradc.ir.types import ArrayType, TypeRuleError

Array = np.ndarray[Any, Any]


def check_axes(name: str, x: ArrayType, axes: tuple[int, ...]) -> None:
    """Raise TypeRuleError unless `axes` are ascending axes of x."""
    if not isinstance(axes, tuple) or not all(type(axis) is int for axis in axes):
        raise TypeRuleError(f"{name}: axes are a tuple of integers, not {axes!r}")
    if list(axes) != sorted(set(axes)) or not all(0 <= axis < x.rank for axis in axes):
        raise TypeRuleError(
            f"{name}: axes {axes} of an array {x}; they must ascend and lie in 0 to {x.rank - 1}"
            if x.rank
            else f"{name}: axes {axes} of a scalar, which has none"
        )


def check_axis(name: str, x: ArrayType, axis: int) -> None:
    """Raise TypeRuleError unless `axis` is an axis of x."""
    if type(axis) is not int or not 0 <= axis < x.rank:
        raise TypeRuleError(f"{name}: {x} has no axis {axis!r}")


def check_dims(name: str, what: str, dims: tuple[Dim, ...]) -> None:
    """Raise TypeRuleError unless `dims` is a tuple of integers and sizes."""
    fitting = (type(dim) is int or isinstance(dim, SizeExpr) for dim in dims)
    if not isinstance(dims, tuple) or not all(fitting):
        raise TypeRuleError(f"{name}: {what} is a tuple of integers and sizes, not {dims!r}")


def check_shape(name: str, shape: Shape) -> None:
    """Raise TypeRuleError unless `shape` is a tuple of lengths."""
    check_dims(name, "shape", shape)
    if any(dim < 0 if isinstance(dim, int) else dim.is_negative for dim in shape):
        raise TypeRuleError(f"{name}: a length is not negative, as one of {shape} is")


def other_axes(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes below `rank` that are not in `axes`."""
    return tuple(axis for axis in range(rank) if axis not in axes)


def shifted(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array that got a leading axis."""
    return tuple(axis + 1 for axis in axes)


# --- broadcast and sum -------------------------------------------------------------------------


def _infer_broadcast(x: ArrayType, *, shape: Shape, axes: tuple[int, ...]) -> ArrayType:
    check_shape("broadcast", shape)
    result = x.with_shape(shape)
    check_axes("broadcast", result, axes)
    if len(axes) != x.rank:
        raise TypeRuleError(f"broadcast: {len(axes)} axes {axes} for an array {x}")
    if tuple(shape[axis] for axis in axes) != x.shape:
        raise TypeRuleError(f"broadcast: {x} cannot become {result} along its axes {axes}")
    return result


def _evaluate_broadcast(x: Array, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    expanded = x.reshape([shape[axis] if axis in axes else 1 for axis in range(len(shape))])
    return np.broadcast_to(expanded, shape).copy()


def _batch_broadcast(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    size: Dim,
    *,
    shape: Shape,
    axes: tuple[int, ...],
) -> Any:
    return broadcast(*inputs, shape=(size, *shape), axes=(0, *shifted(axes)))


def _read_broadcast(
    k: LoopBuilder,
    index: Index,
    operands: Sequence[Operand],
    *,
    shape: Shape,
    axes: tuple[int, ...],
) -> Ref:
    return operands[0](*(index.coordinates[axis] for axis in axes))


def _sum_broadcast(
    primals: Sequence[Value],
    result: Value,
    cotangent: Value,
    *,
    shape: Shape,
    axes: tuple[int, ...],
) -> tuple[Cotangent]:
    return (sum_(cotangent, axes=other_axes(len(shape), axes)),)


broadcast: Op = linear(
    "broadcast",
    infer=_infer_broadcast,
    evaluate=_evaluate_broadcast,
    transpose=_sum_broadcast,
    batch=_batch_broadcast,
    lower=IndexMap(
        _read_broadcast,
        lambda x, *, shape, axes: (axes,),
        repeats=True,
        move=_evaluate_broadcast,
    ),
)


def _infer_sum(x: ArrayType, *, axes: tuple[int, ...]) -> ArrayType:
    check_axes("sum", x, axes)
    if x.dtype.kind == "b":
        raise TypeRuleError(f"sum: an array of numbers was expected, not {x}; cast it first")
    return x.with_shape(tuple(x.shape[axis] for axis in other_axes(x.rank, axes)))


def _evaluate_sum(x: Array, *, axes: tuple[int, ...]) -> Array:
    return np.asarray(np.sum(x, axis=axes, dtype=x.dtype))


def _broadcast_sum(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axes: tuple[int, ...]
) -> tuple[Cotangent]:
    return (
        broadcast(cotangent, shape=primals[0].shape, axes=other_axes(primals[0].type.rank, axes)),
    )


def _batch_sum(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axes: tuple[int, ...]
) -> Any:
    return sum_(*inputs, axes=shifted(axes))


sum_: Op = linear(
    "sum",
    infer=_infer_sum,
    evaluate=_evaluate_sum,
    transpose=_broadcast_sum,
    batch=_batch_sum,
    lower=Reduction("sum"),
)


# --- transpose ---------------------------------------------------------------------------------


def _infer_transpose(x: ArrayType, *, permutation: tuple[int, ...]) -> ArrayType:
    if not isinstance(permutation, tuple) or sorted(permutation) != list(range(x.rank)):
        raise TypeRuleError(f"transpose: {permutation} is no permutation of the axes of {x}")
    return x.with_shape(tuple(x.shape[axis] for axis in permutation))


def inverse(permutation: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `permutation`."""
    return tuple(permutation.index(axis) for axis in range(len(permutation)))


def _evaluate_transpose(x: Array, *, permutation: tuple[int, ...]) -> Array:
    return np.transpose(x, permutation)


def _untranspose(
    primals: Sequence[Value], result: Value, cotangent: Value, *, permutation: tuple[int, ...]
) -> tuple[Cotangent]:
    return (transpose(cotangent, permutation=inverse(permutation)),)


def _batch_transpose(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, permutation: tuple[int, ...]
) -> Any:
    return transpose(*inputs, permutation=(0, *shifted(permutation)))


def _read_transpose(
    k: LoopBuilder, index: Index, operands: Sequence[Operand], *, permutation: tuple[int, ...]
) -> Ref:
    return operands[0](*(index.coordinates[axis] for axis in inverse(permutation)))


transpose: Op = linear(
    "transpose",
    infer=_infer_transpose,
    evaluate=_evaluate_transpose,
    transpose=_untranspose,
    batch=_batch_transpose,
    lower=IndexMap(
        _read_transpose,
        lambda x, *, permutation: (inverse(permutation),),
        move=_evaluate_transpose,
    ),
)


# --- reshape, assume_shape ---------------------------------------------------------------------


def _require_equal_size(x: ArrayType, *, shape: Shape) -> Iterable[Requirement]:
    result = x.with_shape(shape)
    if x.size == result.size:
        return ()
    why = f"reshape: {x} has {x.size} elements, but {result} has {result.size}"
    return equal(x.size, result.size, why)


def _infer_reshape(x: ArrayType, *, shape: Shape) -> ArrayType:
    check_shape("reshape", shape)
    list(_require_equal_size(x, shape=shape))
    return x.with_shape(shape)


def _evaluate_reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    return np.reshape(x, shape)


def _unreshape(
    primals: Sequence[Value], result: Value, cotangent: Value, *, shape: Shape
) -> tuple[Cotangent]:
    return (reshape(cotangent, shape=primals[0].shape),)


def _batch_reshape(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, shape: Shape
) -> Any:
    return reshape(*inputs, shape=(size, *shape))


def _align_reshape(x: ArrayType, *, shape: Shape) -> tuple[Alignment]:
    """Axes of one length with as many entries behind them: flat // behind % length is the same."""
    behind = {(dim, product(shape[axis + 1 :])): axis for axis, dim in enumerate(shape) if dim != 1}
    return (
        tuple(behind.get((dim, product(x.shape[axis + 1 :]))) for axis, dim in enumerate(x.shape)),
    )


def _read_reshape(
    k: LoopBuilder, index: Index, operands: Sequence[Operand], *, shape: Shape
) -> Ref:
    return operands[0].read(index.reshaped(operands[0].type.shape))


reshape: Op = linear(
    "reshape",
    infer=_infer_reshape,
    evaluate=_evaluate_reshape,
    transpose=_unreshape,
    batch=_batch_reshape,
    lower=IndexMap(_read_reshape, _align_reshape, move=_evaluate_reshape),
    requires=_require_equal_size,
)


def _require_shape(x: ArrayType, *, shape: Shape) -> Iterator[Requirement]:
    if len(shape) != x.rank:
        raise TypeRuleError(f"assume_shape: {x} has {x.rank} axes, {len(shape)} were expected")
    for axis, (given, wanted) in enumerate(zip(x.shape, shape, strict=True)):
        yield from equal(given, wanted, f"axis {axis} of {x} must have the length {wanted}")


def _infer_assume_shape(x: ArrayType, *, shape: Shape) -> ArrayType:
    check_shape("assume_shape", shape)
    list(_require_shape(x, shape=shape))
    return x.with_shape(shape)


def _evaluate_assume_shape(x: Array, *, shape: tuple[int, ...]) -> Array:
    if x.shape != shape:
        raise ValueError(f"an array of shape {shape} was expected, this one has {x.shape}")
    return x


def _unassume_shape(
    primals: Sequence[Value], result: Value, cotangent: Value, *, shape: Shape
) -> tuple[Cotangent]:
    return (assume_shape(cotangent, shape=primals[0].shape),)


def _batch_assume_shape(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, shape: Shape
) -> Any:
    return assume_shape(*inputs, shape=(size, *shape))


def _read_assume_shape(
    k: LoopBuilder, index: Index, operands: Sequence[Operand], *, shape: Shape
) -> Ref:
    return operands[0].read(index)


assume_shape: Op = linear(
    "assume_shape",
    infer=_infer_assume_shape,
    evaluate=_evaluate_assume_shape,
    transpose=_unassume_shape,
    batch=_batch_assume_shape,
    lower=IndexMap(
        _read_assume_shape,
        lambda x, *, shape: (tuple(range(x.rank)),),
        move=_evaluate_assume_shape,
    ),
    requires=_require_shape,
)


# --- reverse -----------------------------------------------------------------------------------


def _infer_reverse(x: ArrayType, *, axes: tuple[int, ...]) -> ArrayType:
    check_axes("reverse", x, axes)
    return x


def _evaluate_reverse(x: Array, *, axes: tuple[int, ...]) -> Array:
    return np.flip(x, axes) if axes else x


def _unreverse(
    primals: Sequence[Value], result: Value, cotangent: Value, *, axes: tuple[int, ...]
) -> tuple[Cotangent]:
    return (reversed_(cotangent, axes=axes),)


def _batch_reverse(
    inputs: Sequence[Value], batched: Sequence[bool], size: Dim, *, axes: tuple[int, ...]
) -> Any:
    return reversed_(*inputs, axes=shifted(axes))


def _read_reverse(
    k: LoopBuilder, index: Index, operands: Sequence[Operand], *, axes: tuple[int, ...]
) -> Ref:
    x = operands[0]
    coordinates = [
        k.sub(k.size(x.type.shape[axis] - 1), coordinate) if axis in axes else coordinate
        for axis, coordinate in enumerate(index.coordinates)
    ]
    return x(*coordinates)


reversed_: Op = linear(
    "reverse",
    infer=_infer_reverse,
    evaluate=_evaluate_reverse,
    transpose=_unreverse,
    batch=_batch_reverse,
    lower=IndexMap(
        _read_reverse,
        lambda x, *, axes: (tuple(None if i in axes else i for i in range(x.rank)),),
        move=_evaluate_reverse,
    ),
)
