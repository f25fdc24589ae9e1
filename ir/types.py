"""Types of the graph IR: elements, arrays, and the two that carry derivative semantics."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from struct import Struct
from types import MappingProxyType
from typing import Any

import numpy as np
from gradc.ir.dims import Dim, Shape, is_static, parse_dim, product
from gradc.ir.record import dataclass


@dataclass(frozen=True, slots=True)
class DType:
    """An element type. `kind` is "f" (float), "i" (signed integer) or "b" (boolean).

    `f64["n", 3]` is the array type with that shape; a size is written as text, `f64["2*n+1"]`.
    """

    name: str
    kind: str
    itemsize: int  # bytes

    __iter__ = None  # indexing makes types, so that iterating would never end

    def __getitem__(self, shape: Dim | str | tuple[Dim | str, ...]) -> ArrayType:
        dims = shape if isinstance(shape, tuple) else (shape,)
        return ArrayType(self, tuple(parse_dim(d) if isinstance(d, str) else d for d in dims))

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype, in native byte order."""
        return np.dtype(
            {"f64": "f8", "f32": "f4", "i64": "i8", "i32": "i4", "bool": "?"}[self.name]
        )

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


f64 = DType("f64", "f", 8)
f32 = DType("f32", "f", 4)
i64 = DType("i64", "i", 8)
i32 = DType("i32", "i", 4)
bool_ = DType("bool", "b", 1)
ALL_DTYPES = (f64, f32, i64, i32, bool_)
DTYPES_BY_NAME = {dtype.name: dtype for dtype in ALL_DTYPES}


def dtype_of(numpy_dtype: Any) -> DType:
    """The element type of a NumPy dtype, byte order aside; TypeError if gradc has none."""
    wanted = np.dtype(numpy_dtype).newbyteorder("=")
    for dtype in ALL_DTYPES:
        if dtype.numpy == wanted:
            return dtype
    have = ", ".join(f"{d.name} ({d.numpy})" for d in ALL_DTYPES)
    raise TypeError(f"gradc has no element type for NumPy's {wanted}; it has {have}")


@dataclass(frozen=True, slots=True)
class ArrayType:
    """An array of `dtype` elements with `shape`, one dimension an axis; () is a scalar."""

    dtype: DType
    shape: Shape = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return product(self.shape)

    @property
    def is_static(self) -> bool:
        return is_static(self.shape)

    def with_shape(self, shape: Shape) -> ArrayType:
        return ArrayType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> ArrayType:
        return ArrayType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]" if self.shape else str(self.dtype)

    __repr__ = __str__


_NUMBERS: Mapping[str, Struct] = MappingProxyType(
    {
        "f64": Struct("=d"),
        "f32": Struct("=f"),
        "i64": Struct("=q"),
        "i32": Struct("=i"),
        "bool": Struct("=?"),
    }
)


@dataclass(frozen=True, slots=True)
class ConstantData:
    """The elements of a constant array, hashable: row-major bytes in native order."""

    type: ArrayType
    data: bytes

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The array, read-only."""
        assert is_static(self.type.shape)
        return np.frombuffer(self.data, self.type.dtype.numpy).reshape(self.type.shape)

    @property
    def number(self) -> int | float:
        """The only element of a constant without axes, as Python's number."""
        assert not self.type.shape
        found: int | float
        (found,) = _NUMBERS[self.type.dtype.name].unpack(self.data)
        return found

    def __str__(self) -> str:
        return str(self.array.tolist())


def constant_data(array: Any, dtype: DType | None = None) -> ConstantData:
    """The constant with the elements of anything `np.asarray` takes."""
    if dtype is not None and type(array) in (int, float):
        try:
            return ConstantData(ArrayType(dtype), _NUMBERS[dtype.name].pack(array))
        except (struct.error, OverflowError):
            pass  # NumPy says what becomes of a number that does not fit
    array = np.asarray(array, None if dtype is None else dtype.numpy)
    found = dtype_of(array.dtype)
    array = np.ascontiguousarray(array, found.numpy).reshape(array.shape)
    return ConstantData(ArrayType(found, array.shape), array.tobytes())


class NoArrayError(ValueError, AssertionError):
    """Something is used as an array that stands for a gradient which is none."""


@dataclass(frozen=True, slots=True)
class NoGradient:
    """A gradient that cannot be computed (NullType, with the reason) or that is disconnected.

    It can be returned and passed on (as a known gradient), and not be computed with.
    """

    type: NullType | DisconnectedType

    def __repr__(self) -> str:
        return f"<no gradient: {self.type}>"


@dataclass(frozen=True, slots=True)
class NullType:
    """The type of a gradient that cannot be computed; `why_null` says why.

    Called, it makes the gradient of that type.
    """

    why_null: str = ""

    def __call__(self, name: str | None = None) -> NoGradient:
        return NoGradient(self)

    def filter(self, data: object, strict: bool = False, allow_downcast: object = None) -> Any:
        """No data is of this type: always NoArrayError, a ValueError."""
        raise NoArrayError(
            f"a gradient that cannot be computed has no elements ({self.why_null}); "
            f"{type(data).__name__} was given"
        )

    def __str__(self) -> str:
        return f"NullType({self.why_null})"


@dataclass(frozen=True, slots=True)
class DisconnectedType:
    """The type of a gradient with respect to a value that the result does not depend on.

    Called, it makes the gradient of that type.
    """

    def __call__(self, name: str | None = None) -> NoGradient:
        return NoGradient(self)

    def filter(self, data: object, strict: bool = False, allow_downcast: object = None) -> Any:
        """No data is of this type: always NoArrayError, a ValueError."""
        raise NoArrayError(
            "a disconnected gradient has no elements: nothing depends on this variable; "
            f"{type(data).__name__} was given"
        )

    def __str__(self) -> str:
        return "DisconnectedType"


class TypeRuleError(TypeError):
    """An op was given operands or attributes that its type rule refuses."""
