"""Derivatives of graphs: against differences, against each other, and by their meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import NoGradient, Tensor, f32, f64, i64
from gradc.ir.evaluate import evaluate
from gradc.ir.types import dtype_of
from gradc.ir.verify import verify
from gradc.tracing import make_function

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(11)


def values(inputs: Sequence[Tensor], outputs: Sequence[Tensor], *arrays: Any) -> tuple[Array, ...]:
    """The outputs at these arrays, by the reference evaluator."""
    made = make_function(inputs, outputs, "f")
    verify(made)
    return evaluate(
        made, *(np.asarray(a, x.dtype.numpy) for a, x in zip(arrays, inputs, strict=True))
    )


def variables(*arrays: Array) -> list[Tensor]:
    return [
        gt.tensor(f"x{i}", dtype_of(a.dtype), [None if n != 1 else 1 for n in a.shape])
        for i, a in enumerate(arrays)
    ]


X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
V = RNG.normal(size=4)
P = RNG.uniform(0.2, 0.8, size=(3, 4))
S = np.array(0.7)

EXPRESSIONS: list[tuple[Callable[..., Tensor], tuple[Array, ...]]] = [
    (lambda x, v: x * v - v / (2 + x * x), (X, V)),
    (lambda x, y: gt.exp(x) * gt.sin(y) + gt.tanh(x * y), (X, Y)),
    (lambda p, x: p**x + gt.log(p) + gt.sqrt(p), (P, X)),
    (lambda x: gt.logsumexp(x, 0) + gt.softplus(x), (X,)),
    (lambda x: gt.softmax(x, 1), (X,)),
    (lambda x: gt.log_softmax(x), (X,)),
    (lambda x, v: gt.sigmoid(x @ v), (X, V)),
    (lambda x, y: x @ y.T, (X, Y)),
    (lambda x, v: gt.einsum("ij,j,ik->k", x, v, x), (X, V)),
    (lambda x: gt.mean(x, 0) + gt.var(x, 0) + gt.std(x, 0, ddof=1), (X,)),
    (lambda x: gt.max(x, 1) - gt.min(x), (X,)),
    (lambda x: gt.prod(x, 1), (X,)),
    (lambda x: x[::-1, 1:3] * x[1:, :2][:1], (X,)),
    (lambda x: x[[0, 2, 2], 1:] + x[-1, None, :3], (X,)),
    (lambda x, v: x.at[1:, ::2].set(v[:2]).at[0].add(v * v), (X, V)),
    (lambda x, v: x.at[[0, 0], [1, 1]].add(v[:2]), (X, V)),
    (lambda x, y: gt.concat([x, y * x], 1).reshape(-1, 2), (X, Y)),
    (lambda x, v: gt.stack([v, x[0]]) + gt.pad(v[1:3], 1), (X, V)),
    (lambda x: gt.where(x > 0, x * x, gt.sin(x)), (X,)),
    (lambda x, y: gt.maximum(x, y) * gt.minimum(x, 0.1), (X, Y)),
    (lambda x: gt.clip(x, -0.5, 0.5) + abs(x), (X,)),
    (lambda x: gt.norm(x, axis=1), (X,)),
    (lambda x, y: gt.arctan2(x, y) + gt.hypot(x, y) + gt.erf(x), (X, Y)),
    (lambda x: gt.transpose(x).ravel()[None] * gt.flip(x).ravel(), (X,)),
    (lambda x: gt.expm1(x) + gt.log1p(x * x) + gt.arcsin(gt.tanh(x)), (X,)),
    (lambda s, v: s * v + s**3, (S, V)),
    (lambda x: gt.repeat(x, 2, 0) * gt.tile(x, (2, 1)), (X,)),
    (lambda x: gt.trace(x[:, :3]) * gt.diagonal(x[:, 1:]), (X,)),
]


def differences(f: Callable[..., Array], arrays: Sequence[Array], along: Sequence[Array]) -> Array:
    """The directional derivative, by Richardson's extrapolation of central differences."""

    def central(h: float) -> Array:
        ahead = f(*(a + h * d for a, d in zip(arrays, along, strict=True)))
        behind = f(*(a - h * d for a, d in zip(arrays, along, strict=True)))
        return (ahead - behind) / (2 * h)

    return (4 * central(2e-4) - central(4e-4)) / 3


