"""A large result that is joined of costly parts is written part by part, not entry by entry."""

from __future__ import annotations

from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.prepare import prepare
from gradc.codegen.schedule import schedule
from gradc.codegen.steps import Nest, Root
from gradc.codegen.target import Target
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.ops.constants import full
from gradc.ir.ops.contract import contract
from gradc.ir.ops.elementwise import cos, exp, sin
from gradc.ir.ops.slicing import concat
from gradc.ir.ops.structural import sum_, transpose
from gradc.ir.types import f64
from native import assert_agrees, native

WIDE = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512)
N = size("n")
X = parameter(f64[N, 3], "x")


def joined_by_columns() -> Value:
    """Both trigonometric parts, x itself, and a constant, side by side: [n, 14]."""
    square = cos(X) * exp(X)
    result: Value = concat(sin(X), square, X, full((N, 2), 0.5, f64), square * 2.0, axis=1)
    return result


def joined_both_ways() -> Value:
    """Parts of parts: columns beside one another, under another array: [2*n, 6]."""
    below: Value = concat(sin(X), exp(X), axis=1)
    result: Value = concat(concat(cos(X), X, axis=1), below, axis=0)
    return result


def roots(result: Value, *others: Value) -> list[Root]:
    return roots_of(function("f", [X], [result, *others]))


def roots_of(fn: Function) -> list[Root]:
    nests = [s for s in schedule(prepare(fn), Choices()).steps if isinstance(s, Nest)]
    return [root for nest in nests for root in nest.roots]


def test_each_part_has_a_loop_of_its_own() -> None:
    starts = {root.starts: root.space for root in roots(joined_by_columns())}
    assert starts == {
        (0, 0): (N, 3),
        (0, 3): (N, 3),
        (0, 6): (N, 3),
        (0, 9): (N, 2),
        (0, 11): (N, 3),
    }
    nested = {root.starts for root in roots(joined_both_ways())}
    assert nested == {(0, 0), (0, 3), (N, 0), (N, 3)}
    turned = {
        root.starts: root.space for root in roots(transpose(joined_both_ways(), permutation=(1, 0)))
    }
    assert turned == {(0, 0): (3, N), (3, 0): (3, N), (0, N): (3, N), (3, N): (3, N)}


def test_the_columns_of_a_jacobian_by_a_vector_of_unknown_length() -> None:
    """Three columns, and zeros for the entries that are not read: no function among comparisons."""
    x, t = gt.vector("x"), gt.vector("t")
    f = gradc.function([x, t], gradc.jacobian(x[0] * gt.exp(-x[1] * t) * gt.cos(x[2] * t), x))
    at, times = np.array([1.0, 0.3, 2.0, 5.0, 7.0]), np.linspace(0, 2, 37)
    for n in (3, 5):
        np.testing.assert_allclose(f(at[:n], times), evaluate(f.ir, at[:n], times)[0], rtol=1e-12)
    found = {root.starts for root in roots_of(f.optimized)}
    assert len(found) == 4


def test_what_is_read_again_or_cheap_stays_whole() -> None:
    result = joined_by_columns()
    assert all(not root.starts for root in roots(result, sum_(result, axes=(0,))))
    assert all(not root.starts for root in roots(concat(sin(X), X, axis=1)))
    small = sum_(X, axes=(0,))
    assert all(not root.starts for root in roots(concat(sin(small), exp(small), axis=0)))


CHOICES: dict[str, dict[str, Any]] = {
    "by cost": {},
    "scalars": {"vector_bits": 64},
    "short vectors": {"vector_bits": 128},
    "nothing shared": {"share": False},
    "everything stored": {"store": "everything"},
    "least stored": {"store": "least"},
    "without rows": {"rows": False},
    "blocks of one row": {"block": 1},
    "loops only": {"straight": False},
}


@pytest.mark.parametrize("choices", CHOICES)
def test_the_parts_are_right_whatever_is_chosen(choices: str) -> None:
    joined = joined_by_columns()
    turned = transpose(joined_both_ways(), permutation=(1, 0))
    fn: Function = function("f", [X], [joined, joined_both_ways(), turned, sum_(X, axes=(1,))])
    compiled = native(fn, choices=Choices(**{"vector_bits": 512, **CHOICES[choices]}))
    for n in (0, 1, 5, 200):
        assert_agrees(compiled, fn, [np.random.default_rng(n).normal(size=(n, 3))])


def test_small_results_stay_whole_for_straight_code() -> None:
    """A Hessian of a few scalars, most of it zeros: one kernel, beside what it reads."""
    t = gt.tensor("t", shape=(7,))
    cost = gt.sin(t[0]) * t[1] * t[2] ** 2 + gt.exp(t[3] * t[4]) + t[5] / t[6]
    f = gradc.function([t], gradc.hessian(cost, t))
    point = np.linspace(0.5, 1.5, 7)
    (expected,) = evaluate(f.ir, point)
    np.testing.assert_allclose(f(point), expected, rtol=1e-12)
    assert len(f.program.kernels) == 1


def test_a_large_result_of_known_size() -> None:
    x = parameter(f64[40, 3], "x")
    fn: Function = function("f", [x], [concat(sin(x), exp(x), cos(x) * x, axis=0)])
    for straight in (True, False):
        compiled = native(fn, choices=Choices(straight=straight))
        assert_agrees(compiled, fn, [np.random.default_rng(0).normal(size=(40, 3))])


def test_parts_are_written_in_runs_of_neighbours() -> None:
    """Four entries of each of three rows, with others between them: whole vectors, no scatter."""
    x = parameter(f64[N, 3, 4], "x")
    fn: Function = function("f", [x], [concat(sin(x) * x, exp(x), cos(x), axis=2)])
    text = emit_module([lower(fn, "f", Choices(512))], "{}", WIDE)
    assert "masked.scatter" not in text
    compiled = native(fn)
    for n in (1, 7, 8, 150):
        assert_agrees(compiled, fn, [np.random.default_rng(n).normal(size=(n, 3, 4))])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_parts_that_finish_products(axis: int, turned: bool) -> None:
    """A part is finished in its place, and its product is not computed in the whole result."""
    a, b, c = (parameter(f64[N, N], name) for name in "abc")
    first, second = (
        contract(x, y, lhs=(0, 1), rhs=(1, 2), out=(0, 2)) for x, y in ((a, b), (b, c))
    )
    joined = concat(exp(first), sin(second), axis=axis)
    result = transpose(joined, permutation=(1, 0)) if turned else joined
    fn: Function = function("f", [a, b, c], [result])
    compiled = native(fn)
    for n in (1, 9, 50):
        rng = np.random.default_rng(n)
        assert_agrees(compiled, fn, [rng.normal(size=(n, n)) / n for _ in "abc"])


def test_a_part_that_needs_a_sum_over_another_part() -> None:
    """Rows of one part are not the rows of the whole: the gradient of a shared prior's scale."""
    q = gt.vector("q")
    scale, beta = gt.exp(q[1]), q[3:]
    cost = gt.sum((beta / scale) ** 2) + q[0] ** 2 * scale + q.shape[0] * gt.sin(q[2])
    fn = gradc.function([q], [cost, gradc.grad(cost, q)]).optimized
    for length in (3, 4, 12, 40):
        point = np.random.default_rng(length).normal(size=length)
        for choices in (Choices(512), Choices(512, rows=False), Choices(64)):
            assert_agrees(native(fn, choices=choices), fn, [point])
