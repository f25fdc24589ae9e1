"""Straight-line code: small arrays of known shape, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.lower import lower
from gradc.codegen.target import host
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.loops import For, Instruction, Program, Statement
from gradc.ir.ops import constants, elementwise, logic, reductions, slicing, structural
from gradc.ir.ops.contract import contract
from gradc.ir.types import ArrayType, f32, f64, i64
from native import assert_agrees, native
from random_programs import random_arguments, random_function, with_derivatives

USUAL = Choices(host().vector_bits)


def small_function(seed: int, **options: object) -> Function:
    """A random program over arrays whose axes have 1 to 4 entries, with derivatives."""
    rng = np.random.default_rng(seed)
    n, m = (int(length) for length in rng.integers(1, 5, 2))
    return with_derivatives(random_function(seed, n=n, m=m, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [64, 128, 256, 512])
@pytest.mark.parametrize("seed", range(700, 715))
def test_small_random_program(seed: int, bits: int) -> None:
    fn = small_function(seed)
    compiled = native(fn, choices=replace(USUAL, vector_bits=bits))
    assert_agrees(compiled, fn, random_arguments(fn, seed))


@pytest.mark.parametrize("seed", range(715, 730))
def test_small_random_program_without_loops_stored_as_it_may(seed: int) -> None:
    fn = small_function(seed)
    for store in ("everything", "least"):
        compiled = native(fn, choices=replace(USUAL, store=store))
        assert_agrees(compiled, fn, random_arguments(fn, seed))


@pytest.mark.parametrize("seed", range(730, 745))
def test_small_random_program_in_single_precision(seed: int) -> None:
    fn = small_function(seed, dtype=f32)
    arguments = random_arguments(fn, seed)
    exact = evaluate(small_function(seed), *(a.astype("f8") for a in arguments))
    for found, wanted in zip(native(fn)(*arguments), exact, strict=True):
        assert found.dtype == np.float32
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20_000, 21_000))
def test_many_small_random_programs(seed: int) -> None:
    test_small_random_program(seed, USUAL.vector_bits)


def instructions(program: Program) -> list[Instruction]:
    """All instructions of all kernels."""
    return [i for kernel in program.kernels for i in _instructions(kernel.body)]


def _instructions(statements: Sequence[Statement]) -> Iterator[Instruction]:
    for statement in statements:
        if isinstance(statement, Instruction):
            yield statement
        elif isinstance(statement, For):
            yield from _instructions(statement.body)


def count(program: Program, *ops: str) -> int:
    return sum(instruction.op in ops for instruction in instructions(program))


def product_of_rotations(length: int) -> Function:
    """A chain of 3 x 3 products, each made of sines and cosines, with derivatives."""
    angles = parameter(f64[length], "angles")
    total: Value | None = None
    for i in range(length):
        angle = slicing.slice_(angles, starts=(i,), stops=(i + 1,), steps=(1,))
        c, s = elementwise.cos(angle), elementwise.sin(angle)
        zero, one = constants.full((1,), 0.0, f64), constants.full((1,), 1.0, f64)
        rows = [
            slicing.concat(*r, axis=0) for r in ((c, -s, zero), (s, c, zero), (zero, zero, one))
        ]
        link = slicing.concat(*(structural.reshape(r, shape=(1, 3)) for r in rows), axis=0)
        total = link if total is None else contract(total, link, lhs=(0, 1), rhs=(1, 2), out=(0, 2))
    assert total is not None
    return with_derivatives(function("f", [angles], [reductions.sum_(total, axes=(0, 1))]))


def test_what_kernels_share_is_computed_once() -> None:
    short, long = (lower(product_of_rotations(length), "f") for length in (6, 12))
    assert len(long.kernels) == 1
    assert len(instructions(long)) < 2.5 * len(instructions(short))


def test_rotations_are_right() -> None:
    fn = product_of_rotations(6)
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_functions_of_several_entries_share_vectors() -> None:
    x = parameter(f64[7], "x")
    program = lower(function("f", [x], [reductions.sum_(elementwise.sin(x), axes=(0,))]), "f")
    (kernel,) = program.kernels
    assert count(program, "call") == 1
    (loop,) = [s for s in kernel.body if isinstance(s, For)]
    assert loop.lanes == 8


def test_zeros_of_a_pad_are_left_out() -> None:
    x = parameter(f64[2], "x")
    zero = constants.full((), 0.0, f64)
    padded = slicing.pad(x, zero, low=(1,), high=(2,), interior=(0,))
    y = parameter(f64[5], "y")
    program = lower(function("f", [x, y], [padded + y * 2.0, padded * y, y - padded]), "f")
    assert count(program, "mul") == 5 + 2
    assert count(program, "add", "sub") == 2 + 2
    fn = function("f", [x, y], [padded + y * 2.0, padded * y, y - padded])
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_a_number_that_is_zero_is_multiplied() -> None:
    """Only zeros that stand among other entries are left out: 0 * inf is nan."""
    x = parameter(f64[3], "x")
    fn = function("f", [x], [x * 0.0])
    (found,) = native(fn)(np.array([1.0, np.inf, np.nan]))
    np.testing.assert_array_equal(found, [0.0, np.nan, np.nan])


def test_an_entry_read_at_a_known_position_needs_no_loop() -> None:
    x = parameter(ArrayType(f64, (100_000,)), "x")
    part = slicing.slice_(x, starts=(7,), stops=(9,), steps=(1,))
    fn = function("f", [x], [part * 2.0])
    assert count(lower(fn, "f"), "load") == 2
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_rows_of_joined_columns_need_no_selects() -> None:
    """A row a lane: each entry of a joined array knows its part."""
    x = parameter(f64["n", 3], "x")
    y = elementwise.sin(x)
    norm = structural.reshape(reductions.sum_(y * y, axes=(1,)), shape=(size("n"), 1))
    joined = slicing.concat(y, norm, x * 2.0, y, axis=1)
    fn = function("f", [x], [joined, reductions.sum_(joined, axes=(1,))])
    program = lower(fn, "f")
    assert len(program.kernels) == 1
    assert not count(program, "select")
    for n in (1, 7, 8, 30):
        assert_agrees(native(fn), fn, random_arguments(fn, 1, n=n))


def test_small_sparse_arrays_need_no_loop() -> None:
    """A matrix with two diagonals, of which one entry in five is no zero."""
    x = parameter(f64[10], "x")
    row, column = (
        structural.broadcast(constants.iota(size=10, dtype=i64), shape=(10, 10), axes=(axis,))
        for axis in (0, 1)
    )
    wide = structural.broadcast(x, shape=(10, 10), axes=(0,))
    zero = constants.full((10, 10), 0.0, f64)
    below = logic.where(logic.eq(row, column + 1), wide * 2.0, zero)
    fn = function("f", [x], [logic.where(logic.eq(row, column), wide, below)])
    program = lower(fn, "f")
    assert not count(program, "select", "eq")
    assert count(program, "mul") == 9
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_long_elementwise_chains_stay_vectors() -> None:
    x = parameter(f64[32], "x")
    y = x
    for i in range(40):
        y = elementwise.sqrt(y * y + 1.0) * (x + float(i))
    fn = function("f", [x], [y])
    assert count(lower(fn, "f"), "sqrt") == 40
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_larger_arrays_that_are_joined_need_no_choice() -> None:
    x = parameter(f64[5, 9], "x")
    parts = [
        structural.transpose(
            slicing.slice_(x, starts=(i, 0), stops=(i + 1, 9), steps=(1, 1)), permutation=(1, 0)
        )
        for i in range(5)
    ]
    fn = function("f", [x], [slicing.concat(*parts, parts[0] * parts[1], axis=1)])
    program = lower(fn, "f")
    assert not count(program, "select")
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_common_factors_are_taken_out() -> None:
    """(e v^T) L^T and e w^T: the sum is one outer product, of e and L v + w."""
    e, v, w = (parameter(f64[3], name) for name in ("e", "v", "w"))
    L = parameter(f64[3, 3], "L")
    outer = contract(e, v, lhs=(0,), rhs=(1,), out=(0, 1))
    moved = contract(outer, L, lhs=(0, 1), rhs=(2, 1), out=(0, 2))
    both = moved + contract(e, w, lhs=(0,), rhs=(1,), out=(0, 1))
    fn = function("f", [e, v, w, L], [both])
    assert count(lower(fn, "f"), "term", "mul") == 9 + 9
    assert_agrees(native(fn), fn, random_arguments(fn, 1))


def test_parts_of_a_joined_result_share_a_loop_over_rows() -> None:
    """Each row of the result is one piece: it is written at once, not part by part."""
    x = parameter(f64["n", 4], "x")
    norm = reductions.sum_(x * x, axes=(1,))
    wide = structural.broadcast(norm, shape=(size("n"), 4), axes=(0,))
    parts = [elementwise.sin(x * wide), elementwise.cos(x + wide), elementwise.tanh(x)]
    fn = function("f", [x], [slicing.concat(*parts, axis=1), norm])
    (kernel,) = lower(fn, "f").kernels
    assert sum(isinstance(s, For) for s in kernel.body) == 1
    assert not count(lower(fn, "f"), "select")
    for n in (1, 8, 13):
        assert_agrees(native(fn), fn, random_arguments(fn, 1, n=n))
