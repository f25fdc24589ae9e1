"""Contractions of any labels by the packed kernel, and the kernel at every small size."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.lower import lower
from gradc.codegen.target import Target, host
from gradc.ir.function import Function
from gradc.ir.loops import For, MatMul, Statement
from gradc.ir.text import parse_function
from gradc.ir.types import DType, f32, f64
from loop_native import compile_shared, output_arrays
from native import native
from test_matmul_kernel import TARGETS, Array, check, matrix, product

FORMS = (("rows", "rows"), ("rows", "columns"), ("columns", "rows"), ("columns", "columns"))
NAMES = "abcdefgh"
LENGTHS = (0, 1, 2, 3, 5, 8, 9, 17)


@dataclass(frozen=True)
class Labels:
    """A contraction: the labels of the operands and of the result."""

    lhs: list[int]
    rhs: list[int]
    out: list[int]

    def spelled(self, labels: Sequence[int]) -> str:
        return "".join(NAMES[x] for x in labels)

    @property
    def equation(self) -> str:
        return f"{self.spelled(self.lhs)},{self.spelled(self.rhs)}->{self.spelled(self.out)}"


def random_labels(rng: random.Random) -> Labels:
    """Some batch, row, column and sum labels, in any order in each array."""
    counts = [rng.choice((0, 1, 2)), *(rng.choice((1, 2)) for _ in range(3))]
    every = list(range(sum(counts)))
    batch, rows, columns, sums = ([every.pop() for _ in range(count)] for count in counts)
    found = [batch + rows + sums, batch + columns + sums, batch + rows + columns]
    for labels in found:
        rng.shuffle(labels)
    return Labels(*found)


def labels_of(equation: str) -> Labels:
    lhs, rhs, out = ([NAMES.index(x) for x in own] for own in re.findall(r"\w+", equation))
    return Labels(lhs, rhs, out)


def function_of(labels: Labels, lengths: Mapping[str, int] = MappingProxyType({})) -> Function:
    """The contraction of two arrays; a label without a length is a size."""
    shapes = [
        ", ".join(str(lengths.get(x, x)) for x in labels.spelled(own))
        for own in (labels.lhs, labels.rhs)
    ]
    return parse_function(
        f"fn f(x: f64[{shapes[0]}], y: f64[{shapes[1]}]) {{\n"
        f"  %0 = contract(x, y, lhs={labels.lhs}, rhs={labels.rhs}, out={labels.out})\n"
        "  return %0\n}"
    )


def operands_of(labels: Labels, lengths: Mapping[str, int]) -> list[Array]:
    rng = np.random.default_rng(0)
    shapes = ([lengths[x] for x in labels.spelled(own)] for own in (labels.lhs, labels.rhs))
    return [rng.normal(size=shape) for shape in shapes]


def agrees(seed: int) -> None:
    rng = random.Random(seed)
    labels = random_labels(rng)
    program = lower(function_of(labels), "f", Choices(host().vector_bits))
    run = compile_shared(program)
    numbers = np.random.default_rng(seed)
    for _ in range(4):
        sizes = {name: rng.choice(LENGTHS) for name in program.sizes}
        x, y = (
            numbers.normal(size=[sizes[NAMES[label]] for label in own])
            for own in (labels.lhs, labels.rhs)
        )
        found = output_arrays(program, sizes)
        given = dict(zip(program.inputs, (x, y), strict=True))
        assert run.run(sizes, {**given, **found}) == 0
        wanted = np.einsum(labels.equation, x, y)
        (actual,) = found.values()
        np.testing.assert_allclose(
            actual.reshape(wanted.shape), wanted, rtol=1e-11, atol=1e-11, err_msg=labels.equation
        )


@pytest.mark.parametrize("seed", range(25))
def test_any_labels(seed: int) -> None:
    agrees(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25, 400))
def test_many_labels(seed: int) -> None:
    agrees(seed)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("equation", ["abd,bcd->acd", "abd,acd->bcd", "abed,bced->aced"])
def test_a_batch_in_the_last_axis(equation: str, target: Target) -> None:
    """Vectors run along it, two for each of several sums: any length, a NaN where it belongs."""
    labels = labels_of(equation)
    fn = function_of(labels)
    (kernel,) = lower(fn, "f", Choices(target.vector_bits)).kernels
    (vector,) = (loop for loop in loops_of(kernel.body) if loop.lanes > 1)
    assert vector.copies == 2 and [loop.lanes for loop in loops_of(vector.body)] == [1]
    run = native(fn, target)
    for length in (0, 1, 2, 3, 5, 17):
        for batch in (0, 1, 7, 16, 37):
            x, y = operands_of(
                labels, dict.fromkeys(NAMES, length) | {"b": length // 2, "d": batch}
            )
            if x.size:
                x.flat[0], y.flat[-1] = np.inf, np.nan
            (found,) = run(x, y)
            np.testing.assert_allclose(found, np.einsum(equation, x, y), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("batch", "is_packed"), [(7, True), (8, False), (100, False)])
def test_a_short_batch_in_the_last_axis_is_packed(batch: int, is_packed: bool) -> None:
    labels, lengths = labels_of("abd,bcd->acd"), {"a": 20, "b": 30, "c": 20, "d": batch}
    fn = function_of(labels, lengths)
    (kernel,) = lower(fn, "f", Choices(host().vector_bits)).kernels
    assert is_packed == any(isinstance(statement, MatMul) for statement in kernel.body)
    x, y = operands_of(labels, lengths)
    np.testing.assert_allclose(native(fn)(x, y)[0], np.einsum(labels.equation, x, y), rtol=1e-10)


def loops_of(body: Sequence[Statement]) -> Iterator[For]:
    """The loops of a body, inner ones, too."""
    for statement in body:
        if isinstance(statement, For):
            yield statement
            yield from loops_of(statement.body)


# --- every size ----------------------------------------------------------------------------------


def operands(
    dtype: DType, sizes: tuple[int, int, int], form: tuple[str, str]
) -> tuple[Array, Array, Array]:
    m, n, k = sizes
    rng = np.random.default_rng(m + 100 * n + 10_000 * k)
    a = matrix(rng, (1, m, k), form[0], dtype)
    return a, matrix(rng, (1, k, n), form[1], dtype), matrix(rng, (1, m, n), "rows", dtype)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_a_sample_of_sizes(dtype: DType, target: Target) -> None:
    run = product(dtype, target)
    rng = random.Random(5)
    for _ in range(250):
        sizes = rng.randrange(71), rng.randrange(71), rng.randrange(71)
        check(run, *operands(dtype, sizes, rng.choice(FORMS)), rng.random() < 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_every_size(dtype: DType, target: Target) -> None:
    run = product(dtype, target)
    for m in range(71):
        for n in range(71):
            for k in range(71):
                form = FORMS[(m + n + k) % 4]
                check(run, *operands(dtype, (m, n, k), form), (m + k) % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_every_way_at_its_borders(dtype: DType) -> None:
    """Sizes at which the kernel goes another way, in all forms."""
    run = product(dtype, host())
    borders = (1, 2, 16, 17, 24, 25, 32, 33, 48, 49, 63, 64, 65, 128, 255, 256, 257, 258, 300)
    for m in borders:
        for n in borders:
            for k in (1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 256, 257, 385):
                for form in FORMS:
                    check(run, *operands(dtype, (m, n, k), form), False)


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_the_same_bits_at_any_alignment(dtype: DType) -> None:
    run = product(dtype, host())
    for sizes in ((3, 5, 7), (33, 50, 70), (4, 4, 200), (300, 20, 300), (70, 6, 200)):
        for form in FORMS:
            a, b, c = operands(dtype, sizes, form)
            run(a, b, c)
            for shift in (1, 3, 7):
                moved = [shifted(x, shift) for x in (a, b, c)]
                run(*moved)
                np.testing.assert_array_equal(moved[2], c)


def shifted(x: Array, by: int) -> Array:
    """The same numbers and strides, `by` elements further in memory."""
    memory = np.empty(x.size + by, x.dtype)[by:]
    flat = x.transpose(0, 2, 1) if x.strides[1] < x.strides[2] else x
    found = memory.reshape(flat.shape)
    found[...] = flat
    return found if flat is x else found.transpose(0, 2, 1)
