"""The functions of gradc.tensor: NumPy's values, types and shapes; errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from against_numpy import Array, check
from gradc.errors import GradcError, GradcIndexError, GradcTypeError, GradcValueError
from gradc.ir.evaluate import evaluate
from gradc.ir.types import bool_, f32, f64, i32, i64
from gradc.tensor import Tensor
from gradc.tracing import make_function

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
V = RNG.normal(size=4)
P = RNG.uniform(0.1, 0.9, size=(3, 4))
N = RNG.integers(-5, 6, size=(3, 4))
M = RNG.integers(1, 6, size=(3, 4))
B = X > 0
A3 = RNG.normal(size=(2, 3, 4))
C3 = RNG.normal(size=(2, 4, 5))

SAME_NAME = [
    ("add", (X, V)),
    ("add", (B, B)),
    ("add", (B, N)),
    ("subtract", (X, N)),
    ("multiply", (X.astype("f4"), X)),
    ("multiply", (B, B)),
    ("divide", (N, M)),
    ("divide", (X.astype("f4"), M.astype("i4"))),
    ("power", (P, X)),
    ("power", (N, M)),
    ("floor_divide", (N, M)),
    ("floor_divide", (X, P)),
    ("remainder", (N, M)),
    ("remainder", (X, P)),
    ("negative", (X,)),
    ("abs", (N,)),
    ("abs", (B,)),
    ("sign", (X,)),
    ("square", (X,)),
    ("reciprocal", (X,)),
    ("sqrt", (P,)),
    ("exp", (X.astype("f4"),)),
    ("exp", (N,)),
    ("log", (P,)),
    ("log2", (P,)),
    ("log10", (P,)),
    ("exp2", (X,)),
    ("log1p", (P,)),
    ("expm1", (X,)),
    ("sin", (M,)),
    ("cos", (X,)),
    ("tan", (P,)),
    ("tanh", (X,)),
    ("sinh", (X,)),
    ("cosh", (X,)),
    ("arctan", (X,)),
    ("arcsin", (P,)),
    ("arccos", (P,)),
    ("arctan2", (X, Y)),
    ("hypot", (X, Y)),
    ("logaddexp", (X, Y)),
    ("logaddexp", (N, V)),
    ("cumsum", (X,)),
    ("cumsum", (N.astype("i4"),)),
    ("cumsum", (B,)),
    ("cumprod", (X,)),
    ("cumprod", (M,)),
    ("argsort", (N.astype("f8"),)),
    ("argsort", (B,)),
    ("sort", (X,)),
    ("sort", (V,)),
    ("sort", (N,)),
    ("floor", (X,)),
    ("ceil", (X,)),
    ("maximum", (X, V)),
    ("minimum", (N, M)),
    ("maximum", (B, ~B)),
    ("equal", (N, M)),
    ("not_equal", (N, M)),
    ("less", (X, V)),
    ("less_equal", (N, X)),
    ("greater", (X, Y)),
    ("greater_equal", (X, Y)),
    ("logical_and", (B, N)),
    ("logical_or", (B, N)),
    ("logical_xor", (B, N)),
    ("logical_not", (N,)),
    ("isnan", (np.array([1.0, np.nan, np.inf]),)),
    ("isfinite", (np.array([1.0, np.nan, -np.inf]),)),
    ("isinf", (np.array([1.0, np.nan, -np.inf]),)),
    ("where", (B, X, N)),
    ("dot", (X, V)),
    ("vdot", (X, Y)),
    ("inner", (X, V)),
    ("outer", (V, X[:, 0])),
    ("matmul", (X, V)),
    ("matmul", (V, X.T)),
    ("matmul", (A3, C3)),
    ("matmul", (X, C3)),
    ("matmul", (N, M.T)),
    ("trace", (X[:, :3],)),
    ("diagonal", (A3[:, :2],)),
    ("tril", (X,)),
    ("triu", (X,)),
    ("ravel", (X,)),
    ("transpose", (A3,)),
    ("flip", (X,)),
    ("squeeze", (X,)),
]


@pytest.mark.parametrize(
    ("name", "arrays"), SAME_NAME, ids=lambda x: x if isinstance(x, str) else ""
)
def test_as_numpy(name: str, arrays: tuple[Array, ...]) -> None:
    with np.errstate(all="ignore"):
        check(getattr(gt, name), getattr(np, name), *arrays)


WITH_AXES = [
    (name, axis, keepdims, x)
    for x in (A3, N, B)
    for name in ("sum", "prod", "mean", "var", "std", "max", "min", "any", "all")
    for axis, keepdims in ((None, False), (0, True), ((0, -1), False))
]


@pytest.mark.parametrize(("name", "axis", "keepdims", "x"), WITH_AXES)
def test_reductions(name: str, axis: Any, keepdims: bool, x: Array) -> None:
    check(
        lambda t: getattr(gt, name)(t, axis=axis, keepdims=keepdims),
        lambda a: getattr(np, name)(a, axis=axis, keepdims=keepdims),
        x,
    )


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_positions(name: str, axis: int | None) -> None:
    for x in (X, N, B):
        check(lambda t: getattr(gt, name)(t, axis), lambda a: getattr(np, name)(a, axis), x)
    check(
        lambda t: getattr(gt, name)(t, axis, keepdims=True),
        lambda a: getattr(np, name)(a, axis, keepdims=True),
        X,
    )


BY_LAMBDA: list[tuple[Callable[..., Any], Callable[..., Any], tuple[Array, ...]]] = [
    (lambda x: gt.var(x, 0, ddof=1), lambda x: np.var(x, 0, ddof=1), (X,)),
    (lambda x: gt.std(x, correction=1), lambda x: np.std(x, ddof=1), (X,)),
    (lambda x: gt.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5), (X,)),
    (lambda x: gt.clip(x, 0, None), lambda x: np.clip(x, 0, None), (N,)),
    (lambda x, v: gt.clip(x, max=v), lambda x, v: np.clip(x, None, v), (X, V)),
    (gt.relu, lambda x: np.maximum(x, 0), (X,)),
    (gt.sigmoid, lambda x: 1 / (1 + np.exp(-x)), (X,)),
    (gt.softplus, lambda x: np.log1p(np.exp(x)), (X,)),
    (lambda x: gt.logsumexp(x, 0), lambda x: np.log(np.exp(x).sum(0)), (X,)),
    (lambda x: gt.softmax(x), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True), (X,)),
    (
        lambda x: gt.log_softmax(x, 0),
        lambda x: np.log(np.exp(x) / np.exp(x).sum(0, keepdims=True)),
        (X,),
    ),
    (lambda x: gt.norm(x), lambda x: np.linalg.norm(x), (X,)),
    (lambda x: gt.norm(x, axis=1), lambda x: np.linalg.norm(x, axis=1), (X,)),
    (lambda x: gt.norm(x, 1, axis=1), lambda x: np.linalg.norm(x, 1, axis=1), (X,)),
    (lambda x: gt.transpose(x, (2, 0, 1)), lambda x: np.transpose(x, (2, 0, 1)), (A3,)),
    (lambda x: x.T, lambda x: x.T, (A3,)),
    (lambda x: x.mT, lambda x: np.swapaxes(x, -1, -2), (A3,)),
    (lambda x: x.reshape(-1), lambda x: x.reshape(-1), (A3,)),
    (lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1), (X,)),
    (lambda x: x.reshape((2, -1, 2)), lambda x: x.reshape((2, -1, 2)), (X,)),
    (lambda x: gt.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), (A3,)),
    (lambda x: gt.moveaxis(x, (0, 1), (2, 0)), lambda x: np.moveaxis(x, (0, 1), (2, 0)), (A3,)),
    (lambda x: gt.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), (A3,)),
    (lambda x: gt.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1)), (X,)),
    (lambda x: x[:, :1].squeeze(1), lambda x: x[:, 0], (X,)),
    (lambda x, v: gt.concat([x, v[None]]), lambda x, v: np.concatenate([x, v[None]]), (X, V)),
    (lambda x, n: gt.concat([x, n], -1), lambda x, n: np.concatenate([x, n], -1), (X, N)),
    (lambda x, n: gt.concat([x, n], None), lambda x, n: np.concatenate([x, n], None), (X, V)),
    (lambda x, n: gt.stack([x, n], 1), lambda x, n: np.stack([x, n], 1), (X, Y)),
    (lambda x: gt.flip(x, -1), lambda x: np.flip(x, -1), (X,)),
    (lambda x: gt.pad(x, 1), lambda x: np.pad(x, 1), (X,)),
    (lambda x: gt.pad(x, (1, 2)), lambda x: np.pad(x, (1, 2)), (X,)),
    (
        lambda x: gt.pad(x, ((0, 1), (2, 0)), constant_values=7),
        lambda x: np.pad(x, ((0, 1), (2, 0)), constant_values=7),
        (N,),
    ),
    (lambda x: gt.repeat(x, 3, 1), lambda x: np.repeat(x, 3, 1), (X,)),
    (lambda x: gt.repeat(x, 2), lambda x: np.repeat(x, 2), (X,)),
    (lambda x: gt.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), (X,)),
    (lambda x: gt.tile(x, 2), lambda x: np.tile(x, 2), (X,)),
    (lambda v: gt.broadcast_to(v, (3, 4)), lambda v: np.broadcast_to(v, (3, 4)), (V,)),
    (lambda x, y: gt.tensordot(x, y, 2), lambda x, y: np.tensordot(x, y, 2), (X, Y)),
    (lambda x, y: gt.tensordot(x, y, 0), lambda x, y: np.tensordot(x, y, 0), (V, V)),
    (
        lambda x, y: gt.tensordot(x, y, ([2, 0], [1, 0])),
        lambda x, y: np.tensordot(x, y, ([2, 0], [1, 0])),
        (A3, C3),
    ),
    (lambda x: x**2, lambda x: x**2, (X,)),
    (lambda x: x**3, lambda x: x**3, (N,)),
    (lambda x: x**0, lambda x: x**0, (X,)),
    (lambda x: x**-1, lambda x: x**-1, (X,)),
    (lambda x: x**0.5, lambda x: x**0.5, (P,)),
    (lambda x: x**2.5, lambda x: x**2.5, (P,)),
    (lambda x: x**-2, lambda x: x**-2.0, (P,)),
    (lambda x: 2**x, lambda x: 2**x, (X,)),
    (lambda x: 1 / x, lambda x: 1 / x, (X,)),
    (lambda x: 7 // x, lambda x: 7 // x, (M,)),
    (lambda x: 7 % x, lambda x: 7 % x, (M,)),
    (lambda x: 1 - x, lambda x: 1 - x, (X.astype("f4"),)),
    (lambda x: np.float64(2) * x, lambda x: np.float64(2) * x, (X.astype("f4"),)),
    (lambda x: V * x, lambda x: V * x, (X,)),
    (lambda x: V @ x, lambda x: V @ x, (X.T,)),
    (lambda x: x / x.shape[0], lambda x: x / x.shape[0], (X.astype("f4"),)),
    (lambda x: x.shape[1] * x, lambda x: x.shape[1] * x, (X.astype("f4"),)),
    (lambda x: x + x.size, lambda x: x + x.size, (N,)),
    (lambda x: -x + +x - abs(x), lambda x: -x + +x - abs(x), (X,)),
    (lambda x, y: (x > y) & (x < 1) | ~(y == y), lambda x, y: (x > y) & (x < 1), (X, Y)),
    (lambda x, y: (x > y) ^ (x < 1), lambda x, y: (x > y) ^ (x < 1), (X, Y)),
    (lambda x: x.astype("i64"), lambda x: x.astype("i8"), (X,)),
    (lambda x: x.astype(bool), lambda x: x.astype(bool), (N,)),
    (lambda x: gt.arange(x.shape[0]), lambda x: np.arange(x.shape[0]), (X,)),
    (
        lambda x: gt.arange(1, x.shape[1] + 2, 2, dtype=f64),
        lambda x: np.arange(1, x.shape[1] + 2, 2, dtype="f8"),
        (X,),
    ),
    (
        lambda x: gt.arange(x.shape[1], -1, -2),
        lambda x: np.arange(x.shape[1], -1, -2),
        (X,),
    ),
    (lambda x: gt.eye(x.shape[0], x.shape[1], 1), lambda x: np.eye(3, 4, 1), (X,)),
    (lambda x: gt.zeros_like(x) + gt.ones_like(x), lambda x: np.ones_like(x), (N,)),
    (lambda x: gt.full_like(x, 2.5), lambda x: np.full_like(x, 2.5), (X,)),
    (lambda x: gt.zeros(x.shape) + gt.ones((4,)), lambda x: np.ones((3, 4)), (X,)),
    (lambda x: gt.linspace(0, 1, 5) * x[0, 0], lambda x: np.linspace(0, 1, 5) * x[0, 0], (X,)),
    (lambda x: gt.one_hot(x, 7), lambda x: np.eye(7)[x], (M,)),
    (
        lambda x, i: gt.take_along_axis(x, i, 0),
        lambda x, i: np.take_along_axis(x, i, 0),
        (X, np.array([[0, 1, 2, 0], [2, 2, -1, 1]])),
    ),
    (lambda x, i: gt.take(x, i, 1), lambda x, i: np.take(x, i, 1), (X, M % 4)),
    (lambda x, i: gt.take(x, i), lambda x, i: np.take(x, i), (X, M)),
    (lambda x: gt.count_nonzero(x, 0), lambda x: np.count_nonzero(x, 0), (N,)),
]


@pytest.mark.parametrize(("symbolic", "numpy", "arrays"), BY_LAMBDA)
def test_expressions(
    symbolic: Callable[..., Any], numpy: Callable[..., Any], arrays: tuple[Array, ...]
) -> None:
    check(symbolic, numpy, *arrays)


SUBSCRIPTS = [
    ("ij,jk->ik", (X, Y.T)),
    ("ij,jk", (X, Y.T)),
    ("ij,ij->", (X, Y)),
    ("ij,ij->j", (X, Y)),
    ("ij->ji", (X,)),
    ("ij->", (X,)),
    ("ii->i", (X[:, :3],)),
    ("ii", (X[:, :3],)),
    ("bij,bjk->bik", (A3, C3)),
    ("...ij,...jk->...ik", (X, C3)),
    ("i,j->ij", (V, V)),
    ("i,ij,j->", (X[:, 0], Y, V)),
    ("ij,k->kji", (X, V)),
    ("ij,j->i", (X, V)),
]


@pytest.mark.parametrize(("subscripts", "arrays"), SUBSCRIPTS)
def test_einsum(subscripts: str, arrays: tuple[Array, ...]) -> None:
    check(lambda *t: gt.einsum(subscripts, *t), lambda *a: np.einsum(subscripts, *a), *arrays)


PROMOTIONS = [
    (f32, 1.0, f32),
    (f32, 2, f32),
    (i64, 1.0, f64),
    (i32, 2, i32),
    (bool_, 2, i64),
    (bool_, 1.0, f64),
    (f32, np.float64(1), f64),
    (f32, np.array([1], "i4"), f64),
    (i32, np.int64(1), i64),
    (f32, True, f32),
]


@pytest.mark.parametrize(("dtype", "other", "expected"), PROMOTIONS)
def test_promotion(dtype: Any, other: Any, expected: Any) -> None:
    assert (gt.tensor("x", dtype) + other).dtype == expected
    assert (other * gt.tensor("x", dtype)).dtype == expected


def test_types_of_functions() -> None:
    n = gt.vector("n", i32)
    assert gt.sin(n).dtype == f64
    assert gt.sum(n).dtype == i64
    assert gt.mean(n).dtype == f64
    assert (n / n).dtype == f64
    assert gt.exp(gt.vector("x", f32)).dtype == f32
    assert gt.floor(n).dtype == i32


def test_attributes() -> None:
    x = gt.tensor("x", f32, ("n", 3))
    assert (x.name, x.dtype, x.ndim, str(x.shape), str(x.size)) == ("x", f32, 2, "(n, 3)", "3*n")
    assert repr(x) == "<x: f32[n, 3]>"
    assert repr(gt.matrix("a")) == "<a: f64[?, ?]>"
    assert len(gt.zeros((3,))) == 3
    assert [str(row.shape) for row in x.T] == ["(n,)"] * 3


def test_sizes_of_one_name_are_equal_and_others_are_not() -> None:
    x, y = gt.tensor("x", shape=("n",)), gt.tensor("y", shape=("n",))
    assert (x + y).shape == x.shape
    with pytest.raises(GradcValueError, match="n against m") as caught:
        x + gt.tensor("z", shape=("m",))
    assert [note.argument for note in caught.value.operands] == [0, 1]
    assert "z has 1 axis: m" in str(caught.value)


def test_sizes_without_a_name_are_united_in_the_function() -> None:
    x, y, w = gt.matrix("x"), gt.vector("y"), gt.tensor("w", shape=("d",))
    made = make_function([x, y, w], [(x + y) @ w], "f")
    assert made.requires == ()
    assert [str(p.type) for p in made.parameters] == ["f64[x_0, d]", "f64[d]", "f64[d]"]
    fixed = make_function([x], [x + np.zeros(3)], "g")
    assert str(fixed.parameters[0].type) == "f64[x_0, 3]"


def test_other_equalities_are_checked_at_the_call() -> None:
    x, y = gt.vector("x"), gt.vector("y")
    made = make_function([x, y], [gt.concat([x, x]) + y], "f")
    (requirement,) = made.requires
    assert "__" not in requirement.why
    with pytest.raises(ValueError, match="y"):
        evaluate(made, np.zeros(2), np.zeros(5))


def test_a_contradiction_is_an_error_of_the_function() -> None:
    x = gt.vector("x")
    with pytest.raises(GradcValueError, match="length"):
        make_function([x], [gt.sum(x + np.zeros(3)) + gt.sum(x + np.zeros(4))], "f")


def test_a_size_of_one_at_the_call_does_not_broadcast() -> None:
    x, y = gt.vector("x"), gt.vector("y")
    made = make_function([x, y], [x + y], "f")
    with pytest.raises(ValueError, match="y"):
        evaluate(made, np.zeros(3), np.zeros(1))


REFUSED: list[tuple[Callable[[], Any], type[GradcError], str]] = [
    (lambda: bool(gt.scalar("x") > 0), GradcTypeError, "gt.where"),
    (lambda: float(gt.scalar("x")), GradcTypeError, "gradc.function"),
    (lambda: len(gt.vector("x")), GradcTypeError, "x.shape"),
    (lambda: len(gt.scalar("x")), GradcTypeError, "scalar"),
    (lambda: list(gt.vector("x")), GradcTypeError, "not known before the call"),
    (lambda: np.asarray(gt.vector("x")), GradcTypeError, "gradc.tensor"),
    (lambda: gt.vector("x")[gt.vector("y") > 0], GradcIndexError, "boolean mask"),
    (lambda: gt.vector("x")[True], GradcIndexError, "boolean"),
    (lambda: gt.vector("x")[0.5], GradcIndexError, "integer"),
    (lambda: gt.vector("x")[1, 2], GradcIndexError, "2 indices"),
    (lambda: gt.zeros(3)[3], GradcIndexError, "out of range"),
    (lambda: gt.zeros(3)[[0, 5]], GradcIndexError, "index 5"),
    (lambda: gt.vector("x")[: gt.scalar("k", "i64")], GradcTypeError, "slice"),
    (lambda: gt.vector("x")[::0], GradcValueError, "step"),
    (lambda: gt.sum(gt.vector("x"), axis=1), GradcIndexError, "no axis 1"),
    (lambda: gt.sum(gt.matrix("x"), axis=(0, 0)), GradcValueError, "twice"),
    (lambda: gt.max(gt.zeros(0)), GradcValueError, "no elements"),
    (lambda: gt.argmax(gt.zeros((3, 0)), 1), GradcValueError, "no elements"),
    (lambda: gt.zeros((2, 3)) @ gt.zeros((2, 3)), GradcValueError, r"a.T @ b"),
    (lambda: gt.scalar("x") @ gt.vector("y"), GradcTypeError, "scalar"),
    (lambda: gt.zeros((2, 3)).reshape(4), GradcValueError, "6 elements"),
    (lambda: gt.zeros((2, 3)).reshape(4, -1), GradcValueError, "6 elements"),
    (lambda: gt.zeros((2, 3)).reshape(-1, -1), GradcValueError, "only one"),
    (lambda: gt.zeros((2, 3)).transpose(0), GradcValueError, "permutation"),
    (lambda: gt.squeeze(gt.zeros((2, 3)), 0), GradcValueError, "length 2"),
    (lambda: gt.concat([gt.zeros((2, 3)), gt.zeros((2, 4))]), GradcValueError, "3 against 4"),
    (lambda: gt.concat(gt.zeros(3)), GradcTypeError, "list"),
    (lambda: gt.stack([gt.zeros(3), gt.zeros((1, 3))]), GradcValueError, "one shape"),
    (lambda: gt.broadcast_to(gt.zeros(3), (4,)), GradcValueError, "broadcast"),
    (lambda: gt.zeros(3) + gt.zeros(4), GradcValueError, "3 against 4"),
    (lambda: gt.subtract(gt.zeros(3, bool), True), GradcTypeError, "exclusive or"),
    (lambda: -gt.zeros(3, bool), GradcTypeError, "negative"),
    (lambda: gt.zeros(3, "i32") + 2**40, GradcValueError, "does not fit in i32"),
    (lambda: gt.zeros(3, "i64") ** -2, GradcTypeError, "negative power"),
    (lambda: gt.zeros(3, "i64").at[0].set(0.5), GradcTypeError, "astype"),
    (lambda: gt.asarray("text"), GradcTypeError, "element type"),
    (lambda: gt.asarray([gt.scalar("x"), 1]), GradcTypeError, "gt.stack"),
    (lambda: gt.tensor("x", "f16"), GradcTypeError, "f64, f32"),
    (lambda: gt.tensor("x", shape=(-1,)), GradcValueError, "negative"),
    (lambda: gt.tensor("x", shape=("__n",)), GradcValueError, "underscores"),
    (lambda: gt.tensor("x", shape=(2.5,)), GradcTypeError, "length"),
    (lambda: gt.vector("x", shape=(2, 3)), GradcTypeError, "1 axes"),
    (lambda: gt.einsum("ij,jk", gt.zeros((2, 3))), GradcValueError, "2 operands"),
    (lambda: gt.einsum("ij->k", gt.zeros((2, 3))), GradcValueError, "result"),
    (lambda: gt.einsum("ijk", gt.zeros((2, 3))), GradcValueError, "3 letters"),
    (lambda: gt.pad(gt.zeros(3), 1, mode="wrap"), GradcValueError, "wrap"),
    (lambda: gt.arange(gt.scalar("n", "i64")), GradcTypeError, "sizes"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), REFUSED)
def test_errors(wrong: Callable[[], Any], error: type[GradcError], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_matmul_error_names_axes_and_suggests() -> None:
    x, w = gt.tensor("X", shape=("d", "n")), gt.tensor("w", shape=("d",))
    with pytest.raises(GradcValueError) as caught:
        x @ w
    error = caught.value
    assert error.message == "these shapes cannot be multiplied"
    assert error.label == "the last axis of X is n, the only axis of w is d"
    assert error.hint == "did you mean `X.T @ w`?"


def test_the_users_line_is_recorded() -> None:
    z = gt.exp(gt.scalar("x"))
    owner = z.value.owner
    assert owner is not None
    assert owner.span is not None
    assert owner.span.file == __file__
    assert "gt.exp" in Path(__file__).read_text().splitlines()[owner.span.line - 1]


def test_empty_and_scalar_arrays() -> None:
    for x in (np.zeros((0, 3)), np.array(2.0)):
        check(lambda t: gt.sum(gt.exp(t) * 2 + 1), lambda a: np.sum(np.exp(a) * 2 + 1), x)
    check(lambda t: t.sum(0), lambda a: a.sum(0), np.zeros((0, 3)))
    check(lambda t: gt.softmax(t), lambda a: a, np.zeros((0, 3)))


def test_a_deep_chain_is_no_problem() -> None:
    x: Tensor = gt.scalar("x")
    y = x
    for _ in range(3000):
        y = y + 1
    (result,) = evaluate(make_function([x], [y], "deep"), np.array(0.0))
    assert result == 3000.0


def test_lengths_count_as_numbers_beside_floats() -> None:
    x = gt.vector("x")
    n = x.shape[0]
    f = gradc.function([x], [0.5 * n, n * 0.5 - 1, 2.0 - n, n / 4, n**2, gt.sum(x) * n, -n + 1.5])
    found = f(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose([float(v) for v in found], [1.5, 0.5, -1.0, 0.75, 9, 18.0, -1.5])


def test_lengths_stay_lengths_beside_integers() -> None:
    x = gt.tensor("x", f64, ("n",))
    assert gt.zeros(2 * x.shape[0] + 1).shape == f64["2*n + 1"].shape


def test_annotations_read_the_names_around_them() -> None:
    number, width = f64, 3

    @gradc.function
    def total(x: number["n", width]):  # noqa: F821
        return gt.sum(x)

    assert total(np.ones((2, 3))) == 6.0


def test_item_assignment_is_refused_with_what_to_write() -> None:
    x = gt.vector("x")
    with pytest.raises(GradcTypeError, match=r"x\.at\[index\]\.set"):
        x[0] = 1.0  # type: ignore[index]


def test_a_missing_input_is_shown_without_inner_names() -> None:
    x = gt.vector("x")
    with pytest.raises(gradc.MissingInputError, match=r"x: f64\[\?\] "):
        gradc.function([], gt.sum(x))


@pytest.mark.parametrize("text", ["n 3", "n, 3"])
def test_several_dimensions_in_one_text(text: str) -> None:
    with pytest.raises(ValueError, match=r'several texts, as in f64\["n", 3\]'):
        gradc.f64[text]
