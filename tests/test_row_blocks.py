"""Blocks of rows with the rows in lanes, and arrays that are turned: right for all lengths."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.explain import explain_kernels
from gradc.codegen.llvm import emit_module
from gradc.codegen.loop_plan import plan_loops
from gradc.codegen.lower import cut_into_kernels, lower
from gradc.codegen.row_group import RowGroup
from gradc.codegen.steps import FinishedProduct, Nest, ProductStep
from gradc.codegen.target import Target, host
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.loops import For, Instruction
from gradc.ir.text import parse_function
from native import assert_agrees, native

Make: TypeAlias = Callable[[str, "int | None", int], Function]

USUAL = Choices(host().vector_bits)
CHOICES = {
    "usual": USUAL,
    "not turned": replace(USUAL, turn=False),
    "blocks of 16": replace(USUAL, block=16),
    "blocks of 1": replace(USUAL, block=1),
    "256 bits": replace(USUAL, vector_bits=256),
    "scalars": replace(USUAL, vector_bits=64),
}
ROWS = (0, 1, 7, 8, 63, 64, 65, 130, 300, 513)


def nearest_centres(dtype: str, k: int | None, d: int) -> Function:
    centres = gt.tensor("centres", dtype, (k or "k", d))
    points = gt.tensor("points", dtype, ("n", d))
    squares = gt.sum((points[:, None, :] - centres) ** 2, axis=2)
    cost = gt.sum(gt.min(squares, axis=1))
    return gradc.function([centres, points], [cost, gradc.grad(cost, centres)]).optimized


def mixture(dtype: str, k: int | None, d: int, factor: float = 1.0) -> Function:
    means, weights = gt.tensor("m", dtype, (k or "k", d)), gt.tensor("w", dtype, (k or "k",))
    turns, x = gt.tensor("q", dtype, (k or "k", d, d)), gt.tensor("x", dtype, ("n", d))
    y = gt.einsum("kab,nkb->nka", turns, x[:, None, :] - means)
    cost = gt.sum(gt.logsumexp(weights - factor * gt.sum(y**2, axis=2), axis=1))
    inputs = [means, weights, turns]
    return gradc.function([*inputs, x], [cost, *gradc.grad(cost, inputs)]).optimized


def pairs(dtype: str, k: int | None, d: int) -> Function:
    x, mass = gt.tensor("x", dtype, ("n", d)), gt.tensor("mass", dtype, ("n",))
    distance = gt.sqrt(gt.sum((x[:, None, :] - x) ** 2, axis=2) + 1)
    cost = gt.sum(mass[:, None] * mass / distance)
    return gradc.function([x, mass], [cost, gradc.grad(cost, x), gt.sum(x, axis=0)]).optimized


def classes(dtype: str, k: int | None, d: int) -> Function:
    weights = gt.tensor("w", dtype, ("d", k or "k"))
    x = gt.tensor("x", dtype, ("n", "d"))
    cost = gt.sum(gt.logsumexp(x @ weights / d, axis=1))
    return gradc.function([weights, x], [cost, gradc.grad(cost, weights)]).optimized


def flags(dtype: str, k: int | None, d: int) -> Function:
    """Which columns have an entry far above the mean of its row, and which rows."""
    x = gt.tensor("x", dtype, ("n", k or "k"))
    far = x > gt.mean(x, axis=1)[:, None] + d
    results = [gt.any(far, axis=0), gt.any(far, axis=1), gt.any(far), gt.sum(x * x, axis=0)]
    return gradc.function([x], results).optimized


def local_rows(dtype: str, k: int | None, d: int) -> Function:
    """A number for each row, which loops of one block read: neighbours, and as an index."""
    x, y = gt.tensor("x", dtype, ("n", k or "k")), gt.tensor("y", dtype, ("n",))
    logs = gt.logsumexp(x, axis=1)
    nearest = gt.argmax(x * y[:, None], axis=1)
    weights = gt.tanh(logs) * y + gt.take(gt.arange(k or 5), nearest).astype(dtype)
    sums = gt.sum(x * weights[:, None], axis=0)
    return gradc.function([x, y], [sums, gt.sum(gt.exp(-weights)), nearest]).optimized


def arguments(fn: Function, n: int, k: int) -> list[np.ndarray]:
    rng, sizes = np.random.default_rng(n), {"n": n, "k": k, "d": 7}
    shapes = [[sizes.get(str(d), d) for d in value.shape] for value in fn.parameters]
    return [
        rng.normal(size=shape).astype(value.dtype.numpy)
        for shape, value in zip(shapes, fn.parameters, strict=True)
    ]


def check(fn: Function, choices: Choices, k: int) -> None:
    compiled = native(fn, choices=choices)
    for n in ROWS:
        given = arguments(fn, n, k)
        for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            assert found.dtype == wanted.dtype
            if found.dtype == bool:
                np.testing.assert_array_equal(found, wanted)
                continue
            scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
            tolerance = 1e-11 if found.dtype == np.float64 else 2e-4
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("made", [nearest_centres, mixture, pairs, classes, flags, local_rows])
def test_choices(made: Make, name: str) -> None:
    check(made("f64", None, 3), CHOICES[name], 5)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(("k", "d"), [(None, 1), (None, 2), (None, 10), (4, 5), (3, 17), (9, 20)])
@pytest.mark.parametrize("made", [nearest_centres, mixture, classes])
def test_widths(made: Make, k: int | None, d: int, dtype: str) -> None:
    check(made(dtype, k, d), USUAL, k or 6)


@pytest.mark.parametrize(("d", "k"), [(40, 30), (300, 120), (0, 5), (5, 0)])
def test_rows_of_a_block_by_the_matrices_that_a_call_has(d: int, k: int) -> None:
    """Few rows beside small matrices, more beside large ones: 300 x 120 doubles are 288 kB."""
    fn = classes("f64", None, d)
    assert "64 or 256 rows at a time" in explain_kernels(fn, "f", USUAL)
    compiled, rng = native(fn), np.random.default_rng(d)
    for n in ROWS:
        given = [rng.normal(size=(d, k)), rng.normal(size=(n, d))]
        for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("d", [10, 32])
def test_no_array_of_rows_and_components_is_written(d: int) -> None:
    """What a mixture needs for a row lives for one block only: no buffer has n rows."""
    program = lower(mixture("f64", None, d), "f", USUAL)
    assert all("n" not in map(str, t.type.shape) for t in program.temporaries)


def nests_of(fn: Function) -> tuple[RowGroup, list[Nest]]:
    (group, *_) = (s for s in cut_into_kernels(fn, USUAL).steps if isinstance(s, RowGroup))
    return group, [step for step in group.steps if isinstance(step, Nest)]


def test_a_maximum_is_apart_from_entries_that_read_more() -> None:
    """So what is computed entry by entry has its loops in the order in which arrays lie."""
    group, nests = nests_of(mixture("f64", None, 10))
    (maximum,) = (nest for nest in nests if any(root.kind == "max" for root in nest.roots))
    (read,) = maximum.roots[0].operands
    (entries,) = (nest for nest in nests if any(root.value is read for root in nest.roots))
    assert entries is not maximum and maximum.order == entries.order == (0, 1)
    loops = plan_loops(entries, 4, group.columns | group.tiles, in_block=True)
    assert [loop.axes for loop in loops] == [(1,), (0,)]


def test_sums_that_need_the_same_product_share_a_loop() -> None:
    """Also where the product is computed again rather than stored."""
    _, nests = nests_of(mixture("f64", None, 2, factor=0.5))
    sums = [[len(r.value.shape) for r in nest.roots] for nest in nests if nest.roots[0].kind]
    assert [2, 3] in sums


def test_whether_any_row_has_it_is_found_block_by_block() -> None:
    steps = cut_into_kernels(flags("f64", None, 2), USUAL).steps
    group = next(step for step in steps if isinstance(step, RowGroup))
    kinds = [root.kind for s in group.steps if isinstance(s, Nest) for root in s.roots]
    assert kinds.count("or") == 3


def test_rows_are_around_sums() -> None:
    """Vectors of rows side by side inside the components, and inside them what is added up."""
    group, nests = nests_of(mixture("f64", None, 32))
    (squares,) = (n for n in nests if len(n.space) == 3 and n.roots[0].placement == (0, 1))
    loops = plan_loops(squares, 4, group.columns | group.tiles, in_block=True)
    assert [(loop.axes, loop.lanes) for loop in loops] == [((1,), 1), ((0,), 4), ((2,), 1)]
    assert loops[1].copies > 1


def test_points_that_share_loads_run_side_by_side() -> None:
    """Distances of two vectors of points to four centres, and squares rounded with their sum."""
    program = lower(nearest_centres("f64", None, 10), "f", Choices(256))
    (outer,) = (s for s in program.kernels[0].body if isinstance(s, For))
    loops = [s for s in outer.body if isinstance(s, For)]
    (tile,) = (s for s in loops if (s.lanes, s.copies) == (4, 2))
    (inner,) = (s for s in tile.body if isinstance(s, For))
    assert (inner.lanes, inner.copies) == (1, 4)
    assert sum(isinstance(s, Instruction) and s.op == "term" for s in inner.body) == 10


def test_narrow_rows_run_in_long_blocks() -> None:
    """What a loop costs once is little then; wide rows stay in the first cache."""
    x, where = gt.vector("x", shape=("n",)), gt.vector("where", shape=("n",), dtype="int64")
    table, wide = gt.vector("table", shape=("k",)), gt.matrix("wide", shape=("n", 20))
    narrow = gt.sum(table[where] * x)
    narrow_group, _ = nests_of(
        gradc.function([x, where, table], gradc.grad(narrow, table)).optimized
    )
    assert narrow_group.block == 512
    cost = gt.sum(table[where] * gt.max(wide, axis=1))
    wide_group, _ = nests_of(
        gradc.function([wide, where, table], gradc.grad(cost, table)).optimized
    )
    assert wide_group.block == 64


@pytest.mark.parametrize("bits", [64, 128, 256])
def test_products_are_rounded_with_their_sum(bits: int) -> None:
    x, y = gt.vector("x", shape=("n",)), gt.vector("y", shape=("n",))
    fn = gradc.function([x, y], gt.sum(x * y)).optimized
    a, b = np.zeros((2, bits))
    a[0], b[0] = -1.0, (1 + 2.0**-30) ** 2  # rounded
    a[4 * bits // 64] = b[4 * bits // 64] = 1 + 2.0**-30  # what the same lane adds next
    (found,) = native(fn, host(), Choices(bits))(a, b)
    assert found == (2.0**-60 if host().has_fma else 0.0)


def test_products_of_unknown_size_share_their_rows() -> None:
    steps = cut_into_kernels(classes("f64", None, 1), USUAL).steps
    (group,) = (step for step in steps if isinstance(step, RowGroup))
    assert sum(isinstance(step, ProductStep) for step in group.steps) == 2
    assert not any(isinstance(step, ProductStep) for step in steps)


@pytest.mark.parametrize("name", CHOICES)
def test_columns_of_a_product_in_a_block_that_is_not_full(name: str) -> None:
    """Three columns for each row, with the rows last: they lie apart by a whole block."""
    fn = parse_function(
        """fn f(a: f64[n, m], c: f64[n, 3]) {
          %0: f64[n, n, 3] = broadcast(c, shape=[n, n, 3], axes=[0, 2])
          %1 = sin(%0)
          %2: f64[n, m, 3] = contract(a, %1, lhs=[0, 1], rhs=[2, 0, 3], out=[2, 1, 3])
          %3 = sin(%2)
          return %3
        }"""
    )
    compiled, rng = native(fn, choices=CHOICES[name]), np.random.default_rng(4)
    for n in (1, 4, 65, 300):
        assert_agrees(compiled, fn, (rng.normal(size=(n, 5)), rng.normal(size=(n, 3))))


def test_a_product_of_unknown_size_that_a_nest_finishes_stays_by_itself() -> None:
    x, weights = gt.matrix("x", shape=("n", "d")), gt.matrix("w", shape=("d", "k"))
    cost = gt.sum(gt.tanh(x @ weights))
    fn = gradc.function([x, weights], gradc.grad(cost, weights)).optimized
    steps = cut_into_kernels(fn, USUAL).steps
    assert [type(step) for step in steps] == [FinishedProduct, ProductStep]


@pytest.mark.parametrize("bits", [128, 256, 512])
def test_what_belongs_to_a_block_is_read_and_written_in_whole_vectors(bits: int) -> None:
    """It has room for them after the last row; what the caller gives is masked there."""
    x, y = gt.matrix("x", shape=("n", "k")), gt.vector("y", shape=("n",))
    weights = gt.tanh(gt.sum(x, axis=1)) * y
    fn = gradc.function([x, y], gt.sum(x * gt.exp(weights)[:, None], axis=0)).optimized
    target = Target("x86_64-unknown-linux-gnu", "", "", bits)
    text = emit_module([lower(fn, "f", Choices(bits))], "{}", target)
    local = re.findall(r"(%t\d+) = getelementptr double, ptr %slot", text)
    given = re.findall(r"(%t\d+) = getelementptr double, ptr %p", text)
    masked = set(re.findall(r"call .*@llvm\.masked\..*\(.*ptr (%t\d+),", text))
    assert local and masked.isdisjoint(local) and not masked.isdisjoint(given)


def test_positions_are_turned_once() -> None:
    program = lower(pairs("f64", None, 3), "f", USUAL)
    assert any(tuple(map(str, t.type.shape)) == ("3", "n") for t in program.temporaries)
    assert all(tuple(map(str, t.type.shape)) != ("n", "n") for t in program.temporaries)


def total_variation(dtype: str, smooth: float = 1e-2) -> Function:
    """The fluxes between neighbours in a row live for a block; those between rows are inlined."""
    x = gt.tensor("x", dtype, ("n", "m"))
    across, down = x[:, 1:] - x[:, :-1], x[1:] - x[:-1]
    cost = gt.sum(gt.sqrt(across**2 + smooth)) + gt.sum(gt.sqrt(down**2 + smooth))
    return gradc.function([x], [cost, gradc.grad(cost, x)]).optimized


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("name", CHOICES)
def test_what_neighbours_in_a_row_share(dtype: str, name: str) -> None:
    fn = total_variation(dtype)
    compiled = native(fn, choices=CHOICES[name])
    for n, m in ((1, 1), (1, 5), (2, 1), (33, 2), (40, 9), (130, 17)):
        at = np.random.default_rng(n).normal(size=(n, m)).astype(fn.parameters[0].dtype.numpy)
        for found, expected in zip(compiled(at), evaluate(fn, at), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12 if dtype == "f64" else 1e-5)


def test_what_neighbours_in_a_row_share_is_computed_once() -> None:
    cut = cut_into_kernels(total_variation("f64"), USUAL)
    (group,) = (step for step in cut.steps if isinstance(step, RowGroup))
    assert [value.type.rank for value in group.local] == [2]
