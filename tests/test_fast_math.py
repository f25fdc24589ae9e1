"""Fast mathematics is off by default; what it changes, and that the default changes nothing."""

from __future__ import annotations

from dataclasses import replace

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import f32, f64
from gradc.codegen.choices import Choices
from gradc.codegen.lower import lower
from gradc.codegen.target import parse_target
from gradc.driver import CompiledFunction
from gradc.ir.evaluate import evaluate
from gradc.ir.passes.pipeline import FAST, optimize
from gradc.ir.passes.reciprocals import share_reciprocals
from random_programs import random_arguments, random_function, with_derivatives


def shares(x, s):
    return x / gt.sum(x), x / s, gt.exp(x) / s


def inputs(dtype=f64):
    return gt.vector("x", dtype=dtype), gt.scalar("s", dtype=dtype)


def test_off_by_default() -> None:
    x, s = inputs()
    f = gradc.function([x, s], list(shares(x, s)))
    assert not f.fast_math
    assert "reassoc" not in f.stage("llvm")
    assert f.stage("optimized").count("div(") == 3


def test_on_by_request() -> None:
    x, s = inputs()
    f = gradc.function([x, s], list(shares(x, s)), fast_math=True)
    assert "fadd reassoc contract" in f.stage("llvm")
    assert f.stage("optimized").count("div(") == 2  # one for each denominator
    assert f.stage("optimized").count("mul(") == 3


def test_derivatives_of_a_fast_function_are_fast() -> None:
    @gradc.function(fast_math=True)
    def f(x: f64["n"]):  # type: ignore[valid-type]  # noqa: F821
        return gt.sum(x * x)

    assert f.fast_math
    assert gradc.value_and_grad(f).fast_math


@pytest.mark.parametrize(("dtype", "name"), [(f64, "float64"), (f32, "float32")])
def test_quotients_by_reciprocals(dtype, name) -> None:
    """At most one and a half units in the last place instead of half a unit."""
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(scale=20, size=4001)).astype(name)
    y, (x, s) = gt.vector("y", dtype=dtype), inputs(dtype)
    f = gradc.function([x, y, s], [x / s, y / s], fast_math=True)
    other = np.asarray(rng.normal(size=4001), name)
    for divisor in (3.0, 0.1, 1e-30, 1.7e20):
        d = np.asarray(divisor, name)
        for found, numerator in zip(f(values, other, d), (values, other), strict=True):
            exact = numerator.astype(np.longdouble) / np.longdouble(d)
            usual = np.isfinite(found) & (np.abs(exact) > np.finfo(name).tiny)
            error = np.abs(found - exact)[usual] / np.spacing(np.abs(found[usual]))
            assert error.max() <= 1.6


def test_division_by_a_number() -> None:
    x = gt.vector("x")
    f = gradc.function([x], x / 3.0, fast_math=True)
    assert "div(" not in f.stage("optimized")
    np.testing.assert_allclose(f(np.arange(9.0)), np.arange(9.0) / 3, rtol=4e-16)


def test_what_has_no_reciprocal_stays() -> None:
    x = gt.vector("x")
    f = gradc.function([x], x / 1e-310, fast_math=True)
    assert "div(" in f.stage("optimized")
    np.testing.assert_array_equal(f(np.zeros(3)), np.zeros(3))
    g = gradc.function([x], x / 0.0, fast_math=True)
    np.testing.assert_array_equal(g(np.ones(3)), np.full(3, np.inf))


