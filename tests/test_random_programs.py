"""Random programs: native = evaluator; tangent = differences; gradient and Hessian agree with both.

The derivatives of each program are compiled into one function and compared with the reference
evaluator entry by entry; the evaluator's derivatives are compared with central differences.
"""

from __future__ import annotations

import numpy as np
import pytest
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.passes.pipeline import optimize
from gradc.ir.types import f32
from native import assert_agrees, native
from random_programs import random_arguments, random_function, with_derivatives

SIZES = ({"n": 4, "m": 5}, {"n": 19, "m": 9}, {"n": 1, "m": 1})
COUNT = 300
STEP = 1e-5


@pytest.mark.parametrize("seed", range(COUNT))
def test_random_program(seed):
    """Every other one after the passes, as users run them: these leave other graphs."""
    fn = random_function(seed)
    both = with_derivatives(fn)
    compiled = native(optimize(both) if seed % 2 else both)
    for sizes in SIZES:
        assert_agrees(compiled, both, random_arguments(both, seed, **sizes))
    check_derivatives(fn, both, seed)


@pytest.mark.parametrize("seed", range(COUNT, COUNT + 40))
def test_random_program_in_single_precision(seed):
    fn = with_derivatives(random_function(seed, f32))
    compiled = native(fn)
    arguments = random_arguments(fn, seed, n=7, m=9)
    exact = evaluate(with_derivatives(random_function(seed)), *(a.astype("f8") for a in arguments))
    for found, wanted in zip(compiled(*arguments), exact, strict=True):
        assert found.dtype == np.float32
        scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10_000, 13_000))
def test_many_random_programs(seed):
    test_random_program(seed)


def check_derivatives(fn: Function, both: Function, seed: int) -> None:
    """Tangent = differences of the cost = gradient . t; H t = differences of the gradient."""
    sizes = {"n": 4, "m": 5}
    arguments = random_arguments(both, seed, **sizes)
    count = len(fn.parameters)
    primals, directions = arguments[:count], arguments[count:]

    def at(step: float) -> tuple[np.ndarray, ...]:
        moved = [p + step * t for p, t in zip(primals, directions, strict=True)]
        return evaluate(both, *moved, *directions)

    results = len(fn.results)
    here, ahead, behind = at(0.0), at(STEP), at(-STEP)
    tangent = here[results]
    gradient = here[results + 1 : results + 1 + count]
    product = here[results + 1 + count :]
    pulled = sum(float(np.sum(g * t)) for g, t in zip(gradient, directions, strict=True))
    np.testing.assert_allclose(tangent, pulled, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((ahead[0] - behind[0]) / (2 * STEP), tangent, rtol=1e-4, atol=1e-5)
    for i, expected in enumerate(product):
        place = results + 1 + i
        difference = (ahead[place] - behind[place]) / (2 * STEP)
        scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
        np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-4 * scale)
