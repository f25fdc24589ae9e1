"""Gathers and scatters at known places: rows stay by themselves, constant places become slices."""

from __future__ import annotations

from collections.abc import Callable

import gradc.tensor as gt
import numpy as np
import pytest
from gradc.driver import function
from gradc.gradient import grad
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.passes.indexing import simplify_indexing
from gradc.ir.passes.pipeline import optimize
from gradc.ir.types import i32, i64
from gradc.tensor.variable import Tensor
from native import native
from random_programs import random_arguments, random_function, with_derivatives


def op_names(fn: Function) -> set[str]:
    return {made.op.name for made in fn.equations}


def own_scores(scores: Tensor, label: Tensor) -> Tensor:
    return gt.take_along_axis(scores, label[:, None], axis=1)[:, 0]


def by_two_indices(scores: Tensor, label: Tensor) -> Tensor:
    return scores[gt.arange(scores.shape[0]), label]


PICKS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "take_along_axis": own_scores,
    "two indices": by_two_indices,
}


def picked(name: str, dtype: object = i64, columns: int | None = None) -> Function:
    """The entries that labels name, weighed; and the gradient by the scores."""
    scores = gt.matrix("scores", shape=(None, columns))
    label = gt.vector("label", dtype=dtype, shape=(scores.shape[0],))
    own = PICKS[name](scores, label)
    cost = gt.sum(gt.sin(own) * gt.sum(gt.cos(scores), axis=1))
    return function([scores, label], [cost, own, grad(cost, scores)]).ir


@pytest.mark.parametrize("name", PICKS)
@pytest.mark.parametrize("dtype", [i64, i32], ids=str)
@pytest.mark.parametrize("columns", [None, 4])
def test_one_entry_a_row_is_a_selection(name: str, dtype: object, columns: int | None) -> None:
    fn = picked(name, dtype, columns)
    made = optimize(fn, check=True)
    assert "scatter_add" not in op_names(made)
    rows = [x for x in made.equations if x.op.name == "take" and x.outputs[0].dtype.is_float]
    assert not rows  # the value is a selection, too
    label = np.array([3, -1, 0, -4, 2], "i8" if dtype is i64 else "i4")
    arguments = np.random.default_rng(0).normal(size=(5, 4)), label
    for run in (lambda *a: evaluate(made, *a), native(made)):
        for found, expected in zip(run(*arguments), evaluate(fn, *arguments), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", PICKS)
@pytest.mark.parametrize("label", [4, -5])
def test_a_label_beyond_its_row_is_an_error(name: str, label: int) -> None:
    scores = gt.matrix("scores")
    labels = gt.vector("label", dtype=i64, shape=(scores.shape[0],))
    cost = gt.sum(PICKS[name](scores, labels) ** 2)
    f = function([scores, labels], [cost, grad(cost, scores)])
    assert "scatter_add" not in op_names(f.optimized)
    with pytest.raises(IndexError):
        f(np.ones((3, 4)), np.array([0, label, 1]))


def test_entries_that_are_not_finite_stay_in_their_place() -> None:
    fn = picked("take_along_axis")
    scores = np.array([[np.inf, 1.0, np.nan], [0.5, -np.inf, 2.0]])
    arguments = scores, np.array([1, 2])
    _, own, _ = evaluate(optimize(fn), *arguments)
    np.testing.assert_array_equal(own, [1.0, 2.0])


def test_without_a_gradient_an_entry_is_gathered() -> None:
    scores = gt.matrix("scores")
    label = gt.vector("label", dtype=i64, shape=(scores.shape[0],))
    made = function([scores, label], own_scores(scores, label)).optimized
    assert "take" in op_names(made)
    assert "sum" not in op_names(made)


def cross_entropy(label: object) -> Function:
    scores = gt.tensor("scores", "f64", (20, 5))
    cost = -gt.sum(gt.log_softmax(scores, axis=1)[np.arange(20), label])
    return function([scores], [cost, grad(cost, scores)]).ir


def test_constant_columns_are_selections() -> None:
    """And the sum over a row of which one entry is chosen is that entry."""
    label = np.arange(20) * 3 % 5
    fn = cross_entropy(label)
    made = optimize(fn, check=True)
    assert not {"take", "scatter_add"} & op_names(made)
    sums = [found.inputs[0] for found in made.equations if found.op.name == "sum"]
    assert sum(x.owner is not None and x.owner.op.name == "where" for x in sums) == 1  # the value
    scores = np.random.default_rng(0).normal(size=(20, 5))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    for run in (lambda *a: evaluate(made, *a), native(made)):
        cost, found = run(scores)
        np.testing.assert_allclose(cost, -np.log(chances[range(20), label]).sum(), rtol=1e-13)
        np.testing.assert_allclose(found, chances - np.eye(5)[label], rtol=1e-12, atol=1e-15)


def test_a_constant_column_beyond_its_row_is_an_error() -> None:
    with pytest.raises(IndexError):
        native(optimize(cross_entropy(np.arange(20) % 6)))(np.ones((20, 5)))


def test_columns_that_are_not_checked_stay_a_scatter() -> None:
    """i * k + c reaches into the next row where c is k or more."""
    scores = gt.matrix("scores")
    n, k = scores.shape
    label = gt.vector("label", dtype=i64, shape=(n,))
    flat = gt.reshape(scores, (n * k,))
    cost = gt.sum(gt.take(flat, gt.arange(n) * k + label) ** 2)
    fn = function([scores, label], grad(cost, scores)).ir
    made = optimize(fn)
    assert "scatter_add" in op_names(made)
    arguments = np.arange(12.0).reshape(3, 4), np.array([5, -1, 2])
    np.testing.assert_array_equal(evaluate(made, *arguments), evaluate(fn, *arguments))


@pytest.mark.parametrize(
    ("places", "parts"),
    [([2, 0], 2), ([1, 2, 3], 1), ([0, 2, 4], 1), ([4], 1), ([3, 3], 2), ([[0, 1], [3, 4]], 2)],
)
def test_constant_places_are_slices(places: list[int], parts: int) -> None:
    x = gt.vector("x", shape=(5,))
    taken = gt.take(gt.sin(x), np.array(places))
    cost = gt.sum(taken**2)
    f = function([x], [taken, grad(cost, x)])
    names = [made.op.name for made in f.optimized.equations]
    assert not {"take", "scatter_add"} & set(names)
    assert names.count("slice") <= parts + np.size(places)
    at = np.linspace(0.5, 2, 5)
    found, gradient = f(at)
    np.testing.assert_allclose(found, np.sin(at)[places], rtol=1e-15)
    expected = np.zeros(5)
    np.add.at(expected, np.array(places), (2 * np.sin(at) * np.cos(at))[places])
    np.testing.assert_allclose(gradient, expected, rtol=1e-14, atol=1e-15)


def test_constant_places_out_of_range_stay_an_error() -> None:
    x = gt.vector("x", shape=(5,))
    with pytest.raises((IndexError, ValueError)):
        function([x], gt.take(x, np.array([0, 5])))(np.ones(5))


@pytest.mark.parametrize("seed", range(40, 52))
def test_random_programs_keep_their_values(seed: int) -> None:
    fn = with_derivatives(random_function(seed))
    arguments = random_arguments(fn, seed, n=3, m=4)
    pairs = zip(evaluate(fn, *arguments), evaluate(simplify_indexing(fn), *arguments), strict=True)
    for before, after in pairs:
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)
