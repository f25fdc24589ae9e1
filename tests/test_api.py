"""gradc as its users meet it: functions compiled in process, libraries, errors, stages."""

# ruff: noqa: F821 (the sizes in annotations are names)
from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import CompiledFunction, f32, f64, i64
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function

RNG = np.random.default_rng(2)
W, X, Y = RNG.normal(size=3), RNG.normal(size=(20, 3)), RNG.normal(size=20)


@gradc.function
def loss(w: f64["d"], X: f64["n", "d"], y: f64["n"], l2: f64) -> Any:
    """The logistic loss."""
    z = X @ w
    return gt.mean(gt.softplus(z) - y * z) + 0.5 * l2 * gt.sum(w**2)


def loss_of(w: Any, X: Any, y: Any, l2: float) -> float:
    z = X @ w
    return float(np.mean(np.log1p(np.exp(z)) - y * z) + 0.5 * l2 * np.sum(w**2))


def loss_gradient(w: Any, X: Any, y: Any, l2: float) -> Any:
    z = X @ w
    return X.T @ (1 / (1 + np.exp(-z)) - y) / len(y) + l2 * w


def loss_hessian(w: Any, X: Any, y: Any, l2: float) -> Any:
    p = 1 / (1 + np.exp(-X @ w))
    return (X.T * (p * (1 - p))) @ X / len(y) + l2 * np.eye(len(w))


def test_a_decorated_function() -> None:
    assert isinstance(loss, CompiledFunction)
    assert loss.__doc__ == "The logistic loss."
    np.testing.assert_allclose(loss(W, X, Y, 0.1), loss_of(W, X, Y, 0.1))
    np.testing.assert_allclose(loss(W, X, l2=0.1, y=Y), loss_of(W, X, Y, 0.1))
    more = RNG.normal(size=(7, 5))
    found = loss(more[0], more, more[:, 0], 0.0)
    np.testing.assert_allclose(found, loss_of(more[0], more, more[:, 0], 0.0))


def test_derivatives_of_functions() -> None:
    value, gradient = gradc.value_and_grad(loss, wrt="w")(W, X, Y, 0.1)
    np.testing.assert_allclose(value, loss_of(W, X, Y, 0.1))
    np.testing.assert_allclose(gradient, loss_gradient(W, X, Y, 0.1))
    np.testing.assert_allclose(gradc.grad(loss, "w")(W, X, Y, 0.1), gradient)
    np.testing.assert_allclose(gradc.jacobian(loss, "w")(W, X, Y, 0.1), gradient)
    hessian = loss_hessian(W, X, Y, 0.1)
    np.testing.assert_allclose(gradc.hessian(loss, "w")(W, X, Y, 0.1), hessian)
    hvp = gradc.hvp(loss, "w")
    np.testing.assert_allclose(hvp(W, X, Y, 0.1, p=W), hessian @ W)
    np.testing.assert_allclose(gradc.grad(loss, "l2")(W, X, Y, 0.1), 0.5 * W @ W)


def test_forms_in_both_directions() -> None:
    value, tangent = gradc.jvp(loss, ["w", "l2"])(W, X, Y, 0.1, w_tangent=W, l2_tangent=2.0)
    np.testing.assert_allclose(value, loss_of(W, X, Y, 0.1))
    np.testing.assert_allclose(tangent, loss_gradient(W, X, Y, 0.1) @ W + W @ W)
    value, cotangent = gradc.vjp(loss, "w")(W, X, Y, 0.1, result_cotangent=3.0)
    np.testing.assert_allclose(cotangent, 3 * loss_gradient(W, X, Y, 0.1))


def test_forms_nest() -> None:
    by_forms = gradc.jacobian(gradc.grad(loss, "w"), "w")(W, X, Y, 0.1)
    np.testing.assert_allclose(by_forms, loss_hessian(W, X, Y, 0.1))
    mixed = gradc.jacobian(gradc.grad(loss, "w"), "l2")(W, X, Y, 0.1)
    np.testing.assert_allclose(mixed, W)


def test_names_of_forms() -> None:
    form = gradc.value_and_grad(loss, wrt=["w", "l2"])
    assert form.ir.result_names == ("value", "grad_w", "grad_l2")
    assert gradc.hvp(loss, "w").ir.parameter_names == ("w", "X", "y", "l2", "p")
    assert gradc.hessian(loss, ["w", "l2"]).ir.result_names == (
        "hessian_w_w",
        "hessian_w_l2",
        "hessian_l2_w",
        "hessian_l2_l2",
    )
    assert isinstance(gradc.grad(loss.ir, "w"), Function)


