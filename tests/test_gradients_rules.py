"""Statements 117 to 130 of docs/gradients.md, one test each: rules, scans, orders, functions."""

from __future__ import annotations

import warnings
from typing import Any

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import Tensor, f64
from gradc.custom import Op
from gradc.external import c_scalar_function
from gradient_graphs import at, both, equal

V = np.array([0.3, -0.7, 1.2])
one = gt.constant(1.0)

by_pullback = Op("cube", lambda x: x**3, pullback=lambda p, r, c: (3.0 * c * p[0] ** 2,))
by_pushforward = Op("cube", lambda x: x**3, pushforward=lambda p, r, t: 3.0 * t[0] * p[0] ** 2)


def two_rules(of_x: Any, of_y: Any) -> Op:
    """x * y with a pullback that answers as given."""
    return Op("times", lambda x, y: x * y, pullback=lambda p, r, c: (of_x(p, c), of_y(p, c)))


def of_first(p: Any, c: Any) -> Any:
    return c * p[1]


# --- rules of one's own ------------------------------------------------------------------------


@pytest.mark.parametrize("op", (by_pullback, by_pushforward), ids=("pullback", "pushforward"))
def test_s117_one_rule_serves_both_directions(op: Op) -> None:
    x = gt.tensor("x", shape=(3,))
    for found in both(gt.sum(op(x)), x, V):
        equal(found, 3 * V**2)


def test_s118_the_contract_can_be_checked() -> None:
    errors = gradc.check_rule(by_pullback, V)
    assert max(errors.reverse, errors.forward) < 1e-8
    wrong = two_rules(of_first, lambda p, c: 2.0 * c * p[0])
    worst = r"the pullback of times .*along argument 1; at result 0\[\d\]"
    with pytest.raises(gradc.GradientError, match=worst):
        gradc.check_rule(wrong, V, V)


def test_s119_higher_orders_are_derivatives_of_the_rules() -> None:
    x = gt.scalar("x")
    for op in (by_pullback, by_pushforward):
        first = gradc.grad(op(x), x)
        equal(at({x: 2}, [first, gradc.grad(first, x), gradc.hessian(op(x), x)]), [12, 12, 12])
    straight = Op("round", lambda x: gt.floor(x + 0.5), pullback=lambda p, r, c: (c * p[0],))
    equal(at({x: 2.2}, gradc.hessian(straight(x), x)), 1)


def test_s120_a_rule_may_say_that_there_is_no_derivative() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    undefined = two_rules(
        of_first, lambda p, c: gradc.grad_undefined("times", 1, p[1], "a setting")
    )
    cut = two_rules(of_first, lambda p, c: gradc.DisconnectedType()())
    for op in (undefined, cut):
        equal(at({x: 2, y: 5}, gradc.grad(op(x, y), x)), 5)
        equal(at({x: 2, y: 5}, gradc.pushforward(op(x, y), x, one)), 5)
    with pytest.raises(gradc.NullTypeGradError, match="a setting"):
        gradc.grad(undefined(x, y), y)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(cut(x, y), y)
    no_slope = Op("f", gt.floor, pushforward=lambda p, r, t: gradc.NullType("no slope")())
    for derive in (gradc.grad, gradc.jacobian, lambda f, x: gradc.pushforward(f, x, one)):
        with pytest.raises(gradc.NullTypeGradError, match="no slope"):
            derive(no_slope(x), x)


def test_s121_none_and_zero_are_zeros() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    for nothing in (None, 0, 0.0):
        op = two_rules(of_first, lambda p, c, nothing=nothing: nothing)
        equal(at({x: 2, y: 5}, gradc.grad(op(x, y), [x, y])), [5, 0])


def test_s122_answers_fit_their_inputs() -> None:
    x = gt.tensor("x", shape=(3,))
    wrong = {
        "returns a tuple of cotangents, one for each of the 1 input": lambda p, r, c: (c, c),
        "cotangent of type f64 for the input x": lambda p, r, c: (gt.sum(c),),
        "cotangent of type f32": lambda p, r, c: (c.astype("f32"),),
    }
    for message, pullback in wrong.items():
        with pytest.raises(TypeError, match=f"square.*pullback.*{message}"):
            Op("square", lambda x: x * x, pullback=pullback)(x)
    with pytest.raises(TypeError, match="square: the pushforward returned a tangent of type f64"):
        Op("square", lambda x: x * x, pushforward=lambda p, r, t: gt.sum(t[0]))(x)


def test_s123_a_rule_that_is_not_linear_has_no_transpose() -> None:
    x = gt.scalar("x")
    clips = Op("f", gt.sin, pullback=lambda p, r, c: (gt.clip(c, -1.0, 1.0),))
    equal(at({x: 2}, gradc.grad(5.0 * clips(x), x)), 1)
    with pytest.raises(TypeError, match=r"not linear in its cotangents.*write a pushforward too"):
        gradc.pushforward(clips(x), x, one)


