"""Sums of padded blocks are laid side by side: fewer passes, the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import gradc.tensor as gt
import numpy as np
import pytest
from gradc.driver import function
from gradc.gradient import grad
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.passes.pads import join_pads
from gradc.ir.passes.pipeline import optimize
from gradc.ir.text import parse_function
from gradc.tensor.variable import Tensor
from native import native
from random_programs import random_arguments, random_function, with_derivatives


def counts(fn: Function) -> dict[str, int]:
    names = [made.op.name for made in fn.equations]
    return {name: names.count(name) for name in ("pad", "concat", "add")}


def entries(x: Tensor) -> Tensor:
    return x[0] * x[1] + gt.sin(x[2]) * x[3] + x[5]


def halves(x: Tensor) -> Tensor:
    return gt.sum(gt.sin(x[:2])) * gt.sum(gt.cos(x[2:]))


def overlapping(x: Tensor) -> Tensor:
    return gt.sum(gt.sin(x[:4]) * gt.cos(x[2:6])) * gt.sum(x[4:])


def repeated(x: Tensor) -> Tensor:
    return gt.sin(x[1]) * x[3] + gt.cos(x[1]) * x[0] + x[1]


def ends(x: Tensor) -> Tensor:
    return x[0] * x[-1] + gt.sum(gt.sin(x))


COSTS: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int]]] = {
    "single entries": (entries, {"pad": 0, "concat": 1, "add": 2}),
    "two parts": (halves, {"pad": 0, "concat": 1, "add": 0}),
    "overlapping parts": (overlapping, {"pad": 1, "concat": 1, "add": 1}),
    "an entry three times": (repeated, {"pad": 1, "concat": 1, "add": 3}),
    "both ends": (ends, {"pad": 0, "concat": 1, "add": 2}),
}


@pytest.mark.parametrize("name", COSTS)
def test_a_gradient_of_slices_is_put_together(name: str) -> None:
    cost, wanted = COSTS[name]
    x = gt.vector("x", shape=(6,))
    fn = function([x], [cost(x), grad(cost(x), x)]).ir
    made = optimize(fn, check=True)
    assert counts(made) == wanted
    at = np.linspace(0.3, 2.0, 6)
    for run in (lambda *a: evaluate(made, *a), native(made)):
        for found, expected in zip(run(at), evaluate(fn, at), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 9])
def test_parts_of_symbolic_length(n: int) -> None:
    x = gt.vector("x")
    cost = gt.sin(x[0]) * x[-1] + gt.sum(gt.cos(x[1:-1]))
    fn = function([x], grad(cost, x)).ir
    made = optimize(fn, check=True)
    assert counts(made) == {"pad": 0, "concat": 1, "add": 0}
    at = np.linspace(0.3, 2.0, n)
    for run in (lambda *a: evaluate(made, *a), native(made)):
        np.testing.assert_allclose(run(at)[0], evaluate(fn, at)[0], rtol=1e-14)


def test_entries_of_a_matrix_are_joined_along_both_axes() -> None:
    x = gt.matrix("x", shape=(2, 3))
    cost = gt.sin(x[0, 0]) * x[0, 1] * x[0, 2] + x[1, 0] * gt.cos(x[1, 1]) * x[1, 2]
    fn = function([x], grad(cost, x)).ir
    made = optimize(fn, check=True)
    assert counts(made) == {"pad": 0, "concat": 3, "add": 0}
    at = np.random.default_rng(0).normal(size=(2, 3))
    np.testing.assert_allclose(evaluate(made, at)[0], evaluate(fn, at)[0], rtol=1e-14)


PRIMAL = """fn f(x: f64[2], y: f64[4], z: f64[4]) {
  %0 = constant(value=f64 0.0)
  %1 = pad(x, %0, low=[0], high=[2], interior=[0])
  %2 = pad(x, %0, low=[LOW], high=[HIGH], interior=[0])
  BODY
  return %9 }"""


@pytest.mark.parametrize(
    ("low", "body", "joined"),
    [
        (2, "%9 = add(%1, %2)", True),
        (2, "%9 = sub(%1, %2)", True),
        (2, "%8 = add(%1, y) %9 = add(%8, %2)", True),
        (2, "%8 = sub(%1, y) %9 = sub(%8, %2)", True),
        (1, "%9 = add(%1, %2)", False),
        (0, "%8 = add(%1, y) %9 = add(%8, %2)", False),
        (2, "%7 = add(%1, y) %8 = add(%7, z) %9 = add(%8, %2)", False),
    ],
)
def test_what_was_written_keeps_its_bits(low: int, body: str, joined: bool) -> None:
    text = PRIMAL.replace("LOW", str(low)).replace("HIGH", str(2 - low)).replace("BODY", body)
    fn = parse_function(text)
    made = join_pads(fn)
    assert (counts(made)["concat"] == 1) == joined
    rng = np.random.default_rng(0)
    for _ in range(20):
        arguments = [rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n) for n in (2, 4, 4)]
        np.testing.assert_array_equal(evaluate(made, *arguments), evaluate(fn, *arguments))


def test_other_paddings_stay() -> None:
    fn = parse_function("""fn f(x: f64[2], y: f64) {
      %0 = constant(value=f64 0.0)
      %1 = pad(x, %0, low=[0], high=[1], interior=[1])
      %2 = pad(x, %0, low=[1], high=[0], interior=[1])
      %3 = pad(x, y, low=[2], high=[0], interior=[0])
      %4 = add(%1, %2)
      %5 = add(%4, %3)
      return %5 }""")
    assert join_pads(fn) is fn


def test_the_work_is_linear_in_the_number_of_slices() -> None:
    n = 2000
    x = gt.vector("x", shape=(n,))
    cost = x[0]
    for i in range(1, n):
        cost = cost + gt.sin(x[i])
    made = join_pads(function([x], grad(cost, x)).ir)
    (joined,) = [equation for equation in made.equations if equation.op.name == "concat"]
    assert len(joined.inputs) == n
    assert counts(made)["pad"] == 0


@pytest.mark.parametrize("seed", range(60, 75))
def test_random_programs_keep_their_values(seed: int) -> None:
    fn = with_derivatives(random_function(seed))
    arguments = random_arguments(fn, seed, n=3, m=4)
    pairs = zip(evaluate(fn, *arguments), evaluate(join_pads(fn), *arguments), strict=True)
    for before, after in pairs:
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)
