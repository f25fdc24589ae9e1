"""Sums of terms of which few are no zeros: only those are computed, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import f32, f64
from gradc.codegen.choices import Choices
from gradc.codegen.explain import explain_kernels
from gradc.codegen.lower import cut_into_kernels
from gradc.codegen.rows import parts_of
from gradc.codegen.steps import Nest
from gradc.codegen.target import host, parse_target
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.passes.pipeline import optimize
from native import native

USUAL = Choices(host().vector_bits)
FORCED = {
    "usual": USUAL,
    "all terms": replace(USUAL, select=False),
    "no rows": replace(USUAL, rows=False),
    "blocks of 1": replace(USUAL, block=1),
    "blocks of 100": replace(USUAL, block=100),
    "store everything": replace(USUAL, store="everything"),
    "store least": replace(USUAL, store="least"),
    "scalars": replace(USUAL, vector_bits=64),
    "128 bits": replace(USUAL, vector_bits=128),
}
SIZES = ((0, 9), (1, 1), (5, 3), (64, 8), (131, 25), (300, 70), (150, 200))


def nearest(x: Any, y: Any) -> Any:
    """The sum of the squared distances of points to the nearest of others."""
    return gt.sum(gt.min(gt.sum((x[:, None, :] - y) ** 2, axis=2), axis=1))


def steepest(x: Any, y: Any) -> Any:
    """The sum of the largest of k affine functions; a product with the selected entries."""
    return gt.sum(gt.max(gt.sum(x[:, None, :] * y - 0.5 * y * gt.tanh(y), axis=2), axis=1) ** 2)


def nearest_of_each(x: Any, y: Any) -> Any:
    """The same for the others: the minima run along the first axis of the distances."""
    return gt.sum(gt.min(gt.sum((x[:, None, :] - y) ** 2, axis=2), axis=0))


def nearest_in_groups(x: Any, y: Any) -> Any:
    """The same for others and their mirror images: minima run along two axes."""
    apart = x[:, None, None, :] - gt.stack([y, -y], axis=1)
    return gt.sum(gt.min(gt.sum(apart**2, axis=3), axis=(1, 2)))


def gradient(of: Callable[..., Any], d: Any, dtype: Any = f64, wrt: Any = ("x", "y")) -> Function:
    @gradc.function
    def f(x: dtype["n", d], y: dtype["k", d]) -> Any:  # type: ignore[valid-type, name-defined]  # noqa: F821
        return of(x, y)

    return optimize(gradc.value_and_grad(f, wrt=list(wrt)).ir, check=True)


def selecting(fn: Function, choices: Choices = USUAL) -> list[Nest]:
    """The nests of a function that compute few terms of their sums."""
    parts = [part for step in cut_into_kernels(fn, choices).steps for part in parts_of(step)]
    return [part for part in parts if isinstance(part, Nest) and part.selects]


def arrays(n: int, k: int, d: int, dtype: Any = f64) -> list[Any]:
    """Points and others: some lie where others do, and some others are the same."""
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    y[k // 2 :: 3] = y[0]
    x[::7] = y[0]
    return [x.astype(dtype.numpy), y.astype(dtype.numpy)]


def assert_equal(
    fn: Function, reference: Function, given: Sequence[Any], choices: Choices, rtol: float = 1e-9
) -> None:
    found = native(fn, choices=choices)(*given)
    for actual, wanted in zip(found, evaluate(reference, *given), strict=True):
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted))))
        np.testing.assert_allclose(actual, wanted, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("name", FORCED)
@pytest.mark.parametrize("d", [3, "d"])
def test_forced_choices(d: Any, name: str) -> None:
    check_gradients(nearest, d, FORCED[name])


@pytest.mark.parametrize("d", [2, 7, 10, 20])
@pytest.mark.parametrize("of", [nearest, steepest, nearest_of_each, nearest_in_groups])
def test_gradients(of: Callable[..., Any], d: int) -> None:
    check_gradients(of, d, USUAL)


def check_gradients(of: Callable[..., Any], d: Any, choices: Choices) -> None:
    fn = gradient(of, d)
    compiled = native(fn, choices=choices)
    assert selecting(fn) or choices is not USUAL
    for n, k in SIZES[of is nearest_of_each :]:  # of no points at all none is the nearest
        given = arrays(n, k, d if isinstance(d, int) else 5)
        for actual, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
            np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-10 * scale)


def test_both_gradients_select_their_terms() -> None:
    assert len(selecting(gradient(nearest, 10))) == 2
    assert not selecting(gradient(nearest, 10), replace(USUAL, select=False))
    text = explain_kernels(gradient(nearest, 10, wrt=["y"]), "f", USUAL)
    assert "those of rows of the block where the term is not zero" in text


@pytest.mark.parametrize("of", [nearest, nearest_of_each])
def test_conditions_are_tested_once(of: Callable[..., Any]) -> None:
    """Their bits tell what both gradients select, and how many entries share a minimum."""
    fn = gradient(of, 10)
    tests = [v for v in cut_into_kernels(fn, USUAL).stored if v.owner and v.owner.op.name == "bits"]
    text = explain_kernels(fn, "f", USUAL)
    assert len(tests) == 1
    assert text.count("== ") == 1
    assert "popcount" in text


def test_ties_share_the_gradient_exactly() -> None:
    """Every one of 16 equal centres gets a sixteenth; the others get nothing."""
    fn = gradient(nearest, 10, wrt=["y"])
    x = np.full((70, 10), 1.0)
    y = np.concatenate([np.full((16, 10), 3.0), np.full((9, 10), 9.0)])
    value, by_y = native(fn)(x, y)
    assert value == 70 * 40.0
    np.testing.assert_array_equal(by_y[:16], 70 * 4.0 / 16)
    np.testing.assert_array_equal(by_y[16:], 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_where_it_is(bad: float) -> None:
    """As the evaluator has it: a nan distance is the minimum, and nothing else is touched by it."""
    for of in (nearest, steepest):
        for where in (0, 1):
            fn, given = gradient(of, 10), arrays(131, 25, 10)
            given[where][11, 3] = bad
            assert_equal(fn, fn, given, USUAL)


def test_single_precision() -> None:
    fn = gradient(nearest, 6, f32)
    assert len(selecting(fn)) == 2
    assert_equal(fn, fn, arrays(300, 40, 6, f32), USUAL, 1e-4)


@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3"])
def test_lesser_machines(target: str) -> None:
    fn, given = gradient(nearest, 7), arrays(131, 25, 7)
    machine = parse_target(target)
    found = native(fn, machine, Choices(machine.vector_bits))(*given)
    for actual, wanted in zip(found, evaluate(fn, *given), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-9)


def test_second_order() -> None:
    @gradc.function
    def cost(y: f64["k", 5], x: f64["n", 5]) -> Any:  # noqa: F821
        return nearest(x, y)

    fn = gradc.hvp(cost, wrt="y").ir
    x, y = arrays(131, 25, 5)
    t = np.random.default_rng(1).normal(size=y.shape)
    made = optimize(fn)
    given = [{"y": y, "x": x}.get(p.name or "", t) for p in fn.parameters]
    assert_equal(made, fn, given, USUAL)


def test_every_index_is_checked() -> None:
    """Also one that only terms read which are not selected: such sums compute all of them."""
    x, y = gt.matrix("x", shape=("n", 5)), gt.matrix("y", shape=("k", 5))
    table, index = gt.vector("t", shape=("m",)), gt.tensor("i", "i64", ("k",))
    squares = gt.sum((x[:, None, :] - y) ** 2, axis=2)
    least = (squares == gt.min(squares, axis=1)[:, None])[:, :, None]
    terms = x[:, None, :] - y
    for factor, count in ((y[:, :1], 1), (table[index][:, None], 0)):
        total = gt.sum(gt.where(least, terms * factor, 0.0), axis=0)
        assert len(selecting(gradc.function([x, y, table, index], total).optimized)) == count


def test_small_sums_are_written_as_they_stand() -> None:
    @gradc.function
    def cost(x: f64[4, 3], y: f64[9, 3]) -> Any:
        return nearest(x, y)

    fn = optimize(gradc.grad(cost, wrt="y").ir)
    assert not selecting(fn)
    given = arrays(4, 9, 3)
    assert_equal(fn, fn, given, USUAL)