@pytest.mark.parametrize(("expression", "arrays"), EXPRESSIONS)
def test_pushforward_is_that_of_differences_and_the_adjoint_of_pullback(
    expression: Callable[..., Tensor], arrays: tuple[Array, ...]
) -> None:
    inputs = variables(*arrays)
    output = expression(*inputs)
    tangents = [gt.tensor(f"t{i}", x.dtype, x.shape) for i, x in enumerate(inputs)]
    random = np.random.default_rng(5)
    directions = [random.normal(size=a.shape) for a in arrays]
    pushed = gradc.pushforward(output, inputs, tangents)
    f = make_function(inputs, [output], "f")
    value, tangent = values([*inputs, *tangents], [output, pushed], *arrays, *directions)
    expected = differences(lambda *a: evaluate(f, *a)[0], arrays, directions)
    np.testing.assert_allclose(tangent, expected, rtol=1e-7, atol=1e-7)
    cotangent = gt.tensor("c", output.dtype, output.shape)
    weights = random.normal(size=value.shape)
    pulled = gradc.pullback(output, inputs, cotangent)
    cotangents = values([*inputs, cotangent], pulled, *arrays, weights)
    forward = np.sum(weights * tangent)
    twice = gradc.pushforward_through_pullback(output, inputs, tangents)
    (through,) = values([*inputs, *tangents], [twice], *arrays, *directions)
    np.testing.assert_allclose(through, tangent, rtol=1e-10, atol=1e-12)
    reverse = sum(np.sum(c * d) for c, d in zip(cotangents, directions, strict=True))
    np.testing.assert_allclose(reverse, forward, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("expression", "arrays"), EXPRESSIONS)
def test_second_order(expression: Callable[..., Tensor], arrays: tuple[Array, ...]) -> None:
    inputs = variables(*arrays)
    cost = gt.sum(gt.sin(expression(*inputs)))
    gradients = gradc.grad(cost, inputs)
    random = np.random.default_rng(5)
    directions = [random.normal(size=a.shape) for a in arrays]
    along = [gt.tensor(f"t{i}", x.dtype, x.shape) for i, x in enumerate(inputs)]
    products = gradc.hessian_vector_product(cost, inputs, along)
    found = values([*inputs, *along], products, *arrays, *directions)
    f = make_function(inputs, gradients, "f")
    for i, product in enumerate(found):
        expected = differences(lambda *a, i=i: evaluate(f, *a)[i], arrays, directions)
        np.testing.assert_allclose(product, expected, rtol=1e-6, atol=1e-6)


def test_jacobian_by_rows_and_by_columns_agree() -> None:
    v, x = gt.tensor("v", shape=(4,)), gt.tensor("x", shape=(3, 4))
    wide = gt.tanh(x @ v)  # 3 rows, 12 columns: reverse
    tall = gt.outer(v, v) * gt.exp(v)  # 16 rows, 4 columns: forward
    for output, wrt in ((wide, x), (wide, v), (tall, v)):
        (found,) = values([x, v], [gradc.jacobian(output, wrt)], X, V)
        f = make_function([x, v], [output], "f")
        expected = np.zeros(found.shape)
        position = 0 if wrt is x else 1
        for place in np.ndindex((X, V)[position].shape):
            along = [np.zeros_like(X), np.zeros_like(V)]
            along[position][place] = 1
            column = differences(lambda *a, f=f: evaluate(f, *a)[0], (X, V), along)
            expected[(..., *place)] = column
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


def test_jacobian_of_symbolic_sizes_and_of_none() -> None:
    x = gt.vector("x")
    jacobian = gradc.jacobian(x**3, x)
    for n in (3, 0):
        point = np.arange(1.0, n + 1)
        (found,) = values([x], [jacobian], point)
        np.testing.assert_allclose(found, np.diag(3 * point**2))


