"""Derivatives by many directions in compressed form: the same numbers as one direction at a time,
and no work for what a direction does not move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.ops.cast import cast
from gradc.ir.ops.constants import iota
from gradc.ir.ops.logic import eq
from gradc.ir.ops.structural import broadcast, reshape, transpose
from gradc.ir.passes.pipeline import optimize
from gradc.ir.transforms.batch import batch_values
from gradc.ir.transforms.directions.sweep import along_directions, blocks_along
from gradc.ir.transforms.directions.work import work_of
from gradc.ir.transforms.forward import push_tangents
from gradc.ir.transforms.reverse import pull_cotangents
from gradc.ir.transforms.zeros import cotangent_type
from gradc.ir.types import i64
from gradc.jacobians import jacobian_of, pushed_along
from gradc.tensor.variable import Tensor
from native import assert_agrees, native
from random_programs import random_arguments, random_function


def dense(linear: Value, direction: Value) -> Value:
    """`linear` for each unit array in the place of `direction`, by the batch rules of all ops."""
    size = direction.type.size
    rows = broadcast(iota(size=size, dtype=i64), shape=(size, size), axes=(0,))
    columns = broadcast(iota(size=size, dtype=i64), shape=(size, size), axes=(1,))
    units = cast(eq(rows, columns), dtype=direction.dtype)
    seeds = reshape(units, shape=(size, *direction.shape))
    (found,) = batch_values([linear], {direction: seeds}, size)
    order = (*range(1, found.type.rank), 0)
    moved = transpose(found, permutation=order)
    result: Value = reshape(moved, shape=(*linear.shape, *direction.shape))
    return result


def linear_graphs(fn: Function) -> list[tuple[Value, Value]]:
    """Each result's tangent by each parameter, and each parameter's cotangent by each result."""
    found: list[tuple[Value, Value]] = []
    for x in fn.parameters:
        for result in fn.results:
            tangent, seed = parameter(x.type), parameter(cotangent_type(result))
            (pushed,) = push_tangents([result], {x: tangent})
            (pulled,) = pull_cotangents([(result, seed)], [x])
            found += [(pushed, tangent)] if pushed is not None else []
            found += [(pulled, seed)] if isinstance(pulled, Value) else []
    return found


@pytest.mark.parametrize("seed", range(12))
def test_compressed_is_dense_on_random_programs(seed: int) -> None:
    fn = random_function(seed)
    graphs = linear_graphs(fn)
    pairs = [(along_directions(*graph), dense(*graph)) for graph in graphs]
    both = function("both", fn.parameters, [v for pair in pairs for v in pair], fn.requires)
    for n, m in ((4, 5), (3, 3), (2, 1)):
        values = evaluate(both, *random_arguments(fn, seed, n=n, m=m))
        for found, expected in zip(values[::2], values[1::2], strict=True):
            scale = float(np.max(np.abs(expected), initial=1.0))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize("seed", range(4))
def test_native_code_of_compressed_derivatives(seed: int) -> None:
    fn = random_function(seed, equations=8)
    wrt = (fn.parameters[1], fn.parameters[3])
    results = [block for result in fn.results[1:] for block in jacobian_of(result, wrt)]
    jacobians = function("jacobians", fn.parameters, results, fn.requires)
    compiled = native(optimize(jacobians))
    for n, m in ((4, 5), (150, 3)):
        assert_agrees(compiled, jacobians, random_arguments(fn, seed, n=n, m=m))


def jacobian(build: Callable[[Any], Any], shape: Sequence[int | str], point: Any) -> Any:
    x = gt.tensor("x", shape=tuple(shape))
    return gradc.function([x], gradc.jacobian(build(x), x))(np.asarray(point, float))


def by_differences(build: Callable[[Any], Any], point: np.ndarray) -> np.ndarray:
    x = gt.tensor("x", shape=point.shape)
    f = gradc.function([x], build(x))
    columns = []
    for at in np.ndindex(point.shape):
        step = np.zeros(point.shape)
        step[at] = 1e-6
        columns.append((np.asarray(f(point + step)) - np.asarray(f(point - step))) / 2e-6)
    rows = np.stack(columns, -1)
    return rows.reshape(*rows.shape[:-1], *point.shape)


def smoothed(x: Any) -> Any:
    """Means of neighbours of means of neighbours: ever more diagonals, more than there is room."""
    for _ in range(5):
        x = gt.concat([x[:1], (x[1:-1] + x[2:]) * 0.5 + x[:-2] ** 2, x[-1:]])
    return x


CASES: dict[str, Callable[[Any], Any]] = {
    "a slice": lambda x: gt.sin(x[2:5]),
    "every second one": lambda x: gt.exp(x[1::2]) * x[::2],
    "backwards": lambda x: gt.sin(x[::-1]) * x,
    "backwards in steps": lambda x: x[::-1][::3] ** 2,
    "neighbours": lambda x: x[1:] * x[:-1] ** 2,
    "three in a row": lambda x: x[2:] - 2 * x[1:-1] + x[:-2] ** 3,
    "scalars": lambda x: gt.stack([x[0] * x[3], gt.sin(x[2]), x[0] ** 2]),
    "a part with itself": lambda x: gt.concat([x[3:6] ** 2, x, x[:2] * x[4:6]]),
    "sums of parts": lambda x: gt.stack([gt.sum(x[:3] ** 2), gt.sum(x), gt.sum(x[::2] ** 3)]),
    "an outer product": lambda x: x[:3, None] * gt.sin(x)[None, :],
    "a matrix of parts": lambda x: x.reshape(2, 3).T @ x.reshape(2, 3),
    "padded": lambda x: gt.pad(x * x, (2, 1)) * 3.0,
    "rows of a table": lambda x: gt.take(x**2, gt.asarray([0, 2, 2, 5]), axis=0),
    "a branch": lambda x: gt.where(x > 0.3, gt.sqrt(gt.abs(x)), x[::-1] ** 2),
    "a maximum": lambda x: gt.max(x.reshape(3, 2) ** 2, axis=1),
    "a product": lambda x: gt.prod(x.reshape(3, 2), axis=1) * x[:3],
    "sums so far": lambda x: gt.cumsum(x[1:] ** 2) * x[0],
    "products so far": lambda x: gt.cumprod(gt.sin(x)),
    "smoothed again and again": smoothed,
    "constants": lambda x: gt.stack([gt.asarray(1.0), x[1], gt.asarray(0.0)]),
}


OF_KNOWN_LENGTH = (
    *("every second one", "scalars", "a matrix of parts", "a maximum", "a product"),
    *("one column", "a product with a constant"),
)


def with_sizes(cases: Iterable[str], *sizes: Any) -> list[tuple[str, Any]]:
    """Each case with each size; those that want a known length only with the first one."""
    return [(c, s) for c in cases for s in sizes if s == sizes[0] or c not in OF_KNOWN_LENGTH]


@pytest.mark.parametrize(("name", "size"), with_sizes(CASES, 6, "n"))
def test_jacobians_of_structures(name: str, size: int | str) -> None:
    build, point = CASES[name], np.random.default_rng(3).normal(size=6) + 0.1
    expected = by_differences(build, point)
    np.testing.assert_allclose(jacobian(build, (size,), point), expected, atol=1e-7)


MATRICES: dict[str, Callable[[Any], Any]] = {
    "rows": lambda x: gt.sin(x) * x,
    "rows that are summed": lambda x: gt.sum(x**3, axis=1),
    "columns that are summed": lambda x: gt.sum(x**3, axis=0),
    "transposed": lambda x: gt.exp(x.T),
    "a product of itself": lambda x: x @ x.T,
    "a product with a constant": lambda x: x @ gt.asarray(np.arange(6.0).reshape(3, 2)),
    "normalised rows": lambda x: x / gt.sum(gt.exp(x), axis=1)[:, None],
    "one column": lambda x: gt.tanh(x[:, 1]) * x[:, 2],
    "flat": lambda x: gt.sin(x.reshape(-1)),
}


@pytest.mark.parametrize(("name", "shape"), with_sizes(MATRICES, (4, 3), ("n", 3), (4, "m")))
def test_jacobians_by_matrices(name: str, shape: tuple[int | str, ...]) -> None:
    build, point = MATRICES[name], np.random.default_rng(4).normal(size=(4, 3))
    expected = by_differences(build, point)
    np.testing.assert_allclose(jacobian(build, shape, point), expected, atol=1e-7)


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_short_arrays_of_symbolic_length(length: int) -> None:
    point = np.arange(1.0, length + 1)
    found = jacobian(lambda x: gt.concat([x**2, x[::-1]]), ("n",), point)
    expected = np.concatenate([np.diag(2 * point), np.eye(length)[::-1]])
    np.testing.assert_array_equal(found, expected)


def entries_moved(linear: Value, direction: Value) -> int:
    """The number of entries that are computed for all directions together."""
    blocks = blocks_along(linear, direction)
    sizes = [block.value.type.size for block in blocks]
    assert all(isinstance(size, int) for size in sizes)
    return sum(sizes)  # type: ignore[arg-type]


def test_each_direction_moves_what_it_reaches() -> None:
    x = gt.tensor("x", shape=(26,))
    moved = gt.concat([gt.sin(x[:3]), x[10] * gt.ones((4,)), x[4:6] * gt.sum(x[20:])])
    tangent = parameter(x.value.type)
    (linear,) = push_tangents([moved.value], {x.value: tangent})
    assert linear is not None
    # 3 of a diagonal, 1 direction by 4, a diagonal of 2, 6 directions by 2: dense it is 26 * 9
    assert entries_moved(linear, tangent) == 3 + 4 + 2 + 12


def test_the_hessian_of_neighbours_is_three_diagonals() -> None:
    x = gt.tensor("x", shape=(50,))
    cost = gt.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    gradient = gradc.grad(cost, x)
    tangent = parameter(x.value.type)
    (linear,) = push_tangents([gradient.value], {x.value: tangent})
    assert linear is not None
    assert entries_moved(linear, tangent) == 49 + 50 + 49


def operations(result: Tensor, x: Tensor) -> list[str]:
    return [e.op.name for e in optimize(function("f", [x.value], [result.value])).equations]


def test_seeds_leave_no_multiplications() -> None:
    x = gt.tensor("x", shape=(26,))
    assert "mul" not in operations(gradc.jacobian(gt.sin(x[3:6]), x), x)
    assert "contract" not in operations(gradc.jacobian(gt.asarray(np.ones((2, 26))) @ x, x), x)
    assert set(operations(gradc.jacobian(x[3:6], x), x)) <= {"constant", "pad", "transpose"}


def test_a_jacobian_by_weights_keeps_rows_apart() -> None:
    """The weights of one unit move that unit: no work and no memory for all pairs of units."""
    w, x = gt.tensor("w", shape=(10, 20)), gt.tensor("x", shape=("n", 10))
    tangent = parameter(w.value.type)
    (linear,) = push_tangents([gt.tanh(x @ w).value], {w.value: tangent})
    assert linear is not None
    blocks = blocks_along(linear, tangent)
    assert [len(b.value.shape) for b in blocks] == [3]


def test_second_orders_of_compressed_derivatives() -> None:
    x = gt.tensor("x", shape=("n",))
    third = gradc.jacobian(gradc.hessian(gt.sum(x[1:] ** 2 * x[:-1] ** 2), x), x)
    f, point = gradc.function([x], third), np.array([0.5, -1.0, 2.0])
    expected = np.zeros((3, 3, 3))
    for i in (0, 1):
        a, b = point[i], point[i + 1]
        for at, value in (((i, i, i + 1), 4 * b), ((i, i + 1, i + 1), 4 * a)):
            for order in {(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)}:
                expected[tuple(at[k] for k in order)] = value
    np.testing.assert_allclose(f(point), expected)


def test_forward_mode_where_columns_are_fewer_on_the_way() -> None:
    """Six rows, and seven columns of which five move what is costly."""
    x, A = gt.tensor("x", shape=(7,)), gt.tensor("A", shape=(300, 300))
    wide = gt.concat([x[:5], gt.ones((295,))])
    y = gt.tanh(A @ gt.tanh(A @ wide))[:6]
    found, forward = gradc.jacobian(y, x).value, pushed_along(y.value, x.value)
    assert work_of(found, [y.value]) == work_of(forward, [y.value]) < 2 * 6 * 300 * 300


def test_reverse_mode_where_rows_are_fewer_on_the_way() -> None:
    """As many rows as columns, and two entries between the many and the rows."""
    x, A = gt.tensor("x", shape=(40,)), gt.tensor("A", shape=(2, 400))
    wide = gt.tanh(gt.take(x, gt.asarray(np.arange(400) % 40), axis=0))
    y = gt.concat([gt.sin(A @ wide), gt.zeros((38,))])
    found = work_of(gradc.jacobian(y, x).value, [y.value])
    assert found * 2 < work_of(pushed_along(y.value, x.value), [y.value])


def test_many_diagonals_become_one_block_of_all_directions() -> None:
    """After forty steps there are 81 diagonals: they are not carried one by one for ever."""
    x = gt.tensor("x", shape=("n",))
    y = x
    for _ in range(40):
        y = gt.pad(y, (1, 0))[:-1] + gt.pad(y, (0, 1))[1:]
    tangent = parameter(x.value.type)
    (linear,) = push_tangents([y.value], {x.value: tangent})
    assert linear is not None
    assert len(blocks_along(linear, tangent)) <= 48


@pytest.mark.parametrize("chunk", [1, 4])
def test_chunks_of_a_symbolic_number_of_directions(chunk: int) -> None:
    """Where directions stay on diagonals there is nothing to cut; else they come in blocks."""
    x = gt.tensor("x", shape=("n",))
    f = gradc.function([x], gradc.jacobian(x[1:] * x[:-1], x, chunk=chunk))
    point = np.array([1.0, 2.0, 4.0])
    np.testing.assert_array_equal(f(point), [[2.0, 1.0, 0.0], [0.0, 4.0, 2.0]])
    assert "map_blocks" not in f.stage("ir")
    cut = gradc.function([x], gradc.jacobian(x * gt.sum(x**2), x, chunk=chunk))
    assert "map_blocks" in cut.stage("ir")
    expected = 21 * np.eye(3) + 2 * np.outer(point, point)
    np.testing.assert_allclose(cut(point), expected, rtol=1e-15)
