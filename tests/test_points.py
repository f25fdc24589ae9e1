"""Loops that compare their variable are written without that, and once more where it holds."""

from __future__ import annotations

from collections.abc import Sequence

import gradc
import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.lower import lower
from gradc.codegen.target import host
from gradc.ir.function import Function
from gradc.ir.loops import For, Instruction, Statement
from gradc.ir.text import parse_function
from native import assert_agrees, native

LENGTHS = (100, 37, 33, 8, 3, 1, 0)
COUNTS = """
  %0 = iota(size=n, dtype=i64)
  %1 = broadcast(%0, shape=[n, n], axes=[0])
  %2 = broadcast(%0, shape=[n, n], axes=[1])
  %3 = broadcast(x, shape=[n, n], axes=[0])
  %4 = eq(%1, %2)"""
DIAGONAL = f"fn f(x: f64[n], A: f64[n, n]) {{ {COUNTS} %5 = where(%4, %3, A) return %5 }}"
OFF_DIAGONAL = f"""fn f(x: f64[n], A: f64[n, n]) {{ {COUNTS}
  %5 = ne(%2, %1) %6 = where(%5, A, %3) return %6 }}"""
ONE_HOT = """fn f(i: i64[n], A: f64[n, k]) {
  %0 = broadcast(i, shape=[n, k], axes=[0])
  %1 = iota(size=k, dtype=i64)
  %2 = broadcast(%1, shape=[n, k], axes=[1])
  %3 = eq(%0, %2)
  %4 = cast(%3, dtype=f64)
  return %4 }"""
IN_PLACE = f"""fn f(x: f64[n], A: f64[n, n]) {{ {COUNTS}
  %5 = contract(A, A, lhs=[0, 1], rhs=[1, 2], out=[0, 2])
  %6 = sin(%5)
  %7 = add(%6, %3)
  %8 = neg(%5)
  %9 = where(%4, %7, %8)
  return %9 }}"""


def banded(*distances: int) -> Function:
    """Rows of zeros, and x where the column is that far from the row; the first distance wins."""
    lines = ["%10 = constant(value=f64 0.0)", "%11 = broadcast(%10, shape=[n, n], axes=[])"]
    before = 11
    for i, distance in enumerate(reversed(distances)):
        new = 20 + 10 * i
        lines += [
            f"%{new} = constant(value=i64 {distance})",
            f"%{new + 1} = broadcast(%{new}, shape=[n], axes=[])",
            f"%{new + 2} = add(%0, %{new + 1})",
            f"%{new + 3} = broadcast(%{new + 2}, shape=[n, n], axes=[0])",
            f"%{new + 4} = eq(%{new + 3}, %2)",
            f"%{new + 5} = broadcast(x, shape=[n, n], axes=[{i % 2}])",
            f"%{new + 6} = where(%{new + 4}, %{new + 5}, %{before})",
        ]
        before = new + 6
    body = "\n".join(lines)
    return parse_function(f"fn f(x: f64[n]) {{ {COUNTS}\n{body} return %{before} }}")


def innermost(statements: Sequence[Statement]) -> list[For]:
    """The loops without loops in them."""
    loops = [s for s in statements if isinstance(s, For)]
    return [found for s in loops for found in (innermost(s.body) or [s])]


def chosen_in_loops(fn: Function, ops: Sequence[str] = ("eq", "ne", "select")) -> int:
    """How many comparisons and selections stand in innermost loops."""
    program = lower(fn, "f", Choices(host().vector_bits))
    bodies = [s for kernel in program.kernels for loop in innermost(kernel.body) for s in loop.body]
    return sum(isinstance(s, Instruction) and s.op in ops for s in bodies)


PROGRAMS = {
    "diagonal": parse_function(DIAGONAL),
    "off the diagonal": parse_function(OFF_DIAGONAL),
    "one band": banded(0),
    "three bands": banded(-1, 0, 1),
    "bands on one another": banded(2, 0, 2, 0),
    "far bands": banded(40, -40, 1 << 40),
}


@pytest.mark.parametrize("bits", [64, 128, 256, 512])
@pytest.mark.parametrize("name", PROGRAMS)
def test_bands_are_stored_after_the_rows(name: str, bits: int) -> None:
    fn = PROGRAMS[name]
    assert chosen_in_loops(fn) == 0
    compiled = native(fn, choices=Choices(bits))
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        arguments = [rng.normal(size=[n] * value.type.rank) for value in fn.parameters]
        assert_agrees(compiled, fn, arguments)


def test_more_points_than_pay_are_compared() -> None:
    fn = banded(*range(7))
    assert chosen_in_loops(fn) > 0
    compiled = native(fn)
    for n in LENGTHS:
        assert_agrees(compiled, fn, [np.arange(1.0, n + 1)])


def test_one_hot_rows_store_one_entry_where_there_is_one() -> None:
    fn = parse_function(ONE_HOT)
    assert chosen_in_loops(fn) == 0
    places = np.array([0, 49, 7, -1, 50, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
    assert_agrees(native(fn), fn, [places, np.zeros((7, 50))])


def test_what_is_replaced_in_memory_is_read_before() -> None:
    """The product lives in the result's memory, and its diagonal is read where that is written."""
    fn = parse_function(IN_PLACE)
    compiled = native(fn, choices=Choices(host().vector_bits, finish=False))
    rng = np.random.default_rng(0)
    for n in (40, 100):
        x, A = rng.normal(size=n), rng.normal(size=(n, n)) / n
        assert_agrees(compiled, fn, [x, A])


def test_a_hessian_of_three_diagonals_is_zeros_and_three_stores_a_row() -> None:
    x_ = gradc.tensor.vector("x")
    hessian = gradc.function(
        [x_], gradc.hessian(gradc.tensor.sum((x_[1:] - x_[:-1] ** 2) ** 2), x_)
    )
    assert chosen_in_loops(hessian.optimized, ("eq", "ne")) == 0
    x = np.random.default_rng(0).normal(size=90)
    expected = np.zeros((90, 90))
    low = np.arange(89)
    expected[low, low] = 12 * x[:-1] ** 2 - 4 * x[1:]
    expected[low + 1, low + 1] += 2
    expected[low, low + 1] = expected[low + 1, low] = -4 * x[:-1]
    np.testing.assert_allclose(hessian(x), expected, rtol=1e-13)


def test_sums_over_a_loop_around_are_not_added_to_twice() -> None:
    """The entries on the diagonal are counted once, with what the other rows add to them."""
    text = f"""fn f(x: f64[n], A: f64[n, n]) {{ {COUNTS}
      %5 = where(%4, %3, A)
      %6 = sin(%5)
      %7 = sum(%6, axes=[0])
      return %7 }}"""
    fn = parse_function(text)
    compiled = native(fn)
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        assert_agrees(compiled, fn, [rng.normal(size=n), rng.normal(size=(n, n))])


def test_what_is_scattered_is_added_once() -> None:
    """The entries on the diagonal of what is a result, and is added at indices."""
    text = f"""fn f(x: f64[n], A: f64[n, n], i: i64[n], base: f64[k, n]) {{ {COUNTS}
      %5 = where(%4, %3, A)
      %6 = scatter_add(base, i, %5, axis=0)
      return %5, %6 }}"""
    fn = parse_function(text)
    compiled = native(fn)
    for n in LENGTHS:
        rng = np.random.default_rng(n)
        x, A, base = rng.normal(size=n), rng.normal(size=(n, n)), rng.normal(size=(3, n))
        assert_agrees(compiled, fn, [x, A, rng.integers(0, 3, n), base])
