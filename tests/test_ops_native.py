"""Every op compiled, against the reference evaluator: value and derivatives, sizes, hard points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.lowering import Pointwise
from gradc.ir.op import Op
from gradc.ir.ops import arithmetic, cast, elementwise, logarithms, logic
from gradc.ir.passes.pipeline import optimize
from gradc.ir.transforms.forward import push_tangents, pushforward
from gradc.ir.transforms.reverse import pull_cotangents, pullback
from gradc.ir.types import DType, bool_, f32, f64, i32, i64
from native import native
from op_case import Case
from op_table import CASES as ELEMENTWISE
from test_elementwise_ops import CONVENTIONS, scalar_function
from test_ops import CASES, assert_near, directions, listed, moving


def with_derivatives(case: Case, real: DType) -> Function:
    """The op with its tangent and its cotangents.

    Parameters: the inputs, their tangents, the result's cotangent; those of the inputs that vary.
    """
    fn = case.function(real)
    wrt = [fn.parameters[i] for i in moving(case, real)]
    if not wrt:
        return fn
    result = fn.results[0]
    tangents = [parameter(x.type, f"t{i}") for i, x in enumerate(wrt)]
    cotangent = parameter(result.type, "c")
    pushed = push_tangents([result], dict(zip(wrt, tangents, strict=True)))
    pulled = pull_cotangents([(result, cotangent)], wrt)
    derivatives = [d for d in (*pushed, *pulled) if isinstance(d, Value)]
    return function("f", (*fn.parameters, *tangents, cotangent), (result, *derivatives))


def sizes_of(case: Case) -> list[Mapping[str, int]]:
    """The sizes to run with: the case's, without elements, and one that fills no vector evenly."""
    uneven = [{"n": 37}] if case in ELEMENTWISE else []
    return [case.sizes, *uneven, *([case.empty] if case.empty else [])]


def sample(case: Case, real: DType, sizes: Mapping[str, int]) -> list[Any]:
    """Arguments of `with_derivatives` for these sizes."""
    arrays = case.arrays(real, sizes)
    wrt = [arrays[i] for i in moving(case, real)]
    if not wrt:
        return arrays
    results = evaluate(case.function(real), *arrays)
    return [*arrays, *directions(wrt, 2), *directions(results, 4)]


@listed(CASES)
def test_native_is_the_reference(case: Case, real: DType) -> None:
    """One compiled function gives the value and both derivatives for all sizes."""
    fn = with_derivatives(case, real)
    compiled = native(fn)
    for sizes in sizes_of(case):
        arrays = sample(case, real, sizes)
        for actual, wanted in zip(compiled(*arrays), evaluate(fn, *arrays), strict=True):
            assert actual.dtype == wanted.dtype
            assert actual.shape == wanted.shape
            assert_near(actual, wanted, case, loosened=10)


@listed(CASES)
def test_optimized_is_the_reference(case: Case, real: DType) -> None:
    """The optimizer leaves value and derivatives as they are."""
    fn = with_derivatives(case, real)
    optimized = optimize(fn, check=True)
    for sizes in sizes_of(case):
        arrays = sample(case, real, sizes)
        for actual, wanted in zip(evaluate(optimized, *arrays), evaluate(fn, *arrays), strict=True):
            assert actual.dtype == wanted.dtype
            assert actual.shape == wanted.shape
            assert_near(actual, wanted, case, loosened=10)


@pytest.mark.parametrize(
    ("build", "point", "wanted"), [row[1:] for row in CONVENTIONS], ids=[r[0] for r in CONVENTIONS]
)
def test_derivative_convention_compiled(
    build: Callable[..., Value], point: tuple[float, ...], wanted: list[float]
) -> None:
    """Optimized and compiled, both modes still give the derivative that the conventions say."""
    fn, arguments = scalar_function(build, len(point)), [np.float64(x) for x in (*point, 1.0)]
    reverse = native(optimize(pullback(fn, range(len(point)))))
    np.testing.assert_allclose(reverse(*arguments)[1:], wanted, rtol=1e-14)
    forward = [native(optimize(pushforward(fn, [i])))(*arguments)[1] for i in range(len(point))]
    np.testing.assert_allclose(forward, wanted, rtol=1e-14)


# --- hard points -------------------------------------------------------------------------------

LARGE = (1e300, -1e300, 88.0, 89.0, -104.0, 709.0, 710.0, -745.0, -746.0)
SMALL = (1e-320, -1e-310, 1e-45, 1e-30, -1e-17)
ORDINARY = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.5, 3.0, -7.0, 1e17, np.inf, -np.inf, np.nan)
POINTS = (*ORDINARY, *LARGE, *SMALL)

UNARY = (
    *(arithmetic.neg, arithmetic.abs_, arithmetic.sign, logic.isnan),
    *(elementwise.exp, elementwise.log, elementwise.log1p, elementwise.expm1, elementwise.sqrt),
    *(elementwise.tanh, elementwise.sigmoid, elementwise.softplus, elementwise.erf),
    *(elementwise.sin, elementwise.cos, elementwise.floor, elementwise.ceil),
)
BINARY = (
    *(arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div, arithmetic.pow_),
    *(arithmetic.maximum, arithmetic.minimum, elementwise.arctan2),
    *(logarithms.xlogy, logarithms.xlog1py, logarithms.logaddexp),
    *(logic.eq, logic.ne, logic.lt, logic.le, logic.gt, logic.ge),
)
ROUNDED = (arithmetic.floor_divide, arithmetic.remainder)


