"""Functions from elsewhere as nodes of a graph: C functions, and Python functions over NumPy.

    bessel = gradc.external.c_scalar_function("j0")                        # double j0(double)
    solve = gradc.external.c_function(
        "thomas", [f64["n"], f64["n"], f64], f64["n"], source="thomas.c"
    )   # void thomas(int64_t n, const double *a, const double *b, double c, double *result)

A C function is given the sizes in the order in which the inputs' types name them (int64_t), then
the inputs (scalars by value, arrays by address, row-major), then the address of its result. It must
be pure and safe to call from several threads. They have no derivatives: `gradc.custom.Op` gives
them, as functions of `gradc.tensor` or as external functions again.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gradc.codegen.external_code import address_in_process
from gradc.driver import fitted
from gradc.errors import GradcTypeError, GradcValueError
from gradc.ir.dims import evaluate_dim, names_of
from gradc.ir.function import Function, Value, parameter
from gradc.ir.function import function as cut
from gradc.ir.op import Op
from gradc.ir.ops.external import C_TYPES, ExternalCode, external_op
from gradc.ir.record import dataclass
from gradc.ir.transforms.inline import bind_sizes
from gradc.ir.transforms.rebuild import substitute_in
from gradc.ir.types import ArrayType, DType, f64
from gradc.tensor.operands import asarray, broadcast_arrays, is_weak
from gradc.tensor.source import located
from gradc.tensor.variable import Tensor

Array = np.ndarray[Any, Any]
Type: TypeAlias = "ArrayType | DType"
File: TypeAlias = "str | os.PathLike[str]"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, eq=False)
class ExternalFunction:
    """A function from elsewhere. Called with symbolic arrays, it gives its result.

    `declared` has its inputs as parameters. `is_elementwise`: of scalars, applied entry by entry to
    arrays of any shape, which are broadcast.
    """

    name: str
    symbol: str
    declared: Function
    results: tuple[ArrayType, ...]
    returns: str
    op: Op
    is_elementwise: bool = False

    def __call__(self, *args: Any) -> Any:
        return _applied(self, *args)

    def __repr__(self) -> str:
        inputs = ", ".join(str(p.type) for p in self.declared.parameters)
        results = ", ".join(map(str, self.results))
        results = results if len(self.results) == 1 else f"({results})"
        return f"<gradc external function {self.name}({inputs}) -> {results}>"


@located
def _applied(external: ExternalFunction, *args: Any) -> Any:
    wanted = external.declared.parameters
    if len(args) != len(wanted):
        raise GradcTypeError(f"{external.name} takes {len(wanted)} arguments, not {len(args)}")
    if external.is_elementwise:
        arrays = [
            asarray(x, p.dtype if is_weak(x) else None) for x, p in zip(args, wanted, strict=True)
        ]
        for i, (x, p) in enumerate(zip(arrays, wanted, strict=True)):
            if x.dtype != p.dtype:
                raise GradcTypeError(
                    f"{external.name}: argument {i} is to be of {p.dtype}, not of {x.dtype}",
                    hint=f"cast it: gt.astype(x, {p.dtype})",
                )
        arrays = broadcast_arrays(*arrays)
        lead = arrays[0].shape
        values = [x.value for x in arrays]
        found = external.op(
            *values,
            symbol=external.symbol,
            sizes=(),
            results=external.results,
            lead=lead,
            returns=external.returns,
        )
        return Tensor(found)
    found = called_once(external, fitted(external.declared, args))
    return Tensor(found[0]) if len(found) == 1 else tuple(map(Tensor, found))


def called_once(external: ExternalFunction, values: Sequence[Value]) -> tuple[Value, ...]:
    """The results of one call at values of the declared types."""
    bound = bind_sizes(external.declared, values)
    found = external.op(
        *values,
        symbol=external.symbol,
        sizes=tuple(bound[name] for name in external.declared.sizes),
        results=substitute_in(external.results, bound),
        lead=(),
        returns=external.returns,
    )
    return (found,) if isinstance(found, Value) else tuple(found)


def c_function(
    symbol: str,
    inputs: Sequence[Type],
    output: Type | Sequence[Type],
    *,
    source: File | None = None,
    object: File | None = None,
    library: File | None = None,
    status: bool = False,
    by_value: bool = False,
    name: str | None = None,
) -> ExternalFunction:
    """A C function of arrays: `void symbol(sizes..., inputs..., result)`, or several results.

    It is defined in a C `source`, an `object` (or archive) or a shared `library`; without any in
    libm or libc. With `status` it returns an int32_t, and any but 0 makes the call fail. With
    `by_value` it returns its one result, a scalar.
    """
    files = [file for file in (source, object, library) if file is not None]
    return declare_external(
        symbol, inputs, output, files, status=status, by_value=by_value, name=name or symbol
    )


def declare_external(
    symbol: str,
    inputs: Sequence[Type],
    output: Type | Sequence[Type],
    files: Sequence[File],
    *,
    status: bool,
    by_value: bool,
    name: str,
) -> ExternalFunction:
    """A C function that is in one of the files, each a source, an object or a library."""
    paths = _files(symbol, files)
    declared, results = _declared(name, inputs, output)
    if by_value and (status or len(results) != 1 or results[0].shape):
        raise GradcValueError(
            f"{symbol}: by value a function returns one scalar, and no status",
            hint="leave out by_value: results are then written to addresses",
        )
    code = ExternalCode(name, paths, lambda: address_in_process(symbol, paths), None, {})
    returns = "value" if by_value else "status" if status else "nothing"
    return ExternalFunction(code.name, symbol, declared, results, returns, external_op(code))


def c_scalar_function(
    symbol: str,
    arguments: int = 1,
    dtype: DType = f64,
    *,
    source: File | None = None,
    object: File | None = None,
    library: File | None = None,
    name: str | None = None,
) -> ExternalFunction:
    """A C function of numbers, applied entry by entry: `double symbol(double, ...)` (f32: float).

    Without a file it is one of libm's: `c_scalar_function("lgamma")`.
    """
    files = _files(symbol, [file for file in (source, object, library) if file is not None])
    declared, results = _declared(name or symbol, [dtype] * arguments, dtype)
    code = ExternalCode(name or symbol, files, lambda: address_in_process(symbol, files), None, {})
    return ExternalFunction(code.name, symbol, declared, results, "value", external_op(code), True)


def numpy_callback(
    python: Callable[..., Any],
    inputs: Sequence[Type],
    output: Type | Sequence[Type],
    *,
    name: str | None = None,
) -> ExternalFunction:
    """A Python function over NumPy arrays, called while native code runs in this process.

    It is given read-only arrays and returns one of the declared type, or a tuple of them; what it
    raises, the call raises. A library cannot hold it: `gradc.build` refuses a graph with one.
    """
    name = name or str(getattr(python, "__name__", "callback"))
    declared, results = _declared(name, inputs, output)
    is_tuple = not isinstance(output, ArrayType | DType)
    checked = _Checked(python, name, declared, results, is_tuple)
    failures: dict[int, BaseException] = {}
    thunk = _thunk(checked, failures)
    address = ctypes.cast(thunk, ctypes.c_void_p).value
    assert address is not None
    code = ExternalCode(name, (), _Address(address, thunk), checked, failures)
    symbol = f"gradc_callback_{address:x}"
    return ExternalFunction(name, symbol, declared, results, "status", external_op(code))


@dataclass(frozen=True, slots=True)
class _Address:
    """The address of a Python function's entry for C, which lives as long as this does."""

    value: int
    thunk: Any

    def __call__(self) -> int:
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class _Checked:
    """A Python function whose results are checked against the declared types."""

    python: Callable[..., Any]
    name: str
    declared: Function
    results: tuple[ArrayType, ...]
    is_tuple: bool

    def __call__(self, *arrays: Array) -> list[Array]:
        sizes: dict[str, int] = {}
        for p, x in zip(self.declared.parameters, arrays, strict=True):
            x.flags.writeable = False
            for dim, length in zip(p.shape, x.shape, strict=True):
                sizes.setdefault(str(dim), length)
        returned = self.python(*arrays)
        parts = returned if self.is_tuple else (returned,)
        count = len(self.results)
        if not isinstance(parts, tuple | list) or len(parts) != count:
            what = f"{len(parts)}" if isinstance(parts, tuple | list) else type(parts).__name__
            raise TypeError(f"{self.name}: the callback returns a tuple of {count}, not {what}")
        return [self._fitted(x, r, sizes) for x, r in zip(parts, self.results, strict=True)]

    def _fitted(self, returned: Any, result: ArrayType, sizes: Mapping[str, int]) -> Array:
        found = np.asarray(returned)
        shape = tuple(evaluate_dim(dim, sizes) for dim in result.shape)
        wanted = result.dtype.numpy
        if found.shape != shape or not np.can_cast(found.dtype, wanted, "same_kind"):
            raise TypeError(
                f"{self.name}: the callback returned {found.dtype} of shape {found.shape}, but "
                f"its type is {result}: {wanted} of shape {shape}"
            )
        return found.astype(wanted, copy=False)


