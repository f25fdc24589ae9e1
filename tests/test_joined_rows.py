"""Lanes that read or write several neighbours each: whole vectors, transposed in registers."""

from __future__ import annotations

import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.target import Target, host, parse_target
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, function, parameter
from gradc.ir.ops import elementwise, indexing, reductions, slicing
from gradc.ir.types import ArrayType, DType, f32, f64, i32, i64
from native import native

WIDE = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512)
TARGETS = {"512": host(), "256": parse_target("x86-64-v3"), "128": parse_target("x86-64-v2")}


def rows_of(length: int, dtype: DType) -> Function:
    """Rows that follow one another, rows that are gathered, and results of `length` and more."""
    x = parameter(ArrayType(dtype, (size("n"), length)), "x")
    table = parameter(ArrayType(dtype, (size("k"), length)), "table")
    which = parameter(ArrayType(i64, (size("n"),)), "which")
    gathered = indexing.take(table, which, axis=0)
    y = x * gathered + x
    wide = slicing.concat(y, gathered, axis=1)
    total = reductions.sum_(y * y, axes=(1,))
    return function("f", [x, table, which], [y, wide, total])


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("dtype", [f64, f32, i32], ids=str)
@pytest.mark.parametrize("length", [2, 3, 4, 5, 8, 11, 16])
def test_rows(length: int, dtype: DType, bits: str) -> None:
    fn = rows_of(length, dtype)
    target = TARGETS[bits]
    compiled = native(fn, target, Choices(int(bits)))
    for n in (1, 3, 8, 9, 21):
        rng = np.random.default_rng(n)
        x, table = (rng.integers(-9, 9, (m, length)).astype(dtype.numpy) for m in (n, 6))
        which = rng.integers(0, 6, n)
        expected = evaluate(fn, x, table, which)
        for found, wanted in zip(compiled(x, table, which), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_rows_are_neither_gathered_nor_scattered() -> None:
    fn = rows_of(8, f64)
    text = emit_module([lower(fn, "f", Choices(512))], "{}", WIDE)
    assert text.count("masked.gather") == text.count("masked.scatter") == 0


def test_neighbours_along_a_vector_stay_vectors() -> None:
    """A stencil reads three vectors that overlap: nothing is transposed."""
    x = parameter(f64["n"], "x")
    n = size("n")
    parts = [slicing.slice_(x, starts=(i,), stops=(n - 2 + i,), steps=(1,)) for i in range(3)]
    fn = function("f", [x], [elementwise.sqrt(parts[0] + parts[1] * parts[2])])
    text = emit_module([lower(fn, "f", Choices(512))], "{}", WIDE)
    assert "extractelement" not in text
