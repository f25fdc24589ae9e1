"""Contractions with diagonal, symmetric and repeated operands cost what their structure allows."""

from __future__ import annotations

from collections.abc import Callable

import gradc.tensor as gt
import numpy as np
import pytest
from gradc.driver import function
from gradc.gradient import grad
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.lowering import Contraction
from gradc.ir.passes.pipeline import optimize
from gradc.ir.text import parse_function
from gradc.ir.types import i32, i64
from gradc.tensor.variable import Tensor
from native import native


def square_and_vector() -> tuple[Tensor, Tensor]:
    n = size("n")
    A, d = gt.matrix("A", shape=(n, n)), gt.vector("d", shape=(n,))
    return A, d


def chosen_diagonal(d: Tensor) -> Tensor:
    count = gt.arange(d.shape[0])
    return gt.where(count[:, None] == count, gt.sin(d), 0.0)


FORMULAS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "an identity on the left": (lambda A, d: gt.eye(d.shape[0]) @ A, 0),
    "an identity on the right": (lambda A, d: gt.sin(A) @ gt.eye(d.shape[0]), 0),
    "an identity times a vector": (lambda A, d: gt.eye(d.shape[0]) @ d, 0),
    "a diagonal by rows": (lambda A, d: (gt.eye(d.shape[0]) * d[:, None]) @ A, 0),
    "a diagonal by columns": (lambda A, d: (gt.eye(d.shape[0]) * d) @ A, 0),
    "a diagonal that is chosen": (lambda A, d: chosen_diagonal(d) @ A, 0),
    "a scaled identity": (lambda A, d: A @ (gt.eye(d.shape[0]) * 3.0), 0),
    "the diagonal of a product": (
        lambda A, d: gt.sum((A @ gt.sin(A)) * gt.eye(d.shape[0]), axis=1),
        1,
    ),
    "the trace of a product": (lambda A, d: gt.sum((A @ gt.sin(A)) * gt.eye(d.shape[0])), 1),
    "ones on the left": (lambda A, d: gt.ones((3, d.shape[0])) @ A, 0),
    "a repeated vector": (lambda A, d: A @ gt.broadcast_to(d[:, None], (d.shape[0], 4)), 1),
    "repeated rows": (lambda A, d: gt.broadcast_to(d, (4, d.shape[0])) @ A, 1),
    "an outer product": (lambda A, d: gt.einsum("i,j->ij", d, gt.sin(d)), 0),
    "an outer product, turned": (lambda A, d: gt.einsum("i,j->ji", d, gt.sin(d)), 0),
    "products of entries": (lambda A, d: gt.einsum("ij,ij->ji", A, gt.sin(A)), 0),
    "a Gram matrix, twice": (
        lambda A, d: gt.sin(A.T @ A) @ A + gt.einsum("ki,kj->ij", gt.sin(A.T @ A), A),
        2,
    ),
}


def formula(name: str) -> Function:
    A, d = square_and_vector()
    return function([A, d], FORMULAS[name][0](A, d)).ir


def contractions(fn: Function) -> int:
    """The contractions that are left: none of more than two axes each."""
    return sum(isinstance(made.op.lower, Contraction) for made in fn.equations)


