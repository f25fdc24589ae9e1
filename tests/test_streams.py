"""Results that are written past the caches: the same numbers, wherever the arrays begin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gradc.codegen import llvm_streams, nest
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.loop_plan import Loop
from gradc.codegen.lower import lower
from gradc.codegen.steps import Nest
from gradc.codegen.target import LINE_BYTES, Target, host
from gradc.ir.loops import Buffer, For, Program
from gradc.ir.text import parse_function
from loop_native import compile_program

HEAD = "fn f(x: REAL[n]) {\n"
SHORT = "  %0 = mul(x, x)\n  return %0\n}"
TWO = "  %0 = mul(x, x)\n  %1 = neg(x)\n  return %0, %1\n}"
LONG = (
    "  %0 = exp(x)\n  %1 = tanh(%0)\n  %2 = sin(%1)\n  %3 = log1p(%2)\n  %4 = erf(%3)\n"
    "  %5 = mul(%0, %4)\n  return %5, %2\n}"
)
FUNCTION = "  %0 = exp(x)\n  return %0\n}"
WAITS = "  %0 = exp(x)\n  %1 = neg(x)\n  return %0, %1\n}"
BODIES = {"short": SHORT, "two results": TWO, "long": LONG}
LENGTHS = (0, 1, 5, 7, 8, 9, 15, 16, 17, 31, 40, 100, 1003)


def program(body: str, real: str = "f64", bits: int = host().vector_bits) -> Program:
    fn = parse_function((HEAD + body).replace("REAL", real))
    return lower(fn, "f", Choices(bits, phases="never"))


def loop_of(made: Program) -> For:
    (kernel,) = made.kernels
    loop = kernel.body[-1]
    assert isinstance(loop, For)
    return loop


def all_streamed(_: Nest, loop: Loop, results: tuple[Buffer, ...]) -> Loop:
    """The loop, streamed in whole lines whatever it costs."""
    lines = LINE_BYTES // (loop.lanes * results[0].type.dtype.itemsize) if results else 1
    return replace(loop, streamed=results, copies=max(lines, loop.copies))


def streams(made: Program, target: Target | None = None) -> bool:
    return "!nontemporal" in emit_module([made], "{}", target or host())


pytestmark = pytest.mark.skipif(
    not host().triple.startswith("x86_64"), reason="only x86-64 streams"
)


@pytest.mark.parametrize("real", ["f64", "f32"])
@pytest.mark.parametrize("name", BODIES)
def test_any_length_at_any_place(name: str, real: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nest, "past_caches", all_streamed)
    made = program(BODIES[name], real)
    usual = compile_program(made)
    monkeypatch.setattr(llvm_streams, "LARGE_BYTES", 1)
    assert streams(made)
    streamed = compile_program(made)
    rng = np.random.default_rng(0)
    dtype = {"f64": np.float64, "f32": np.float32}[real]
    for n in LENGTHS:
        x = rng.normal(size=n).astype(dtype)
        for shift in range(0, 64 // dtype().itemsize, 3):
            found = []
            for run in (usual, streamed):
                memory = [np.full(n + 40, 7, dtype) for _ in made.outputs]
                start = [(-m.ctypes.data // m.itemsize) % (64 // m.itemsize) for m in memory]
                parts = [m[s + shift : s + shift + n] for m, s in zip(memory, start, strict=True)]
                given = {made.inputs[0]: x, **dict(zip(made.outputs, parts, strict=True))}
                assert run.run({"n": n}, given) == 0
                found.append([p.copy() for p in parts])
                for part in parts:
                    part[...] = 7
                assert all((m == 7).all() for m in memory), "a store beside the results"
            for a, b in zip(*found, strict=True):
                np.testing.assert_array_equal(a, b)


def test_results_that_begin_differently_are_stored_as_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(llvm_streams, "LARGE_BYTES", 1)
    made = program(TWO)
    run = compile_program(made)
    x = np.arange(100.0)
    for shift in range(8):
        parts = [np.zeros(120)[:100], np.zeros(120)[shift : shift + 100]]
        assert (
            run.run({"n": 100}, {made.inputs[0]: x, **dict(zip(made.outputs, parts, strict=True))})
            == 0
        )
        np.testing.assert_array_equal(parts[0], x * x)
        np.testing.assert_array_equal(parts[1], -x)


def test_large_results() -> None:
    made = program(TWO)
    n = llvm_streams.LARGE_BYTES // 16 + 13
    x = np.random.default_rng(1).normal(size=n)
    first, second = np.zeros(n), np.zeros(n)
    given = dict(zip(made.outputs, (first, second), strict=True))
    assert compile_program(made).run({"n": n}, {made.inputs[0]: x, **given}) == 0
    np.testing.assert_array_equal(first, x * x)
    np.testing.assert_array_equal(second, -x)


def test_what_computes_for_long_is_not_streamed() -> None:
    assert loop_of(program(FUNCTION, bits=256)).streamed
    assert not loop_of(program(LONG, bits=256)).streamed


def test_several_results_are_streamed_in_whole_lines() -> None:
    """Where a line takes two vectors, both are written at once: no function between them."""
    loop = loop_of(program(TWO, bits=256))
    assert loop.streamed and 8 * loop.lanes * loop.copies % LINE_BYTES == 0
    assert loop_of(program(WAITS, bits=512)).streamed
    assert not loop_of(program(WAITS, bits=256)).streamed


def test_a_loop_that_also_sums_is_not_streamed() -> None:
    assert streams(program(SHORT))
    summed = "  %0 = mul(x, x)\n  %1 = sum(%0, axes=[0])\n  return %0, %1\n}"
    assert not streams(program(summed))


def test_other_machines_store_as_usual() -> None:
    arm = Target("aarch64-unknown-linux-gnu", "neoverse-n1", "", 128)
    assert not streams(program(SHORT, bits=128), arm)


def test_parts_of_a_joined_result_are_not_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each begins where the one before ends, which may be anywhere within a line."""
    monkeypatch.setattr(llvm_streams, "LARGE_BYTES", 1)
    made = program("  %0 = exp(x)\n  %1 = sin(x)\n  %2 = concat(%0, %1, axis=0)\n  return %2\n}")
    assert not streams(made)
    x = np.linspace(-1, 1, 1003)
    found = np.empty(2006)
    assert compile_program(made).run({"n": 1003}, {made.inputs[0]: x, made.outputs[0]: found}) == 0
    np.testing.assert_allclose(found, [*np.exp(x), *np.sin(x)], rtol=1e-14)