@pytest.mark.parametrize(
    ("wrt", "message"),
    [("v", "w, X, y, l2"), (9, "no parameter"), (None, "which"), ([], "no para")],
)
def test_wrt_names_a_parameter(wrt: Any, message: str) -> None:
    with pytest.raises(gradc.GradcError, match=message):
        gradc.grad(loss, wrt)


def test_gradients_of_what_is_no_scalar() -> None:
    x = gt.vector("x")
    f = gradc.function([x], 2 * x)
    with pytest.raises(TypeError, match="jacobian"):
        gradc.grad(f, "x")
    with pytest.raises(TypeError, match="gradc function"):
        gradc.hvp(lambda x: x, "x")  # type: ignore[arg-type]


def test_options_for_graphs_are_refused_for_functions() -> None:
    with pytest.raises(TypeError, match="consider_constant"):
        gradc.grad(loss, "w", consider_constant=[gt.vector("w")])
    with pytest.raises(TypeError, match="known_grads is for variables"):
        gradc.grad(loss, "w", known_grads={})
    with pytest.raises(TypeError, match="p is for variables"):
        gradc.hessian_vector_product(loss, "w", p=W)


def test_a_function_of_variables() -> None:
    w, x, y = gt.vector("w"), gt.matrix("X"), gt.vector("y")
    cost = gt.mean(gt.softplus(x @ w) - y * (x @ w))
    f = gradc.function([w, x, y], [cost, gradc.grad(cost, w)])
    value, gradient = f(W, X, Y)
    np.testing.assert_allclose(value, loss_of(W, X, Y, 0.0))
    np.testing.assert_allclose(gradient, loss_gradient(W, X, Y, 0.0))


def test_one_output_a_list_of_one_and_a_tuple() -> None:
    x = gt.vector("x")
    assert isinstance(gradc.function([x], 2 * x)(W), np.ndarray)
    (doubled,) = gradc.function([x], [2 * x])(W)
    np.testing.assert_array_equal(doubled, 2 * W)
    both = gradc.function((x,), (x, gt.sum(x)))(W)
    assert isinstance(both, tuple)
    np.testing.assert_array_equal(both[0], W)
    np.testing.assert_allclose(both[1], W.sum())


def test_an_input_may_be_unused_or_an_output_constant() -> None:
    x, y = gt.vector("x"), gt.scalar("y")
    f = gradc.function([x, y], [gt.sum(x), gt.arange(3)])
    total, counting = f(W, 1.0)
    np.testing.assert_allclose(total, W.sum())
    np.testing.assert_array_equal(counting, [0, 1, 2])


def test_out() -> None:
    x = gt.vector("x")
    f = gradc.function([x], 2 * x)
    target = np.zeros(3)
    found = f(W, out=target)
    assert found is target
    np.testing.assert_array_equal(target, 2 * W)


def test_results_named_by_a_dictionary() -> None:
    @gradc.function
    def moments(x: f32["n"]) -> Any:
        return {"mean": gt.mean(x), "variance": gt.var(x)}

    assert moments.ir.result_names == ("mean", "variance")
    mean, variance = moments(W.astype("f4"))
    np.testing.assert_allclose([mean, variance], [W.mean(), W.var()], rtol=1e-5)


def test_a_function_called_with_variables_inlines_itself() -> None:
    @gradc.function
    def scaled(x: f64["n"], s: f64) -> Any:
        return x * s

    @gradc.function
    def outer(x: f64["m", 2]) -> Any:
        return scaled(scaled(x[:, 0], 2.0), s=gt.sum(x))

    assert outer.ir.sizes == ("m",)
    np.testing.assert_allclose(outer(X[:, :2]), 2 * X[:, 0] * X[:, :2].sum())
    anonymous = scaled(gt.vector("v"), 3)
    assert anonymous.ndim == 1
    first, second = gt.vector("first"), gt.vector("second")

    @gradc.function
    def inner(x: f64["n"], y: f64["n"]) -> Any:
        return gt.sum(x * y)

    f = gradc.function([first, second], inner(first, second))
    np.testing.assert_allclose(f(W, W), W @ W)
    with pytest.raises(ValueError):
        f(W, Y)


def test_inlining_refuses_what_does_not_fit() -> None:
    with pytest.raises(TypeError, match="argument w is to be"):
        loss(gt.matrix("w"), gt.matrix("X"), gt.vector("y"), 0.1)
    with pytest.raises(TypeError, match="missing"):
        loss(gt.vector("w"))
    n, m = gt.tensor("a", shape=("n",)), gt.tensor("b", shape=("m", "k"))
    with pytest.raises(ValueError, match="argument"):
        loss(n, m, gt.tensor("y", shape=("m",)), 0.1)


