"""Rows for `map_blocks`: what is taken and given along each axis, summed, nested, of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gradc.ir.dims import parse_dim
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.ops.blocks import map_blocks
from gradc.ir.ops.contract import contract
from gradc.ir.ops.elementwise import exp, sin
from gradc.ir.ops.indexing import take
from gradc.ir.ops.structural import broadcast, sum_, transpose
from gradc.ir.types import ArrayType, DType, f32, f64, i64
from op_case import Case, Operand

N, M = parse_dim("n"), parse_dim("m")


def body(build: Callable[..., Value], *types: ArrayType) -> Function:
    """The region that `build` makes of the row numbers and parameters of these types."""
    given = [parameter(i64["r"], "numbers"), *(parameter(t, f"p{i}") for i, t in enumerate(types))]
    return function("body", given, [build(*given)])


def scaled_rows(numbers: Value, a: Value, x: Value, scale: Value) -> Value:
    """scale * sin(a[i]) * x[i]: rows of a by number, rows of x as they come."""
    wide: Value = broadcast(scale, shape=x.shape, axes=())
    return wide * sin(take(a, numbers, axis=0)) * x


def _scaled(a: Any, x: Any, scale: Any, **attrs: Any) -> Any:
    return scale * np.sin(a) * x


def _case(
    note: str, build: Callable[..., Value], expected: Any, *, given: Any, **attrs: Any
) -> Case:
    types = [ArrayType(dtype, tuple(map(parse_dim, map(str, part)))) for _, part, dtype in given]
    operands = tuple(Operand(outside, dtype=dtype) for outside, _, dtype in given)
    attrs = {"lead": (N,), "body": body(build, *types), **attrs}
    return Case(map_blocks, operands, expected, attrs=attrs, note=note)


def scaled(note: str, block: int, dtype: DType = f64, rows: Any = "n") -> Case:
    whole, part = (rows, "m"), ("r", "m")
    return _case(
        note,
        scaled_rows,
        _scaled,
        given=[(whole, whole, dtype), (whole, part, dtype), ((), (), dtype)],
        block=block,
        takes=(None, 0, None),
        gives=(0,),
        lead=(parse_dim(str(rows)),),
    )


def _sum(numbers: Value, a: Value, x: Value) -> Value:
    """The sum over the rows of exp(a) * x[i] * x[i]."""
    squares: Value = sum_(x * x, axes=(0,))
    return exp(a) * squares


def _columns(numbers: Value, a: Value, x: Value) -> Value:
    """a[j, l] x[l, i] x[l, i], columns by number."""
    product: Value = contract(a, x * x, lhs=(0, 1), rhs=(1, 2), out=(0, 2))
    return product


def _of_two_axes(numbers: Value, x: Value, y: Value) -> Value:
    """exp(x[i, j]) y[i, j, l], with l in front."""
    product: Value = transpose(y, permutation=(1, 0)) * broadcast(
        exp(x), shape=(y.shape[1], *x.shape), axes=(1,)
    )
    return product


def nested(block: int) -> Callable[..., Value]:
    def build(numbers: Value, a: Value, x: Value) -> Value:
        """sum_j exp(a[j]) x[i]^2, by a region in the region."""
        own, part = parameter(i64["q"], "numbers"), parameter(f64["q"], "a")
        rows = parameter(x.type, "x")
        weight: Value = broadcast(sum_(exp(part), axes=(0,)), shape=x.shape, axes=())
        inner = function("inner", [own, part, rows], [weight * rows * rows])
        result: Value = map_blocks(
            a, x, body=inner, lead=a.shape, block=block, takes=(0, None), gives=(None,)
        )
        return result

    return build


CASES = (
    *(scaled(f"rows-{block}", block) for block in (1, 3, 4, 100)),
    scaled("f32", 3, f32),
    scaled("static", 3, rows=7),
    scaled("static-short", 16, rows=7),
    _case(
        "sum",
        _sum,
        lambda a, x, **attrs: np.exp(a) * np.sum(x * x, 0),
        given=[(("m",), ("m",), f64), (("n", "m"), ("r", "m"), f64)],
        block=3,
        takes=(None, 0),
        gives=(None,),
    ),
    _case(
        "scalar-sum",
        lambda numbers, x: sum_(exp(x), axes=(0,)),
        lambda x, **attrs: np.sum(np.exp(x)),
        given=[(("n",), ("r",), f64)],
        block=3,
        takes=(0,),
        gives=(None,),
    ),
    _case(
        "columns",
        _columns,
        lambda a, x, **attrs: a @ x**2,
        given=[((3, "m"), (3, "m"), f64), (("m", "n"), ("m", "r"), f64)],
        block=3,
        takes=(None, 1),
        gives=(1,),
    ),
    _case(
        "two-axes",
        _of_two_axes,
        lambda x, y, **attrs: np.moveaxis(np.exp(x)[..., None] * y, -1, 0),
        given=[(("n", "m"), ("r",), f64), (("n", "m", 2), ("r", 2), f64)],
        block=5,
        takes=(0, 0),
        gives=(1,),
        lead=(N, M),
    ),
    _case(
        "nested",
        nested(2),
        lambda a, x, **attrs: np.sum(np.exp(a)) * x**2,
        given=[(("m",), ("m",), f64), (("n",), ("r",), f64)],
        block=3,
        takes=(None, 0),
        gives=(0,),
    ),
)