def test_jacobian_shapes_and_containers() -> None:
    x, y = gt.tensor("x", shape=(2, 3)), gt.scalar("y")
    assert gradc.jacobian(y * y, y).shape == ()
    assert gradc.jacobian(gt.sum(x) * y, x).shape == (2, 3)
    assert gradc.jacobian(x * y, y).shape == (2, 3)
    both = gradc.jacobian(x * y, (x, y))
    assert [j.shape for j in both] == [(2, 3, 2, 3), (2, 3)]
    zeros = gradc.jacobian(x * 2, y, disconnected_inputs="ignore")
    assert zeros.shape == (2, 3)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.jacobian(x * 2, y)
    (cut,) = values([x], [gradc.jacobian(x * x, x, consider_constant=[x])], np.ones((2, 3)))
    assert cut.shape == (2, 3, 2, 3)


def test_hessian() -> None:
    x, s = gt.vector("x"), gt.scalar("s")
    cost = s**2 * gt.sum(gt.exp(x) * x[::-1]) + s * gt.sum(x)
    diagonal = gradc.hessian(cost, [x, s])
    full = gradc.hessian(cost, [x, s], blocks="full")
    (flat,) = values([x, s], [gt.concat([h.reshape(-1) for row in full for h in row])], V, S)
    xx, ss = values([x, s], diagonal, V, S)
    xx2, xs, sx, ss2 = np.split(flat, [16, 20, 24])
    np.testing.assert_allclose(xx, xx.T)
    np.testing.assert_allclose(xx.ravel(), xx2)
    np.testing.assert_allclose(ss, ss2[0])
    np.testing.assert_allclose(xs, sx)
    gradients = make_function([x, s], gradc.grad(cost, [x, s]), "g")
    for i in range(4):
        unit = np.eye(4)[i]
        column = differences(lambda *a: evaluate(gradients, *a)[0], (V, S), (unit, np.array(0.0)))
        np.testing.assert_allclose(xx[:, i], column, rtol=1e-7)


def test_blocks_that_are_transposes_are_computed_once() -> None:
    """Along whatever has fewer entries: the mixed second derivative has 3 directions, not 4."""
    x, y = gt.tensor("x", shape=(2, 2)), gt.tensor("y", shape=(3,))
    cost = gt.sum(gt.exp(x)) * gt.sum(gt.sin(y) * y) + gt.sum(gt.tanh(x @ gt.ones((2,)))) * y[0]
    (xx, xy), (yx, yy) = gradc.hessian(cost, [x, y], blocks="full")
    assert [h.shape for h in (xx, xy, yx, yy)] == [(2, 2, 2, 2), (2, 2, 3), (3, 2, 2), (3, 3)]
    assert yx.value.owner.op.name == "transpose" and yx.value.owner.inputs == (xy.value,)
    at = np.array([[0.3, -1.0], [0.5, 2.0]]), np.array([1.0, -2.0, 0.7])
    rows = make_function([x, y], [gradc.grad(cost, y)], "g")
    (found,) = values([x, y], [yx], *at)
    for place in np.ndindex(2, 2):
        unit = np.zeros((2, 2))
        unit[place] = 1
        column = differences(lambda *a: evaluate(rows, *a)[0], at, (unit, np.zeros(3)))
        np.testing.assert_allclose(found[:, *place], column, rtol=1e-7)


def test_blocks_are_not_transposes_through_rules_that_are_no_derivatives() -> None:
    """A clipped gradient by x does not depend on y; that by y depends on x."""
    x, y = gt.scalar("x"), gt.scalar("y")
    cost = gradc.grad_clip(x, -0.5, 0.5) * y
    rows = gradc.hessian(cost, [x, y], blocks="full")
    np.testing.assert_array_equal(
        values([x, y], [h for row in rows for h in row], 2.0, 3.0), [0, 0, 1, 0]
    )


def test_hessian_with_constants() -> None:
    x = gt.vector("x")
    held = x * x
    hessian = gradc.hessian(gt.sum(held * x**2), x, consider_constant=[held])
    np.testing.assert_allclose(values([x], [hessian], V)[0], np.diag(2 * V**2))


def test_linear_costs_have_no_curvature() -> None:
    x, p = gt.vector("x"), gt.tensor("p", shape=("k",))
    (hessian,) = values([x], [gradc.hessian(gt.sum(2 * x), x)], V)
    np.testing.assert_array_equal(hessian, np.zeros((4, 4)))
    (product,) = values([x, p], [gradc.hessian_vector_product(gt.sum(2 * x), x, p)], V, V)
    np.testing.assert_array_equal(product, np.zeros(4))