def _thunk(checked: _Checked, failures: dict[int, BaseException]) -> Any:
    """The entry for C: sizes, inputs, results; returns a status and keeps what was raised."""
    names, inputs = checked.declared.sizes, checked.declared.parameters
    count = len(checked.results)
    kinds: list[Any] = [ctypes.c_int64] * len(names)
    kinds += [ctypes.c_void_p if p.shape else C_TYPES[p.dtype.name] for p in inputs]

    def entry(*given: Any) -> int:
        try:
            sizes = dict(zip(names, given, strict=False))
            arguments, addresses = given[len(names) : -count], given[-count:]
            arrays = [
                _view(p.type, sizes, x) if p.shape else np.array(x, p.dtype.numpy)
                for p, x in zip(inputs, arguments, strict=True)
            ]
            for r, address, x in zip(checked.results, addresses, checked(*arrays), strict=True):
                _view(r, sizes, address)[...] = x
        except BaseException as error:
            failures[threading.get_ident()] = error
            return 1
        return 0

    return ctypes.CFUNCTYPE(ctypes.c_int32, *kinds, *[ctypes.c_void_p] * count)(entry)


def _view(type: ArrayType, sizes: dict[str, int], address: int | None) -> Array:
    """The array of this type at an address."""
    shape = tuple(evaluate_dim(dim, sizes) for dim in type.shape)
    if 0 in shape or address is None:
        return np.empty(shape, type.dtype.numpy)
    pointer = ctypes.cast(address, ctypes.POINTER(C_TYPES[type.dtype.name]))
    return np.ctypeslib.as_array(pointer, shape).view(type.dtype.numpy)


