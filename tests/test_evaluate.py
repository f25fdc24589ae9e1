"""The reference evaluator: sizes, conditions on them, and what it refuses."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Requirement, function, parameter
from gradc.ir.ops.constants import size_value
from gradc.ir.types import ALL_DTYPES, ArrayType, DType, constant_data, f32, f64, i64


def of_sizes(*types: ArrayType, requires: tuple[Requirement, ...] = ()) -> Function:
    """A function of parameters of these types that gives back the values of n and m."""
    given = [parameter(type, f"x{i}") for i, type in enumerate(types)]
    sizes = sorted({name for type in types for dim in type.shape for name in _names(dim)})
    return function("f", given, [size_value(dim=size(name)) for name in sizes], requires)


def _names(dim: Any) -> frozenset[str]:
    return frozenset() if isinstance(dim, int) else dim.names


@pytest.mark.parametrize(
    ("types", "shapes", "wanted"),
    [
        ([f64["n"]], [(3,)], [3]),
        ([f64["n"]], [(0,)], [0]),
        ([f64["2*n + 1"]], [(7,)], [3]),
        ([f64["n + m", "m"]], [(7, 2)], [2, 5]),
        ([f64["n*m"], f64["m"]], [(6,), (2,)], [2, 3]),
        ([f64["n//2"], f64["n"]], [(3,), (7,)], [7]),
    ],
)
def test_sizes_are_found_from_shapes(types: Any, shapes: Any, wanted: list[int]) -> None:
    fn = of_sizes(*types)
    assert [int(r) for r in evaluate(fn, *map(np.zeros, shapes))] == wanted


@pytest.mark.parametrize(
    ("types", "arrays", "error", "words"),
    [
        ([f64["n"]], [], TypeError, "f takes 1 arguments (x0), 0 were given"),
        ([f64["n"]], [np.zeros(3, "f4")], TypeError, "x0 is f64[n], an array of float32"),
        ([f64["n"]], [[1, 2]], TypeError, "x0 is f64[n], an array of int64"),
        ([f64["n"]], [np.zeros(3, "c16")], TypeError, "complex128"),
        ([f64["n"]], [np.zeros((3, 1))], ValueError, "x0 is f64[n] with 1 axes, an array of shape"),
        ([f64["n"], f64["n"]], [np.zeros(3), np.zeros(4)], ValueError,
         "axis 0 of x1: f64[n] has length 4, 3 was expected (n = 3 from x0, axis 0)"),
        ([f64["n", 3]], [np.zeros((2, 4))], ValueError, "axis 1 of x0: f64[n, 3] has length 4, 3"),
        ([f64["2*n"]], [np.zeros(3)], ValueError, "axis 0 of x0: f64[2*n] has length 3"),
        ([f64["n + 4"]], [np.zeros(3)], ValueError, "axis 0 of x0: f64[n + 4] has length 3"),
        ([f64["n*m"]], [np.zeros(3)], ValueError, "m cannot be found"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(
    types: Any, arrays: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        evaluate(of_sizes(*types), *arrays)


def test_conditions_on_sizes_are_checked() -> None:
    condition = Requirement(size("n") - 7, ">= 0", "x[5:7] needs n >= 7")
    fn = of_sizes(f64["n"], requires=(condition,))
    assert evaluate(fn, np.zeros(7))[0] == 7
    with pytest.raises(ValueError, match=re.escape("x[5:7] needs n >= 7")) as caught:
        evaluate(fn, np.zeros(6))
    assert "n = 6" in str(caught.value)


def test_python_numbers_are_scalars_of_the_parameter_type() -> None:
    x, y = parameter(f32[()], "x"), parameter(i64[()], "y")
    results = evaluate(function("f", [x, y], [x * x, y * y]), 1.5, 3)
    assert [(r.dtype, r.item()) for r in results] == [(np.float32, 2.25), (np.int64, 9)]


@pytest.mark.parametrize(("number", "given"), [(1.5, "float64"), (True, "bool")])
def test_python_numbers_are_not_rounded(number: float, given: str) -> None:
    x = parameter(i64[()], "x")
    with pytest.raises(TypeError, match=f"x is i64, an array of {given} was given"):
        evaluate(function("f", [x], [x]), number)


def test_depth_is_no_limit() -> None:
    x = parameter(f64[()], "x")
    y = x
    for _ in range(20_000):
        y = y + x
    assert evaluate(function("f", [x], [y]), 1.0)[0] == 20_001


def test_arrays_are_dropped_after_their_last_use() -> None:
    """A long chain holds a few arrays at a time, not all of them."""
    x = parameter(f64["n"], "x")
    y = x
    for _ in range(300):
        y = y + x
    fn, argument = function("f", [x], [y]), np.ones(100_000)
    tracemalloc.start()
    evaluate(fn, argument)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * argument.nbytes


def test_other_byte_order_is_read_right() -> None:
    x = parameter(f64["n"], "x")
    (result,) = evaluate(function("f", [x], [x]), np.array([1.0, 2.0], ">f8"))
    assert result.tolist() == [1.0, 2.0]
    assert result.dtype.isnative


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("number", [0, 1, -7, -0.0, 0.1, 1e300, float("inf"), float("nan")])
def test_a_number_is_the_constant_that_numpy_makes_of_it(number: float, dtype: DType) -> None:
    with np.errstate(all="ignore"):
        try:
            expected = np.asarray(number, dtype.numpy)
        except (OverflowError, ValueError) as error:
            with pytest.raises(type(error)):
                constant_data(number, dtype)
            return
        assert constant_data(number, dtype) == constant_data(expected)