def assert_native_at(op: Op, points: Any, real: DType, ulps: float = 4) -> None:
    """The op at points (one row an operand): infinities, nans and signs of zero too."""
    with np.errstate(over="ignore"):
        arrays = [np.array(row, real.numpy) for row in points]
    given = [parameter(real["n"], f"x{i}") for i in range(len(arrays))]
    fn = function("f", given, [op(*given)])
    (actual,), (wanted,) = native(fn)(*arrays), evaluate(fn, *arrays)
    tiny = np.finfo(real.numpy).tiny if real.is_float else 0
    near = ulps * np.finfo(real.numpy).eps if real.is_float else 0
    np.testing.assert_allclose(actual, wanted, rtol=near, atol=tiny * near)
    if wanted.dtype.kind == "f":
        number = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(actual)[number], np.signbit(wanted)[number])


@pytest.mark.parametrize("real", (f64, f32), ids=str)
@pytest.mark.parametrize("op", UNARY, ids=repr)
def test_unary_ops_at_hard_points(op: Op, real: DType) -> None:
    assert_native_at(op, [POINTS], real)


@pytest.mark.parametrize("real", (f64, f32), ids=str)
@pytest.mark.parametrize("op", BINARY, ids=repr)
def test_binary_ops_at_hard_points(op: Op, real: DType) -> None:
    assert_native_at(op, zip(*product(POINTS, repeat=2), strict=True), real)


@pytest.mark.parametrize("real", (f64, f32), ids=str)
@pytest.mark.parametrize("op", ROUNDED, ids=repr)
def test_rounded_division_at_hard_points(op: Op, real: DType) -> None:
    """Quotients below 2**105: beyond, the native remainder is nan, as documented."""
    random = np.random.default_rng(0).uniform(-1e6, 1e6, 20).astype("f4").tolist()
    pairs = product((*ORDINARY, *random), (*ORDINARY, 0.1, -0.3))
    assert_native_at(op, zip(*pairs, strict=True), real)


@pytest.mark.parametrize("dtype", (i64, i32), ids=str)
@pytest.mark.parametrize(
    "op",
    (*BINARY[:3], arithmetic.pow_, arithmetic.maximum, arithmetic.minimum, *ROUNDED, *BINARY[-6:]),
    ids=repr,
)
def test_integer_ops_at_hard_points(op: Op, dtype: DType) -> None:
    """Wrapped around at both ends, and divided by zero and by -1."""
    limits = np.iinfo(dtype.numpy)
    points = (0, 1, -1, 2, 3, -7, 63, limits.max, limits.min, limits.min + 1)
    assert_native_at(op, zip(*product(points, repeat=2), strict=True), dtype)


@pytest.mark.parametrize("dtype", (i64, i32), ids=str)
@pytest.mark.parametrize("op", (arithmetic.neg, arithmetic.abs_, arithmetic.sign), ids=repr)
def test_integer_unary_ops_at_hard_points(op: Op, dtype: DType) -> None:
    limits = np.iinfo(dtype.numpy)
    assert_native_at(op, [(0, 1, -1, 5, limits.max, limits.min)], dtype)


@pytest.mark.parametrize("exponent", (-3, -2, -1, 0, 1, 2, 3, 7, 16, 17, 0.5, -0.5, 1.5, -2.5, 0.3))
@pytest.mark.parametrize("real", (f64, f32), ids=str)
def test_constant_powers_at_hard_points(exponent: float, real: DType) -> None:
    """Equal to `pow`, but for results that are subnormal."""
    points = np.array(ORDINARY, real.numpy)
    x = parameter(real["n"], "x")
    fn = function("f", [x], [arithmetic.pow_(x, exponent)])
    (actual,), (wanted,) = native(fn)(points), evaluate(fn, points)
    info = np.finfo(real.numpy)
    np.testing.assert_allclose(actual, wanted, rtol=10 * info.eps, atol=info.tiny)


def test_casts_of_floats_truncate() -> None:
    x = parameter(f64["n"], "x")
    fn = function("f", [x], [cast.cast(x, dtype=dtype) for dtype in (i64, i32, bool_, f32)])
    points = np.array([0.0, -0.0, 0.9, -0.9, 1.5, -2.7, 1e9])
    for actual, wanted in zip(native(fn)(points), evaluate(fn, points), strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_every_pointwise_op_is_tried_at_hard_points() -> None:
    tried = {op.name for op in (*UNARY, *BINARY, *ROUNDED)}
    boolean = {"logical_and", "logical_or", "logical_xor", "logical_not"}
    pointwise = {case.op.name for case in CASES if isinstance(case.op.lower, Pointwise)}
    others = {"where", "clip", "cast", "size_value", "checked_indices"}  # of their own tests
    assert pointwise - tried - boolean == others
