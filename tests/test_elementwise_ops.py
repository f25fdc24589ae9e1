"""Elementwise ops at the hard points: derivative conventions, special values, numbers, errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Ref
from gradc.ir.lowering import Pointwise
from gradc.ir.op import Op
from gradc.ir.ops import arithmetic, constants, elementwise, logarithms, logic
from gradc.ir.ops.arithmetic import clip, maximum, minimum, pow_, remainder
from gradc.ir.ops.cast import cast
from gradc.ir.ops.elementwise import arctan2, floor, log, sigmoid, sqrt, tanh
from gradc.ir.ops.logic import gt, where
from gradc.ir.passes.pipeline import optimize
from gradc.ir.transforms.forward import push_tangents, pushforward
from gradc.ir.transforms.reverse import pull_cotangents, pullback
from gradc.ir.types import TypeRuleError, bool_, f32, f64, i32, i64
from op_case import Case
from op_table import CASES
from scalar_code import instructions, run_scalar

NAN, INF = float("nan"), float("inf")


def scalar_function(build: Callable[..., Value], count: int) -> Function:
    """`build` as a function of `count` scalars."""
    given = [parameter(f64[()], f"x{i}") for i in range(count)]
    return function("f", given, [build(*given)])


def reverse_gradient(fn: Function, point: tuple[float, ...]) -> list[float]:
    results = evaluate(pullback(fn, range(len(point))), *point, 1.0)
    return [float(g) for g in results[1:]]


def forward_gradient(fn: Function, point: tuple[float, ...]) -> list[float]:
    return [float(evaluate(pushforward(fn, [i]), *point, 1.0)[1]) for i in range(len(point))]


CONVENTIONS: tuple[tuple[str, Callable[..., Value], tuple[float, ...], list[float]], ...] = (
    ("where cuts sqrt", lambda x: where(gt(x, 0), sqrt(x), 0), (0,), [0]),
    ("where cuts log", lambda x: where(gt(x, 0), log(x), 0), (0,), [0]),
    ("where cuts 1/x, other side", lambda x: where(gt(x, 0), 0, 1 / x), (0,), [-INF]),
    ("where nested", lambda x: where(gt(x, 0), where(gt(x, 0), log(x), 0), 0), (0,), [0]),
    ("sqrt", sqrt, (0,), [INF]),
    ("sqrt of a square", lambda x: sqrt(x * x), (0,), [NAN]),
    ("abs", arithmetic.abs_, (0,), [0]),
    ("abs of nan", arithmetic.abs_, (NAN,), [NAN]),
    ("relu", lambda x: where(gt(x, 0), x, 0), (0,), [0]),
    ("maximum, tie", maximum, (1, 1), [0.5, 0.5]),
    ("minimum, tie", minimum, (1, 1), [0.5, 0.5]),
    ("maximum, tie of infinities", maximum, (INF, INF), [0.5, 0.5]),
    ("maximum, first", maximum, (2, 1), [1, 0]),
    ("maximum, second", maximum, (1, 2), [0, 1]),
    ("minimum, first", minimum, (1, 2), [1, 0]),
    ("maximum, nan", maximum, (NAN, 1), [NAN, NAN]),
    ("minimum, nan", minimum, (1, NAN), [NAN, NAN]),
    ("maximum cuts the loser", lambda x: maximum(sqrt(x), 1), (0,), [0]),
    ("minimum cuts the loser", lambda x: minimum(1 / x, 1), (0,), [0]),
    ("clip, below", clip, (-1, 0, 1), [0, 1, 0]),
    ("clip, at low", clip, (0, 0, 1), [1, 0, 0]),
    ("clip, inside", clip, (0.5, 0, 1), [1, 0, 0]),
    ("clip, at high", clip, (1, 0, 1), [1, 0, 0]),
    ("clip, above", clip, (2, 0, 1), [0, 0, 1]),
    ("clip, nan", lambda x: clip(x, 0, 1), (NAN,), [NAN]),
    ("clip, bounds that cross, below", clip, (0, 2, 1), [0, 0, 1]),
    ("clip, bounds that cross, above", clip, (3, 2, 1), [0, 0, 1]),
    ("clip, bounds that cross, between", clip, (1.5, 2, 1), [0, 0, 1]),
    ("clip, equal bounds, below", clip, (0, 1, 1), [0, 1, 0]),
    ("clip cuts", lambda x: clip(log(x), -1, 1), (0,), [0]),
    ("pow (0,0)", pow_, (0, 0), [0, 0]),
    ("pow (0,1)", pow_, (0, 1), [1, 0]),
    ("pow (0,2)", pow_, (0, 2), [0, 0]),
    ("pow (-2,2)", pow_, (-2, 2), [-4, NAN]),
    ("pow (2,0)", pow_, (2, 0), [0, np.log(2)]),
    ("pow (0,-1)", pow_, (0, -1), [-INF, -INF]),
    ("x**0", lambda x: pow_(x, 0), (0,), [0]),
    ("x**0, nan", lambda x: pow_(x, 0), (NAN,), [0]),
    ("x**1", lambda x: pow_(x, 1), (0,), [1]),
    ("x**2", lambda x: pow_(x, 2), (-3,), [-6]),
    ("x**3", lambda x: pow_(x, 3), (-3,), [27]),
    ("x**-1", lambda x: pow_(x, -1), (2,), [-0.25]),
    ("x**0.5", lambda x: pow_(x, 0.5), (0,), [INF]),
    ("2**x", lambda x: pow_(2, x), (3,), [8 * np.log(2)]),
    ("0**x", lambda x: pow_(0, x), (2,), [0]),
    ("arctan2(0,0)", arctan2, (0, 0), [0, 0]),
    ("arctan2(1,0)", arctan2, (1, 0), [0, -1]),
    ("mod", remainder, (6, 3), [1, -2]),
    ("mod, negative", remainder, (-7, 3), [1, 3]),
    ("floor", floor, (1.5,), [0]),
    ("ceil", elementwise.ceil, (2,), [0]),
    ("sign", arithmetic.sign, (0,), [0]),
    ("floor_divide", arithmetic.floor_divide, (7, 3), [0, 0]),
    ("xlogy", logarithms.xlogy, (0, 0), [-INF, 0]),
    ("xlogy, x = 0", logarithms.xlogy, (0, 2), [np.log(2), 0]),
    ("xlogy, y = 0", logarithms.xlogy, (2, 0), [-INF, INF]),
    ("xlogy, nan", logarithms.xlogy, (0, NAN), [NAN, NAN]),
    ("xlog1py", logarithms.xlog1py, (0, -1), [-INF, 0]),
    ("xlog1py, x = 0", logarithms.xlog1py, (0, 1), [np.log(2), 0]),
    ("logaddexp of -inf", logarithms.logaddexp, (-INF, -INF), [0, 0]),
    ("logaddexp of inf", logarithms.logaddexp, (INF, INF), [0.5, 0.5]),
    ("logaddexp of inf and 0", logarithms.logaddexp, (INF, 0), [1, 0]),
    ("logaddexp of -inf and 0", logarithms.logaddexp, (-INF, 0), [0, 1]),
    ("logaddexp, far", logarithms.logaddexp, (800, 0), [1, 0]),
    ("logaddexp, nan", logarithms.logaddexp, (NAN, 0), [NAN, NAN]),
    ("div", lambda x, y: x / y, (1, 0), [INF, -INF]),
    ("log", log, (0,), [INF]),
    ("through an integer", lambda x: x * cast(cast(x, dtype=i64), dtype=f64), (2.5,), [2]),
    ("sigmoid, far", sigmoid, (-800,), [0]),
    ("softplus, far", elementwise.softplus, (800,), [1]),
    ("softplus, far below", elementwise.softplus, (-800,), [0]),
    ("tanh, far", tanh, (400,), [0]),
)


@pytest.mark.parametrize(
    ("build", "point", "wanted"), [row[1:] for row in CONVENTIONS], ids=[r[0] for r in CONVENTIONS]
)
def test_derivative_convention(
    build: Callable[..., Value], point: tuple[float, ...], wanted: list[float]
) -> None:
    """Reverse and forward mode both give the derivative that the conventions say."""
    fn = scalar_function(build, len(point))
    np.testing.assert_allclose(reverse_gradient(fn, point), wanted, rtol=1e-15)
    np.testing.assert_allclose(forward_gradient(fn, point), wanted, rtol=1e-15)


# --- higher orders -----------------------------------------------------------------------------


def reverse_derivative(y: Value, x: Value) -> Value:
    (pulled,) = pull_cotangents([(y, constants.ones_like(y))], [x])
    return pulled if isinstance(pulled, Value) else constants.zeros_like(x)


def forward_derivative(y: Value, x: Value) -> Value:
    (pushed,) = push_tangents([y], {x: constants.ones_like(x)})
    return constants.zeros_like(y) if pushed is None else pushed


HIGHER: tuple[tuple[str, Callable[..., Value], float, list[float]], ...] = (
    ("exp", elementwise.exp, 0.3, [np.exp(0.3)] * 4),
    ("log", log, 2.0, [1 / 2, -1 / 4, 2 / 8, -6 / 16]),
    ("sin", elementwise.sin, 0.4, [np.cos(0.4), -np.sin(0.4), -np.cos(0.4), np.sin(0.4)]),
    ("sqrt", sqrt, 4.0, [1 / 4, -1 / 32, 3 / 256, -15 / 2048]),
    ("1/x", lambda x: 1 / x, 2.0, [-1 / 4, 2 / 8, -6 / 16, 24 / 32]),
    ("x**4", lambda x: pow_(x, 4), 3.0, [108, 108, 72, 24]),
    ("x**4 at 0", lambda x: pow_(x, 4), 0.0, [0, 0, 0, 24]),
    ("x**-2", lambda x: pow_(x, -2), 2.0, [-2 / 8, 6 / 16, -24 / 32, 120 / 64]),
    ("x**2.5", lambda x: pow_(x, 2.5), 4.0, [20, 7.5, 0.9375, -0.1171875]),
    ("x**x", lambda x: pow_(x, x), 1.0, [1, 2, 3, 8]),
    ("x*|x|", lambda x: x * arithmetic.abs_(x), -3.0, [6, -2, 0, 0]),
    ("max(x,2)**3", lambda x: pow_(maximum(x, 2), 3), 3.0, [27, 18, 6, 0]),
    ("clip**3", lambda x: pow_(clip(x, -1, 4), 3), 3.0, [27, 18, 6, 0]),
    ("where", lambda x: where(gt(x, 0), x * x * x, x), 3.0, [27, 18, 6, 0]),
    ("where, cut", lambda x: where(gt(x, 0), x * sqrt(x), 0), 0.0, [0, 0, 0, 0]),
    ("log1p", elementwise.log1p, 1.0, [1 / 2, -1 / 4, 2 / 8, -6 / 16]),
    ("expm1", elementwise.expm1, 0.3, [np.exp(0.3)] * 4),
    ("tanh at 0", tanh, 0.0, [1, 0, -2, 0]),
    ("sigmoid at 0", sigmoid, 0.0, [1 / 4, 0, -1 / 8, 0]),
    ("softplus at 0", elementwise.softplus, 0.0, [1 / 2, 1 / 4, 0, -1 / 8]),
    ("erf at 0", elementwise.erf, 0.0, list(np.array([2, 0, -4, 0]) / np.sqrt(np.pi))),
    ("xlogx", lambda x: logarithms.xlogy(x, x), 2.0, [np.log(2) + 1, 1 / 2, -1 / 4, 2 / 8]),
    ("xlog1px", lambda x: logarithms.xlog1py(x, x), 1.0, [np.log(2) + 0.5, 3 / 4, -1 / 2, 5 / 8]),
    ("logaddexp, tie", lambda x: logarithms.logaddexp(x, 0 * x), 0.0, [1 / 2, 1 / 4, 0, -1 / 8]),
    ("arctan", lambda x: arctan2(x, 1), 1.0, [1 / 2, -1 / 2, 1 / 2, 0]),
    ("perturbations stay apart", lambda x: x * forward_derivative(x + x, x), 3.0, [2, 0, 0, 0]),
)


@pytest.mark.parametrize("modes", list(product("fr", repeat=4)), ids="".join)
@pytest.mark.parametrize(
    ("build", "point", "wanted"), [row[1:] for row in HIGHER], ids=[row[0] for row in HIGHER]
)
def test_derivatives_of_order_one_to_four(
    build: Callable[..., Value], point: float, wanted: list[float], modes: tuple[str, ...]
) -> None:
    """Modes nest in any order; each order is known in closed form."""
    x = parameter(f64[()], "x")
    orders = [build(x)]
    for mode in modes:
        derivative = forward_derivative if mode == "f" else reverse_derivative
        orders.append(derivative(orders[-1], x))
    fn = function("f", [x], orders[1:])
    np.testing.assert_allclose(evaluate(fn, point), wanted, rtol=1e-12, atol=1e-12)
    optimized = evaluate(optimize(fn), point)
    np.testing.assert_allclose(optimized, wanted, rtol=1e-12, atol=1e-12)


def test_mixed_derivatives_of_a_power_commute() -> None:
    """d2/dx dp x**p = x**(p-1) * (1 + p log x), also where p is 0."""
    x, p = parameter(f64[()], "x"), parameter(f64[()], "p")
    y = pow_(x, p)
    xp = reverse_derivative(forward_derivative(y, x), p)
    px = forward_derivative(reverse_derivative(y, p), x)
    fn = function("f", [x, p], [xp, px])
    for at_x, at_p in ((2.0, 0.0), (2.0, 1.0), (0.5, -1.5), (3.0, 2.0)):
        wanted = at_x ** (at_p - 1) * (1 + at_p * np.log(at_x))
        np.testing.assert_allclose(evaluate(fn, at_x, at_p), [wanted] * 2, rtol=1e-13)


def test_constant_exponents_make_short_derivatives() -> None:
    """The derivative of x**2 is 2*x: no power, no logarithm."""
    x = parameter(f64["n"], "x")
    gradient = function("g", [x], [reverse_derivative(pow_(x, 2), x)])
    assert [made.op.name for made in gradient.equations] == [
        *("constant", "broadcast"),  # 1: the seed
        *("constant", "broadcast", "mul"),  # 2 * x
        "mul",
    ]


# --- special values ----------------------------------------------------------------------------

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 7.0, 1e-320, 1e300, -1e300, 1e17, INF, -INF, NAN)
UNARY = (arithmetic.neg, arithmetic.abs_, arithmetic.sign, sqrt, floor, elementwise.ceil)
BINARY = (arithmetic.add, arithmetic.sub, arithmetic.mul, arithmetic.div, maximum, minimum)
COMPARISONS = (logic.eq, logic.ne, logic.lt, logic.le, logic.gt, logic.ge)


def assert_same_scalar(op: Op, *numbers: Any, constant: int | None = None) -> None:
    """The loop code and the evaluator agree to the bit; any nan equals any other."""
    actual = np.asarray(run_scalar(op, *numbers, constant=constant))
    wanted = np.asarray(op.evaluate(*map(np.asarray, numbers)))
    assert actual.dtype == wanted.dtype
    np.testing.assert_array_equal(actual, wanted, err_msg=f"{op.name} {numbers}")
    if wanted.dtype.kind == "f" and not np.isnan(wanted):
        assert np.signbit(actual) == np.signbit(wanted), f"{op.name} {numbers}"


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@pytest.mark.parametrize("op", UNARY, ids=repr)
def test_code_of_unary_ops_at_special_values(op: Op, dtype: Any) -> None:
    with np.errstate(over="ignore"):
        points = [dtype(x) for x in SPECIAL]
    for x in points:
        assert_same_scalar(op, x)


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@pytest.mark.parametrize("op", [*BINARY, *COMPARISONS], ids=repr)
def test_code_of_binary_ops_at_special_values(op: Op, dtype: Any) -> None:
    with np.errstate(over="ignore"):
        points = [dtype(x) for x in SPECIAL]
    for x, y in product(points, repeat=2):
        assert_same_scalar(op, x, y)


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@pytest.mark.parametrize("op", [arithmetic.floor_divide, remainder], ids=repr)
def test_code_of_division_with_rounding(op: Op, dtype: Any) -> None:
    """Signs, zeros, infinities and nans as NumPy; exact where the quotient is large."""
    special = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, -7.0, 6.0, 0.1, -0.3, INF, -INF, NAN]
    rng = np.random.default_rng(0)
    large = [float(x) for x in rng.uniform(-1e6, 1e6, 12)]
    for a, b in product([*special, *large], special):
        assert_same_scalar(op, dtype(a), dtype(b))


def test_remainder_of_large_quotients_is_exact() -> None:
    for a, b in product((1e17, -1e20, 3.7e24, 1e30), (3.0, -0.1, 7.5)):
        assert_same_scalar(remainder, np.float64(a), np.float64(b))


@pytest.mark.parametrize("dtype", (np.int64, np.int32))
@pytest.mark.parametrize(
    "op", [*BINARY[:3], maximum, minimum, arithmetic.floor_divide, remainder, pow_], ids=repr
)
def test_code_of_integers(op: Op, dtype: Any) -> None:
    """Integers wrap around; division by zero and a negative power give 0."""
    largest = np.iinfo(dtype).max
    for x, y in product([0, 1, -1, 2, 7, -13, largest, -largest], [0, 1, 2, 3, -3, 5, 63, -1]):
        assert_same_scalar(op, dtype(x), dtype(y))


def test_integers_divided_by_zero_give_zero() -> None:
    x, y = parameter(i64["n"], "x"), parameter(i64["n"], "y")
    fn = function("f", [x, y], [arithmetic.floor_divide(x, y), remainder(x, y)])
    quotient, rest = evaluate(fn, np.array([5, -5, 0]), np.zeros(3, "i8"))
    assert quotient.tolist() == rest.tolist() == [0, 0, 0]


# --- code of powers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exponent", "wanted"),
    [
        (0.0, []),
        (1.0, []),
        (2.0, ["mul"]),
        (3.0, ["mul", "mul"]),
        (4.0, ["mul", "mul"]),
        (-1.0, ["div"]),
        (-2.0, ["mul", "div"]),
        (0.5, ["add", "eq", "select", "sqrt"]),
        (-0.5, ["add", "eq", "select", "sqrt", "div"]),
        (1.5, ["add", "eq", "select", "sqrt", "mul"]),
        (0.3, ["pow"]),
        (40.0, ["pow"]),
        (INF, ["pow"]),
        (NAN, ["pow"]),
    ],
)
def test_code_of_constant_powers(exponent: float, wanted: list[str]) -> None:
    """Small powers are products, halves square roots; everything else is a call."""
    assert instructions(pow_, f64, constant=exponent) == wanted


@pytest.mark.parametrize("exponent", (0.0, 1.0, 2.0, 3.0, 7.0, -1.0, -3.0, 0.5, -0.5, 2.5, -1.5))
def test_constant_powers_are_powers(exponent: float) -> None:
    for x in (0.0, -0.0, 1.0, 0.7, 3.0, 1e-5, INF, -INF, NAN):
        actual = run_scalar(pow_, np.float64(x), np.float64(exponent), constant=1)
        wanted = pow_.evaluate(np.array(x), np.array(exponent))
        np.testing.assert_allclose(actual, wanted, rtol=1e-14)


@pytest.mark.parametrize(
    "case", [c for c in CASES if isinstance(c.op.lower, Pointwise)], ids=lambda case: case.name
)
def test_code_has_the_type_of_the_result(case: Case) -> None:
    assert isinstance(case.op.lower, Pointwise)
    for real in (f64, f32):
        fn, k = case.function(real), LoopBuilder()
        refs = [Ref(value.dtype) for value in fn.parameters]
        assert case.op.lower.scalar(k, *refs, **case.attrs).dtype is fn.results[0].dtype


# --- Python numbers and constants --------------------------------------------------------------


def test_a_number_stands_for_an_operand() -> None:
    """It becomes a constant of the value's type, on either side."""
    x = parameter(f32["n"], "x")
    build = [
        2 - x,
        x - 2,
        2.5 * x,
        x / 2,
        1 / x,
        -x,
        maximum(x, 0),
        np.float64(3) + x,
        x + np.array(1),
    ]
    fn = function("f", [x], build)
    assert {value.type for value in fn.results} == {x.type}
    results = [r.tolist() for r in evaluate(fn, np.array([1, 4], "f4"))]
    wanted = [[1, -2], [-1, 2], [2.5, 10], [0.5, 2], [1, 0.25], [-1, -4], [1, 4], [4, 7], [2, 5]]
    assert results == wanted


