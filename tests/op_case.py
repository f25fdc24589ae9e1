"""What a row of the op tables says: one use of an op, and NumPy's idea of its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from zlib import crc32

import numpy as np
from gradc.ir.dims import parse_dim
from gradc.ir.evaluate import bound
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.op import Op
from gradc.ir.types import ArrayType, DType, bool_

SIZES = MappingProxyType({"n": 4, "m": 3})


@dataclass(frozen=True, slots=True)
class Operand:
    """An input: its shape over the sizes n and m, and where its entries are drawn from.

    `dtype` None is the float under test. Entries are uniform between `low` and `high` (integers:
    both included), or what `draw(generator, shape)` gives.
    """

    shape: tuple[int | str, ...] = ()
    low: float = -2.0
    high: float = 2.0
    dtype: DType | None = None
    draw: Callable[[np.random.Generator, tuple[int, ...]], Any] | None = None

    def type(self, real: DType) -> ArrayType:
        dims = (parse_dim(d) if isinstance(d, str) else d for d in self.shape)
        return ArrayType(self.dtype or real, tuple(dims))

    def array(self, rng: np.random.Generator, sizes: Mapping[str, int], real: DType) -> Any:
        """An array of entries for these sizes."""
        type = self.type(real)
        shape = bound(type.shape, sizes)
        if self.draw is not None:
            entries = self.draw(rng, shape)
        elif type.dtype is bool_:
            entries = rng.integers(0, 2, shape)
        elif type.dtype.is_float:
            entries = rng.uniform(self.low, self.high, shape)
        else:
            entries = rng.integers(int(self.low), int(self.high), shape, endpoint=True)
        return np.asarray(entries).astype(type.dtype.numpy)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One use of an op.

    `expected(*arrays, **attrs)` is the value, computed in another way than the op's own; sizes in
    attrs arrive as integers. `sizes` are the lengths to test with, `empty` those of the test with
    arrays of no elements (None: the case has none). `tolerance` is relative, in units of the
    dtype's rounding error.
    """

    op: Op
    operands: tuple[Operand, ...]
    expected: Callable[..., Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    empty: Mapping[str, int] | None = field(default_factory=lambda: {**SIZES, "n": 0})
    tolerance: float = 50.0

    @property
    def name(self) -> str:
        return f"{self.op.name}-{self.note}" if self.note else self.op.name

    def parameters(self, real: DType) -> list[Value]:
        return [parameter(x.type(real), f"x{i}") for i, x in enumerate(self.operands)]

    def function(self, real: DType) -> Function:
        """The function that applies the op once."""
        given = self.parameters(real)
        result = self.op(*given, **self.attrs)
        return function("f", given, result if isinstance(result, tuple) else (result,))

    def arrays(self, real: DType, sizes: Mapping[str, int]) -> list[Any]:
        """Inputs for these sizes, the same at every run."""
        rng = np.random.default_rng(crc32(self.name.encode()))
        return [x.array(rng, sizes, real) for x in self.operands]

    def values(self, arrays: list[Any], sizes: Mapping[str, int]) -> tuple[Any, ...]:
        """The expected results."""
        attrs = {key: bound(value, sizes) for key, value in self.attrs.items()}
        result = self.expected(*arrays, **attrs)
        return result if isinstance(result, tuple) else (result,)
