"""Rows in blocks: chunks of Jacobians, whose memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from arena_places import arena_bytes
from gradc.codegen.choices import Choices
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, function, parameter
from gradc.ir.ops.blocks import all_at_once, map_blocks, rows_of
from gradc.ir.ops.elementwise import exp, log, sin
from gradc.ir.ops.indexing import take
from gradc.ir.ops.structural import broadcast, sum_
from gradc.ir.passes.pipeline import optimize
from gradc.ir.text import parse_function, print_function
from gradc.ir.types import TypeRuleError, f64, i64
from gradc.ir.verify import verify
from gradc.trap import NotFiniteError
from native import assert_agrees, native

N, R = size("n"), size("r")
X, A = gt.tensor("x", shape=("n",)), gt.tensor("A", shape=("m", "n"))
Build = Callable[[int | None], Any]

JACOBIANS: dict[str, Build] = {
    "products": lambda k: gradc.jacobian(gt.tanh(A.T @ gt.sin(A @ X)), X, chunk=k),
    "tall": lambda k: gradc.jacobian(gt.sin(A @ X), X, chunk=k),
    "diagonal and more": lambda k: gradc.jacobian(X * gt.sum(X**2), X, chunk=k),
    "hessian": lambda k: gradc.hessian(gt.sum(gt.sin(A @ X) ** 3), X, chunk=k),
    "shifted": lambda k: gradc.hessian(gt.sum(X[1:] * X[:-1]) ** 3, X, chunk=k),
    "turned": lambda k: gradc.hessian(gt.sum(X[::-1] * X) ** 3, X, chunk=k),
    "by a matrix": lambda k: gradc.jacobian(gt.sin(A @ X), A, chunk=k),
    "of a matrix": lambda k: gradc.jacobian(X[:, None] * gt.sin(X) * gt.sum(X), X, chunk=k),
    "scan": lambda k: gradc.jacobian(gt.cumsum(gt.exp(X)) * gt.sum(X), X, chunk=k),
}


def arrays(m: int, n: int) -> list[Any]:
    rng = np.random.default_rng(n)
    return [rng.normal(size=n), rng.normal(size=(m, n))]


@pytest.mark.parametrize("name", JACOBIANS)
def test_chunks_of_symbolic_sizes_give_the_same(name: str) -> None:
    """For chunks that divide the number of rows, that do not, and that are more than all."""
    whole = gradc.function([X, A], JACOBIANS[name](None))
    chunks = [gradc.function([X, A], JACOBIANS[name](k)) for k in (1, 3, 100)]
    for m, n in ((5, 7), (2, 6), (1, 2), (0, 3)):
        given = arrays(m, n)
        for f in chunks:
            np.testing.assert_allclose(f(*given), whole(*given), rtol=1e-9, atol=1e-12)
            (reference,) = evaluate(f.ir, *given)
            np.testing.assert_allclose(f(*given), reference, rtol=1e-9, atol=1e-12)


def test_no_rows() -> None:
    f = gradc.function([X, A], JACOBIANS["products"](3))
    assert f(*arrays(4, 0)).shape == (0, 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_known_sizes(dtype: str) -> None:
    x = gt.tensor("x", shape=(7,), dtype=dtype)
    whole = gradc.function([x], gradc.jacobian(gt.exp(x) * gt.sum(x), x))
    point = np.linspace(0, 1, 7, dtype=dtype)
    for chunk in (1, 3, 7, 8):
        found = gradc.function([x], gradc.jacobian(gt.exp(x) * gt.sum(x), x, chunk=chunk))(point)
        assert found.dtype == point.dtype
        np.testing.assert_allclose(found, whole(point), rtol=1e-6)


def workspace(f: Any, **sizes: int) -> int:
    """The bytes of the arena."""
    return arena_bytes(f.program.slots, sizes)


@pytest.mark.parametrize("name", ["products", "hessian", "diagonal and more"])
def test_memory_is_bounded_by_the_chunk(name: str) -> None:
    """Nothing of n * n entries lies between, as it does without a chunk of the products."""
    n, chunk = 1000, 8
    bounded = workspace(gradc.function([X, A], JACOBIANS[name](chunk)), n=n, m=n)
    assert bounded < 8 * n * (3 * chunk + 10)
    if name == "products":
        assert workspace(gradc.function([X, A], JACOBIANS[name](None)), n=n, m=n) >= 8 * n * n


def test_a_chunk_is_one_program_however_many_blocks_there_are() -> None:
    x = gt.tensor("x", shape=(1000,))
    f = gradc.function([x], gradc.jacobian(x * gt.sum(x), x, chunk=2))
    assert len(f.stage("loops").splitlines()) < 60


def test_derivatives_of_chunked_jacobians() -> None:
    """Reverse over a chunked Jacobian, forward over it, and a chunked Jacobian of one."""
    weights = gt.tensor("w", shape=("n", "n"))

    def cost(k: int | None) -> Any:
        return gt.sum(weights * JACOBIANS["products"](k))

    given = [*arrays(3, 4), np.random.default_rng(0).normal(size=(4, 4))]
    inputs = [X, A, weights]
    for build in (
        lambda k: gradc.grad(cost(k), X),
        lambda k: gradc.grad(cost(k), A),
        lambda k: gradc.hessian_vector_product(cost(k), X, gt.cos(X)),
        lambda k: gradc.jacobian(JACOBIANS["products"](k), X, chunk=k),
        lambda k: gradc.hessian(cost(k), X, chunk=k),
    ):
        whole = gradc.function(inputs, build(None))(*given)
        found = gradc.function(inputs, build(3))(*given)
        np.testing.assert_allclose(found, whole, rtol=1e-8, atol=1e-10)


def test_functions_take_chunks() -> None:
    @gradc.function
    def f(x: f64["n"]) -> Any:  # noqa: F821
        return gt.exp(x) * gt.sum(x)

    @gradc.function
    def cost(x: f64["n"]) -> Any:  # noqa: F821
        return gt.sum(gt.sin(x)) ** 2

    x = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(gradc.jacobian(f, chunk=2)(x), gradc.jacobian(f)(x), rtol=1e-12)
    np.testing.assert_allclose(gradc.hessian(cost, chunk=2)(x), gradc.hessian(cost)(x), rtol=1e-12)
    assert "map_blocks" in gradc.jacobian(f, chunk=2).stage("ir")
    with pytest.raises(ValueError, match="at least 1"):
        gradc.jacobian(f, chunk=0)


# --- the op --------------------------------------------------------------------------------------


def two_results(block: int = 3) -> Function:
    """Rows and their sum, of a matrix by row numbers and of one that is cut."""
    numbers, a, x = parameter(i64[R]), parameter(f64[N, 2], "a"), parameter(f64[R, 2], "x")
    y = sin(take(a, numbers, axis=0)) * x
    body = function("body", [numbers, a, x], [y, sum_(y, axes=(0,))])
    outer = [parameter(f64[N, 2], name) for name in "ab"]
    result = map_blocks(*outer, body=body, lead=(N,), block=block, takes=(None, 0), gives=(0, None))
    return function("f", outer, result)


def test_the_text_form_holds_the_region() -> None:
    fn = two_results()
    text = print_function(fn)
    assert "takes=[none, 0], gives=[0, none]" in text
    again = parse_function(text)
    verify(again)
    assert print_function(again) == text


@pytest.mark.parametrize("bits", [64, 128, 256])
def test_several_results(bits: int) -> None:
    fn = two_results()
    compiled = native(fn, choices=Choices(bits))
    for n in (0, 1, 3, 10):
        rng = np.random.default_rng(n)
        assert_agrees(compiled, fn, [rng.normal(size=(n, 2)) for _ in "ab"])


def test_all_rows_at_once_are_the_same() -> None:
    fn = two_results()
    (made,) = fn.equations
    whole = function("g", fn.parameters, all_at_once(*made.inputs, **made.attrs))
    given = [np.random.default_rng(i).normal(size=(7, 2)) for i in range(2)]
    for one, other in zip(evaluate(fn, *given), evaluate(whole, *given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


def test_what_no_row_changes_is_computed_once() -> None:
    """And what only repeats entries stays inside, where it costs no memory."""
    numbers, a, x = parameter(i64[R]), parameter(f64[N], "a"), parameter(f64[R], "x")
    total = sum_(exp(a), axes=(0,))
    body = function("body", [numbers, a, x], [x * broadcast(total, shape=(R,), axes=())])
    outer = [parameter(f64[N], name) for name in "ab"]
    result = map_blocks(*outer, body=body, lead=(N,), block=4, takes=(None, 0), gives=(0,))
    fn = optimize(function("f", outer, [result]), check=True)
    made = next(e for e in fn.equations if e.op is map_blocks)
    assert {e.op.name for e in fn.equations} == {"exp", "sum", "map_blocks"}
    assert [e.op.name for e in made.attrs["body"].equations] == ["broadcast", "mul"]
    compiled = native(fn)
    assert_agrees(compiled, fn, [np.linspace(0, 1, 9), np.linspace(1, 2, 9)])


def test_equal_regions_are_one_and_unread_results_go() -> None:
    jacobians = [gradc.jacobian(X * gt.sum(X), X, chunk=4) for _ in range(2)]
    f = gradc.function([X], gt.sum(jacobians[0]) + gt.sum(jacobians[1]))
    assert f.stage("optimized").count("map_blocks") == 1
    fn = two_results()
    half = optimize(function("f", fn.parameters, fn.results[1:]))
    assert len(half.equations[0].outputs) == 1


def test_types_are_checked() -> None:
    fn = two_results()
    (made,) = fn.equations
    for change, message in (
        ({"block": 0}, "at least one row"),
        ({"takes": (None, 1)}, "not the rows"),
        ({"takes": (None,)}, "1 axes for 2"),
        ({"gives": (None, None)}, "depends on the number of rows"),
        ({"lead": (N, 2)}, "is to be"),
    ):
        with pytest.raises(TypeRuleError, match=message):
            map_blocks(*made.inputs, **{**made.attrs, **change})
    assert rows_of(made.attrs["body"]) == "r"


def test_an_index_out_of_range_in_a_block_fails_the_call() -> None:
    places = gt.tensor("places", shape=("n",), dtype="int64")
    f = gradc.function([X, places], gradc.jacobian(X[places] * gt.sum(X), X, chunk=2))
    x = np.arange(5.0)
    assert f(x, np.array([0, 1, 4, 4, 2])).shape == (5, 5)
    with pytest.raises(IndexError):
        f(x, np.array([0, 1, 4, 5, 2]))


def test_the_trap_looks_into_blocks() -> None:
    y = gt.log(X) * gt.sum(X)
    f = gradc.function([X], gradc.jacobian(y, X, chunk=2))
    with pytest.raises(NotFiniteError, match=r"div made|log made"):
        f.trap_nan(np.array([1.0, 0.0, 2.0]))


def test_kernels_are_explained_with_those_of_the_block() -> None:
    f = gradc.function([X, A], JACOBIANS["hessian"](8))
    text = f.stage("kernels")
    assert "n rows, 8 at a time, by a program of its own" in text
    assert "matrix product of" in text.partition("by a program of its own")[2]


def test_fast_math_reaches_blocks() -> None:
    f = gradc.function([X, A], JACOBIANS["products"](3), fast_math=True)
    given = arrays(5, 7)
    whole = gradc.function([X, A], JACOBIANS["products"](None))(*given)
    np.testing.assert_allclose(f(*given), whole, rtol=1e-9)
    assert "fadd reassoc contract" in f.stage("llvm")


def test_a_cost_that_divides_by_zero_beyond_the_last_row() -> None:
    """Rows that the last block does not have are not computed: no nan comes from them."""
    numbers, x = parameter(i64[R]), parameter(f64[N], "x")
    rows = log(take(x, numbers, axis=0))
    body = function("body", [numbers, x], [sum_(rows, axes=(0,))])
    outer = parameter(f64[N], "x")
    result = map_blocks(outer, body=body, lead=(N,), block=4, takes=(None,), gives=(None,))
    (found,) = native(function("f", [outer], [result]))(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    np.testing.assert_allclose(found, np.log(120.0))
