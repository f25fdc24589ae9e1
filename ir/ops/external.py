"""Functions that are no graphs: C functions, and Python functions of this process.

Each has an op of its own, made by `external_op`, whose `evaluate` is the `ExternalCode`. It has no
derivative: `custom` gives it one. The attributes of an equation:

    symbol   what the loops call; equal symbols are the same function
    sizes    the dimensions that are passed first
    results  the types of the results of one call
    lead     the axes in front of all inputs and results, over which the calls are repeated
    returns  "value" (of one scalar), "nothing" or "status", as `lowering.External` says
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Equation, Function, Value
from gradc.ir.lowering import External
from gradc.ir.op import Null, Op
from gradc.ir.ops.kinds import in_front
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType, TypeRuleError, dtype_of

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
        results: tuple[ArrayType, ...],
        lead: tuple[int, ...],
        returns: str,
    ) -> Any:
        """The results, one call after another: the reference of what native code does."""
        found = [_empty(r, lead) for r in results]
        for at in product(*(range(length) for length in lead)):
            inputs = [np.ascontiguousarray(x[at]).reshape(x.shape[len(lead) :]) for x in arrays]
            if self.python is not None:
                made = self.python(*inputs)
            else:
                made = _called(self, inputs, sizes, [_empty(r) for r in results], returns)
            for array, result in zip(found, made, strict=True):
                array[at] = result
        return found[0] if len(found) == 1 else tuple(found)


def _empty(result: ArrayType, lead: tuple[int, ...] = ()) -> Array:
    """An array of this type, whose lengths are integers by now."""
    shape = [length for length in (*lead, *result.shape) if isinstance(length, int)]
    return np.empty(shape, result.dtype.numpy)


def _called(
    code: ExternalCode,
    inputs: Sequence[Array],
    sizes: Sequence[int],
    outputs: Sequence[Array],
    how: str,
) -> Sequence[Any]:
    """One call of a C function, through its address: the arrays that it wrote."""
    types: list[Any] = [ctypes.c_int64] * len(sizes)
    given: list[Any] = list(sizes)
    for x in inputs:
        types.append(ctypes.c_void_p if x.ndim else C_TYPES[dtype_of(x.dtype).name])
        given.append(x.ctypes.data if x.ndim else x.item())
    scalar = C_TYPES[dtype_of(outputs[0].dtype).name]
    returned: Any = {"value": scalar, "status": ctypes.c_int32}.get(how)
    for out in () if how == "value" else outputs:
        types.append(ctypes.c_void_p)
        given.append(out.ctypes.data)
    answer = ctypes.CFUNCTYPE(returned, *types)(code.address())(*given)
    if how == "status" and answer != 0:
        raise RuntimeError(f"the external function {code.name} returned the status {answer}")
    return (answer,) if how == "value" else outputs


def external_op(code: ExternalCode) -> Op:
    """The op that calls this function."""

    def no_derivative() -> Null:
        return Null(
            f"the external function {code.name} has no derivative; give it one with "
            "gradc.custom.Op(name, value, pullback=...), in a .grad file with "
            f"`derivative of {code.name}(...) by pullback(...) {{ ... }}`"
        )

    def jvp(primals: Any, result: Any, tangents: Any, **attrs: Any) -> Any:
        if isinstance(result, Value):
            return no_derivative()
        return tuple(no_derivative() if r.dtype.is_float else None for r in result)

    def vjp(primals: Sequence[Value], result: Any, cotangent: Any, **attrs: Any) -> Any:
        return tuple(no_derivative() if x.dtype.is_float else None for x in primals)

    def batch(
        inputs: Sequence[Value],
        batched: Sequence[bool],
        size: Dim,
        *,
        lead: Shape,
        **attrs: Any,
    ) -> Any:
        many = [in_front(x, b, size) for x, b in zip(inputs, batched, strict=True)]
        return op(*many, lead=(size, *lead), **attrs)

    op = Op("external", _infer, code, jvp, vjp, batch, External())
    return op


def _infer(
    *types: ArrayType,
    symbol: str,
    sizes: Shape,
    results: tuple[ArrayType, ...],
    lead: Shape,
    returns: str,
) -> ArrayType | tuple[ArrayType, ...]:
    """lead + each result's shape; every input has the axes `lead` in front."""
    for type in types:
        if type.shape[: len(lead)] != lead:
            raise TypeRuleError(f"{symbol}: {type} does not have the leading axes {lead}")
    if returns == "value" and (len(results) != 1 or results[0].shape):
        what = ", ".join(map(str, results))
        raise TypeRuleError(f"{symbol}: a function returns one scalar by value, not {what}")
    found = tuple(r.with_shape((*lead, *r.shape)) for r in results)
    return found[0] if len(found) == 1 else found


def called(made: Equation) -> str:
    """What an equation calls: a function's own name, where it has one, else the op's."""
    if isinstance(made.op.evaluate, ExternalCode):
        return made.op.evaluate.name
    name = made.attrs.get("name") if made.op.name == "custom" else None
    return name if isinstance(name, str) else made.op.name


def external_calls(fn: Function) -> list[tuple[Equation, ExternalCode]]:
    """The equations that call external functions, with these.

    Those in regions that run count, those in rules do not: a derivative that is computed has become
    part of the graph.
    """
    found: list[tuple[Equation, ExternalCode]] = []
    pending = [fn]
    while pending:
        for made in pending.pop().equations:
            if isinstance(made.op.evaluate, ExternalCode):
                found.append((made, made.op.evaluate))
            regions = (made.attrs.get(name) for name in ("value", "body"))
            pending.extend(region for region in regions if isinstance(region, Function))
    return found


def external_symbols(calls: Sequence[tuple[Equation, ExternalCode]]) -> dict[str, ExternalCode]:
    """The external functions by symbol; ValueError where two of different files have one."""
    found: dict[str, ExternalCode] = {}
    for made, code in calls:
        symbol = made.attrs["symbol"]
        other = found.setdefault(symbol, code)
        if other.files != code.files:
            here, there = (" ".join(c.files) or "the C library" for c in (code, other))
            raise ValueError(
                f"two external functions have the symbol {symbol}, one of {there}, one of {here}; "
                "give one of them another name in C"
            )
    return found