def test_cross_terms_of_hessian_vector_products() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    products = gradc.hessian_vector_product(x * y, [x, y], [gt.constant(2.0), gt.constant(5.0)])
    assert [float(v) for v in values([x, y], products, 1, 1)] == [5.0, 2.0]


def test_third_order() -> None:
    x = gt.scalar("x")
    third = gradc.grad(gradc.grad(gradc.grad(gt.sin(x) * x, x), x), x)
    (found,) = values([x], [third], S)
    np.testing.assert_allclose(found, -3 * np.sin(S) - S * np.cos(S))


def test_containers_follow_wrt() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    cost = x * y
    assert isinstance(gradc.grad(cost, x), Tensor)
    assert isinstance(gradc.grad(cost, [x]), list)
    assert isinstance(gradc.grad(cost, (x, y)), tuple)
    assert isinstance(gradc.Rop([cost], x, gt.ones(())), list)
    assert isinstance(gradc.Rop(cost, [x, y], [gt.ones(()), gt.ones(())]), Tensor)
    assert isinstance(gradc.Lop(cost, (x,), gt.ones(())), tuple)


def test_one_variable_in_several_places() -> None:
    x = gt.scalar("x")
    assert [float(v) for v in values([x], gradc.grad(x * x, [x, x]), 3)] == [6, 6]
    (forward,) = values([x], [gradc.Rop(x * x, [x, x], [gt.ones(()), gt.full((), 10.0)])], 3)
    assert forward == 66.0


def test_intermediate_variables() -> None:
    x = gt.scalar("x")
    y = x * x
    z = y * x
    assert [float(v) for v in values([x], gradc.grad(z, [y, x, z]), 3)] == [3, 27, 1]


def test_repeated_outputs_and_ancestors_add_up() -> None:
    u = gt.scalar("u")
    v = 3 * u
    one, twenty = gt.constant(2.0), gt.constant(20.0)
    assert float(values([u], [gradc.pullback([u, v], u, [one, twenty])], 1)[0]) == 62
    assert float(values([u], [gradc.pullback([v, v], u, [one, twenty])], 1)[0]) == 66
    w = gt.scalar("w")
    pushed = gradc.pushforward(u + w, [u, w], [gt.constant(1.0), gt.constant(10.0)])
    assert float(values([u, w], [pushed], 1, 1)[0]) == 11


def test_gradients_have_the_dtype_of_their_variable() -> None:
    x, y, n = gt.scalar("x", f32), gt.scalar("y"), gt.scalar("n", i64)
    gradients = gradc.grad(x * y + n * y, [x, y, n])
    assert [g.dtype for g in gradients] == [f32, f64, f64]
    assert gradc.grad(n, n).dtype == f64
    assert float(values([n], [gradc.grad(n, n)], 3)[0]) == 1.0
    assert float(values([y, n], [gradc.grad(n * y, n)], 2.5, 3)[0]) == 2.5


def test_a_path_through_integers_is_connected_and_zero() -> None:
    x = gt.vector("x")
    for cost in (gt.argmax(x) * 1.0, gt.sum(x.astype("i64")) * 2.0, gt.sum(x > 0) * 1.0):
        np.testing.assert_array_equal(values([x], [gradc.grad(cost, x)], V)[0], np.zeros(4))
        pushed = gradc.pushforward(cost, x, x)
        assert float(values([x], [pushed], V)[0]) == 0.0


def test_disconnected_inputs() -> None:
    x, y, n = gt.vector("x"), gt.scalar("y"), gt.vector("n", i64)
    cost = y * x.shape[0]
    with pytest.raises(gradc.DisconnectedInputError, match="x"):
        gradc.grad(cost, x)
    with pytest.raises(ValueError):
        gradc.grad(gt.sum(gt.zeros_like(x)), x)
    with pytest.warns(UserWarning, match="does not depend") as warned:
        gradc.grad(cost, x, disconnected_inputs="warn")
    assert warned[0].filename == __file__
    zero, integer = gradc.grad(y, [x, n], disconnected_inputs="ignore")
    assert (zero.shape, integer.dtype) == (x.shape, f64)
    assert gradc.grad(y, x, disconnected_inputs="ignore", return_disconnected="none") is None
    found = gradc.grad(y, x, disconnected_inputs="ignore", return_disconnected="disconnected")
    assert isinstance(found, NoGradient)
    assert isinstance(found.type, gradc.DisconnectedType)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.pushforward(y, x, x)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.pullback(y, x, gt.ones(()))


