"""Quotients by multiplication: the bits of a division, wherever the divisor comes from."""

from __future__ import annotations

import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.cabi import manifest_of
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.target import compile_to_assembly, parse_target
from gradc.driver import CompiledFunction, function
from gradc.ir.types import DType, f32, f64

BY_MULTIPLICATION = "exact_quotient"
REALS = pytest.mark.parametrize("dtype", (f64, f32), ids=str)


def numerators(dtype: DType, count: int = 997) -> np.ndarray:
    """Numbers of every size at which the rest of a division is a normal number, and the others."""
    rng, limits = np.random.default_rng(0), np.finfo(dtype.numpy)
    exponents = rng.uniform(limits.minexp + limits.nmant + 2, limits.maxexp - 1, count)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, float(limits.max)]
    ordinary = rng.choice([-1, 1], count) * np.exp2(exponents) * rng.uniform(1, 2, count)
    return np.concatenate([ordinary, rng.integers(-99, 99, count), special]).astype(dtype.numpy)


def divisors(dtype: DType) -> np.ndarray:
    """Ordinary ones, those with the longest significands, and where a reciprocal is of no use."""
    limits = np.finfo(dtype.numpy)
    least, largest, tiny = limits.smallest_subnormal, limits.max, limits.tiny
    special = [0.0, -0.0, np.inf, np.nan, least, 3 * least, tiny, tiny / 2, largest, -largest]
    long = [2 - k * limits.eps for k in range(1, 9)] + [1 + k * limits.eps for k in range(1, 9)]
    usual = [3.0, 49.0, -0.1, 1e30, 1e-30]
    return np.array([*usual, *long, *special], dtype.numpy)


def assert_divided(found: np.ndarray, x: np.ndarray, d: np.ndarray) -> None:
    """The bits of x / d, but for the sign of a zero, and the last one beside subnormal numbers."""
    limits = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        wanted = x / d
        exact = ~(np.abs(wanted) < limits.tiny) & ~(np.abs(1 / d) < limits.tiny)
        last = np.abs(found - wanted) <= np.spacing(np.abs(wanted))
    np.testing.assert_array_equal(found[exact], wanted[exact])
    others = ~exact & np.isfinite(wanted)
    assert last[others].all()
    np.testing.assert_array_equal(found[~exact & ~others], wanted[~exact & ~others])


def is_by_multiplication(compiled: CompiledFunction) -> bool:
    return BY_MULTIPLICATION in compiled.stage("loops")


@REALS
def test_by_what_is_the_same_for_a_loop(dtype: DType) -> None:
    x, d = gt.vector("x", dtype=dtype), gt.scalar("d", dtype=dtype)
    f = function([x, d], x / d)
    assert is_by_multiplication(f)
    values = numerators(dtype)
    for divisor in divisors(dtype):
        assert_divided(f(values, divisor), values, divisor)


@REALS
def test_by_the_sum_of_a_row(dtype: DType) -> None:
    x = gt.matrix("x", dtype=dtype)
    sums = gt.sum(x, axis=1, keepdims=True)
    f = function([x], [x / sums, sums])
    assert is_by_multiplication(f)
    for shape in ((0, 3), (3, 0), (1, 1), (5, 17), (70, 33)):
        values = np.random.default_rng(1).uniform(0.5, 2, shape).astype(dtype.numpy)
        quotients, by = f(values)
        np.testing.assert_array_equal(quotients, values / by)


@REALS
@pytest.mark.parametrize("divisor", [3.0, 49.0, -0.1, 1e-30, 1.7e20])
def test_by_a_number(dtype: DType, divisor: float) -> None:
    x = gt.vector("x", dtype=dtype)
    f = function([x], x / divisor)
    assert is_by_multiplication(f)
    values = numerators(dtype)
    assert_divided(f(values), values, np.asarray(divisor, dtype.numpy))


@pytest.mark.parametrize("divisor", [0.0, 1e-310, 1.5e308, np.inf, np.nan])
def test_by_a_number_without_a_reciprocal(divisor: float) -> None:
    x = gt.vector("x")
    f = function([x], x / divisor)
    assert not is_by_multiplication(f)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(f(numerators(f64)), numerators(f64) / divisor)


@REALS
@pytest.mark.parametrize("reciprocal_first", [False, True])
def test_beside_the_reciprocal(dtype: DType, reciprocal_first: bool) -> None:
    x, d = gt.vector("x", dtype=dtype), gt.vector("d", dtype=dtype)
    results = [1.0 / d, x / d] if reciprocal_first else [x / d, 1.0 / d]
    f = function([x, d], results)
    assert is_by_multiplication(f)
    by = divisors(dtype)
    values = np.repeat(numerators(dtype), len(by))
    by = np.tile(by, len(values) // len(by))
    for of, found in zip(
        (np.ones_like(by), values)[:: 1 if reciprocal_first else -1], f(values, by), strict=True
    ):
        assert_divided(found, of, by)


def test_few_quotients_are_divided() -> None:
    """A division for the reciprocal of four would cost what it saves."""
    x, d = gt.vector("x", shape=(4,)), gt.scalar("d")
    assert not is_by_multiplication(function([x, d], x / d))
    one = gt.scalar("x")
    assert not is_by_multiplication(function([one, d], [one / d, 1.0 / d]))


def test_while_a_product_is_in_the_cache() -> None:
    a, b, d = gt.matrix("a"), gt.matrix("b"), gt.scalar("d")
    f = function([a, b, d], (a @ b) / d + 1)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(70, 50)), rng.normal(size=(50, 90))
    product = function([a, b], a @ b)(x, y)
    np.testing.assert_array_equal(f(x, y, 7.0), product / 7.0 + 1)
    assert is_by_multiplication(f)


@pytest.mark.parametrize("roots", [0, 1])
def test_long_loops_divide(roots: int) -> None:
    """Beside two exponentials a division is done in time: not beside roots, of the same unit."""
    x, d = gt.vector("x"), gt.scalar("d")
    other = gt.exp(gt.exp(x))
    for _ in range(8 * roots):
        other = gt.sqrt(other) + 1
    f = function([x, d], x / d + other)
    assert is_by_multiplication(f) == bool(roots)
    values = np.random.default_rng(3).normal(size=70)
    np.testing.assert_array_equal(f(values, 3.0), values / 3.0 + function([x], other)(values))


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "znver4"])
def test_targets(name: str) -> None:
    """Where no instruction rounds a product and a sum once, a division is a division."""
    target = parse_target(f"x86_64-linux-gnu/{name}")
    x, d = gt.vector("x"), gt.scalar("d")
    program = lower(function([x, d], x / d).ir, "f", Choices(target.vector_bits))
    text = emit_module([program], manifest_of([program], target), target)
    assert ("llvm.fma" in text) == target.has_fma


def test_the_check_leaves_the_unit_that_divides_alone() -> None:
    """Whether a lane is exceptional is asked in a general register: `vtestpd` would wait for it."""
    target = parse_target("x86_64-linux-gnu/x86-64-v3")
    x, d = gt.vector("x"), gt.scalar("d")
    program = lower(function([x, d], x / d).ir, "f", Choices(target.vector_bits))
    text = emit_module([program], manifest_of([program], target), target)
    assembly = compile_to_assembly(text, target)
    assert "vmovmskpd" in assembly and "vtestpd" not in assembly
