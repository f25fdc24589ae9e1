"""Ops and derivative rules written by users: values, both modes, second order, batches, errors."""
# ruff: noqa: F821

from __future__ import annotations

from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import f32, f64
from gradc.custom import Op
from gradc.diagnostics import DiagnosticError
from gradc.elaborate import elaborate
from gradc.ir.evaluate import evaluate
from gradc.ir.text import parse_function, print_function
from gradc.ir.verify import verify
from gradc.parser import parse_source

X = np.array([0.5, -1.25, 2.0])
Y = np.array([1.5, 0.25, -0.75])

# f(x, y) = sin(x) * y, entry by entry, in four ways.
BOTH = Op(
    "both",
    lambda x, y: gt.sin(x) * y,
    pushforward=lambda p, r, t: t[0] * gt.cos(p[0]) * p[1] + gt.sin(p[0]) * t[1],
    pullback=lambda p, r, c: (c * gt.cos(p[0]) * p[1], c * gt.sin(p[0])),
)
REVERSE = Op("reverse", BOTH.value, pullback=BOTH.pullback)
FORWARD = Op("forward", BOTH.value, pushforward=BOTH.pushforward)
THROUGH = Op("through", BOTH.value)
OPS = (BOTH, REVERSE, FORWARD, THROUGH)


def case(op: Op) -> str:
    return op.name


def inputs(dtype: gradc.ir.types.DType = f64) -> tuple[gradc.Tensor, gradc.Tensor]:
    return gt.tensor("x", dtype, ("n",)), gt.tensor("y", dtype, ("n",))


def plain(x: Any, y: Any) -> Any:
    return gt.sin(x) * y


@pytest.mark.parametrize("op", OPS, ids=case)
@pytest.mark.parametrize("dtype", (f64, f32), ids=str)
def test_derivatives_of_every_order_are_those_of_the_plain_graph(
    op: Op, dtype: gradc.ir.types.DType
) -> None:
    def everything(f: Any) -> Any:
        x, y = inputs(dtype)
        u, t = gt.tensor("u", dtype, ("n",)), gt.tensor("t", dtype, ("n",))
        z = f(x, y)
        cost = gt.sum(z * z)
        along = gradc.pushforward(z, [x, y], [t, u])
        found = [
            z,
            *gradc.grad(cost, [x, y]),
            along,
            gradc.jacobian(z, x),
            gradc.jacobian(z, y),
            gradc.hessian(cost, x),
            *gradc.hessian(cost, [x, y], blocks="full")[1],
            gradc.grad(gt.sum(along * u), x),
            gradc.hessian_vector_product(cost, x, t),
            gradc.grad(gt.sum(gradc.grad(cost, x) * t), y),
        ]
        return gradc.function([x, y, u, t], found)

    arrays = [a.astype(dtype.numpy) for a in (X, Y, Y - X, X + 0.5)]
    tolerance = 1e-12 if dtype is f64 else 2e-5
    for n in (3, 1, 0):
        given = [a[:n] for a in arrays]
        for mine, wanted in zip(everything(op)(*given), everything(plain)(*given), strict=True):
            assert mine.dtype == wanted.dtype == dtype.numpy
            np.testing.assert_allclose(mine, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("op", OPS, ids=case)
def test_rules_pass_the_check(op: Op) -> None:
    report = gradc.check_rule(op, X, Y)
    assert 0 < report.forward < 1e-8 and report.reverse < 1e-12 and report.symmetry < 1e-9
    gradc.check_rule(op, X.astype("f4"), Y.astype("f4"))


@pytest.mark.parametrize(
    ("op", "message"),
    (
        (
            Op("f", plain, pullback=lambda p, r, c: (c * gt.cos(p[0]) * p[1], c * gt.cos(p[0]))),
            "the pullback of f is not its derivative, along argument 1; at result 0",
        ),
        (
            Op(
                "f",
                plain,
                pushforward=BOTH.pushforward,
                pullback=lambda p, r, c: (c * gt.cos(p[0]) * p[1], c * p[1]),
            ),
            "the pullback of f is not the transpose of its pushforward",
        ),
        (
            Op(
                "f",
                plain,
                pushforward=BOTH.pushforward,
                pullback=lambda p, r, c: (
                    c * gt.cos(gradc.zero_grad(p[0])) * p[1],
                    c * gt.sin(p[0]),
                ),
            ),
            "the second order",
        ),
    ),
)
def test_the_check_finds_wrong_rules(op: Op, message: str) -> None:
    with pytest.raises(gradc.GradientError, match=message):
        gradc.check_rule(op, X, Y)


def test_a_number_takes_the_type_of_the_arrays_beside_it() -> None:
    x = gt.tensor("x", f32, ("n",))
    for number in (2, 2.0):
        y = FORWARD(x, number)
        assert y.dtype is f32
        found = gradc.function([x], gradc.grad(gt.sum(y), x))(X.astype("f4"))
        np.testing.assert_allclose(found, 2 * np.cos(X), rtol=1e-5)


def test_the_rule_is_what_is_used() -> None:
    """A straight-through estimator: the derivative is not that of the value."""
    rounded = Op("round", lambda x: gt.floor(x + 0.5), pullback=lambda p, r, c: (c,))
    x = gt.vector("x")
    f = gradc.function([x], [rounded(x), gradc.grad(gt.sum(rounded(x) * x), x)])
    value, gradient = f(X)
    np.testing.assert_array_equal(value, np.floor(X + 0.5))
    np.testing.assert_array_equal(gradient, np.floor(X + 0.5) + X)


def test_several_results_integers_and_settings() -> None:
    def value(x: Any, k: Any, *, power: int) -> Any:
        return x**power * k, k + 1, gt.sum(x)

    def pullback(p: Any, r: Any, c: Any, *, power: int) -> Any:
        assert c[1] is None
        return c[0] * float(power) * p[0] ** (power - 1) * p[1] + c[2], None

    op = Op("powers", value, pullback=pullback)
    x, k = gt.vector("x"), gt.tensor("k", gradc.i64, ("x_0",))
    x = gt.tensor("x", f64, ("n",))
    k = gt.tensor("k", gradc.i64, ("n",))
    a, b, c = op(x, k, power=3)
    f = gradc.function([x, k], [a, b, c, gradc.grad(gt.sum(a) + 2.0 * c, x), gradc.jacobian(a, x)])
    ints = np.array([1, 2, 3])
    found = f(X, ints)
    wanted = X**3 * ints, ints + 1, X.sum(), 3 * X**2 * ints + 2, np.diag(3 * X**2 * ints)
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)