@pytest.mark.parametrize(
    "words",
    [
        {"disconnected_inputs": "perhaps"},
        {"return_disconnected": "perhaps"},
        {"null_gradients": "perhaps"},
    ],
)
def test_policy_words_are_always_checked(words: dict[str, str]) -> None:
    x = gt.scalar("x")
    with pytest.raises(ValueError, match="perhaps"):
        gradc.grad(x * x, x, **words)


def test_consider_constant() -> None:
    x = gt.scalar("x")
    y = x * x
    assert float(values([x], [gradc.grad(y * x, x, consider_constant=[y])], 3)[0]) == 9
    assert float(values([x], [gradc.grad(x * x, x, consider_constant=[x])], 3)[0]) == 6
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(y * 2, x, consider_constant=[y])
    with pytest.raises(TypeError):
        gradc.grad(y, x, consider_constant=y)


def test_known_grads() -> None:
    x = gt.scalar("x")
    y = x * x
    cost = gt.sin(y)
    known = gradc.grad(None, x, known_grads={y: gt.constant(5.0)})
    assert float(values([x], [known], 3)[0]) == 30
    replaced = gradc.grad(cost + y, x, known_grads={y: gt.constant(5.0)})
    assert float(values([x], [replaced], 3)[0]) == 30
    of_cost = gradc.grad(cost, y, known_grads={cost: gt.constant(2.0)})
    np.testing.assert_allclose(values([x], [of_cost], 3)[0], 2 * np.cos(9))
    n = gt.scalar("n", i64)
    assert float(values([n], [gradc.grad(None, n, known_grads={n: gt.constant(4.0)})], 1)[0]) == 4
    with pytest.raises(ValueError, match="neither"):
        gradc.grad(None, x)
    with pytest.raises(TypeError):
        gradc.grad(cost, x, known_grads={y: 5.0})
    with pytest.raises(TypeError):
        gradc.grad(cost, x, known_grads={y: gt.constant(5)})
    null = NoGradient(gradc.NullType("for a reason"))
    with pytest.raises(gradc.NullTypeGradError, match="for a reason"):
        gradc.grad(cost, x, known_grads={y: null})
    returned = gradc.grad(cost, x, known_grads={y: null}, null_gradients="return")
    assert returned == null
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(cost, x, known_grads={y: NoGradient(gradc.DisconnectedType())})


def test_what_is_no_cost_or_no_variable() -> None:
    x = gt.vector("x")
    with pytest.raises(TypeError, match="scalar"):
        gradc.grad(x * x, x)
    with pytest.raises(TypeError, match="scalar"):
        gradc.grad(gt.sum(x, keepdims=True), x)
    with pytest.raises(TypeError, match="wrt"):
        gradc.grad(gt.sum(x), "x")
    with pytest.raises(ValueError):
        gradc.grad(NoGradient(gradc.NullType("why")), x)
    with pytest.raises(ValueError, match="1 tangents"):
        gradc.pushforward(x, [x, x], [x])
    with pytest.raises(ValueError, match="shape"):
        gradc.pushforward(x, x, gt.scalar("t"))
    with pytest.raises(TypeError, match="jacobian"):
        gradc.jacobian(3.0, x)


def test_names() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    cost = gt.tensor("cost")
    assert gradc.grad(cost * 1.0, x, disconnected_inputs="ignore").name is None
    named = x * y * x
    named.value.name = "loss"
    assert gradc.grad(named, y).name == "(dloss/dy)"
    assert gradc.grad(named, y, add_names=False).name is None
    product = x * y
    product.value.name = "product"
    gradc.grad(product, x)
    assert y.name == "y"