def test_rounding_down_stays_exact() -> None:
    x, y = gt.vector("x"), gt.vector("y")
    f = gradc.function([x, y], [x // y, x % y], fast_math=True)
    a, b = np.meshgrid(np.arange(-30.0, 31), np.arange(1.0, 20))
    quotient, rest = f(a.ravel(), b.ravel())
    np.testing.assert_array_equal(quotient, (a // b).ravel())
    np.testing.assert_array_equal(rest, (a % b).ravel())


@pytest.mark.parametrize("seed", range(600, 606))
def test_random_programs(seed: int) -> None:
    """Fast mathematics stays within rounding of the reference, also on narrow vectors."""
    fn = with_derivatives(random_function(seed, equations=10))
    again = share_reciprocals(fn)
    arguments = random_arguments(fn, seed, n=19, m=9)
    expected = evaluate(fn, *arguments)
    results = (evaluate(again, *arguments), CompiledFunction(fn, False, fast_math=True)(*arguments))
    for found in results:
        for actual, wanted in zip(found, expected, strict=True):
            scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
            np.testing.assert_allclose(actual, wanted, rtol=1e-9, atol=1e-10 * scale)


def test_the_gradient_of_a_maximum_finds_its_entry() -> None:
    """Where equality of computed numbers decides, they are computed as by default."""
    a, b, c = gt.vector("a"), gt.vector("b"), gt.vector("c")
    cost = gt.max(a * b + c) + gt.sum(a * b)
    results = [cost, *gradc.grad(cost, [a, b, c]), gt.argmax(a * b + c)]
    rng = np.random.default_rng(0)
    given = [rng.normal(size=100) for _ in range(3)]
    fast = gradc.function([a, b, c], results, fast_math=True)
    assert "reassoc" not in fast.stage("llvm")
    for found, wanted in zip(fast(*given), gradc.function([a, b, c], results)(*given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_comparing_with_a_number_is_no_obstacle() -> None:
    x = gt.vector("x")
    f = gradc.function([x], gt.sum(gt.where(x >= 0.0, x * x, x)), fast_math=True)
    assert "reassoc" in f.stage("llvm")


def test_the_cache_tells_them_apart(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRADC_CACHE", str(tmp_path))
    x, s = inputs()
    for fast_math in (False, True, False, True):
        gradc.function([x, s], list(shares(x, s)), fast_math=fast_math).compile()
    names = {file.name.partition(".")[0] for file in tmp_path.iterdir() if file.is_file()}
    assert len(names) == 2


def test_a_library_with_fast_mathematics(tmp_path) -> None:
    x, s = inputs()
    f = gradc.function([x, s], list(shares(x, s)), name="shares")
    gradc.build(tmp_path / "libexact.so", shares=f)
    gradc.build(tmp_path / "libfast.so", shares=f, fast_math=True)
    values, scale = np.linspace(0.1, 3, 37), np.float64(1.7)
    exact = gradc.load(tmp_path / "libexact.so")["shares"](values, scale)
    fast = gradc.load(tmp_path / "libfast.so")["shares"](values, scale)
    for a, b in zip(exact, fast, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15)
    np.testing.assert_array_equal(exact[1], values / scale)


# --- the default ---------------------------------------------------------------------------------


def shifted(array: np.ndarray, bytes: int) -> np.ndarray:
    """A copy that begins `bytes` behind an address that is a multiple of 64."""
    memory = np.empty(array.nbytes + 192, np.uint8)
    start = -memory.ctypes.data % 64 + bytes
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("dtype", [f64, f32])
def test_the_same_bits_for_every_alignment_and_every_run(dtype) -> None:
    x, y, A = (
        gt.vector("x", dtype=dtype),
        gt.vector("y", dtype=dtype),
        gt.matrix("A", dtype=dtype),
    )
    total = gt.sum(gt.exp(x) * y)
    f = gradc.function([x, y, A], [total, A @ x, y @ A, gt.logsumexp(x), gt.softmax(x)])
    rng = np.random.default_rng(0)
    name = "float64" if dtype is f64 else "float32"
    given = [rng.normal(size=shape).astype(name) for shape in (211, 211, (211, 211))]
    first = f(*given)
    for bytes in range(0, 64, given[0].itemsize):
        for _ in range(2):
            again = f(*(shifted(array, bytes) for array in given))
            for a, b in zip(first, again, strict=True):
                assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_the_same_code_for_every_compilation() -> None:
    """Nothing in the object depends on addresses or on the order of sets."""
    from gradc.codegen.llvm import emit_module

    target = parse_target("x86-64-v3")
    texts = set()
    for _ in range(3):
        fn = optimize(with_derivatives(random_function(604)))
        texts.add(emit_module([lower(fn, "f", Choices(256))], "{}", target))
    assert len(texts) == 1


def test_fast_pipeline_is_the_default_and_more() -> None:
    x, s = inputs()
    fn = gradc.function([x, s], list(shares(x, s))).ir
    program = lower(optimize(fn, FAST), "f", Choices(256))
    assert not program.fast_math
    assert replace(program, fast_math=True).kernels == program.kernels
