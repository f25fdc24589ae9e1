"""Reads and additions at indices: one loop for all of them, neighbours together, checked before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.explain import explain_kernels
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import cut_into_kernels, lower
from gradc.codegen.row_group import RowGroup
from gradc.codegen.rows import parts_of
from gradc.codegen.steps import Nest
from gradc.codegen.target import host, parse_target
from gradc.ir.dims import Dim, size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.loops import Buffer, For, Store
from gradc.ir.ops.constants import full
from gradc.ir.ops.elementwise import tanh
from gradc.ir.ops.indexing import scatter_add, scatter_set, take
from gradc.ir.ops.slicing import concat
from gradc.ir.ops.structural import sum_
from gradc.ir.text import parse_function
from gradc.ir.types import ArrayType, DType, f32, f64, i32, i64
from native import native

TARGETS = {"512": host(), "256": parse_target("x86-64-v3"), "128": parse_target("x86-64-v2")}
LENGTHS = (0, 1, 3, 8, 67, 200, 512, 1100)


def grouped(columns: int = 2, dtype: DType = f64, index: DType = i64) -> Function:
    """A loss that reads `columns` tables at one group an observation, and adds to as many."""
    tables = [parameter(ArrayType(dtype, (size("g"),)), f"t{i}") for i in range(columns)]
    x = parameter(ArrayType(dtype, (size("n"),)), "x")
    group = parameter(ArrayType(index, (size("n"),)), "group")
    read = [take(table, group, axis=0) for table in tables]
    total: Value = x
    for value in read:
        total = total + value * x
    residual = tanh(total)
    zeros = full((size("g"),), 0, dtype)
    sums = [scatter_add(zeros, group, residual * value, axis=0) for value in read]
    return function("f", [*tables, x, group], [sum_(residual, axes=(0,)), *sums])


def arguments(fn: Function, n: int, groups: int = 5) -> list[Any]:
    rng = np.random.default_rng(n)
    *floats, group = fn.parameters
    lengths = [groups if v.shape[0] == size("g") else n for v in floats]
    given = [rng.normal(size=m).astype(v.dtype.numpy) for v, m in zip(floats, lengths, strict=True)]
    return [*given, rng.integers(0, groups, n).astype(group.dtype.numpy)]


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("index", [i64, i32], ids=str)
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_equal_indices_add_up(columns: int, dtype: DType, index: DType, bits: str) -> None:
    fn = grouped(columns, dtype, index)
    compiled = native(fn, TARGETS[bits], Choices(int(bits)))
    for n in LENGTHS:
        given = arguments(fn, n)
        for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            np.testing.assert_allclose(found, wanted, 1e-5 if dtype is f32 else 1e-13, 1e-5)


def orders(groups: int, n: int) -> dict[str, np.ndarray]:
    """Indices as data have them: n of 0, ..., groups - 1."""
    rng = np.random.default_rng(groups + n)
    any_order = rng.integers(0, groups, n)
    return {
        "random": any_order,
        "sorted": np.sort(any_order),
        "descending": np.sort(any_order)[::-1].copy(),
        "equal": np.full(n, groups - 1),
        "frequent": np.where(rng.uniform(size=n) < 0.9, 0, any_order),
    }


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("dtype", [f64, f32, i64, i32], ids=str)
@pytest.mark.parametrize("shape", [(), (2,), (7,)], ids=str)
def test_additions_to_several_tables(shape: tuple[int, ...], dtype: DType, bits: str) -> None:
    """Small arrays and large ones, few indices and many, in every order."""
    base = parameter(ArrayType(dtype, (size("g"), *shape)), "base")
    x = parameter(ArrayType(dtype, (size("n"), *shape)), "x")
    group = parameter(i64["n"], "group")
    fn = function("f", [base, x, group], [scatter_add(base, group, x, axis=0)])
    compiled = native(fn, TARGETS[bits], Choices(int(bits)))
    for groups, n in ((1, 0), (1, 9), (5, 50), (5, 49), (5, 1100), (110, 1100), (1025, 10300)):
        rng = np.random.default_rng(n)
        sizes = ((groups, *shape), (n, *shape))
        a, b = (rng.uniform(-99, 99, s).astype(dtype.numpy) for s in sizes)
        for indices in orders(groups, n).values():
            (found,), (wanted,) = compiled(a, b, indices), evaluate(fn, a, b, indices)
            if dtype.is_float:
                np.testing.assert_allclose(found, wanted, 1e-9 if dtype is f64 else 1e-3, 1e-2)
            else:
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("bits", "tables"), [(64, 1), (128, 2), (256, 4), (512, 4)])
def test_lanes_take_turns_among_tables(bits: int, tables: int) -> None:
    def count(groups: Any, n: Any) -> int:
        x, group = parameter(ArrayType(f64, (n,)), "x"), parameter(ArrayType(i64, (n,)), "group")
        sums = scatter_add(full((groups,), 0, f64), group, x, axis=0)
        given = [x, group, parameter(ArrayType(f64, (groups,)), "like")]
        program = lower(function("f", given, [sums]), "f", Choices(bits))
        pending, others = [s for kernel in program.kernels for s in kernel.body], set[Buffer]()
        for statement in pending:
            if isinstance(statement, For):
                pending += statement.body
            elif isinstance(statement, Store):
                others.update(statement.others)
        return 1 + len(others)

    assert count(size("g"), size("n")) == count(100, 5000) == tables
    assert count(100, 900) == 1  # few indices for each entry
    assert count(5000, size("n")) == 1  # more than the first cache holds


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("width", [None, 3, 11])
def test_the_last_of_equal_indices_stays(width: int | None, bits: str) -> None:
    """Also where the lanes of a vector are rows, and where they are entries of a row."""
    row = () if width is None else (width,)
    base = parameter(ArrayType(f64, (size("g"), *row)), "base")
    x = parameter(ArrayType(f64, (size("n"), *row)), "x")
    group = parameter(i64["n"], "group")
    fn = function("f", [base, x, group], [scatter_set(base, group, x * x, axis=0)])
    compiled = native(fn, TARGETS[bits], Choices(int(bits)))
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        given = [rng.normal(size=(4, *row)), rng.normal(size=(n, *row)), rng.integers(0, 4, n)]
        np.testing.assert_array_equal(compiled(*given)[0], evaluate(fn, *given)[0])


@pytest.mark.parametrize("shape", [(3, 200), (200, 3), (20, 10)])
def test_updates_keep_their_order_over_several_axes_of_indices(shape: tuple[int, ...]) -> None:
    base = parameter(f64["g"], "base")
    group = parameter(ArrayType(i64, shape), "group")
    x = parameter(ArrayType(f64, shape), "x")
    fn = function("f", [base, x, group], [scatter_set(base, group, x, axis=0)])
    rng = np.random.default_rng(0)
    given = [rng.normal(size=4), rng.normal(size=shape), rng.integers(0, 4, shape)]
    np.testing.assert_array_equal(native(fn)(*given)[0], evaluate(fn, *given)[0])


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("wrong", [-1, 5, 1 << 40, -(1 << 62)])
@pytest.mark.parametrize("place", [0, 511, 512, 1099])
def test_an_index_out_of_range_is_an_error(place: int, wrong: int, bits: str) -> None:
    fn = grouped()
    given = arguments(fn, 1100)
    given[-1][place] = wrong
    with pytest.raises(IndexError):
        native(fn, TARGETS[bits], Choices(int(bits)))(*given)


def nests(fn: Function) -> list[Nest]:
    steps = cut_into_kernels(fn, Choices()).steps
    return [part for step in steps for part in parts_of(step) if isinstance(part, Nest)]


def test_what_is_added_is_computed_once_in_one_loop() -> None:
    (over_rows,) = [nest for nest in nests(grouped()) if nest.scattered]
    assert [root.scatters for root in over_rows.roots] == [False, True]


def test_indices_are_checked_once_a_block_before_anything_is_added() -> None:
    fn = grouped()
    (group,) = [step for step in cut_into_kernels(fn, Choices()).steps if type(step) is RowGroup]
    assert [value.owner.op.name for value in group.local if value.owner] == ["checked_indices"]
    assert emit_module([lower(fn, "f", Choices(512))], "{}", host()).count("ret i32 3") <= 4


def test_tables_of_one_index_lie_side_by_side() -> None:
    text = explain_kernels(grouped(3), "f", Choices())
    assert "f64[g, 3] = concat(t0, t1, t2)" in text
    assert "f64[g, 3] = 0 plus concat(" in text


def test_a_table_that_nothing_else_runs_over_is_not_copied() -> None:
    a, b = parameter(f64["g"], "a"), parameter(f64["g"], "b")
    where = parameter(i64["n"], "where")
    read = take(a, where, axis=0) * take(b, where, axis=0)
    fn = function("f", [a, b, where], [read])
    assert [nest.space for nest in nests(fn)] == [(size("n"),)]


def loops_of(fn: Function) -> str:
    return explain_kernels(fn, "f", Choices(256))


PARTLY_READ = """
fn f(c: f64[6], base: f64[6], w: f64[8], X: f64[n, 8], group: i64[n]) {
  %0: f64[6] = cumsum(c, axis=0)
  %1: f64[n] = take(%0, group, axis=0)
  %2: f64[n] = contract(X, w, lhs=[0, 1], rhs=[1], out=[0])
  %3: f64[n] = mul(%1, %2)
  %4: f64[n] = tanh(%3)
  %5: f64[6] = scatter_add(base, group, %4, axis=0)
  %6: f64[4] = slice(%5, starts=[1], stops=[5], steps=[1])
  %7: f64[8] = contract(X, %4, lhs=[0, 1], rhs=[0], out=[1])
  return %6, %7
}
"""


@pytest.mark.parametrize("bits", TARGETS)
def test_a_table_of_which_few_entries_are_read(bits: str) -> None:
    """Where its entries are added is not known when it is compiled: none is left out."""
    fn = parse_function(PARTLY_READ)
    compiled = native(fn, TARGETS[bits], Choices(int(bits)))
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        shapes = (6, 6, 8, (n, 8))
        given = [*(rng.normal(size=shape) for shape in shapes), rng.integers(0, 6, n)]
        for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            np.testing.assert_allclose(found, wanted, 1e-12, 1e-12)


def test_rows_at_indices_are_read_along_the_row() -> None:
    """Entries of rows that lie apart are gathered one by one if a lane has a row."""
    for width in (size("d"), 64):
        a, b = (parameter(ArrayType(f64, (size("g"), width)), name) for name in "ab")
        i, j = parameter(i64["n"], "i"), parameter(i64["n"], "j")
        products = take(a, i, axis=0) * take(b, j, axis=0)
        text = loops_of(function("f", [a, b, i, j], [sum_(products, axes=(1,))]))
        assert f"{width}, vectors of 4, 4 side by side" in text


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("width", [size("d"), 16], ids=str)
def test_joined_rows_at_indices_are_read_each_by_itself(width: Dim, bits: str) -> None:
    """Where a vector may have lanes of both, each lane looks up an index of its own."""
    a, b = (parameter(ArrayType(f32, (size("g"), width)), name) for name in "ab")
    i, j = parameter(i64["n"], "i"), parameter(i64["n"], "j")
    fn = function("f", [a, b, i, j], [concat(take(a, i, axis=0), take(b, j, axis=0), axis=1)])
    (rows,) = [nest for nest in nests(fn) if width in nest.space]
    assert [root.value.owner.op.name for root in rows.roots if root.value.owner] == ["take"] * 2
    compiled = native(fn, TARGETS[bits], Choices(int(bits)))
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        tables = rng.normal(size=(2, 9, 16)).astype(np.float32)
        given = [*tables, *rng.integers(0, 9, (2, n))]
        np.testing.assert_array_equal(compiled(*given)[0], evaluate(fn, *given)[0])
    with pytest.raises(IndexError):
        compiled(*tables, np.zeros(70, int), np.full(70, 9))


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 16])
def test_short_rows_at_indices(width: int, dtype: DType, bits: str) -> None:
    """They are read and written in whole vectors, one vector of rows at a time."""
    table, i = parameter(ArrayType(dtype, (size("g"), width)), "table"), parameter(i64["n"], "i")
    fn = function("f", [table, i], [take(table, i, axis=0)])
    if width in (2, 3, 4):
        assert "side by side" not in loops_of(fn)
    compiled = native(fn, TARGETS[bits], Choices(int(bits)))
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        given = [rng.normal(size=(9, width)).astype(dtype.numpy), rng.integers(0, 9, n)]
        np.testing.assert_array_equal(compiled(*given)[0], evaluate(fn, *given)[0])
    with pytest.raises(IndexError):
        compiled(given[0], np.full(70, 9))
