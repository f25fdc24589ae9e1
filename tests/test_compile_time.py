"""Compilation stays linear in the number of operations, and code that is equal is written once."""

from __future__ import annotations

import gc
import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial

import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen import straight
from gradc.codegen.choices import Choices
from gradc.codegen.llvm import emit_module
from gradc.codegen.llvm_segments import Segment, plan
from gradc.codegen.lower import cut_into_kernels, lower
from gradc.codegen.phases import in_phases
from gradc.codegen.rows import _analyse
from gradc.codegen.schedule import schedule
from gradc.codegen.target import Target
from gradc.ir import dims
from gradc.ir.function import Function, Value, function, parameter
from gradc.ir.loops import For, Program
from gradc.ir.ops import constants, elementwise, indexing, reductions, structural
from gradc.ir.ops.cast import cast
from gradc.ir.passes.pipeline import optimize
from gradc.ir.structure import structure_of
from gradc.ir.transforms.reverse import pull_cotangents
from gradc.ir.types import f32, f64, i64
from gradc.tracing import trace
from native import assert_agrees, native

WIDE = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512)
AVX2 = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256)
SSE2 = Target("x86_64-unknown-linux-gnu", "x86-64", "", 128)


def chain(length: int) -> Function:
    """v -> 0.999 v + y or sin(v) y, `length` operations, and the sum."""
    x, y = parameter(f64["n"], "x"), parameter(f64["n"], "y")
    v = x
    for i in range(length // 2):
        v = elementwise.sin(v) * y if i % 10 == 0 else v * 0.999 + y
    return function("f", [x, y], [reductions.sum_(v, axes=(0,))])


def program(fn: Function, name: str) -> Program:
    return lower(fn, name, Choices(512))


def emitted(fn: Function) -> str:
    return emit_module([program(fn, "f")], "{}", WIDE)


def calls(work: Callable[[], object]) -> int:
    """How many functions are called meanwhile, Python's and built-in ones: no matter how fast."""
    count = 0

    def observe(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(observe)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def gradient(length: int) -> Function:
    fn = chain(length)
    seed = constants.scalar(1.0, f64)
    pulled = pull_cotangents([(fn.results[0], seed)], fn.parameters)
    gradients = [c for c in pulled if isinstance(c, Value)]
    return function("f", fn.parameters, [*fn.results, *gradients])


def traced(length: int) -> Function:
    """The same chain, written by a user."""

    def body(x: f64["n"], y: f64["n"]) -> gt.ArrayLike:  # noqa: F821
        v = x
        for i in range(length // 2):
            v = gt.sin(v) * y if i % 10 == 0 else v * 0.999 + y
        return gt.sum(v)

    return trace(body)[0]


STAGES: dict[str, Callable[[int], Callable[[], object]]] = {
    "tracing": lambda length: partial(traced, length),
    "derivative": lambda length: lambda: gradient(length),
    "passes": lambda length: partial(optimize, gradient(length)),
    "loops": lambda length: partial(program, optimize(gradient(length)), "f"),
    "text": lambda length: partial(emitted, optimize(gradient(length))),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("small", "factor"), [(500, 4), pytest.param(1000, 10, marks=pytest.mark.slow)]
)
def test_the_work_of_a_stage_is_linear(stage: str, small: int, factor: int) -> None:
    prepare = STAGES[stage]
    few, many = calls(prepare(small)), calls(prepare(small * factor))
    assert many < 1.5 * factor * few  # quadratic work would be `factor` times as much again


# Calls for each operation of the chain; a tenth more than counted in CPython 3.11.
BUDGETS = {"tracing": 99, "derivative": 195, "passes": 281, "loops": 630, "text": 705}


@pytest.mark.parametrize("stage", STAGES)
def test_the_work_for_an_operation(stage: str) -> None:
    few, many = (calls(STAGES[stage](length)) for length in (100, 500))
    assert (many - few) / 400 < BUDGETS[stage]


def test_little_is_asked_of_arrays_of_which_nothing_is_known() -> None:
    def rows(length: int) -> Function:
        v = x = parameter(f64["n", 3], "x")
        for _ in range(length):
            v = elementwise.sin(v) * x
        return function("f", [x], [v])

    few, many = (calls(partial(structure_of, rows(length))) for length in (100, 300))
    assert (many - few) / 400 < 65


def sums_in_turn(length: int) -> Function:
    """v -> v / sum(v): every loop needs the one before it."""
    v = x = parameter(f64["n"], "x")
    for _ in range(length):
        v = v / structural.broadcast(reductions.sum_(v, axes=(0,)), shape=x.shape, axes=())
    return function("f", [x], [v])


def test_steps_that_wait_for_one_another_are_scheduled_in_linear_time() -> None:
    few, many = (calls(partial(program, sums_in_turn(length), "f")) for length in (60, 240))
    assert many < 1.5 * 4 * few


def test_steps_far_apart_are_not_compared() -> None:
    """What a step needs is known of the steps just before it: as many bits for any length."""
    fn = optimize(sums_in_turn(1200))
    cut = schedule(fn, Choices(512))
    assert len(cut.steps) > 1100
    assert max(known.bit_length() for known in _analyse(cut, fn).behind) <= 1024


def functions_in_turn(calls: int, levels: int) -> For:
    """The loop of sums of functions, `levels` of them in turn, `calls` in all."""
    x = parameter(f64["n"], "x")
    total = x
    for i in range(calls // levels):
        v = x * (i + 2.0)
        for _ in range(levels):
            v = elementwise.sin(v)
        total = total + v
    (kernel,) = lower(function("f", [x], [total]), "f", Choices(512, phases="never")).kernels
    (loop,) = (statement for statement in kernel.body if isinstance(statement, For))
    return loop


def test_the_work_of_cutting_a_loop_does_not_grow_with_the_phases() -> None:
    always = Choices(512, phases="always")
    few, many = (functions_in_turn(120, levels) for levels in (2, 8))
    each = [calls(partial(in_phases, [loop], always)) / len(loop.body) for loop in (few, many)]
    assert each[1] < 1.5 * each[0]


def test_code_is_not_written_on_trial_where_rows_stay_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(straight, "lower_straight", None)
    (step,) = cut_into_kernels(chain(1400), Choices(512)).steps
    assert isinstance(step, straight.Straight)


def test_the_collector_waits_while_a_function_is_traced() -> None:
    running = []

    def body(x: f64) -> gt.ArrayLike:
        running.append(gc.isenabled())
        return x

    trace(body)
    assert running == [False]
    assert gc.isenabled()


def test_lengths_are_not_computed_with_for_each_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    normal_form = dims._from_terms

    def counted(terms: object) -> dims.Dim:
        found.append(terms)
        return normal_form(terms)  # type: ignore[arg-type]

    monkeypatch.setattr(dims, "_from_terms", counted)
    traced(20)
    few = len(found)
    traced(200)
    assert len(found) == 2 * few


def test_equal_numbers_of_a_traced_function_are_one() -> None:
    made = Counter(equation.op.name for equation in traced(200).equations)
    assert made["constant"] == made["broadcast"] == 1

    def body(x: f64["n"], s: f64) -> gt.ArrayLike:  # noqa: F821
        return (x + 0.0) * s + (x + -0.0) * s, gt.astype(x, f32) + 0.0, gt.astype(x, i64) + 0

    made = Counter(equation.op.name for equation in trace(body)[0].equations)
    assert made["constant"] == 4  # and a zero has a sign
    assert made["broadcast"] == 5
    first, second = (trace(body)[0].equations for _ in range(2))
    assert not {*first} & {*second}


def test_what_a_user_can_name_is_never_shared() -> None:
    """Derivatives are taken with respect to values, and values are held constant by name."""

    def body(x: f64["n"], s: f64) -> gt.ArrayLike:  # noqa: F821
        twice = [gt.broadcast_to(s, x.shape) for _ in range(2)]
        many = [gt.broadcast_arrays(s, x)[0] for _ in range(2)]
        full = [gt.full(x.shape, 2.0) for _ in range(2)]
        assert len({tensor.value for tensor in (*twice, *many, *full)}) == 6
        return x * s

    trace(body)


KERNEL = re.compile(r"define internal \w+ @gradc\.[fg]\.\d+\(")


def test_kernels_that_differ_in_names_only_are_written_once() -> None:
    fn = chain(20)
    one = emit_module([program(fn, "f")], "{}", WIDE)
    two = emit_module([program(fn, "f"), program(fn, "g")], "{}", WIDE)
    kernels = len(KERNEL.findall(one))
    assert kernels >= 1
    assert len(KERNEL.findall(two)) == kernels
    other = emit_module([program(fn, "f"), program(chain(30), "g")], "{}", WIDE)
    assert len(KERNEL.findall(other)) > kernels


def test_a_mask_in_every_trip_spares_the_second_body() -> None:
    assert plan(8, 1, None, masks_all=True) == [Segment(8, 1, masked=True)]
    assert len(plan(8, 1, None)) == len(plan(8, 2, None, masks_all=True, masks_rest=True)) == 2


@pytest.mark.parametrize(
    ("target", "gathers", "bodies"),
    [(WIDE, False, 1), (WIDE, True, 1), (AVX2, False, 1), (AVX2, True, 2), (SSE2, False, 2)],
)
def test_a_long_body_is_written_once_where_masks_cost_little(
    target: Target, gathers: bool, bodies: int
) -> None:
    x = parameter(f64["n"], "x")
    v = x
    if gathers:
        v = indexing.take(x, cast(x, dtype=i64), axis=0)
    for _ in range(200):
        v = v * 0.999 + x
    fn = optimize(function("f", [x], [v]))
    text = emit_module([lower(fn, "f", Choices(target.vector_bits))], "{}", target)
    assert len(re.findall(r"fmul <\d x double> .*0x3FEFF7CED916872B", text)) == 200 * bodies


@pytest.mark.parametrize("is_long", [False, True])
def test_several_functions_are_written_once_on_avx2(is_long: bool) -> None:
    """Their last trip masks what it reads, behind a branch."""
    x = parameter(f64["n"], "x")
    y = elementwise.tanh(x) * (elementwise.sin(x) * elementwise.log(x) if is_long else x)
    fn = function("f", [x], [reductions.sum_(y, axes=(0,))])
    text = emit_module([lower(fn, "f", Choices(AVX2.vector_bits, phases="never"))], "{}", AVX2)
    assert len(re.findall(r"= call .*@gradc\.tanh\.", text)) == 2 - is_long
    assert len(re.findall(r"br i1 %\w+, label %whole", text)) == is_long


@pytest.mark.parametrize(("length", "inlined"), [(40, True), (2000, False)])
def test_a_function_that_stands_often_is_called(length: int, inlined: bool) -> None:
    lines = emitted(chain(length)).split("\n")
    (head,) = [line for line in lines if re.match(r"define .* @gradc\.sin\.v8f64\(", line)]
    assert ("alwaysinline" in head) == inlined
    assert ("noinline" in head) != inlined


@pytest.mark.parametrize(
    ("target", "name", "places", "inlined"),
    [
        (AVX2, "sin", 1, True),
        (AVX2, "sin", 2, False),
        (AVX2, "exp", 2, True),
        (SSE2, "sin", 2, False),
        (WIDE, "sin", 2, True),
    ],
)
def test_long_functions_in_two_registers_are_compiled_once(
    target: Target, name: str, places: int, inlined: bool
) -> None:
    """A short one is written out where it stands, and what is in one register, too."""
    x = parameter(f64["n"], "x")
    y = x
    for _ in range(places):
        y = getattr(elementwise, name)(y * 0.999 + x)
    fn = function("f", [x], [y])
    text = emit_module([lower(fn, "f", Choices(target.vector_bits))], "{}", target)
    (head,) = re.findall(rf"define .* @gradc\.{name}\.v[48]f64\(.*", text)
    assert ("alwaysinline" in head, "noinline" in head) == (inlined, not inlined)


def test_the_last_iterations_call_functions() -> None:
    """They run once a call: functions that are written out there would be code for nothing."""
    x = parameter(f64["n"], "x")
    fn = optimize(function("f", [x], [elementwise.exp(x), elementwise.exp(x * 2.0)]))
    text = emit_module([lower(fn, "f", Choices(AVX2.vector_bits))], "{}", AVX2)
    calls = Counter(re.findall(r"call .*@(gradc\.exp\.v\df64[.a-z]*)\(", text))
    assert calls["gradc.exp.v4f64.apart"] == 2 == calls.total() - calls["gradc.exp.v4f64.apart"]
    (head,) = [line for line in text.split("\n") if ".apart(" in line and "define" in line]
    assert "noinline" in head


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 21])
def test_a_long_chain_is_right_for_every_remainder(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n), rng.normal(size=n)
    fn = gradient(300)
    assert_agrees(native(fn), fn, (x, y))
