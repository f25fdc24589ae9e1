"""Derivative forms of the language: constants, what is disconnected, given directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradc.diagnostics import DiagnosticError
from gradc.elaborate import elaborate
from gradc.ir.evaluate import evaluate
from gradc.parser import parse_source

X, K = np.array([1.0, 2.0]), np.array(3.0)
BODY = "fn f(x: f64[n], k: f64) -> f64 {\n    z = x * x\n    k * sum(z * x)\n}\n"


def call(text: str, name: str, *arrays: Any) -> Any:
    functions = elaborate(parse_source(text, "test.grad")).functions
    return evaluate(functions[name], *arrays)


def codes(text: str) -> list[tuple[str, int]]:
    with pytest.raises(DiagnosticError) as caught:
        elaborate(parse_source(text, "test.grad"))
    return [(d.code, d.primary.span.line) for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("form", "directions", "expected"),
    [
        ("grad(f, wrt: x)", (), [3 * 3 * X**2]),
        ("grad(f, wrt: x, constants: z)", (), [3 * X**2]),
        ("grad(f, wrt: (k, x), constants: (z, k))", (), [9.0, 3 * X**2]),
        ("value_and_grad(f, wrt: x, constants: z)", (), [27.0, 3 * X**2]),
        ("jacobian(f, wrt: x, constants: z)", (), [3 * X**2]),
        ("hessian(f, wrt: x, constants: z)", (), [np.zeros((2, 2))]),
        ("hvp(f, wrt: x, constants: z)", (X,), [np.zeros(2)]),
        ("Rop(f, wrt: x, constants: z)", (X,), [27.0, 27.0]),
        ("jvp(f, wrt: x)", (X,), [27.0, 81.0]),
        ("Lop(f, wrt: x, constants: z)", (np.array(2.0),), [27.0, 6 * X**2]),
        ("vjp(f, wrt: x, disconnected: error)", (np.array(2.0),), [27.0, 18 * X**2]),
    ],
)
def test_constants(form: str, directions: tuple[Any, ...], expected: list[Any]) -> None:
    found = call(f"{BODY}g = {form}", "g", X, K, *directions)
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-15)


def test_constants_of_functions_that_are_called() -> None:
    text = f"{BODY}fn h(x: f64[n]) {{ f(x, 2.0) + sum(x) }}\ng = grad(h, wrt: x, constants: z)"
    np.testing.assert_allclose(call(text, "g", X)[0], 2 * X**2 + 1)


@pytest.mark.parametrize("form", ["grad", "value_and_grad", "jvp", "vjp", "jacobian", "hvp"])
def test_disconnected(form: str) -> None:
    text = "fn f(x: f64, y: f64[n]) {\n x * size(y)\n}\n".replace("size(y)", "y.size")
    assert codes(f"{text}export g = {form}(f, wrt: y, disconnected: error)") == [("G0503", 4)]
    elaborate(parse_source(f"{text}export g = {form}(f, wrt: y, disconnected: zero)", "t.grad"))
    elaborate(parse_source(f"{text}export g = {form}(f, wrt: y)", "t.grad"))


def test_all_paths_through_a_constant() -> None:
    text = f"{BODY}fn h(x: f64[n]) {{\n    z = x * x\n    sum(z)\n}}\n"
    assert codes(f"{text}export g = grad(h, wrt: x, constants: z, disconnected: error)") == [
        ("G0503", 9)
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("constants: q", "G0502"),
        ("constants: 3", "G0501"),
        ("constants: (z, 1.0)", "G0501"),
        ("disconnected: perhaps", "G0501"),
        ("disconnected: 1", "G0501"),
        ("constant: z", "G0403"),
    ],
)
def test_mistakes(arguments: str, code: str) -> None:
    assert codes(f"{BODY}export g = grad(f, wrt: x, {arguments})") == [(code, 5)]


def test_identities_with_another_derivative() -> None:
    text = """
        fn f(x: f64) {
            held = zero_grad(x) * x + consider_constant(x) * x + disconnected_grad(x) * x
            held + grad_scale(x, 10.0) + grad_clip(100.0 * x, -1.0, 1.0)
        }
        g = grad(f, wrt: x)
    """
    (found,) = call(text, "g", np.array(3.0))
    assert found == 3 + 3 + 3 + 10 + 100


@pytest.mark.parametrize("form", ["grad", "jvp", "vjp", "hvp", "jacobian", "hessian"])
def test_missing_derivatives_are_listed_with_their_lines(form: str) -> None:
    text = (
        "fn f(w: f64[n], k: f64) -> f64 {\n    a = undefined_grad(w)\n"
        f"    sum(a * w) + undefined_grad(k) ** 2\n}}\nexport g = {form}(f, wrt: (w, k))\n"
    )
    with pytest.raises(DiagnosticError) as caught:
        elaborate(parse_source(text, "test.grad"))
    (error,) = caught.value.diagnostics
    assert (error.code, error.primary.span.line) == ("G0503", 5)
    assert "with respect to w, k cannot be computed" in error.message
    for place in ("test.grad:2:9: undefined_grad forbids it at w", "test.grad:3:18: undefined_gra"):
        assert place in error.primary.text
