"""A function and another one of the same argument that shares its work are written as one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.joint import joint_calls
from gradc.codegen.llvm import emit_module
from gradc.codegen.lower import lower
from gradc.codegen.machine import costs_of, costs_of_all
from gradc.codegen.target import Target, host
from gradc.ir.evaluate import evaluate
from gradc.ir.loop_builder import LoopBuilder
from gradc.ir.loops import Instruction
from gradc.ir.text import parse_function
from gradc.ir.types import f64
from native import native
from random_programs import random_arguments
from vector_loops import WITHOUT_FMA

PAIRS = (("sin", "cos", "sin_cos"), ("softplus", "sigmoid", "softplus_sigmoid"))


def both(first: str, second: str, kind: str) -> str:
    """Both functions of an argument, used apart, and one of another argument."""
    return (
        f"fn f(x: {kind}) {{\n  %0 = {first}(x)\n  %1 = mul(%0, x)\n  %2 = {second}(x)\n"
        f"  %3 = sub(%2, %1)\n  %4 = {second}(%3)\n  return %1, %3, %4\n}}"
    )


@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "lesser"])
@pytest.mark.parametrize("kind", ["f64", "f32", "f64[3]", "f64[n]", "f32[n]", "f64[n, 2]"])
@pytest.mark.parametrize(("first", "second", "joint"), PAIRS)
def test_one_function_in_place_of_two(
    first: str, second: str, joint: str, kind: str, target: Target
) -> None:
    fn = parse_function(both(first, second, kind))
    for phases in ("never", "by cost"):
        choices = Choices(target.vector_bits, phases=phases)
        text = emit_module([lower(fn, "f", choices)], "{}", target)
        called = set(re.findall(r"= call .*@gradc\.(\w+)\.", text))
        assert joint in called and second in called and first not in called
        compiled = native(fn, target, choices)
        for n in (0, 1, 5, 70):
            given, rtol = random_arguments(fn, n, n=n), 1e-12 if "f64" in kind else 2e-6
            for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
                np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


def test_calls_are_joined_in_the_order_of_the_block() -> None:
    k = LoopBuilder()
    x, y = k.const(1.0, f64), k.const(2.0, f64)
    made = [k.call(name, a) for name, a in (("cos", x), ("sin", y), ("exp", x), ("sin", x))]
    (found,) = joint_calls(k.body)
    assert found.name == "sin_cos"
    assert [call.result for call in found.calls] == [made[3], made[0]]
    assert found.first.result is made[0]


POWERS = """fn f(x: f64[n], p: EXPONENT) {
  %0 = exp(x)
  %1 = STRETCHED
  %2 = pow(%0, %1)
  %3 = constant(value=f64 1.0)
  %4 = broadcast(%3, shape=[n], axes=[])
  %5 = sub(%1, %4)
  %6 = pow(%0, %5)
  %7 = mul(%6, %1)
  return %2, %7
}"""


@pytest.mark.parametrize("target", [host(), WITHOUT_FMA], ids=["host", "lesser"])
@pytest.mark.parametrize("phases", ["always", "never"])
@pytest.mark.parametrize("exponent", ["f64", "f64[n]"])
def test_two_powers_of_a_number_share_its_logarithm(
    exponent: str, phases: str, target: Target
) -> None:
    """Where the second exponent is computed between them, it is computed sooner."""
    stretched = "neg(p)" if "n" in exponent else "broadcast(p, shape=[n], axes=[])"
    fn = parse_function(POWERS.replace("EXPONENT", exponent).replace("STRETCHED", stretched))
    choices = Choices(target.vector_bits, phases=phases)
    text = emit_module([lower(fn, "f", choices)], "{}", target)
    assert set(re.findall(r"= call .*@gradc\.(pow\w*)\.", text)) == {"pow_pow"}
    compiled = native(fn, target, choices)
    for n in (0, 1, 5, 600):
        given = random_arguments(fn, n, n=n)
        for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_powers_are_not_joined_where_the_second_exponent_needs_the_first_power() -> None:
    k = LoopBuilder()
    x, y = k.const(1.0, f64), k.const(2.0, f64)
    k.call("pow", x, k.add(k.call("pow", x, y), y))
    assert not list(joint_calls(k.body))


def test_the_second_of_two_costs_little() -> None:
    k = LoopBuilder()
    x = k.const(1.0, f64)
    made = [k.call("sin", x), k.call("cos", x)]
    calls = [s for s in k.body if isinstance(s, Instruction) and s.op == "call"]
    costs = costs_of_all(calls)
    assert costs[made[0]] == costs_of(calls[0])
    assert 0 < 4 * costs[made[1]][0] < costs[made[0]][0]