WRONG_CALLS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: loss(W, X, Y), TypeError, "l2"),
    (lambda: loss(W, X, Y, 0.1, 0.2), TypeError, "loss"),
    (lambda: loss(W, X, Y, 0.1, v=1), TypeError, "v"),
    (lambda: loss(W, X, Y[:-1], 0.1), ValueError, "y"),
    (lambda: loss(W, X[0], Y, 0.1), (ValueError, TypeError), "X"),
    (lambda: loss(W.astype(complex), X, Y, 0.1), TypeError, "w"),
    (lambda: loss(W, X, Y, "text"), TypeError, "l2"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_CALLS)
def test_wrong_calls(wrong: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        wrong()


def test_wrong_functions() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    with pytest.raises(gradc.MissingInputError, match="y"):
        gradc.function([x], x + y)
    with pytest.raises(gradc.MissingInputError, match="a size that no input has"):
        gradc.function([], gt.ones_like(gt.vector("v")))
    with pytest.raises(gradc.MissingInputError, match="the size n"):
        gradc.function([x], gt.zeros(("n",)))
    with pytest.raises(gradc.RepeatedInputError, match="x"):
        gradc.function([x, y, x], x + y)
    with pytest.raises(TypeError, match="input 0"):
        gradc.function([3.0], x)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="list of variables"):
        gradc.function(x, x)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="no outputs"):
        gradc.function([x], [])
    with pytest.raises(TypeError, match="element type"):
        gradc.function([x], "text")
    with pytest.raises(TypeError, match="no gradient"):
        gradc.function([x], gradc.NoGradient(gradc.NullType("because")))


def test_wrong_annotations() -> None:
    with pytest.raises(TypeError, match="annotated"):

        @gradc.function
        def untyped(x):  # type: ignore[no-untyped-def]
            return x

    with pytest.raises(TypeError, match="returns None"):

        @gradc.function
        def nothing(x: f64) -> Any:
            x + 1

    with pytest.raises(TypeError, match="one parameter for each"):

        @gradc.function
        def several(*x: f64) -> Any:
            return x[0]

    for length in (1.5, True, [2, 3], -1):

        def wrong(x: Any) -> Any:
            return x

        wrong.__annotations__["x"] = f64[length]  # type: ignore[index]
        with pytest.raises((TypeError, ValueError), match="a length is"):
            gradc.function(wrong)


def test_annotations_for_type_checkers() -> None:
    rows = Annotated[gt.Tensor, "any rows", f64["n", 2]]

    @gradc.function
    def total(x: rows, scale: Annotated[gt.Tensor, f64]) -> gt.Tensor:  # type: ignore[valid-type]
        return scale * gt.sum(x)

    assert [str(p.type) for p in total.ir.parameters] == ["f64[n, 2]", "f64"]
    assert total(np.ones((3, 2)), 2.0) == 12.0
    with pytest.raises(gradc.GradcTypeError, match=r"the parameter x is annotated with \[1, 2\]"):

        @gradc.function
        def wrong(x: [1, 2]) -> Any:  # type: ignore[valid-type]
            return x


def test_lengths_in_annotations_may_be_of_numpy() -> None:
    @gradc.function
    def f(x: f64[np.int64(3), None]) -> Any:  # type: ignore[misc, type-arg]
        return x + 1

    assert f(np.zeros((3, 2))).shape == (3, 2)


def test_variables_of_one_name_and_no_name() -> None:
    a, b, c = gt.scalar("x"), gt.scalar("x"), gt.scalar()
    f = gradc.function([a, b, c], a - b * c)
    assert len(set(f.ir.parameter_names)) == 3
    assert f(10.0, 2.0, 3.0) == 4.0


def test_a_function_may_have_a_name_of_the_c_library() -> None:
    x = gt.vector("x")
    f = gradc.function([x], gt.exp(x), name="exp")
    np.testing.assert_allclose(f(W), np.exp(W))
    assert f.__name__ == "exp"


def test_stages_are_text() -> None:
    texts = {stage: loss.stage(stage) for stage in ("ir", "optimized", "loops", "llvm", "asm")}
    assert texts["ir"] == str(loss)
    assert "softplus" in texts["ir"]
    assert "define" in texts["llvm"]
    assert all(texts.values())
    with pytest.raises(ValueError, match="the stages are"):
        loss.stage("wasm")
    assert "loss(w: f64[d]" in repr(loss)


def test_build_and_load(tmp_path: Path) -> None:
    gradient = gradc.value_and_grad(loss, wrt="w")
    report = gradc.build(tmp_path / "liblogistic.so", loss=loss, loss_grad=gradient)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "liblogistic.so",
        "logistic.h",
        "logistic.json",
    ]
    assert report.bytes["liblogistic.so"] == report.library.stat().st_size
    assert "loss_grad" in report.header.read_text()
    assert set(report.seconds) == {"optimize", "lower", "emit", "compile", "link"}
    module = gradc.load(report.library)
    value, found = module.loss_grad(W, X, Y, 0.1)
    np.testing.assert_allclose(value, loss_of(W, X, Y, 0.1))
    np.testing.assert_allclose(found, loss_gradient(W, X, Y, 0.1))


