"""Loops whose first and last iterations are others: right for all lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.lower import lower
from gradc.codegen.target import host, parse_target
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.loops import For, Instruction, Store
from native import native

TARGETS = {"512": host(), "256": parse_target("x86-64-v3"), "128": parse_target("x86-64-v2")}
LENGTHS = (3, 4, 5, 6, 7, 8, 9, 11, 16, 17, 40, 67)


def steps(rng: np.random.Generator) -> list[Callable[[Any], Any]]:
    """What neighbours are made of: each keeps the length, which is at least 3."""
    number = float(rng.integers(2, 5))
    return [
        lambda v: gt.concat([v[:1] * number, v[:-1]]),
        lambda v: gt.concat([v[1:], v[-1:] - number]),
        lambda v: gt.concat([v[:2], v[2:] - v[1:-1] + v[:-2]]),
        lambda v: gt.pad(v[1:-1], [(1, 1)]),
        lambda v: gt.pad(v[2:], [(2, 0)]) + v,
        lambda v: gt.maximum(v, v[::-1]),
        lambda v: v * number - gt.concat([v[:1], v[1:-1] * v[2:], v[-1:]]),
    ]


def program(seed: int, dtype: str) -> Function:
    """Some steps, the sum of a function of the result, and its derivative."""
    rng = np.random.default_rng(seed)
    x = gt.vector("x", shape=("n",), dtype=dtype)
    v = x
    for _ in range(rng.integers(1, 4)):
        every = steps(rng)
        v = every[rng.integers(len(every))](v)
    cost = gt.sum(v * v) if seed % 2 else gt.max(v)
    return gradc.function([x], [v, cost, gradc.grad(gt.sum(v * v), x)]).optimized


@pytest.mark.parametrize("bits", TARGETS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("seed", range(4))
def test_random_stencils(seed: int, dtype: str, bits: str) -> None:
    fn, choices = program(seed, dtype), Choices(int(bits))
    apart = native(fn, TARGETS[bits], choices)
    whole = native(fn, TARGETS[bits], replace(choices, ends=False))
    for n in LENGTHS:
        x = np.random.default_rng(n).normal(size=n).astype(dtype)
        given, expected = apart(x), evaluate(fn, x)
        np.testing.assert_array_equal(given[0], whole(x)[0])
        for found, wanted in zip(given, expected, strict=True):
            np.testing.assert_allclose(found, wanted, 1e-4 if dtype == "float32" else 1e-12, 1e-5)


def second_differences() -> Function:
    x = gt.vector("x", shape=("n",))
    beside = gt.concat([x[:1], x, x[-1:]])
    return gradc.function([x], beside[2:] - 2 * beside[1:-1] + beside[:-2]).optimized


def test_nothing_is_compared_between_the_ends() -> None:
    body = lower(second_differences(), "f", Choices(256)).kernels[0].body
    between, ends = (s for s in body if isinstance(s, For))
    assert (between.lanes, ends.lanes) == (4, 1)
    made = [s for s in between.body if isinstance(s, Instruction)]
    assert {s.op for s in made} == {"add", "sub", "mul", "load"}
    assert all(len(s.operands) == 1 for s in made if s.op == "load")


def test_loops_of_few_vectors_stay_whole() -> None:
    x = gt.vector("x", shape=(12,))
    fn = gradc.function([x], gt.cumsum(gt.concat([x[:1], x[:-1] * x[1:]]))).optimized
    whole = lower(fn, "f", replace(Choices(256, straight=False), ends=False))
    assert len(lower(fn, "f", Choices(256, straight=False)).kernels) == len(whole.kernels)
    given = np.random.default_rng(0).normal(size=12)
    np.testing.assert_allclose(native(fn)(given)[0], evaluate(fn, given)[0])


def test_comparisons_far_from_the_ends_stay() -> None:
    """Where one part of what is joined ends is not known: nor are there iterations at that end."""
    a, b = gt.vector("a", shape=("n",)), gt.vector("b", shape=("m",))
    fn = gradc.function([a, b], gt.sum(gt.exp(gt.concat([a, b])))).optimized
    loops = [s for s in lower(fn, "f", Choices(256)).kernels[0].body if isinstance(s, For)]
    assert len(loops) == 1
    for n, m in ((0, 5), (5, 0), (3, 40), (40, 3)):
        given = np.linspace(0, 1, n), np.linspace(0, 1, m)
        np.testing.assert_allclose(native(fn)(*given)[0], evaluate(fn, *given)[0])


def test_ends_of_large_results_past_the_caches() -> None:
    fn = second_differences()
    (kernel,) = lower(fn, "f", Choices(host().vector_bits)).kernels
    assert any(isinstance(s, For) and s.streamed for s in kernel.body)
    for n in (2_200_000, 2_200_003):
        x = np.random.default_rng(n).normal(size=n + 1)
        for start in (0, 1):  # aligned or not
            given = x[start : start + n]
            np.testing.assert_array_equal(native(fn)(given)[0], evaluate(fn, given)[0])


def test_a_store_under_a_known_mask() -> None:
    fn = second_differences()
    stores = [
        s
        for loop in lower(fn, "f", Choices(256)).kernels[0].body
        if isinstance(loop, For)
        for s in loop.body
        if isinstance(s, Store)
    ]
    assert [s.mask for s in stores] == [None, None]