# --- custom_jvp and custom_vjp -----------------------------------------------------------------


def log_add(x: Any, y: Any) -> Any:
    top = gt.maximum(x, y)
    return top + gt.log(gt.exp(x - top) + gt.exp(y - top))


def test_custom_vjp_with_residuals() -> None:
    op = gradc.custom_vjp(log_add)

    def forward(x: Any, y: Any) -> Any:
        result = op(x, y)
        return result, {"result": result, "inputs": [x, y]}

    def backward(residuals: Any, cotangent: Any) -> Any:
        x, y = residuals["inputs"]
        result = residuals["result"]
        return cotangent * gt.exp(x - result), cotangent * gt.exp(y - result)

    op.defvjp(forward, backward)
    gradc.check_rule(op, X, Y)
    x, y = inputs()
    f = gradc.function([x, y], gradc.hessian(gt.sum(op(x, y)), x))
    share = 1 / (1 + np.exp(Y - X))
    np.testing.assert_allclose(f(X, Y), np.diag(share * (1 - share)), rtol=1e-13)


def test_custom_jvp_that_returns_its_own_value() -> None:
    @gradc.custom_jvp
    def log1pexp(x: Any) -> Any:
        return gt.log(1.0 + gt.exp(x))

    @log1pexp.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (x,), (t,) = primals, tangents
        return log1pexp(x), t * (1.0 - 1.0 / (1.0 + gt.exp(x)))

    gradc.check_rule(log1pexp, X)
    x = gt.scalar("x")
    f = gradc.function([x], gradc.grad(log1pexp(x), x))
    assert f(100.0) == 1.0  # where the plain graph gives nan: inf / inf


def test_rules_that_apply_their_own_op_elsewhere() -> None:
    """sin' (x) = sin(x + pi/2), by a rule that calls the op: four orders, then an error."""
    wave = Op("wave", gt.sin)
    wave.pullback = lambda p, r, c: (c * wave(p[0] + np.pi / 2),)
    x = gt.scalar("x")
    order = wave(x)
    for n in range(1, 5):
        order = gradc.grad(order, x)
        np.testing.assert_allclose(
            gradc.function([x], order)(0.3), np.sin(0.3 + n * np.pi / 2), rtol=1e-13
        )
    with pytest.raises(gradc.NullTypeGradError, match="up to the order 4"):
        gradc.grad(order, x)


