"""Loops in phases over blocks compute what they do in one piece, whatever their length."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from gradc.codegen import phases
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.phases import in_phases
from gradc.codegen.target import Target, host
from gradc.ir.dims import size
from gradc.ir.function import Function
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Buffer, For, Instruction, Statement
from gradc.ir.text import parse_function
from gradc.ir.types import f64
from native import assert_agrees, native
from random_programs import random_arguments, random_function, with_derivatives
from vector_loops import WITHOUT_FMA

USUAL = Choices(host().vector_bits)
ALWAYS, NEVER = replace(USUAL, phases="always"), replace(USUAL, phases="never")
CHAIN = """fn f(x: REAL[n], y: REAL[n]) {
  %0 = mul(x, x)
  %1 = add(%0, y)
  %2 = exp(%1)
  %3 = div(%2, %1)
  %4 = log1p(%0)
  %5 = mul(%3, %4)
  %6 = erf(%5)
  %7 = reverse(y, axes=[0])
  %8 = tanh(%6)
  %9 = mul(%8, %7)
  %10 = gt(%6, %4)
  %11 = where(%10, %9, %3)
  %12 = mul(%2, %8)
  %13 = sum(%9, axes=[0])
  %14 = max(%12, axes=[0], allow_empty=true)
  return %11, %12, %13, %14
}"""
SHORT = "fn f(x: f64[n]) {\n  %0 = exp(x)\n  %1 = mul(%0, x)\n  return %1\n}"
LENGTHS = (0, 1, 7, 63, 64, 65, 511, 512, 513, 1100)


def chain(real: str, order: str = "backwards") -> Function:
    """`order`: how the vectors of the loop read y."""
    text = CHAIN.replace("REAL", real)
    if order == "in order":
        text = text.replace("reverse(y, axes=[0])", "neg(y)")
    return parse_function(text)


def loops_of(statements: list[Statement]) -> list[For]:
    """All loops, outer ones first."""
    found = [s for s in statements if isinstance(s, For)]
    return found + [inner for loop in found for inner in loops_of(loop.body)]


def blocks_of(fn: Function, choices: Choices) -> list[For]:
    """The loops over blocks of phases."""
    bodies = (kernel.body for kernel in lower(fn, "f", choices).kernels)
    return [loop for body in bodies for loop in loops_of(body) if loop.step > 1]


@pytest.mark.parametrize("order", ["backwards", "in order"])
@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "lesser"])
@pytest.mark.parametrize("real", ["f64", "f32"])
def test_any_length(real: str, target: Target, order: str) -> None:
    fn = chain(real, order)
    usual = Choices(target.vector_bits)
    always, never = replace(usual, phases="always"), replace(usual, phases="never")
    assert blocks_of(fn, always) and not blocks_of(fn, never)
    cut, whole = (native(fn, target, choices) for choices in (always, never))
    rng, dtype = np.random.default_rng(0), {"f64": np.float64, "f32": np.float32}[real]
    for n in LENGTHS:
        x, y = (rng.uniform(0.2, 1.5, n).astype(dtype) for _ in range(2))
        *found, total, largest = cut(x, y)
        *expected, sum_of_all, most = whole(x, y)
        for a, b in zip((*found, largest), (*expected, most), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(total, sum_of_all, rtol=1e-5 if real == "f32" else 1e-13)


@pytest.mark.parametrize("seed", range(700, 706))
def test_random_programs_in_blocks(seed: int) -> None:
    fn = with_derivatives(random_function(seed, equations=12))
    compiled = native(fn, choices=ALWAYS)
    for n in (70, 600):
        assert_agrees(compiled, fn, random_arguments(fn, seed, n=n, m=3))


@pytest.mark.parametrize("bits", [128, 256, 512])
def test_phases_are_written_once(bits: int) -> None:
    """Vectors of what is kept are whole ones, and only what the caller gives is masked."""
    fn, target = chain("f64", "in order"), Target("x86_64-unknown-linux-gnu", "", "", bits)
    program = lower(fn, "f", Choices(bits, phases="always"))
    phases = [loop for loop in loops_of(list(program.kernels[0].body)) if loop.lanes > 1]
    assert len(phases) > 2 and all(loop.padded and loop.copies == 1 for loop in phases)
    assert all(buffer.name.startswith("kept") for loop in phases for buffer in loop.padded)
    text = emit_module([program], "{}", target)
    assert Counter(re.findall(r"= call .*@gradc\.(\w+)\.v", text)) == {
        "exp": 2, "log1p": 1, "erf_from": 1, "tanh": 1,
    }  # fmt: skip


def test_phases_that_do_the_same_are_written_once() -> None:
    """A step of a recurrence that is written out: each reads what the one before has kept."""
    lines = [
        f"  %{2 * i + 1} = mul(%{2 * i}, y)\n  %{2 * i + 2} = tanh(%{2 * i + 1})" for i in range(4)
    ]
    text = "fn f(x: f64[n], y: f64[n]) {\n  %0 = tanh(x)\n" + "\n".join(lines) + "\n  return %8\n}"
    fn = parse_function(text)
    emitted = emit_module([lower(fn, "f", ALWAYS)], "{}", host())
    assert len(re.findall(r"call void @gradc\.loop\.0\(", emitted)) == 3
    assert (
        len(re.findall(r"= call .*@gradc\.tanh\.\w+\(", emitted)) == 3
    )  # the first, 3 shared, the last
    rng = np.random.default_rng(0)
    for n in (0, 1, 63, 600):
        assert_agrees(native(fn, choices=ALWAYS), fn, (rng.normal(size=n), rng.normal(size=n)))


SUM_TWICE = """fn f(p: f64[n, 3], q: f64[n, 3]) {
  %0 = contract(p, q, lhs=[0, 1], rhs=[0, 1], out=[0])
  %1 = slice(%0, starts=[0], stops=[n], steps=[2])
  %2 = constant(value=f64 0.25)
  %3 = pad(%1, %2, low=[0], high=[-2*((n + 1)//2) + n + 1], interior=[1])
  %4 = le(%0, %3)
  %5 = tanh(%3)
  %6 = where(%4, %0, %5)
  %7 = tanh(%6)
  return %4, %7
}"""


@pytest.mark.parametrize("n", [4, 16, 19, 600])
def test_a_sum_of_products_has_the_same_bits_in_two_phases(n: int) -> None:
    """Every other entry is compared with itself, which another loop has computed."""
    fn = parse_function(SUM_TWICE)
    p, q = np.random.default_rng(n).normal(size=(2, n, 3))
    compiled = native(fn, choices=ALWAYS)
    assert_agrees(compiled, fn, (p, q))
    assert compiled(p, q)[0][::2].all()


def test_only_long_chains_of_functions_are_cut() -> None:
    assert not blocks_of(parse_function(SHORT), USUAL)
    (block,) = blocks_of(parse_function(LONG), USUAL)
    calls = [
        {s.value for s in loop.body if isinstance(s, Instruction) and s.op == "call"}
        for loop in loops_of(block.body)
    ]
    assert calls[0] == {"log"} and "erf_from" in calls[-2] | calls[-1]


LONG = """fn f(S: f64[n], K: f64[n], T: f64[n]) {
  %0 = div(S, K)
  %1 = log(%0)
  %2 = sqrt(T)
  %3 = div(%1, %2)
  %4 = sub(%3, %2)
  %5 = erf(%3)
  %6 = erf(%4)
  %7 = tanh(%3)
  %8 = tanh(%4)
  %9 = mul(%5, %7)
  %10 = mul(%6, %8)
  %11 = div(%9, S)
  %12 = div(%10, K)
  return %11, %12
}"""


def test_what_is_kept_stays_in_the_first_cache() -> None:
    made = "".join(f"  %{i} = exp({'x' if i == 0 else f'%{i - 1}'})\n" for i in range(40))
    results = ", ".join(f"%{i}" for i in range(40))
    fn = parse_function(f"fn f(x: f64[n]) {{\n{made}  return {results}\n}}")
    blocks = blocks_of(fn, ALWAYS)
    assert blocks
    for block in blocks:
        kept = {
            s.buffer for loop in loops_of(block.body) for s in loop.body
            if isinstance(s, Instruction) and s.buffer is not None and s.buffer.kind == "scratch"
        }  # fmt: skip
        least = 8 * phases._LEAST_BLOCK * len(kept)
        assert 8 * block.step * len(kept) <= max(least, phases._BLOCK_BYTES)


def test_what_cannot_be_cut_stays_whole() -> None:
    """A loop that reads what it stores; one whose values vary over the copies around it."""
    x, y = Buffer("x", f64["n"], "input"), Buffer("y", f64["n"], "output")
    n = size("n")

    def body(k: LoopBuilder, source: Buffer, copies: int) -> list[Statement]:
        with k.loop(k.size(n), copies=copies) as row, k.loop(k.size(n), lanes=4) as i:
            value = k.add(k.load(source, i, stable=False), k.load(x, row))
            k.store(y, i, k.call("log", k.call("exp", value)), "add")
        return in_phases(k.body, ALWAYS)

    assert len(loops_of(body(LoopBuilder(), x, 1))) > 2
    assert len(loops_of(body(LoopBuilder(), y, 1))) == 2
    assert len(loops_of(body(LoopBuilder(), x, 2))) == 2


def test_bits_are_collected_in_one_piece() -> None:
    """They are numbered from where the loop starts: a loop for each block would start anew."""
    x, y = Buffer("x", f64["n"], "input"), Buffer("y", f64["n"], "output")
    for kind in ("or", "bits"):
        k = LoopBuilder()
        with k.loop(k.size(size("n")), lanes=4) as i:
            value = k.call("exp", k.call("log", k.load(x, i)))
            k.store(y, i, value)
            k.reduce(kind, k.compare("lt", value, k.const(1.0, f64)))
        before = [s for s in k.body if isinstance(s, For)]
        after = [s for s in in_phases(k.body, ALWAYS) if isinstance(s, For)]
        assert (before == after) is (kind == "bits")


@pytest.mark.parametrize("levels", range(1, 40))
def test_no_way_to_cut_a_loop_is_weighed_twice(levels: int) -> None:
    ways = [tuple(cuts) for cuts in phases._ways(levels)]
    assert len(set(ways)) == len(ways)
    assert all(0 < cut <= levels for cuts in ways for cut in cuts)