def _declared(
    name: str, inputs: Sequence[Type], output: Type | Sequence[Type]
) -> tuple[Function, tuple[ArrayType, ...]]:
    """The inputs as the parameters of a function without results, and the results' types."""
    types = [_type(name, x) for x in inputs]
    parameters = [parameter(t, f"x{i}") for i, t in enumerate(types)]
    declared = cut(name, parameters, ())
    outputs = output if isinstance(output, tuple | list) else (output,)
    results = tuple(_type(name, x) for x in outputs)
    if not results:
        raise GradcValueError(f"{name}: a function has a result")
    dims = [dim for result in results for dim in result.shape]
    unknown = sorted(names_of(dims) - set(declared.sizes))
    if unknown:
        raise GradcValueError(
            f"{name}: a result has the size {unknown[0]}, which no input has",
            hint="let an axis of an input have it",
        )
    return declared, results


def _type(name: str, given: Any) -> ArrayType:
    if isinstance(given, DType):
        return ArrayType(given)
    if isinstance(given, ArrayType):
        return given
    raise GradcTypeError(f"{name}: a type is written f64, or f64['n', 3], not {given!r}")


def _files(symbol: str, given: Sequence[File]) -> tuple[str, ...]:
    if not _IDENTIFIER.fullmatch(symbol):
        raise GradcValueError(f"{symbol!r} is no name of a C function")
    files = [Path(file).resolve() for file in given]
    for file in files:
        if not file.is_file():
            raise GradcValueError(f"{symbol}: there is no file {file}")
    return tuple(map(str, files))
