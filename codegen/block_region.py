"""The region of a step over blocks as the function that is compiled for one block.

The numbers of a block's rows are consecutive: `start`, `start + 1`, ... So they are no array, and
what is picked by them is a part of its array, which is read in place. Sizes of the function are the
number of rows in the block, and `start`.
"""

from __future__ import annotations

from typing import Any

from gradc.ir.dims import Dim, Shape, SizeExpr, product, size
from gradc.ir.function import Equation, Function, Value, function, parameter
from gradc.ir.lowering import Placed
from gradc.ir.op import Op
from gradc.ir.ops.blocks import rows_of
from gradc.ir.ops.constants import filled, iota, size_value
from gradc.ir.ops.indexing import take
from gradc.ir.ops.slicing import slice_
from gradc.ir.ops.structural import reshape
from gradc.ir.transforms.rebuild import rebuild_equation
from gradc.ir.types import ArrayType, i64


def start_of(body: Function) -> str:
    """The name of the size that is the number of a block's first row."""
    return f"{rows_of(body)}_start"


def region_of(made: Equation) -> Function:
    """(inputs...) -> (results...): inputs are those of the equation, whole.

    A result is what the block has of it, [rows, ...], if its rows lie in front, and the part that
    the block adds, if it is summed; else it is the whole result, of which the block is written.
    """
    body, attrs = made.attrs["body"], made.attrs
    rows, start = size(rows_of(body)), size(start_of(body))
    count = product(attrs["lead"])
    inputs = [parameter(value.type, f"x{i}") for i, value in enumerate(made.inputs)]
    first = filled((rows,), size_value(dim=start))
    numbers = body.parameters[0]
    values: dict[Value, Value] = {numbers: iota(size=rows, dtype=i64) + first}
    for own, x, axis in zip(body.parameters[1:], inputs, attrs["takes"], strict=True):
        if axis is not None:
            shape = (*own.shape[:axis], count, *own.shape[axis + 1 :])
            x = _rows(x if x.shape == shape else reshape(x, shape=shape), axis, start, rows)
        values[own] = x
    for inner in body.equations:
        given = [values.get(value, value) for value in inner.inputs]
        if inner.op is take and inner.inputs[1] is numbers:
            values[inner.outputs[0]] = _rows(given[0], inner.attrs["axis"], start, rows)
        else:
            again = rebuild_equation(inner, given)
            values.update(zip(inner.outputs, again.outputs, strict=True))
    results = [
        _placed(values[result], axis, start, count) if axis else values[result]
        for result, axis in zip(body.results, attrs["gives"], strict=True)
    ]
    return function(body.name, inputs, results)


def _rows(x: Value, axis: int, start: SizeExpr, rows: SizeExpr) -> Value:
    """The rows of a block, which lie along `axis`."""
    none = (0,) * x.type.rank
    low = (*none[:axis], start, *none[axis + 1 :])
    high = (*x.shape[:axis], start + rows, *x.shape[axis + 1 :])
    result: Value = slice_(x, starts=low, stops=high, steps=(1,) * x.type.rank)
    return result


def _placed(x: Value, axis: int, start: SizeExpr, count: Dim) -> Value:
    """An array of `count` rows along `axis` with those of a block written."""
    none = (0,) * x.type.rank
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    result: Value = placed(x, shape=shape, starts=(*none[:axis], start, *none[axis + 1 :]))
    return result


def _infer_placed(block: ArrayType, *, shape: Shape, starts: Shape) -> ArrayType:
    return block.with_shape(shape)


def _never(*arguments: Any, **attrs: Any) -> Any:
    raise NotImplementedError("a block is placed when loops are made, after all derivatives")


placed = Op("placed", _infer_placed, _never, _never, _never, _never, Placed())