def test_s124_external_functions_have_no_derivative_of_their_own() -> None:
    x = gt.scalar("x")
    sine = c_scalar_function("sin")
    for derive in (gradc.grad, gradc.jacobian, lambda f, x: gradc.pushforward(f, x, one)):
        with pytest.raises(
            gradc.NullTypeGradError, match="external function sin has no derivative"
        ):
            derive(sine(x), x)
    with_rule = Op("sine", sine, pullback=lambda p, r, c: (c * gt.cos(p[0]),))
    found = gradc.function([x], gradc.grad(with_rule(x), x))
    equal(found(0.5), np.cos(0.5))


# --- scans and orders --------------------------------------------------------------------------


def test_s125_cumulative_sums_and_products() -> None:
    x = gt.tensor("x", shape=(3,))
    point = np.array([2.0, 0.0, 3.0])
    for found in both(gt.cumprod(x)[2], x, point):
        equal(found, [0, 6, 0])
    for found in both(gt.cumsum(x * x)[1], x, point):
        equal(found, [4, 0, 0])
    second = gradc.hessian(gt.cumprod(x)[2], x)
    equal(at({x: point}, second), [[0, 3, 0], [3, 0, 2], [0, 2, 0]])


def test_s126_a_tangent_moves_with_its_entry() -> None:
    x = gt.tensor("x", shape=(3,))
    weights = gt.constant([1.0, 10.0, 100.0])
    for found in both(gt.sum(gt.sort(x) * weights), x, np.array([2.0, 1.0, 2.0])):
        equal(found, [10, 1, 100])


def test_s127_a_permutation_carries_zero() -> None:
    x = gt.tensor("x", shape=(3,))
    for found in both(gt.sum(gt.argsort(x) * 1.0), x, V):
        equal(found, np.zeros(3))


def test_s128_xlogy_at_zero() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    value: Tensor = gt.xlogy(x, y)
    point = {x: 0.0, y: 2.0}
    assert value.dtype == f64
    for push in (gradc.pushforward, gradc.pushforward_through_pullback):
        equal(at(point, push(value, x, one)), np.log(2.0))
    of_x, of_y = gradc.grad(value, [x, y])
    equal(at(point, [of_x, of_y]), [np.log(2.0), 0.0])
    equal(at(point, [gradc.grad(of_x, y), gradc.grad(of_y, x)]), [0.5, 0.5])


# --- functions ---------------------------------------------------------------------------------


@gradc.function
def held(x: f64["n"], y: f64["n"], k: f64):  # type: ignore[no-untyped-def]  # noqa: F821
    square = x * x
    square.name = "square"
    return gt.sum(square * x) + gt.sum(gradc.disconnected_grad(k) * x) + y.shape[0]


@pytest.mark.parametrize("name", ("y", "k"))
def test_s129_functions_warn_of_zeros(name: str) -> None:
    forms = (gradc.grad, gradc.value_and_grad, gradc.jacobian, gradc.hessian)
    for form in (*forms, gradc.hessian_vector_product, gradc.hvp):
        with pytest.warns(gradc.DisconnectedInputWarning, match=f"depend on {name}") as warned:
            form(held, ["x", name])
        assert warned[0].filename == __file__
        with pytest.raises(gradc.DisconnectedInputError, match=f"depend on {name}"):
            form(held, ["x", name], disconnected_inputs="raise")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            form(held, ["x", name], disconnected_inputs="ignore")
            form(held, "x")
        with pytest.raises(ValueError, match="disconnected_inputs is one of"):
            form(held, "x", disconnected_inputs="perhaps")
    for form in (gradc.jvp, gradc.vjp):
        with pytest.warns(gradc.DisconnectedInputWarning, match=f"depend on {name}"):
            form(held, name)
    with pytest.warns(gradc.DisconnectedInputWarning):
        zero = gradc.grad(held, name)(V, V, 2.0)
    equal(zero, 0 * zero)


def test_s130_options_of_functions() -> None:
    for form in (gradc.grad, gradc.jacobian):
        equal(form(held, "x", consider_constant=["square"])(V, V, 2.0), V**2 + 2.0)
    value, slope = gradc.value_and_grad(held, "x", consider_constant="square")(V, V, 2.0)
    equal([value, *slope], [np.sum(V**3 + 2 * V) + 3, *(V**2 + 2.0)])
    for form in (gradc.hessian_vector_product, gradc.hvp):
        equal(form(held, "x", consider_constant=["square"])(V, V, 2.0, V), np.zeros(3))
    with pytest.raises(TypeError, match="names of its variables"):
        gradc.grad(held, "x", consider_constant=[gt.scalar("s")])
    for option in ({"known_grads": {}}, {"null_gradients": "return"}):
        with pytest.raises(TypeError, match="is for variables of a graph"):
            gradc.grad(held, "x", **option)
    with pytest.raises(TypeError, match="p is for variables of a graph"):
        gradc.hessian_vector_product(held, "x", one)