def test_a_rule_of_another_op() -> None:
    sine = Op("sine", gt.sin)
    cosine = Op("cosine", gt.cos)
    sine.pullback = lambda p, r, c: (c * cosine(p[0]),)
    cosine.pullback = lambda p, r, c: (-c * sine(p[0]),)
    gradc.check_rule(sine, X)


def test_no_gradient_in_a_pullback() -> None:
    op = Op(
        "f",
        lambda x, y, z: x * y * z,
        pullback=lambda p, r, c: (
            c * p[1] * p[2],
            gradc.grad_undefined("f", 1, p[1], "y is a setting"),
            gradc.NoGradient(gradc.DisconnectedType()),
        ),
    )
    x, y, z = gt.scalar("x"), gt.scalar("y"), gt.scalar("z")
    cost = op(x, y, z)
    assert gradc.function([x, y, z], gradc.grad(cost, x))(2.0, 3.0, 4.0) == 12.0
    with pytest.raises(gradc.NullTypeGradError, match="y is a setting"):
        gradc.grad(cost, y)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(cost, z)
    with pytest.raises(TypeError, match="y is a setting"):
        gradc.pushforward(cost, y, y)
    assert gradc.function([x, y, z], gradc.pushforward(cost, [x, z], [x, z]))(2.0, 3.0, 4.0) == 24.0


def test_no_gradient_in_a_pushforward() -> None:
    """Null in a forward rule is a NullTypeGradError with its reason, in either direction."""

    def split(x: Any) -> Any:
        return gt.sin(x), gt.floor(x), x * 3.0

    missing = gradc.grad_not_implemented("split", 0, None, "the rest is not smooth")
    op = Op("split", split, pushforward=lambda p, r, t: (t[0] * gt.cos(p[0]), missing, None))
    x, t = gt.scalar("x"), gt.scalar("t")
    sine, rest, zero = op(x)
    for derive in (gradc.pushforward, gradc.pushforward_through_pullback, gradc.pullback):
        f = gradc.function([x, t], derive(sine + zero, x, t))
        np.testing.assert_allclose(f(0.5, 2.0), 2.0 * np.cos(0.5), rtol=1e-15)
        with pytest.raises(gradc.NullTypeGradError, match="the rest is not smooth"):
            derive(sine + rest, x, t)
    for cost in (rest, sine * rest):
        with pytest.raises(gradc.NullTypeGradError, match="the rest is not smooth"):
            gradc.grad(cost, x)
    H = gradc.function([x], gradc.hessian(sine, x))
    np.testing.assert_allclose(H(0.5), -np.sin(0.5), rtol=1e-15)
    single = Op("f", gt.floor, pushforward=lambda p, r, t: gradc.NullType("no slope"))
    for derive in (gradc.jacobian, gradc.grad):
        with pytest.raises(gradc.NullTypeGradError, match="no slope"):
            derive(single(x), x)
    assert "no slope" in str(gradc.why_zero(single(x), x))


def test_what_a_where_cuts_stays_cut() -> None:
    """An infinite slope of a branch that is not taken makes no nan, in neither direction."""
    root = Op("root", gt.sqrt, pullback=lambda p, r, c: (c / (2.0 * r),))
    safe_log = Op("log", gt.log, pushforward=lambda p, r, t: t[0] / p[0])
    x, t = gt.vector("x"), gt.vector("t")
    for op in (root, safe_log):
        y = gt.where(x > 0.0, op(x), 0.0)
        z = op(gt.where(x > 0.0, x, 1.0))
        f = gradc.function([x, t], [gradc.grad(gt.sum(y), x), gradc.pushforward(z, x, t)])
        gradient, tangent = f(np.array([4.0, 0.0]), np.ones(2))
        np.testing.assert_array_equal(gradient, [0.25, 0.0])
        np.testing.assert_array_equal(tangent, [0.25, 0.0])


# --- the graph ---------------------------------------------------------------------------------