def test_numbers_in_where() -> None:
    x = parameter(f64["n"], "x")
    fn = function("f", [x], [where(gt(x, 0), x, 0), where(gt(x, 0), 7.0, x)])
    results = [r.tolist() for r in evaluate(fn, np.array([-1.0, 2.0]))]
    assert results == [[0, 2], [-1, 7]]


INTEGERS, F, B = parameter(i32["n"], "i"), parameter(f64["n"], "f"), parameter(bool_["n"], "b")
C = parameter(f64["m"], "c")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: INTEGERS + 2.5, ["add", "2.5", "i32[n]", "cast"]),
        (lambda: INTEGERS + INF, ["add", "inf", "i32[n]"]),
        (lambda: INTEGERS + 2**40, ["add", str(2**40), "i32"]),
        (lambda: arithmetic.add(F, "a"), ["add", "'a'", "str"]),
        (lambda: arithmetic.add(F, None), ["add", "None"]),
        (lambda: F * True, ["mul", "True", "f64[n]", "not a boolean"]),
        (lambda: logic.logical_and(B, 1), ["logical_and", "True or False"]),
        (lambda: arithmetic.add(1, 2), ["add", "1"]),
        (lambda: INTEGERS + F, ["add", "i32[n]", "f64[n]", "cast"]),
        (lambda: F + C, ["add", "f64[n]", "f64[m]", "broadcast"]),
        (lambda: INTEGERS / INTEGERS, ["div", "floats", "i32[n]", "cast"]),
        (lambda: tanh(INTEGERS), ["tanh", "floats", "i32[n]", "cast"]),
        (lambda: B + B, ["add", "floats or integers", "bool[n]"]),
        (lambda: logic.lt(B, B), ["lt", "bool[n]"]),
        (lambda: logic.logical_not(F), ["logical_not", "booleans", "f64[n]", "compare"]),
        (lambda: where(F, F, F), ["where", "condition", "f64[n]", "compare"]),
        (lambda: where(B, C, C), ["where", "bool[n]", "f64[m]", "broadcast"]),
        (lambda: where(B, F, C), ["where", "f64[n]", "f64[m]"]),
        (lambda: where(B, F), ["where", "2"]),
        (lambda: where(True, F, F), ["where", "condition", "True"]),
        (lambda: where(B, 1, 2), ["where", "1", "beside a value"]),
        (lambda: tanh(F, F), ["tanh", "1", "2"]),
        (lambda: constants.iota(size=-1, dtype=i64), ["iota", "-1"]),
        (lambda: constants.iota(size=3, dtype=bool_), ["iota", "bool"]),
    ],
)
def test_errors_name_the_op_what_was_given_and_what_to_do(
    build: Callable[[], Value], words: list[str]
) -> None:
    with pytest.raises(TypeRuleError) as caught:
        build()
    assert [word for word in words if word not in str(caught.value)] == []


def test_constants_of_symbolic_shape() -> None:
    n = size("n")
    x = parameter(f64["n"], "x")
    results = [
        constants.iota(size=2 * n, dtype=i64),
        constants.size_value(dim=n * n + 1),
        constants.full((n, 2), 3, f32),
        constants.zeros_like(x),
        constants.ones_like(x),
    ]
    values = evaluate(function("f", [x], results), np.zeros(2))
    assert [v.tolist() for v in values] == [[0, 1, 2, 3], 5, [[3, 3]] * 2, [0, 0], [1, 1]]


def test_constant_number() -> None:
    x = parameter(f64["n"], "x")
    assert constants.constant_number(constants.full_like(x, 2.5)) == 2.5
    assert constants.constant_number(constants.array([3, 3])) == 3
    assert constants.constant_number(constants.array([3, 4])) is None
    assert constants.constant_number(constants.array([])) is None
    assert constants.constant_number(x) is None
    assert constants.constant_number(x + 1) is None
