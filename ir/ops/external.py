"""Functions that are no graphs: C functions, and Python functions of this process.

Each has an op of its own, made by `external_op`, whose `evaluate` is the `ExternalCode`. It has no
derivative: `custom` gives it one. The attributes of an equation:

    symbol   what the loops call; equal symbols are the same function
    sizes    the dimensions that are passed first
    dtype, shape   of one result
    lead     the axes in front of all inputs and of the result, over which the calls are repeated
    returns  "value" (of a scalar), "nothing" or "status", as `lowering.External` says
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import External
from gradc.ir.op import Null, Op
from gradc.ir.ops.kinds import in_front
from gradc.ir.types import ArrayType, DType, TypeRuleError, dtype_of

Array = np.ndarray[Any, Any]

C_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "f64": ctypes.c_double,
        "f32": ctypes.c_float,
        "i64": ctypes.c_int64,
        "i32": ctypes.c_int32,
        "bool": ctypes.c_uint8,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class ExternalCode:
    """A function and where it is.

    files: the sources, objects or libraries of a C function. python: the function that is called
    instead when the graph is evaluated. address: of the C function in this process. failures: what
    a Python function raised, by thread.
    """

    name: str
    files: tuple[str, ...]
    address: Callable[[], int]
    python: Callable[..., Any] | None
    failures: dict[int, BaseException]

    def __call__(
        self,
        *arrays: Array,
        symbol: str,
        sizes: tuple[int, ...],
        dtype: DType,
        shape: tuple[int, ...],
        lead: tuple[int, ...],
        returns: str,
    ) -> Array:
        """The results, one call after another: the reference of what native code does."""
        found = np.empty((*lead, *shape), dtype.numpy)
        for at in product(*(range(length) for length in lead)):
            inputs = [np.ascontiguousarray(x[at]).reshape(x.shape[len(lead) :]) for x in arrays]
            if self.python is not None:
                found[at] = self.python(*inputs)
            else:
                found[at] = _called(self, inputs, sizes, np.empty(shape, dtype.numpy), returns)
        return found


def _called(
    code: ExternalCode, inputs: Sequence[Array], sizes: Sequence[int], out: Array, how: str
) -> Any:
    """One call of a C function, through its address."""
    types: list[Any] = [ctypes.c_int64] * len(sizes)
    given: list[Any] = list(sizes)
    for x in inputs:
        types.append(ctypes.c_void_p if x.ndim else C_TYPES[dtype_of(x.dtype).name])
        given.append(x.ctypes.data if x.ndim else x.item())
    scalar = C_TYPES[dtype_of(out.dtype).name]
    returned: Any = {"value": scalar, "status": ctypes.c_int32}.get(how)
    if how != "value":
        types.append(ctypes.c_void_p)
        given.append(out.ctypes.data)
    answer = ctypes.CFUNCTYPE(returned, *types)(code.address())(*given)
    if how == "status" and answer != 0:
        raise RuntimeError(f"the external function {code.name} returned the status {answer}")
    return answer if how == "value" else out


def external_op(code: ExternalCode) -> Op:
    """The op that calls this function."""

    def no_derivative() -> Null:
        return Null(
            f"the external function {code.name} has no derivative; give it one with "
            "gradc.custom.Op(name, value, pullback=...)"
        )

    def jvp(primals: Any, result: Value, tangents: Any, **attrs: Any) -> Null:
        return no_derivative()

    def vjp(primals: Sequence[Value], result: Any, cotangent: Any, **attrs: Any) -> Any:
        return tuple(no_derivative() if x.dtype.is_float else None for x in primals)

    def batch(
        inputs: Sequence[Value],
        batched: Sequence[bool],
        size: Dim,
        *,
        lead: Shape,
        **attrs: Any,
    ) -> Value:
        many = [in_front(x, b, size) for x, b in zip(inputs, batched, strict=True)]
        result: Value = op(*many, lead=(size, *lead), **attrs)
        return result

    op = Op("external", _infer, code, jvp, vjp, batch, External())
    return op


def _infer(
    *types: ArrayType,
    symbol: str,
    sizes: Shape,
    dtype: DType,
    shape: Shape,
    lead: Shape,
    returns: str,
) -> ArrayType:
    """lead + the result's shape; every input has the axes `lead` in front."""
    for type in types:
        if type.shape[: len(lead)] != lead:
            raise TypeRuleError(f"{symbol}: {type} does not have the leading axes {lead}")
    if returns == "value" and shape:
        raise TypeRuleError(f"{symbol}: a function returns scalars by value, not the shape {shape}")
    return ArrayType(dtype, (*lead, *shape))


def external_calls(fn: Function) -> list[tuple[Equation, ExternalCode]]:
    """The equations that call external functions, with these; those in regions included."""
    found: list[tuple[Equation, ExternalCode]] = []
    pending = [fn]
    while pending:
        for made in pending.pop().equations:
            if isinstance(made.op.evaluate, ExternalCode):
                found.append((made, made.op.evaluate))
            pending.extend(x for x in made.attrs.values() if isinstance(x, Function))
    return found
