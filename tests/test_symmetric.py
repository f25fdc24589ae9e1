"""Symmetric products: which are known to be, and that the half that is computed is mirrored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.explain import explain_kernels
from gradc.codegen.lower import lower
from gradc.codegen.matmul_half import WHOLE
from gradc.codegen.target import Target, host
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.symmetry import is_symmetric
from loop_native import check, compile_program
from native import native
from test_matmul_kernel import TARGETS

Formula = Callable[[Any, Any], Any]

SYMMETRIC: dict[str, Formula] = {
    "own transpose": lambda X, w: X.T @ X,
    "weighted": lambda X, w: X.T @ (w[:, None] * X),
    "weighted left": lambda X, w: (-X * w[:, None]).T @ X,
    "both weighted": lambda X, w: (X / w[:, None]).T @ (2 * X * w[:, None]),
    "around another": lambda X, w: X.T @ (X @ X.T) @ X,
    "around rows of another": lambda X, w: X.T @ ((X @ X.T + 1) @ X),
}
NOT_SYMMETRIC: dict[str, Formula] = {
    "weighted columns": lambda X, w: X.T @ (X * gt.sum(X, axis=0)),
    "other array": lambda X, w: X.T @ gt.sin(X),
    "weights by entry": lambda X, w: X.T @ (X * gt.exp(X)),
    "around another": lambda X, w: X.T @ (gt.sin(w)[:, None] * w) @ X,
}


def made(formula: Formula, dtype: str = "f64", length: int | str = "d") -> Function:
    X, w = gt.tensor("X", dtype, ("n", length)), gt.tensor("w", dtype, ("n",))
    return gradc.function([X, w], formula(X, w)).optimized


def numbers(n: int, d: int, dtype: str = "f64") -> tuple[Any, Any]:
    rng = np.random.default_rng(n + 1000 * d)
    kind = {"f64": np.float64, "f32": np.float32}[dtype]
    return rng.normal(size=(n, d)).astype(kind), (1 + rng.random(n)).astype(kind)


def is_half(fn: Function) -> bool:
    return "of which one half is computed" in explain_kernels(fn, "f", Choices())


@pytest.mark.parametrize("name", SYMMETRIC)
def test_what_is_symmetric(name: str) -> None:
    fn = made(SYMMETRIC[name])
    assert is_symmetric(fn.results[0])
    assert is_half(fn)


@pytest.mark.parametrize("name", NOT_SYMMETRIC)
def test_what_is_not(name: str) -> None:
    fn = made(NOT_SYMMETRIC[name])
    assert not is_symmetric(fn.results[0])
    assert not is_half(fn)
    (found,) = evaluate(fn, *numbers(4, 4))
    assert not np.allclose(found, found.T)


def test_small_products_are_computed_whole() -> None:
    gram = SYMMETRIC["own transpose"]
    assert not is_half(made(gram, length=WHOLE))
    assert is_half(made(gram, length=WHOLE + 1))
    X = gt.tensor("X", "f64", ("n", 10))
    assert not is_half(gradc.function([X], gt.exp(X @ X.T)).optimized)  # finished part by part


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.vector_bits}")
@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("name", ["own transpose", "weighted", "around rows of another"])
def test_any_size(name: str, dtype: str, target: Target) -> None:
    fn = made(SYMMETRIC[name], dtype)
    compiled = native(fn, target)
    eps = np.finfo(dtype.replace("f", "float")).eps
    for n, d in [(0, 40), (3, 0), (5, 1), (7, 32), (9, 33), (300, 47), (5, 64), (40, 65), (9, 200)]:
        X, w = numbers(n, d, dtype)
        (found,) = compiled(X, w)
        (wanted,) = evaluate(made(SYMMETRIC[name]), X.astype(float), w.astype(float))
        scale = np.abs(wanted).max(initial=1.0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=60 * eps * scale)
        if d > WHOLE:
            np.testing.assert_array_equal(found[WHOLE:, :16], found[:16, WHOLE:].T)


def test_the_loops_say_the_same() -> None:
    """The interpreter leaves the other half undefined."""
    program = lower(made(SYMMETRIC["weighted"]), "f", Choices(host().vector_bits))
    run = compile_program(program)
    for n, d in ((5, 3), (300, 40), (3, 70)):
        inputs = (array.ravel() for array in numbers(n, d))
        (found,) = check(
            run, {"n": n, "d": d}, dict(zip(program.inputs, inputs, strict=True)), 1e-12
        ).values()
        assert np.isfinite(found).all()


def test_the_hessian_of_a_regression() -> None:
    """Its curvature is summed up over blocks of rows."""
    w, X = gt.vector("w"), gt.matrix("X")
    hessian = gradc.hessian(gt.sum(gt.softplus(X @ w)), w)
    compiled = gradc.function([w, X], hessian)
    assert is_half(compiled.optimized)
    rng = np.random.default_rng(0)
    for n, d in ((0, 40), (1000, 70), (70, 3)):
        at, rows = rng.normal(size=d) / 10, rng.normal(size=(n, d))
        odds = 1 / (1 + np.exp(-rows @ at))
        wanted = (rows * (odds * (1 - odds))[:, None]).T @ rows
        np.testing.assert_allclose(compiled(at, rows), wanted, rtol=1e-11, atol=1e-11)
