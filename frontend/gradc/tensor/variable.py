"""The symbolic array, with NumPy's operators and methods.

Every operator and method is the function of the same meaning in `gradc.tensor`; the table in the
class body says which. They are found when used, because those functions are built on this class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from gradc.errors import GradcTypeError
from gradc.ir.dims import Dim, Shape
from gradc.ir.function import Value
from gradc.ir.record import dataclass
from gradc.ir.types import ArrayType, DType
from gradc.tensor.length import as_length
from gradc.tensor.sizes import display


@cache
def _functions() -> ModuleType:
    return import_module("gradc.tensor")


def _method(name: str) -> Callable[..., Tensor]:
    """A method that calls `gradc.tensor.<name>(self, ...)`."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result: Tensor = getattr(_functions(), name)(self, *args, **kwargs)
        return result

    method.__name__, method.__doc__ = name, f"`gradc.tensor.{name}` of this array."
    return method


def _reflected(name: str) -> Callable[[Tensor, Any], Tensor]:
    """The operator's method for an array on the right-hand side."""

    def method(self: Tensor, other: Any) -> Tensor:
        result: Tensor = getattr(_functions(), name)(other, self)
        return result

    method.__name__ = name
    return method


def _refuse(what: str, hint: str) -> Callable[[Tensor], NoReturn]:
    """A conversion that a symbolic array has not."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> NoReturn:
        raise GradcTypeError(f"{what} of {self!r} is not known before the call", hint=hint)

    return method


@dataclass(slots=True, eq=False, repr=False)
class Tensor:
    """A symbolic array: a value of the graph. Operators broadcast and promote as NumPy's do.

    Only an axis whose length is statically 1 broadcasts. `==` compares entry by entry; identity is
    `a.value is b.value`, and hashing goes by identity. Its name is all of it that can be changed.
    """

    value: Value

    __array_ufunc__ = None  # `numpy_array * tensor` is left to the tensor
    __array_priority__ = 1000

    @property
    def type(self) -> ArrayType:
        return self.value.type

    @property
    def dtype(self) -> DType:
        return self.value.type.dtype

    @property
    def shape(self) -> Shape:
        """The lengths: integers, and `Length`s for those known only when the function runs."""
        return tuple(as_length(dim) for dim in self.value.type.shape)

    @property
    def ndim(self) -> int:
        return len(self.value.type.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        size: Dim = as_length(self.value.type.size)
        return size

    @property
    def name(self) -> str | None:
        """What errors, gradients and printed graphs call it."""
        return self.value.name

    @name.setter
    def name(self, name: str | None) -> None:
        if not isinstance(name, str | None):
            raise GradcTypeError(f"a name is text or None, not {name!r}")
        self.value.name = name

    @property
    def T(self) -> Tensor:
        """The array with its axes in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The array with its last two axes exchanged."""
        return self.swapaxes(-1, -2)

    @property
    def at(self) -> Updates:
        """`x.at[index].set(y)` and `.add(y)`: a copy with these entries replaced or added to."""
        return Updates(self)

    def __repr__(self) -> str:
        owner = self.value.owner
        what = self.name or (owner.op.name if owner else "variable")
        return f"<{what}: {display(self.type)}>"

    def __hash__(self) -> int:
        return hash(self.value)

    def __len__(self) -> int:
        if not self.shape:
            raise GradcTypeError(f"{self!r} is a scalar and has no length")
        length = self.shape[0]
        if isinstance(length, int):
            return length
        raise GradcTypeError(
            f"the length of {self!r} is not known before the call",
            hint="x.shape[0] stands for it in arithmetic and in shapes",
        )

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise GradcTypeError(f"{self!r} is a scalar: there is nothing to iterate over")
        length = self.shape[0]
        if not isinstance(length, int):
            raise GradcTypeError(
                f"cannot iterate over the first axis of {self!r}: its length is not known "
                "before the call",
                hint="use whole-array operations, or give this axis an integer length",
            )
        return (self[i] for i in range(length))

    def __setitem__(self, index: Any, values: Any) -> NoReturn:
        raise GradcTypeError(
            f"{self!r} does not change", hint="bind a new array: y = x.at[index].set(values)"
        )

    __bool__ = _refuse("the truth value", "use gt.where(condition, x, y) to choose between arrays")
    __float__ = _refuse("the value", "compile it with gradc.function and call that")
    __int__ = _refuse("the value", "compile it with gradc.function and call that")
    __index__ = _refuse("the value", "index with it (x[i]), or use x.shape[0] for a size")
    __array__ = _refuse("the content", "use the functions of gradc.tensor instead of NumPy's")

    __getitem__ = _method("getitem")

    __add__, __radd__ = _method("add"), _reflected("add")
    __sub__, __rsub__ = _method("subtract"), _reflected("subtract")
    __mul__, __rmul__ = _method("multiply"), _reflected("multiply")
    __truediv__, __rtruediv__ = _method("divide"), _reflected("divide")
    __floordiv__, __rfloordiv__ = _method("floor_divide"), _reflected("floor_divide")
    __mod__, __rmod__ = _method("remainder"), _reflected("remainder")
    __pow__, __rpow__ = _method("power"), _reflected("power")
    __matmul__, __rmatmul__ = _method("matmul"), _reflected("matmul")
    __and__, __rand__ = _method("logical_and"), _reflected("logical_and")
    __or__, __ror__ = _method("logical_or"), _reflected("logical_or")
    __xor__, __rxor__ = _method("logical_xor"), _reflected("logical_xor")
    __neg__, __pos__, __abs__ = _method("negative"), _method("positive"), _method("abs")
    __invert__ = _method("logical_not")
    __lt__, __le__ = _method("less"), _method("less_equal")
    __gt__, __ge__ = _method("greater"), _method("greater_equal")
    __eq__ = _method("equal")  # type: ignore[assignment]
    __ne__ = _method("not_equal")  # type: ignore[assignment]

    sum, prod, mean = _method("sum"), _method("prod"), _method("mean")
    var, std = _method("var"), _method("std")
    max, min = _method("max"), _method("min")
    any, all = _method("any"), _method("all")
    argmax, argmin, argsort = _method("argmax"), _method("argmin"), _method("argsort")
    cumsum, cumprod = _method("cumsum"), _method("cumprod")
    clip, dot, astype = _method("clip"), _method("dot"), _method("astype")
    reshape, ravel, flatten = _method("reshape_method"), _method("ravel"), _method("ravel")
    transpose, swapaxes = _method("transpose_method"), _method("swapaxes")
    squeeze, take = _method("squeeze"), _method("take")
    diagonal, trace = _method("diagonal"), _method("trace")


@dataclass(frozen=True, slots=True)
class Updates:
    """`x.at`: wants an index."""

    array: Tensor

    def __getitem__(self, index: Any) -> UpdatesAt:
        return UpdatesAt(self.array, index)


@dataclass(frozen=True, slots=True)
class UpdatesAt:
    """`x.at[index]`: wants `set` or `add`."""

    array: Tensor
    index: Any

    def set(self, values: Any) -> Tensor:
        """The array with the indexed entries replaced; of duplicates, the last one wins."""
        result: Tensor = _functions().set_at(self.array, self.index, values)
        return result

    def add(self, values: Any) -> Tensor:
        """The array with `values` added to the indexed entries; duplicates all add."""
        result: Tensor = _functions().add_at(self.array, self.index, values)
        return result
