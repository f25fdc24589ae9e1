"""The means to check derivatives: verify_grad, complex steps, why_zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import Tensor
from gradc.complex_step import complex_step, is_analytic
from gradc.tracing import make_function

RNG = np.random.default_rng(3)
X, V = RNG.uniform(0.2, 0.8, (2, 3)), RNG.uniform(0.2, 0.8, 3)

FUNCTIONS: tuple[tuple[str, Callable[..., Any], bool], ...] = (
    ("elementwise", lambda x, v: gt.exp(x) * gt.sin(v) / (1 + x * x) - gt.log(v), True),
    ("powers", lambda x, v: x**3 + gt.tanh(x - v) + gt.expm1(x) * gt.log1p(v), True),
    ("products", lambda x, v: x @ v + gt.sum(x, 1), True),
    ("moves", lambda x, v: gt.concat([x.T, gt.stack([v, v], 1)], 0)[::-1], True),
    ("choice", lambda x, v: gt.where(x > 0.5, x * v, gt.sin(x)), True),
    ("gather", lambda x, v: v[np.array([0, 2, 2])] * x, True),
    ("several", lambda x, v: [x * v, gt.sum(gt.cos(v)), gt.outer(v, v)], True),
    ("scans", lambda x, v: gt.cumsum(x, 1) * gt.cumprod(v) + gt.linear_recurrence(v, v), True),
    ("logarithms", lambda x, v: gt.xlogy(x, v) + gt.xlog1py(v, x) * gt.sqrt(v), True),
    ("orders", lambda x, v: gt.sort(x, 0) * gt.sort(v), True),
    ("not analytic", lambda x, v: gt.sqrt(x) + gt.logsumexp(v) * abs(x), False),
    ("unused", lambda x, v: [x * 2.0], True),
)


@pytest.mark.parametrize(("name", "f", "analytic"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_verify_grad_to_second_order(name: str, f: Callable[..., Any], analytic: bool) -> None:
    rng = np.random.default_rng(0)
    gradc.verify_grad(f, [X, V], 1, rng, order=2)
    gradc.verify_grad(f, [X.astype("f4"), V.astype("f4")], 1, rng, order=2)
    if analytic:
        gradc.verify_grad(f, [X, V], 1, rng, abs_tol=1e-11, rel_tol=1e-11)


@pytest.mark.parametrize(("name", "f", "analytic"), FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_which_functions_are_analytic(name: str, f: Callable[..., Any], analytic: bool) -> None:
    x, v = gt.tensor("x", shape=(2, 3)), gt.tensor("v", shape=(3,))
    found = f(x, v)
    made = make_function([x, v], found if isinstance(found, list) else [found], "f")
    assert is_analytic(made) == analytic


def test_complex_steps_are_exact() -> None:
    x = gt.tensor("x", shape=(3,))
    made = make_function([x], [gt.exp(x) * gt.sin(x)], "f")
    (found,) = complex_step(made, [V], [np.ones(3)])
    np.testing.assert_allclose(found, np.exp(V) * (np.sin(V) + np.cos(V)), rtol=1e-15)


@pytest.mark.parametrize(
    ("options", "message"),
    (
        ({"n_tests": 0}, "n_tests is a number of tests, at least 1, not 0"),
        ({"n_tests": 1.5}, "n_tests is a number of tests"),
        ({"eps": 0.0}, "eps is a step above 0, not 0.0"),
        ({"eps": -1e-3}, "eps is a step above 0"),
        ({"abs_tol": -1.0}, "abs_tol is a number, 0 at least, not -1.0"),
        ({"rel_tol": float("nan")}, "rel_tol is a number, 0 at least, not nan"),
        ({"order": 3}, "order is 1 or 2, not 3"),
    ),
    ids=str,
)
def test_a_check_that_checks_nothing_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradc.verify_grad(gt.sin, [V], **options)


def wrong_scale(x: Tensor) -> Tensor:
    return gradc.grad_scale(x, 1.5) ** 2


def wrong_reverse(x: Tensor) -> Tensor:
    return gradc.grad_clip(x, -0.1, 0.1) ** 2


def test_the_report_names_the_worst_entry() -> None:
    v = np.array([0.1, 5.0, 0.2])
    with pytest.raises(gradc.GradientError, match=r"gradient of argument 0 differs most at \[1\]"):
        gradc.verify_grad(lambda x: x * gt.where(x > 1, gradc.zero_grad(x), x), [v])
    with pytest.raises(gradc.GradientError, match="reverse"):
        gradc.verify_grad(wrong_reverse, [v])
    with pytest.raises(gradc.GradientError, match="test 0"):
        gradc.verify_grad(wrong_scale, [v.astype("f4")])


def second_order_only(x: Tensor) -> Tensor:
    """x**2 whose first derivative is right and whose second is not."""
    op = gradc.custom.Op(
        "square",
        value=lambda x: x * x,
        pullback=lambda primals, result, cotangent: (
            2.0 * cotangent * gradc.disconnected_grad(primals[0]),
        ),
    )
    found: Tensor = op(x)
    return found


def test_second_order_is_checked_on_request() -> None:
    gradc.verify_grad(second_order_only, [V])
    with pytest.raises(gradc.GradientError, match="second order"):
        gradc.verify_grad(second_order_only, [V], order=2)


def test_what_verify_grad_refuses() -> None:
    with pytest.raises(ValueError, match="order is 1 or 2"):
        gradc.verify_grad(lambda x: x, [V], order=3)
    with pytest.raises(TypeError, match="output 0"):
        gradc.verify_grad(lambda x: x > 0, [V])


# --- why_zero ----------------------------------------------------------------------------------

ENDS: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor], str, str], ...] = (
    ("floor", lambda x, y: gt.sum(gt.floor(x) * y), "zero", "floor"),
    ("cast", lambda x, y: gt.sum(x.astype("i64") * y), "zero", "cast"),
    ("zero_grad", lambda x, y: gt.sum(gradc.zero_grad(x * y)), "zero", "zero_grad"),
    ("comparison", lambda x, y: gt.sum(gt.where(x > 0, y, 0.0)), "zero", "gt"),
    ("argmax", lambda x, y: gt.argmax(x) * 1.0, "zero", "argmax"),
    ("index", lambda x, y: gt.sum(y[x.astype("i64")]), "zero", "cast"),
    ("cut", lambda x, y: gt.sum(gradc.disconnected_grad(x) * y), "disconnected", "disconnected_"),
    ("no path", lambda x, y: gt.sum(y), "disconnected", "no path"),
    ("shape", lambda x, y: gt.sum(y) * x.shape[0], "disconnected", "shape"),
    ("undefined", lambda x, y: gt.sum(gradc.undefined_grad(x) * y), "null", "undefined_grad"),
    ("alive", lambda x, y: gt.sum(x * y * gt.floor(x)), "not zero", "floor"),
)


@pytest.mark.parametrize(
    ("make", "verdict", "op"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS]
)
def test_where_paths_end(make: Callable[[Tensor, Tensor], Tensor], verdict: str, op: str) -> None:
    x = gt.tensor("x", shape=("n",))
    y = gt.tensor("y", shape=("m",) if op == "shape" else ("n",))
    found = gradc.why_zero(make(x, y), x)
    assert found.verdict == verdict
    (reason,) = [r for r in found.reasons if r.op.startswith(op)]
    assert reason.path[0] == "x"
    if op not in ("no path",):
        assert reason.span is not None
        assert reason.span.file == __file__


def test_explanations_are_text_with_lines() -> None:
    x = gt.vector("x")
    text = str(gradc.why_zero(gt.sum(gt.floor(x * 2.0)), x))
    assert text.startswith("d cost / d x: zero, because every path ends")
    assert f"{__file__}:" in text
    assert "floor: its derivative is zero wherever it has one (x -> mul -> floor)" in text


def test_an_index_ends_a_path() -> None:
    i, y = gt.tensor("i", gradc.i64, shape=("k",)), gt.vector("y")
    found = gradc.why_zero(gt.sum(y[i]), i)
    assert found.verdict == "zero"
    assert "it is used as an index" in str(found) or "an integer" in str(found)


def test_constants_end_paths_too() -> None:
    x = gt.vector("x")
    y = x * 2.0
    found = gradc.why_zero(gt.sum(y * y), x, consider_constant=[y])
    assert found.verdict == "disconnected"
    assert "held constant" in str(found)


def test_why_zero_of_functions() -> None:
    @gradc.function
    def f(x: gradc.f64["n"], y: gradc.f64["n"]):  # noqa: F821
        return gt.sum(gt.floor(x) * y)

    assert gradc.why_zero(f, "x").verdict == "zero"
    assert gradc.why_zero(f, "y").verdict == "not zero"
    with pytest.raises(ValueError, match="no parameter 'z'"):
        gradc.why_zero(f, "z")
    with pytest.raises(TypeError, match="x is a symbolic variable"):
        gradc.why_zero(gt.scalar("a"), "a")


def test_why_zero_of_deep_graphs() -> None:
    x = gt.scalar("x")
    y = x
    for _ in range(3000):
        y = y * 1.5
    found = gradc.why_zero(gt.floor(y), x)
    assert found.verdict == "zero"
    assert "2994 more" in str(found)


def test_missing_derivatives_are_listed_all_at_once() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    cost = gradc.undefined_grad(x) + gradc.undefined_grad(x * y) * y
    with pytest.raises(gradc.NullTypeGradError) as raised:
        gradc.grad(cost, [x, y])
    text = str(raised.value)
    assert "at x" in text
    assert "at an intermediate result" in text
    assert text.count(__file__) == 2


# --- options of functions ----------------------------------------------------------------------


def test_constants_of_functions_go_by_name() -> None:
    @gradc.function
    def f(x: gradc.f64["n"], k: gradc.f64):  # noqa: F821
        z = x * x
        z.value.name = "z"
        return k * gt.sum(z * x)

    np.testing.assert_allclose(gradc.grad(f, "x", consider_constant=["z"])(V, 2.0), 2 * V**2)
    np.testing.assert_allclose(gradc.jacobian(f, "x", consider_constant="z")(V, 2.0), 2 * V**2)
    hessian = gradc.hessian(f, "x", consider_constant=("z",))(V, 2.0)
    np.testing.assert_array_equal(hessian, np.zeros((3, 3)))
    with pytest.raises(ValueError, match="no variable 'q' to hold constant"):
        gradc.grad(f, "x", consider_constant=["q"])
    with pytest.raises(TypeError, match="a list of names"):
        gradc.grad(f, "x", consider_constant=[3])


@pytest.mark.parametrize(
    "option",
    [
        {"return_disconnected": "none"},
        {"null_gradients": "return"},
        {"known_grads": {}},
    ],
)
def test_options_of_variables_are_refused_for_functions(option: dict[str, Any]) -> None:
    @gradc.function
    def f(x: gradc.f64["n"]):  # noqa: F821
        return gt.sum(x)

    with pytest.raises(TypeError, match="is for variables of a graph"):
        gradc.grad(f, "x", **option)


def test_policies_take_numbers() -> None:
    x = gt.scalar("x")
    for given in ("a", x, None):
        with pytest.raises(TypeError, match="the multiplier is a number"):
            gradc.grad_scale(x, given)
        with pytest.raises(TypeError, match="the lower bound is a number"):
            gradc.grad_clip(x, given, 1.0)
    with pytest.raises(TypeError, match="list of variables"):
        gradc.why_zero(x * x, x, consider_constant=x)


def test_no_public_function_is_hidden_by_its_module() -> None:
    """A module `gradc.name` would take the place of the function `gradc.name` once it is loaded."""
    from pathlib import Path

    folder = Path(gradc.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")}
    functions = {name for name in gradc.__all__ if not isinstance(getattr(gradc, name), type(np))}
    assert not modules & functions