@pytest.mark.parametrize("name", FORMULAS)
def test_no_more_contractions_than_needed(name: str) -> None:
    assert contractions(optimize(formula(name), check=True)) == FORMULAS[name][1]


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_values_stay(name: str, n: int) -> None:
    rng = np.random.default_rng(n)
    fn, arguments = formula(name), (rng.normal(size=(n, n)), rng.normal(size=n))
    made = optimize(fn)
    (expected,) = evaluate(fn, *arguments)
    np.testing.assert_allclose(evaluate(made, *arguments)[0], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(native(made)(*arguments)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_stay(name: str) -> None:
    A, d = square_and_vector()
    cost = gt.sum(gt.cos(FORMULAS[name][0](A, d)))
    fn = function([A, d], grad(cost, [A, d], disconnected_inputs="ignore")).ir
    rng = np.random.default_rng(1)
    arguments = rng.normal(size=(4, 4)), rng.normal(size=4)
    pairs = zip(evaluate(fn, *arguments), evaluate(optimize(fn), *arguments), strict=True)
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_gram_matrix_takes_two_products() -> None:
    X = gt.matrix("X")
    cost = gt.sum((X.T @ X) ** 2)
    fn = function([X], [cost, grad(cost, X)]).ir
    assert contractions(optimize(fn)) == 2
    at = np.random.default_rng(0).normal(size=(5, 3))
    _, found = evaluate(optimize(fn), at)
    np.testing.assert_allclose(found, 4 * at @ at.T @ at, rtol=1e-12)


def test_the_gradient_of_a_sum_of_a_product_multiplies_no_matrices() -> None:
    A, B = gt.matrix("A"), gt.matrix("B")
    cost = gt.sum(A @ B)
    made = optimize(function([A, B], grad(cost, [A, B])).ir, check=True)
    assert contractions(made) == 0


def test_a_product_with_a_matrix_that_is_not_symmetric_stays() -> None:
    A, B = gt.matrix("A"), gt.matrix("B")
    fn = function([A, B], [A @ B, A.T @ B]).ir
    arguments = np.arange(9.0).reshape(3, 3), np.eye(3)[[1, 2, 0]]
    pairs = zip(evaluate(optimize(fn), *arguments), evaluate(fn, *arguments), strict=True)
    for found, expected in pairs:
        np.testing.assert_array_equal(found, expected)


PADDED = """fn f(x: f64[n, m], y: f64[2*m + 3, k]) {
  %0 = constant(value=f64 0.0)
  %1 = pad(x, %0, low=[0, 2], high=[0, 2], interior=[0, 1])
  %2 = contract(%1, y, lhs=[0, 1], rhs=[1, 2], out=[0, 2])
  %3 = contract(y, %1, lhs=[1, 2], rhs=[0, 1], out=[2, 0])
  %4 = sum(%1, axes=[1])
  %5 = pad(x, %0, low=[1, 1], high=[0, 0], interior=[0, 0])
  %6 = sum(%5, axes=[0])
  return %2, %3, %4, %6 }"""


def test_padding_is_left_out_of_sums() -> None:
    fn = parse_function(PADDED)
    made = optimize(fn, check=True)
    assert [e.attrs["low"] for e in made.equations if e.op.name == "pad"] == [(0, 1)]
    assert any(e.op.name == "slice" for e in made.equations)
    rng = np.random.default_rng(0)
    for m in (1, 4):
        arguments = rng.normal(size=(3, m)), rng.normal(size=(2 * m + 3, 2))
        pairs = zip(evaluate(made, *arguments), evaluate(fn, *arguments), strict=True)
        for found, expected in pairs:
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def embedded(dtype: object, transposed: bool) -> Function:
    n, k, m = size("n"), size("k"), size("m")
    places = gt.vector("places", dtype=dtype, shape=(n,))
    table = gt.matrix("table", shape=(m if transposed else k, k if transposed else m))
    mask = gt.one_hot(places, k)
    rows = table @ mask.T if transposed else mask @ table
    return function([places, table], [rows, grad(gt.sum(gt.sin(rows)), table)]).ir


@pytest.mark.parametrize("dtype", [i64, i32], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_products_with_one_hot_rows_are_gathers(dtype: object, transposed: bool) -> None:
    fn = embedded(dtype, transposed)
    made = optimize(fn, check=True)
    assert contractions(made) == 0
    names = {e.op.name for e in made.equations}
    assert {"take", "scatter_add"} <= names
    places = np.array([2, 0, 5, -1, 2, 3], fn.parameters[0].dtype.numpy)  # 5 and -1 are no columns
    table = np.random.default_rng(0).normal(size=(2, 4) if transposed else (4, 2))
    for run in (lambda *a: evaluate(made, *a), native(made)):
        for found, expected in zip(run(places, table), evaluate(fn, places, table), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
