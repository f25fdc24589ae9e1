"""Scans and sorts: lengths, ties, zeros, special numbers, derivatives of both orders, batches."""

from __future__ import annotations

from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.ir.evaluate import evaluate

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(11)


def both(fn: Any, *arrays: Array) -> Any:
    """The value by native code, which is that of the reference evaluator."""
    found = fn(*arrays)
    for mine, wanted in zip(
        found if isinstance(found, tuple) else (found,), evaluate(fn.ir, *arrays), strict=True
    ):
        np.testing.assert_allclose(mine, wanted, rtol=1e-13)
    return found


@pytest.mark.parametrize("dtype", ("f8", "f4", "i8", "i4", "?"))
def test_orders_of_all_lengths(dtype: str) -> None:
    """Every length to 40 and some beyond, with many ties: NumPy's stable order."""
    x = gt.tensor("x", np.dtype(dtype), ("n",))
    f = gradc.function([x], [gt.argsort(x), gt.sort(x)])
    for n in (*range(41), 127, 128, 129, 1000):
        array = RNG.integers(0, 2 + n // 3, n).astype(dtype)
        order, ascending = f(array)
        np.testing.assert_array_equal(order, np.argsort(array, kind="stable"))
        np.testing.assert_array_equal(ascending, np.sort(array))


def test_special_numbers_have_their_place() -> None:
    """-inf first, inf and then nan last, zeros of both signs equal, as NumPy has it."""
    x = gt.vector("x")
    array = np.array([np.nan, np.inf, 0.0, -0.0, np.nan, -np.inf, 1.0, -0.0])
    order = both(gradc.function([x], gt.argsort(x)), array)
    np.testing.assert_array_equal(order, np.argsort(array, kind="stable"))


def test_sorting_along_any_axis() -> None:
    A = RNG.integers(0, 5, (3, 4, 5)).astype("f8")
    x = gt.tensor("x", "f8", (None, 4, None))
    for axis in (0, 1, 2, -2):
        order, ascending = both(gradc.function([x], [x.argsort(axis), gt.sort(x, axis)]), A)
        np.testing.assert_array_equal(order, np.argsort(A, axis, kind="stable"))
        np.testing.assert_array_equal(ascending, np.sort(A, axis))


def test_a_tangent_moves_with_its_entry() -> None:
    """The Jacobian of sort is the permutation, of tied entries the stable one."""
    x, v = gt.vector("x"), np.array([2.0, 1.0, 2.0, 0.0])
    J, H = both(
        gradc.function([x], [gradc.jacobian(gt.sort(x), x), gradc.hessian(gt.sort(x)[2] ** 3, x)]),
        v,
    )
    np.testing.assert_array_equal(J, np.eye(4)[np.argsort(v, kind="stable")])
    np.testing.assert_array_equal(H, np.diag([12.0, 0, 0, 0]))


ZEROS = ([2.0, 3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [7.0], [])


@pytest.mark.parametrize("entries", ZEROS, ids=str)
def test_cumulative_products_beside_zeros(entries: list[float]) -> None:
    """First and second derivatives are products of the other entries, without a quotient."""
    x, v = gt.vector("x"), np.array(entries)
    n = len(v)
    y, J, H = both(
        gradc.function(
            [x],
            [
                gt.cumprod(x),
                gradc.jacobian(gt.cumprod(x), x),
                gradc.hessian(gt.cumprod(x).sum(), x),
            ],
        ),
        v,
    )
    np.testing.assert_array_equal(y, np.cumprod(v))

    def without(i: int, *left_out: int) -> float:
        if any(j > i for j in left_out) or len(set(left_out)) < len(left_out):
            return 0.0
        return float(np.prod([v[j] for j in range(i + 1) if j not in left_out]))

    np.testing.assert_array_equal(
        J, np.array([without(i, j) for i in range(n) for j in range(n)]).reshape(n, n)
    )
    wanted = [sum(without(i, j, k) for i in range(n)) for j in range(n) for k in range(n)]
    np.testing.assert_array_equal(H, np.array(wanted).reshape(n, n))


def test_the_signs_of_zeros_stay() -> None:
    x = gt.vector("x")
    signs = np.signbit(gradc.function([x], gt.cumprod(x))(np.array([-0.0, 1.0, -1.0])))
    np.testing.assert_array_equal(signs, [True, True, False])


def test_the_first_multiplier_is_not_read() -> None:
    a, b = gt.vector("a"), gt.vector("b")
    f = gradc.function(
        [a, b], [gt.linear_recurrence(a, b), *gradc.grad(gt.linear_recurrence(a, b).sum(), [a, b])]
    )
    r, of_a, of_b = both(f, np.array([np.nan, 2.0, 3.0]), np.array([1.0, 10.0, np.inf]))
    np.testing.assert_array_equal(r, [1.0, 12.0, np.inf])
    np.testing.assert_array_equal(of_a, [0.0, 4.0, 12.0])
    np.testing.assert_array_equal(of_b, [9.0, 4.0, 1.0])


def test_a_recurrence_whose_entries_are_one_number() -> None:
    """The number is read once for the first entry, under a condition, and once for the others."""
    x = gt.scalar("x")
    for value in (gt.exp(x), gt.where(x > 0, x, -x)):
        made = gt.linear_recurrence(np.array([0.0, 2.0, -1.0]), gt.broadcast_to(value, (3,)))
        (e,) = {float(v) for v in [gradc.function([x], value)(1.0)]}
        np.testing.assert_allclose(gradc.function([x], made)(1.0), [e, 3 * e, -2 * e], rtol=1e-15)


def test_recurrences_against_differences() -> None:
    """Both modes and second order, along each axis, by verify_grad; and in rows by batching."""
    a, b = RNG.normal(size=(2, 3, 4))
    for axis in (0, 1):
        gradc.verify_grad(lambda a, b, axis=axis: gt.linear_recurrence(a, b, axis), [a, b], order=2)
        gradc.verify_grad(lambda x, axis=axis: gt.cumprod(x, axis), [a], order=2)
        gradc.verify_grad(lambda x, axis=axis: gt.cumsum(x * x, axis), [a], order=2)
    decay = 0.9
    x = gt.vector("x")
    J = gradc.function([x], gradc.jacobian(gt.linear_recurrence(gt.full_like(x, decay), x), x))
    lag = np.subtract.outer(np.arange(4), np.arange(4))
    wanted = np.where(lag >= 0, decay ** np.maximum(lag, 0), 0)
    np.testing.assert_allclose(both(J, np.zeros(4)), wanted, rtol=1e-14)


def test_what_is_the_same_for_all_entries_is_read_once() -> None:
    """Scalars beside a scan serve its first entry and the others."""
    x, s = gt.matrix("x"), gt.scalar("s")
    scans = [gt.linear_recurrence(x * s, x + s, 1), gt.cumsum(x * s, 0), gt.cumprod(s - x, 1)]
    f = gradc.function([x, s], [*scans, gt.sort(x * s, 1)])
    both(f, RNG.normal(size=(3, 4)), np.array(1.5))
    for empty in ((0, 4), (3, 0)):
        both(f, np.zeros(empty), np.array(1.5))


def test_all_entries_without_an_axis() -> None:
    """As in NumPy, None is all entries; of booleans and integers the sums are i64."""
    A = RNG.integers(0, 3, (2, 3))
    x = gt.tensor("x", "i8", (2, 3))
    total, product = gradc.function([x], [gt.cumsum(x), gt.cumprod(x)])(A)
    np.testing.assert_array_equal(total, np.cumsum(A))
    np.testing.assert_array_equal(product, np.cumprod(A))
    assert gradc.function([x], gt.cumsum(x > 1))(A).dtype == np.int64
    s = gt.scalar("s")
    np.testing.assert_array_equal(gradc.function([s], gt.cumsum(s))(3.0), [3.0])


def test_errors() -> None:
    x = gt.vector("x")
    with pytest.raises(gradc.GradcIndexError, match="there is no axis 1"):
        gt.cumsum(x, 1)
    with pytest.raises(gradc.GradcIndexError, match="there is no axis -1"):
        gt.sort(gt.scalar("s"))
