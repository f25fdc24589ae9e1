"""What is done in derivatives only: the primal keeps its bits, the derivative its digits."""

from __future__ import annotations

from collections.abc import Callable

import gradc.tensor as gt
import numpy as np
import pytest
from gradc.derivatives import hessian
from gradc.driver import function
from gradc.gradient import grad
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.ops.arithmetic import sub
from gradc.ir.ops.indexing import scatter_add
from gradc.ir.passes.pipeline import optimize
from gradc.ir.types import f32, f64, i64
from gradc.tensor.variable import Tensor
from native import native


def operations(fn: Function, name: str, rank: int) -> int:
    """How many operations of that name, on arrays with as many axes."""
    return sum(made.op.name == name and made.outputs[0].type.rank == rank for made in fn.equations)


def normalized(x: Tensor) -> Tensor:
    return x / gt.sum(x, axis=1, keepdims=True)


def attraction(x: Tensor) -> Tensor:
    """Of all pairs of points."""
    apart = x[:, None, :] - x[None, :, :]
    return gt.sum(1.5 / gt.sqrt(gt.sum(apart**2, axis=2) + 0.5))


COSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "rows by their sums": lambda x: gt.sum(gt.sin(normalized(x))),
    "softmax": lambda x: gt.sum(gt.softmax(x, axis=1) ** 2),
    "logsumexp": lambda x: gt.mean(gt.logsumexp(x, axis=1)),
    "columns by their deviation": lambda x: gt.sum(gt.cos(x / gt.sqrt(gt.mean(x**2, axis=0)))),
    "by a number": lambda x: gt.sum(gt.sin(x / 3.0)),
    "by one array twice": lambda x: gt.sum((x + 1.0) / (2.0 + x * x)) + gt.sum(gt.log(2.0 + x * x)),
    "pairs of points": attraction,
}


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_values_and_digits(name: str, dtype: object) -> None:
    x = gt.matrix("x", dtype=dtype)
    cost = COSTS[name](x)
    fn = function([x], [cost, grad(cost, x)]).ir
    made = optimize(fn, check=True)
    at = np.random.default_rng(0).uniform(0.5, 2, size=(5, 7)).astype(fn.parameters[0].dtype.numpy)
    tolerance = 1e-13 if dtype is f64 else 2e-5
    for run in (lambda *a: evaluate(made, *a), native(made)):
        for found, expected in zip(run(at), evaluate(fn, at), strict=True):
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["rows by their sums", "logsumexp", "by a number"])
def test_a_gradient_divides_no_matrix(name: str) -> None:
    x = gt.matrix("x")
    cost = COSTS[name](x)
    primal = function([x], cost).optimized
    both = function([x], [cost, grad(cost, x)]).optimized
    assert operations(both, "div", 2) == operations(primal, "div", 2)


@pytest.mark.parametrize(
    "name", ["rows by their sums", "by a number", "by one array twice", "pairs of points"]
)
def test_the_value_beside_its_gradient_keeps_its_bits(name: str) -> None:
    x = gt.matrix("x")
    cost = COSTS[name](x)
    made = optimize(function([x], [cost, grad(cost, x)]).ir)
    for seed in range(10):
        at = np.random.default_rng(seed).uniform(0.5, 2, size=(4, 3))
        expected = evaluate(function([x], cost).ir, at)[0]
        np.testing.assert_array_equal(evaluate(made, at)[0], expected)


def test_repeated_factors_are_multiplied_first() -> None:
    """The gradient of the mean of logsumexp is exp(x - m) * (1 / n / sum)."""
    x = gt.matrix("x")
    fn = function([x], grad(gt.mean(gt.logsumexp(x, axis=1)), x)).optimized
    assert operations(fn, "mul", 2) == 1


def test_the_forces_of_pairs_are_summed_once() -> None:
    """The sums over columns are those over rows; numbers come to one."""
    x = gt.tensor("x", shape=("n", 3))
    fn = function([x], [attraction(x), grad(attraction(x), x)]).optimized
    assert operations(fn, "contract", 2) == 1
    assert operations(fn, "mul", 2) == 3  # two with the reciprocal, one by -2
    assert not any(operations(fn, name, 2) for name in ("neg", "transpose"))


def test_the_square_of_a_difference_is_doubled_once() -> None:
    x, y = gt.vector("x"), gt.vector("y")
    d = gt.sin(x) - y
    cost = gt.sum(d * d) + gt.sum(gt.exp(d))
    fn = function([x, y], grad(cost, y)).optimized
    names = [made.op.name for made in fn.equations if made.outputs[0].type.rank]
    assert names.count("add") == 1  # of the two terms; d itself enters twice, as 2 * d


def test_scalars_leave_sums_at_indices() -> None:
    """What is summed for each group is y - a[group]; the value still divides it by the scale."""
    x, y, group = gt.vector("x"), gt.vector("y"), gt.vector("group", dtype=i64)
    scale = gt.scalar("scale")
    residual = (y - gt.exp(x)[group]) / scale
    cost = gt.sum(residual**2)
    fn = function([x, y, group, scale], [cost, grad(cost, x)]).optimized
    (summed,) = (made.inputs[2] for made in fn.equations if made.op is scatter_add)
    assert summed.owner is not None and summed.owner.op is sub
    rng = np.random.default_rng(0)
    given = rng.normal(size=3), rng.normal(size=50), rng.integers(0, 3, 50), np.asarray(0.3)
    at, there, number, width = given
    apart = there - np.exp(at)[number]
    sums = -2 / width**2 * np.bincount(number, apart) * np.exp(at)
    for found, expected in zip(
        native(fn)(*given), [np.sum((apart / width) ** 2), sums], strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_the_hessian_of_pairs_computes_each_of_them_once() -> None:
    """Second derivatives by x[i], x[j] of f(x[i] - x[j]) are one symmetric matrix; rows sum up."""
    x = gt.vector("x")
    apart = x[:, None] - x[None, :]
    cost = gt.sum(gt.exp(-(apart**2)))
    fn = function([x], hessian(cost, x)).optimized
    assert operations(fn, "sum", 1) == 1 and operations(fn, "transpose", 2) == 0
    at = np.random.default_rng(0).normal(size=9)
    difference = at[:, None] - at
    second = (4 - 8 * difference**2) * np.exp(-(difference**2))
    expected = second - np.diag(second.sum(axis=0))
    np.testing.assert_allclose(native(fn)(at)[0], expected, rtol=1e-12, atol=1e-12)