def test_the_c_symbol(tmp_path: Path) -> None:
    n = gt.scalar("n", i64)
    gradc.build(tmp_path / "square.so", {"square": gradc.function([n], n * n)})
    library = ctypes.CDLL(str(tmp_path / "square.so"))
    result = ctypes.c_int64()
    status = library.square(ctypes.c_int64(12), ctypes.byref(result), None)
    assert (status, result.value) == (0, 144)


def test_a_failed_build_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(Exception, match="false"):
        gradc.build(tmp_path / "loss.so", loss=loss)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="int"):
        gradc.build(tmp_path / "loss.so", {"int": loss})
    with pytest.raises(TypeError, match="decorate"):
        gradc.build(tmp_path / "loss.so", loss=lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no functions"):
        gradc.build(tmp_path / "loss.so")
    with pytest.raises(ValueError, match="twice"):
        gradc.build(tmp_path / "loss.so", {"loss": loss}, loss=loss)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        gradc.build(tmp_path / "nowhere" / "loss.so", loss=loss)
    with pytest.raises(ValueError, match="no name for a library"):
        gradc.build(tmp_path / "loss.h", loss=loss)
    assert list(tmp_path.iterdir()) == []


def against_the_evaluator(f: CompiledFunction, *arrays: Any) -> None:
    given = [np.asarray(a, p.dtype.numpy) for a, p in zip(arrays, f.ir.parameters, strict=True)]
    results = f(*given)
    expected = evaluate(f.ir, *given)
    for found, wanted in zip(results, expected, strict=True):
        tolerance = 1e-9 if wanted.dtype == "f8" else 1e-4
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_a_mixture_model() -> None:
    @gradc.function
    def density(mu: f64["k", "d"], scale: f64["k", "d"], weight: f64["k"], X: f64["n", "d"]) -> Any:
        z = (X[:, None, :] - mu) / gt.exp(scale)
        log_density = gt.sum(-0.5 * z * z - scale, axis=-1) + gt.log_softmax(weight)
        return -gt.sum(gt.logsumexp(log_density, axis=1))

    arrays = [RNG.normal(size=s) for s in ((3, 2), (3, 2), (3,), (9, 2))]
    wrt = ["mu", "scale", "weight"]
    against_the_evaluator(gradc.value_and_grad(density, wrt), *arrays)
    against_the_evaluator(gradc.hessian(density, ["mu", "weight"]), *arrays)


def test_a_network_with_integer_labels() -> None:
    @gradc.function
    def loss(W: f32["h", "d"], b: f32["h"], U: f32["o", "h"], X: f32["n", "d"], y: i64["n"]) -> Any:
        logits = gt.tanh(X @ W.T + b) @ U.T
        return -gt.mean(gt.take_along_axis(gt.log_softmax(logits), y[:, None], 1))

    arrays = [RNG.normal(size=s) for s in ((8, 5), (8,), (4, 8), (20, 5))]
    labels = RNG.integers(0, 4, 20)
    against_the_evaluator(gradc.value_and_grad(loss, ["W", "b", "U"]), *arrays, labels)


def test_a_recurrence_over_a_static_axis() -> None:
    @gradc.function
    def last(W: f64[4, 4], h: f64[4], xs: f64[6, 4]) -> Any:
        for x in xs:
            h = gt.tanh(W @ h + x)
        return gt.sum(h)

    arrays = [RNG.normal(size=s) for s in ((4, 4), (4,), (6, 4))]
    against_the_evaluator(gradc.value_and_grad(last, ["W", "h", "xs"]), *arrays)


def test_all_names_are_there() -> None:
    assert all(hasattr(gradc, name) for name in gradc.__all__)
    assert all(hasattr(gt, name) for name in gt.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = gradc.nonsense
    assert set(gradc.__all__) <= set(dir(gradc))


def test_importing_gradc_loads_nothing_heavy() -> None:
    program = "import gradc, sys; print([m for m in ('llvmlite', 'lark') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_empty_arrays() -> None:
    x = gt.matrix("x")
    cost = gt.sum(gt.exp(x), axis=0)
    f = gradc.function([x], [cost, gradc.grad(gt.sum(cost), x)])
    total, gradient = f(np.zeros((0, 3)))
    np.testing.assert_array_equal(total, np.zeros(3))
    assert gradient.shape == (0, 3)


def test_the_documentation_runs() -> None:
    text = (Path(__file__).parent.parent / "docs" / "python_api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in blocks:
        exec(compile(block, "docs/python_api.md", "exec"), names)
    assert names["forces"].shape[0] == names["forces"].shape[1]