EDGES: list[tuple[Callable[..., Tensor], list[float], list[float]]] = [
    (lambda x: gt.where(x > 0, gt.sqrt(x), 0), [0.0], [0.0]),
    (lambda x: gt.where(x > 0, gt.log(x), 0), [0.0], [0.0]),
    (lambda x: gt.sqrt(x), [0.0], [np.inf]),
    (lambda x: abs(x), [0.0], [0.0]),
    (lambda x: gt.relu(x), [0.0], [0.0]),
    (lambda x: gt.norm(x), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: gt.std(x), [2.0, 2.0], [0.0, 0.0]),
    (lambda x: gt.hypot(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: gt.maximum(x[0], x[1]), [1.0, 1.0], [0.5, 0.5]),
    (lambda x: gt.max(x), [1.0, 1.0, 0.0], [0.5, 0.5, 0.0]),
    (lambda x: gt.clip(x, 0, 1), [1.0], [1.0]),
    (lambda x: x**0, [0.0], [0.0]),
    (lambda x: gt.prod(x), [0.0, 2.0, 3.0], [6.0, 0.0, 0.0]),
    (lambda x: gt.logsumexp(x), [-np.inf, -np.inf], [0.0, 0.0]),
    (lambda x: gt.arctan2(x[0], x[1]), [0.0, 0.0], [0.0, 0.0]),
]


@pytest.mark.parametrize(("expression", "point", "expected"), EDGES)
def test_hard_points_in_both_directions(
    expression: Callable[..., Tensor], point: list[float], expected: list[float]
) -> None:
    x = gt.vector("x")
    output = gt.sum(expression(x))
    jacobian = gradc.jacobian(output, x)
    tangents = gradc.jacobians.pushed_along(output.value, x.value)
    with np.errstate(all="ignore"):
        reverse, forward = values([x], [jacobian, Tensor(tangents)], point)
    np.testing.assert_array_equal(reverse, expected)
    np.testing.assert_array_equal(forward, expected)


def test_deep_chains() -> None:
    x = gt.scalar("x")
    y = x
    for _ in range(3000):
        y = gt.sin(y) + x
    (found,) = values([x], [gradc.grad(y, x)], 0.3)
    assert np.isfinite(found)


def test_zero_disconnected_and_undefined() -> None:
    x = gt.vector("x")
    squares = gt.sum(gradc.zero_grad(x) * x)
    np.testing.assert_array_equal(values([x], [squares, gradc.grad(squares, x)], V)[1], V)
    alone = gradc.grad(gt.sum(gradc.zero_grad(x * x)), x)
    np.testing.assert_array_equal(values([x], [alone], V)[0], np.zeros(4))
    cut = gt.sum(gradc.disconnected_grad(x) * x)
    np.testing.assert_array_equal(values([x], [gradc.grad(cut, x)], V)[0], V)
    np.testing.assert_array_equal(values([x], [gradc.Rop(cut, x, gt.ones_like(x))], V)[0], V.sum())
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(gt.sum(gradc.disconnected_grad(x)), x)
    undefined = gt.sum(gradc.undefined_grad(x) * x) + gt.sum(x)
    with pytest.raises(gradc.NullTypeGradError, match="undefined_grad"):
        gradc.grad(undefined, x)
    with pytest.raises(gradc.NullTypeGradError):
        gradc.jacobian(undefined, x)
    with pytest.raises(TypeError, match="undefined_grad"):
        gradc.pushforward(undefined, x, x)
    returned = gradc.grad(undefined, x, null_gradients="return")
    assert isinstance(returned.type, gradc.NullType)


def test_clipped_and_scaled_gradients() -> None:
    x = gt.vector("x")
    clipped = gradc.grad(gt.sum(gradc.grad_clip(x, -1, 1) ** 3), x)
    np.testing.assert_allclose(values([x], [clipped], V)[0], np.clip(3 * V**2, -1, 1))
    scaled = gradc.grad_scale(x, 4) ** 2
    np.testing.assert_allclose(values([x], [gradc.grad(gt.sum(scaled), x)], V)[0], 8 * V)
    np.testing.assert_allclose(values([x], [gradc.Rop(scaled, x, x)], V)[0], 8 * V**2)
    jacobian = gradc.jacobian(scaled, x)
    np.testing.assert_allclose(values([x], [jacobian], V)[0], np.diag(8 * V))
    f = gradc.function([x], [scaled, gradc.grad(gt.sum(scaled), x)])
    np.testing.assert_allclose(f(V), (V**2, 8 * V))
    with pytest.raises(ValueError, match="below"):
        gradc.grad_clip(x, 1, -1)


def test_subgraph_grad() -> None:
    x, w = gt.scalar("x"), gt.scalar("w")
    hidden = w * x
    cost = hidden**2
    (inner,), (end,) = gradc.subgraph_grad([hidden], [hidden], cost=cost)
    (outer,), (first,) = gradc.subgraph_grad([w], [x], start={hidden: end})
    found = values([x, w], [inner, end, outer, first], 2.0, 3.0)
    assert [float(v) for v in found] == [12, 12, 24, 36]
    details = gradc.subgraph_grad([w], [x], start={hidden: end}, cost=cost, details=True)
    assert float(values([x, w], details[0], 2.0, 3.0)[0]) == 48
    with pytest.raises(ValueError, match="neither"):
        gradc.subgraph_grad([w], [x])
    with pytest.raises(TypeError, match="lists"):
        gradc.subgraph_grad(w, [x], cost=cost)  # type: ignore[arg-type]


def test_gradients_that_do_not_exist() -> None:
    x = gt.scalar("x")
    null = gradc.grad_not_implemented("lu", 0, x, "pivots")
    assert "input 0 is not implemented: pivots" in repr(null)
    with pytest.raises(gradc.NullTypeGradError, match="undefined"):
        gradc.grad(x * 2.0, x, known_grads={x: gradc.grad_undefined("lu", 1, x)})


@pytest.mark.parametrize(("expression", "arrays"), EXPRESSIONS[::6])
def test_native_derivatives(expression: Callable[..., Tensor], arrays: tuple[Array, ...]) -> None:
    check_native(expression, arrays, "f8", 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(("expression", "arrays"), EXPRESSIONS)
def test_all_native_derivatives(
    expression: Callable[..., Tensor], arrays: tuple[Array, ...], dtype: str
) -> None:
    check_native(expression, arrays, dtype, 1e-9 if dtype == "f8" else 2e-3)


def check_native(
    expression: Callable[..., Tensor], arrays: tuple[Array, ...], dtype: str, tolerance: float
) -> None:
    """Value, gradient, Hessian times vector, and Hessian: native code against the evaluator."""
    given = [a.astype(dtype) for a in arrays]
    inputs = variables(*given)
    cost = gt.sum(gt.sin(expression(*inputs)))
    products = gradc.hessian_vector_product(cost, inputs, inputs)
    hessian = gradc.hessian(cost, inputs[0])
    f = gradc.function(inputs, [cost, *gradc.grad(cost, inputs), *products, hessian])
    for found, expected in zip(f(*given), evaluate(f.ir, *given), strict=True):
        assert np.asarray(found).dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_verify_grad_accepts_and_refuses() -> None:
    gradc.verify_grad(lambda x, y: gt.tanh(x) * y, [X, V], rng=np.random.default_rng(0))
    gradc.verify_grad(lambda x: gt.exp(x), [V.astype("f4")], rng=np.random.default_rng(0))
    with pytest.raises(gradc.GradientError, match="argument 0"):
        gradc.verify_grad(lambda x: x * x + gt.floor(1e9 * x) * 1e-9, [V])
    with pytest.raises(TypeError, match="float"):
        gradc.verify_grad(lambda x: x, [np.arange(3)])
    with pytest.raises(TypeError, match="list"):
        gradc.verify_grad(lambda x: x, V)
    gradc.verify_grad(lambda x: [x, x * x], [V])


def test_numeric_grad() -> None:
    found = gradc.numeric_grad(lambda x, y: np.sum(x * x) + y, [V, S])
    np.testing.assert_allclose(found.gf[0], 2 * V, rtol=1e-5)
    np.testing.assert_allclose(found.gf[1], 1.0, rtol=1e-6)
    argument, position, absolute, relative = found.max_err([2 * V, S + 1], 1e-4, 1e-4)
    assert (argument, position) == (1, 0)
    np.testing.assert_allclose((absolute, relative), (0.7, 0.7 / 2.7), rtol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        found.abs_rel_errors([V[:2], S])
    with pytest.raises(ValueError):
        found.abs_rel_errors([V])
