"""Products that are finished part by part: bias, activation, derivative, sums over the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.lower import cut_into_kernels, lower
from gradc.codegen.steps import FinishedProduct
from gradc.codegen.target import Target, host
from gradc.ir.dims import evaluate_dim
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.loops import STATUS_INDEX_OUT_OF_RANGE
from gradc.ir.text import parse_function, print_function
from loop_native import check, compile_program, compile_shared, output_arrays
from native import assert_agrees, native

USUAL = Choices(host().vector_bits)
LAYER = """
fn f(a: REAL[n, k], b: REAL[k, m], c: REAL[m], d: REAL[n, m]) {
  %0 = contract(a, b, lhs=[0, 2], rhs=[2, 1], out=[0, 1])
  %1 = broadcast(c, shape=[n, m], axes=[1])
  %2 = add(%0, %1)
  %3 = tanh(%2)
  %4 = mul(%3, d)
  %5 = sum(%4, axes=[0])
  %6 = sum(%4, axes=[1])
  %7 = sum(%4, axes=[0, 1])
  %8 = constant(value=REAL 2.2)
  %9 = broadcast(%8, shape=[n, m], axes=[])
  %10 = gt(%4, %9)
  %11 = any(%10, axes=[0])
  %12 = any(%10, axes=[1])
  %13 = any(%10, axes=[0, 1])
"""
RESULTS = ("%3", "%4, %5", "%6", "%7", "%0, %3", "%11, %12, %13", "%5, %6, %7, %11, %4")
SHAPES = ((1, 1, 1), (3, 5, 2), (17, 40, 33), (130, 70, 300), (300, 65, 200), (40, 0, 7), (0, 3, 9))
LONG = (270, 300, 1100)  # several blocks of rows, sums and columns


def layer(results: str, real: str = "f64") -> Function:
    return parse_function(f"{LAYER}  return {results}\n}}".replace("REAL", real))


def arguments(fn: Function, **sizes: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        rng.normal(size=[evaluate_dim(d, sizes) for d in p.shape]).astype(p.dtype.numpy)
        for p in fn.parameters
    ]


def joined(fn: Function, choices: Choices = USUAL) -> list[FinishedProduct]:
    return [s for s in cut_into_kernels(fn, choices).steps if isinstance(s, FinishedProduct)]


@pytest.mark.parametrize("results", RESULTS)
@pytest.mark.parametrize("finish", [True, False], ids=["in parts", "apart"])
def test_a_layer_agrees_with_the_evaluator(results: str, finish: bool) -> None:
    fn = layer(results)
    assert len(joined(fn, replace(USUAL, finish=finish))) == finish
    compiled = native(fn, choices=replace(USUAL, finish=finish))
    for n, k, m in (*SHAPES, LONG):
        assert_agrees(compiled, fn, arguments(fn, n=n, k=k, m=m))


def test_parts_of_a_stream() -> None:
    """Slabs of the few rows, or few columns, that a large operand gives; at the end of a sum."""
    fn = layer(RESULTS[-1])
    for n, k, m in ((5, 130, 2100), (20, 1300, 300)):
        assert_agrees(native(fn), fn, arguments(fn, n=n, k=k, m=m))
    text = (
        print_function(fn)
        .replace("a: f64[n, k]", "a: f64[k, n]")
        .replace("lhs=[0, 2]", "lhs=[2, 0]")
    )
    turned = parse_function(text)
    assert joined(turned)
    assert_agrees(native(turned), turned, arguments(turned, n=2100, k=130, m=5))


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
def test_other_vectors(cpu: str) -> None:
    bits = {"x86-64": 128, "x86-64-v3": 256}[cpu]
    if not host().triple.startswith("x86_64") or bits > host().vector_bits:
        pytest.skip("not for this machine")
    fn = layer(RESULTS[-1])
    compiled = native(fn, Target(host().triple, cpu, "", bits), Choices(bits))
    for n, k, m in SHAPES[:4]:
        assert_agrees(compiled, fn, arguments(fn, n=n, k=k, m=m))


def test_f32() -> None:
    fn = layer(RESULTS[-1], "f32")
    assert joined(fn)
    given = arguments(fn, n=130, k=70, m=61)
    for found, wanted in zip(native(fn)(*given), evaluate(fn, *given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("compiler", [compile_program, compile_shared])
def test_loops_do_what_the_interpreter_does(compiler: object) -> None:
    program = lower(layer(RESULTS[-1]), "f", USUAL)
    sizes = {"n": 21, "k": 9, "m": 26}
    rng = np.random.default_rng(0)
    inputs = {b: rng.normal(size=evaluate_dim(b.type.size, sizes)) for b in program.inputs}
    check(compiler(program), sizes, inputs, 1e-12)  # type: ignore[operator]


def test_a_product_that_only_its_own_entry_needs_has_no_memory() -> None:
    (step,) = joined(layer("%3"))
    assert step.place is step.nest.roots[0].value
    assert not cut_into_kernels(layer("%3"), USUAL).arena.buffers


def test_a_product_that_is_a_result_keeps_its_memory() -> None:
    (step,) = joined(layer("%0, %3"))
    assert step.place is None


PRODUCTS = {
    "a stack of rows": ("a: f64[s, n, k], b: f64[k, m]", "[0, 1, 3]", "[3, 2]", "[0, 1, 2]"),
    "a batch": ("a: f64[s, n, k], b: f64[s, k, m]", "[0, 1, 3]", "[0, 3, 2]", "[0, 1, 2]"),
    "a turned batch": ("a: f64[s, k, n], b: f64[s, m, k]", "[0, 3, 1]", "[0, 2, 3]", "[0, 1, 2]"),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_more_axes(name: str) -> None:
    head, lhs, rhs, out = PRODUCTS[name]
    fn = parse_function(
        f"fn f({head}, d: f64[s, n, m]) {{\n  %0 = contract(a, b, lhs={lhs}, rhs={rhs}, out={out})"
        "\n  %10 = exp(%0)\n  %9 = mul(%10, d)\n  %8 = sum(%9, axes=[1])\n  return %9, %8\n}"
    )
    assert len(joined(fn)) == 1
    compiled = native(fn)
    for s, n, m, k in ((1, 1, 1, 1), (3, 20, 30, 9), (5, 8, 8, 8), (2, 40, 3, 70)):
        given = [x / (1 + k) for x in arguments(fn, s=s, n=n, m=m, k=k)]
        assert_agrees(compiled, fn, given)


def test_a_result_by_columns() -> None:
    fn = parse_function(
        "fn f(a: f64[n, k], b: f64[k, m], c: f64[n]) {\n"
        "  %0 = contract(a, b, lhs=[0, 2], rhs=[2, 1], out=[1, 0])\n"
        "  %1 = broadcast(c, shape=[m, n], axes=[1])\n  %9 = mul(%0, %1)\n  return %9\n}"
    )
    assert joined(fn)
    for n, k, m in SHAPES:
        assert_agrees(native(fn), fn, arguments(fn, n=n, k=k, m=m))


UNJOINED = {
    "another entry": "%8 = transpose(%0, permutation=[1, 0])\n  %9 = add(%0, %8)",
    "a maximum": "%9 = max(%0, axes=[1])",
}


@pytest.mark.parametrize("name", UNJOINED)
def test_what_needs_other_entries_waits_for_the_product(name: str) -> None:
    fn = parse_function(
        "fn f(a: f64[n, k], b: f64[k, n]) {\n"
        f"  %0 = contract(a, b, lhs=[0, 2], rhs=[2, 1], out=[0, 1])\n  {UNJOINED[name]}\n"
        "  return %9\n}"
    )
    assert not joined(fn)
    assert_agrees(native(fn), fn, arguments(fn, n=37, k=20))


def test_a_failure_inside_a_part_is_the_call_s_status() -> None:
    fn = parse_function(
        "fn f(a: f64[n, k], b: f64[k, m], t: f64[q], i: i64[n, m]) {\n"
        "  %0 = contract(a, b, lhs=[0, 2], rhs=[2, 1], out=[0, 1])\n"
        "  %8 = take(t, i, axis=0)\n  %9 = mul(%0, %8)\n  return %9\n}"
    )
    assert joined(fn)
    program = lower(fn, "f", USUAL)
    sizes = {"n": 30, "k": 4, "m": 20, "q": 5}
    index = np.zeros(600, np.int64)
    given = dict(
        zip(program.inputs, (np.ones(120), np.ones(80), np.arange(5.0), index), strict=True)
    )
    run = compile_program(program)
    assert run.run(sizes, {**given, **output_arrays(program, sizes)}) == 0
    index[411] = 5
    status = run.run(sizes, {**given, **output_arrays(program, sizes)})
    assert status == STATUS_INDEX_OUT_OF_RANGE