def test_text_form_and_verifier() -> None:
    x, y = inputs()
    fn = gradc.function([x, y], [BOTH(x, y), gradc.jacobian(REVERSE(x, y), x)]).ir
    verify(fn)
    text = print_function(fn)
    again = parse_function(text)
    verify(again)
    assert print_function(again) == text
    for mine, wanted in zip(evaluate(again, X, Y), evaluate(fn, X, Y), strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_calls_with_other_sizes_reach_into_rules() -> None:
    @gradc.function
    def inner(x: f64["n"], y: f64["n"]):  # type: ignore[no-untyped-def]
        return gt.sum(REVERSE(x, y) / x.shape[0])

    @gradc.function
    def outer(a: f64["m", 3]):  # type: ignore[no-untyped-def]
        row = inner(a[0], a[1])
        return row + inner(a[:, 0], a[:, 1])

    a = np.linspace(-1.0, 2.0, 12).reshape(4, 3)
    f = gradc.value_and_grad(outer, wrt="a")
    value, gradient = f(a)
    rows, columns = np.sin(a[0]) * a[1], np.sin(a[:, 0]) * a[:, 1]
    np.testing.assert_allclose(value, rows.mean() + columns.mean(), rtol=1e-14)
    assert gradient.shape == (4, 3)
    step = 1e-6
    shifted = a.copy()
    shifted[1, 0] += step
    np.testing.assert_allclose(gradient[1, 0], (outer(shifted) - value) / step, rtol=1e-5)


def test_lengths_without_a_name() -> None:
    x, y = gt.vector("x"), gt.vector("y")
    f = gradc.function([x, y], gradc.grad(gt.sum(BOTH(x, y)), [x, y]))
    np.testing.assert_allclose(f(X, Y)[1], np.sin(X), rtol=1e-14)
    with pytest.raises(ValueError, match="length"):
        f(X, Y[:2])


def test_equations_name_the_users_lines() -> None:
    def value(x: Any) -> Any:
        return gt.exp(x)

    x = gt.vector("x")
    made = Op("f", value)(x).value.owner
    assert made is not None and made.span is not None
    (inside,) = made.attrs["value"].equations
    assert inside.span.file == made.span.file == __file__
    assert inside.span.line == value.__code__.co_firstlineno + 1


# --- errors ------------------------------------------------------------------------------------


def test_a_rule_that_is_not_linear_has_no_transpose() -> None:
    op = Op("f", plain, pullback=lambda p, r, c: (c * c, c))
    x, y = inputs()
    with pytest.raises(
        gradc.GradcTypeError, match=r"not linear in its cotangents.*write a pushforw"
    ):
        gradc.pushforward(op(x, y), x, x)
    op = Op("f", plain, pushforward=lambda p, r, t: t[0] * t[1])
    with pytest.raises(gradc.GradcTypeError, match=r"not linear in its tangents.*write a pullback"):
        gradc.grad(gt.sum(op(x, y)), x)


def test_what_rules_return_is_checked() -> None:
    x, y = inputs()
    with pytest.raises(gradc.GradcTypeError, match="one for each of the 2 inputs, not 1 of them"):
        Op("f", plain, pullback=lambda p, r, c: (c,))(x, y)
    with pytest.raises(
        gradc.GradcTypeError, match=r"cotangent of type f64 for the input y: f64\[n"
    ):
        Op("f", plain, pullback=lambda p, r, c: (c, gt.sum(c)))(x, y)
    with pytest.raises(gradc.GradcTypeError, match=r"tangent of type f32\[n\] for the result"):
        Op("f", plain, pushforward=lambda p, r, t: gt.astype(t[0], f32))(x, y)
    with pytest.raises(gradc.GradcTypeError, match="the value returned"):
        Op("f", lambda x: None)(x)
    with pytest.raises(gradc.GradcTypeError, match=r"the value was called: .*positional argument"):
        Op("f", plain)(x)
    with pytest.raises(gradc.GradcTypeError, match="pullback is a function, not 3"):
        Op("f", plain, pullback=3)  # type: ignore[arg-type]
    op = gradc.custom_jvp(plain)
    op.defjvp(lambda primals, tangents: tangents[0])
    with pytest.raises(gradc.GradcTypeError, match=r"defjvp returns \(result, tangent"):
        op(x, y)


def test_variables_of_the_graph_around_are_refused() -> None:
    x, w = gt.vector("x"), gt.scalar("w")
    with pytest.raises(
        gradc.GradcValueError, match=r"the value reads w: f64 .*none of its argument"
    ):
        Op("f", lambda x: x * w)(x)
    with pytest.raises(gradc.GradcValueError, match="the pullback reads w"):
        Op("f", lambda x: x, pullback=lambda p, r, c: (c * w,))(x)


# --- in the language ---------------------------------------------------------------------------

WAVE = """
fn wave(x: f64[n], k: i64, y: f64) -> (f64[n], i64) { sin(x) * y, k + 1 }
"""
PULLBACK = """
derivative of wave(a, k, y) -> first, second by pullback(c) {
    c * cos(a) * y, sum(c * first) / y
}
"""
PUSHFORWARD = """
derivative of wave(a, k, y) by pushforward(da, dy) { da * cos(a) * y + sin(a) * dy }
"""
USE = """
fn cost(x: f64[n], y: f64) -> f64 {
    value, _ = wave(x, 2, y)
    sum(value ** 2)
}
gradient = grad(cost, wrt: (x, y))
curvature = hessian(cost, wrt: x)
tangent = jvp(cost, wrt: (x, y))
"""


@pytest.mark.parametrize("rules", (PULLBACK, PUSHFORWARD, PULLBACK + PUSHFORWARD))
def test_rules_in_the_language(rules: str) -> None:
    found = elaborate(parse_source(WAVE + rules + USE, "wave.grad")).functions
    plain = elaborate(parse_source(WAVE + USE, "wave.grad")).functions
    for name in ("cost", "gradient", "curvature", "tangent"):
        verify(found[name])
        for n in (3, 0):
            given: list[Any] = [X[:n], np.float64(1.5)]
            given += [Y[:n], np.float64(0.25)] if name == "tangent" else []
            mine = evaluate(found[name], *given)
            native = gradc.function(found[name])(*given)
            native = native if isinstance(native, tuple) else (native,)
            wanted = evaluate(plain[name], *given)
            for a, b in zip((*mine, *native), (*wanted, *wanted), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    inside = found["wave"].equations[0].attrs
    region = inside["pullback"] or inside["pushforward"]
    lines = {made.span.line for made in region.equations if made.span}
    assert lines and min(lines) > 2


@pytest.mark.parametrize(
    ("text", "code", "message"),
    (
        ("derivative of g(x) by pullback(c) { c }", "G0303", "no function of that name"),
        ("derivative of f(x) by pullback(c) { c }", "G0402", "a name for each parameter: 2, not 1"),
        ("derivative of f(x, y) by pullback(c, d) { c, c }", "G0401", "a cotangent for each float"),
        ("derivative of f(x, y) by pushforward(t) { t }", "G0402", "a tangent for each float para"),
        ("derivative of f(x, y) by pullback(c) { c }", "G0314", "one array for each float paramet"),
        ("derivative of f(x, y) by pullback(c) { c, sum(c) }", "G0315", "cotangent of `y` has its"),
        ("derivative of f(x, y) by pull(c) { c, c }", "G0108", "expected `pullback` or `pushforwa"),
        ("derivative of f(x, y) via pullback(c) { c, c }", "G0108", "expected `by`, found `via`"),
        ("derivative of f(x, y) by pullback(x) { x, x }", "G0306", "bound already"),
        ("derivative of f(x, y) by pullback(c) { f(c, c), c }", "G0308", "`f` needs itself"),
        ("derivative of f(x, y) by pullback(c) { c, z }", "G0301", "z"),
        (
            "derivative of f(x, y) by pullback(c) { c, c }\n"
            "derivative of f(x, y) by pullback(c) { c, c }",
            "G0306",
            "the pullback of `f` is given twice",
        ),
        (
            "g = jvp(f, wrt: x)\nderivative of g(x, y, t) by pullback(c, d) { c, d, 0 }",
            "G0304",
            "rules belong to a function with `fn`",
        ),
    ),
)
def test_errors_of_rules_in_the_language(text: str, code: str, message: str) -> None:
    source = f"fn f(x: f64[n], y: f64[n]) -> f64[n] {{ x * y }}\n{text}\n"
    with pytest.raises(DiagnosticError) as caught:
        elaborate(parse_source(source, "f.grad"))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.span.line == (1 if code == "G0308" else source.count("\n"))
    assert message in diagnostic.message


def test_derivative_stays_a_name() -> None:
    source = "fn derivative(of: f64) -> f64 { 2 * of }\nfn f(x: f64) -> f64 { derivative(of: x) }\n"
    found = elaborate(parse_source(source, "f.grad")).functions
    assert evaluate(found["f"], 3.0)[0] == 6.0
