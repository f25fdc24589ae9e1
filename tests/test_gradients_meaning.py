"""Statements 1 to 59 of docs/gradients.md, one test each: functions, dtypes, connections."""

from __future__ import annotations

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import DisconnectedType, NoGradient, NullType, Tensor, f32, f64, i64
from gradient_graphs import at, equal

V = np.array([0.3, -0.7, 1.2])
one = gt.constant(1.0)


def scalars(*names: str) -> list[Tensor]:
    return [gt.scalar(name) for name in names]


# --- functions and containers ------------------------------------------------------------------


def test_s1_containers_mirror_wrt() -> None:
    x, y = scalars("x", "y")
    assert isinstance(gradc.grad(x * y, x), Tensor)
    assert isinstance(gradc.grad(x * y, [x]), list)
    assert isinstance(gradc.grad(x * y, (x, y)), tuple)


def test_s2_pushforward_mirrors_f_and_pullback_wrt() -> None:
    x, y = scalars("x", "y")
    assert isinstance(gradc.pushforward([x * y], x, one), list)
    assert isinstance(gradc.pushforward(x * y, [x, y], [one, one]), Tensor)
    assert isinstance(gradc.pullback([x * y], x, [one]), Tensor)
    assert isinstance(gradc.pullback(x * y, (x, y), one), tuple)


def test_s3_order_is_that_of_wrt_and_duplicates_stay() -> None:
    x, y = scalars("x", "y")
    equal(at({x: 2, y: 5}, gradc.grad(x * y, [y, x, y])), [2, 5, 2])


def test_s4_wrt_may_be_intermediate() -> None:
    (x,) = scalars("x")
    y = x * x
    equal(at({x: 3}, gradc.grad(y * x, y)), 3)


def test_s5_each_wrt_gets_its_total_derivative() -> None:
    (x,) = scalars("x")
    y = x * x
    equal(at({x: 3}, gradc.grad(y * x, [y, x])), [3, 27])


def test_s6_the_cost_itself_has_gradient_one() -> None:
    (x,) = scalars("x")
    cost = x * x
    equal(at({x: 3}, gradc.grad(cost, cost)), 1)


def test_s7_one_variable_in_two_places_adds_up() -> None:
    (x,) = scalars("x")
    equal(at({x: 3}, gradc.grad(x * x, x)), 6)


def test_s8_functions_and_graphs_mean_the_same() -> None:
    @gradc.function
    def f(w: f64["n"], s: f64):  # noqa: F821
        return gt.sum(w * w) * s

    w, s = gt.vector("w"), gt.scalar("s")
    graph = gradc.grad(gt.sum(w * w) * s, w)
    equal(gradc.grad(f, wrt="w")(V, 2.0), at({w: V, s: 2.0}, graph))


def test_s9_value_and_grad_returns_the_cost() -> None:
    (x,) = scalars("x")
    cost = x * x
    value, gradient = gradc.value_and_grad(cost, [x])
    assert value is cost
    equal(at({x: 3}, gradient), [6])


def test_s10_both_generations_of_names() -> None:
    x, y = scalars("x", "y")
    point, cost = {x: 2.0, y: 5.0}, x * x * y
    equal(at(point, gradc.Lop(cost, x, eval_points=one)), 20)
    equal(at(point, gradc.pullback(cost, x, cotangents=one)), 20)
    equal(at(point, gradc.vector_jacobian_product(cost, x, one)), 20)
    equal(at(point, gradc.Rop(cost, x, eval_points=one)), 20)
    equal(at(point, gradc.pushforward(cost, x, tangents=one)), 20)
    equal(at(point, gradc.jacobian_vector_product(cost, x, one)), 20)


def test_s11_pushforward_through_pullback() -> None:
    x, y = scalars("x", "y")
    directions = [one, gt.constant(10.0)]
    found = gradc.pushforward_through_pullback(x * y + y, [x, y], directions)
    equal(at({x: 2, y: 5}, found), 5 + 30)


def test_s12_the_module_has_everything() -> None:
    import gradc.gradient as module

    for name in module.__all__:
        assert getattr(module, name) is getattr(gradc, name)
    pytensors = """grad Lop Rop pullback pushforward pushforward_through_pullback subgraph_grad
    jacobian hessian hessian_vector_product verify_grad numeric_grad zero_grad undefined_grad
    disconnected_grad grad_clip grad_scale grad_not_implemented grad_undefined as_list_or_tuple
    consider_constant DisconnectedType disconnected_type NullType null_type
    DisconnectedInputError NullTypeGradError GradientError"""
    assert set(pytensors.split()) <= set(module.__all__)


# --- the cost ----------------------------------------------------------------------------------


def test_s13_the_cost_is_a_scalar() -> None:
    x = gt.vector("x")
    for cost in (x, gt.sum(x, keepdims=True)):
        with pytest.raises(TypeError, match="scalar"):
            gradc.grad(cost, x)


def test_s14_an_integer_cost_is_differentiated() -> None:
    n = gt.scalar("n", i64)
    gradient = gradc.grad(n, n)
    assert gradient.dtype == f64
    equal(at({n: 3}, gradient), 1)


def test_s15_a_boolean_cost_has_gradient_zero() -> None:
    (x,) = scalars("x")
    equal(at({x: 3}, gradc.grad(x > 1, x)), 0)


def test_s16_without_cost_there_are_known_gradients() -> None:
    (x,) = scalars("x")
    with pytest.raises(ValueError, match="neither"):
        gradc.grad(None, x)


def test_s17_a_cost_that_is_no_array() -> None:
    (x,) = scalars("x")
    with pytest.raises(ValueError, match="no array"):
        gradc.grad(NullType("why")(), x)


def test_s18_a_constant_cost_is_disconnected() -> None:
    (x,) = scalars("x")
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(gt.constant(2.0), x)


def test_s19_the_cost_is_a_variable() -> None:
    (x,) = scalars("x")
    with pytest.raises(TypeError, match="symbolic"):
        gradc.grad(2.0, x)


def test_s20_wrt_are_variables() -> None:
    (x,) = scalars("x")
    for wrt in ("x", [x, 1.0]):
        with pytest.raises(TypeError, match="wrt"):
            gradc.grad(x, wrt)


# --- dtypes ------------------------------------------------------------------------------------


def test_s21_a_leaf_of_f32_has_a_gradient_of_f32() -> None:
    x, y = gt.scalar("x", f32), gt.scalar("y")
    found = gradc.grad(x * y, [x, y])
    assert [g.dtype for g in found] == [f32, f64]
    equal(at({x: 2, y: 5}, found), [5, 2])


def test_s22_a_leaf_of_integers_has_one_of_f64() -> None:
    n, y = gt.vector("n", i64), gt.scalar("y", f32)
    gradient = gradc.grad(gt.sum(n * y), n)
    assert (gradient.dtype, gradient.shape) == (f64, n.shape)
    equal(at({n: [1, 2], y: 2.5}, gradient), [2.5, 2.5])


def test_s23_a_boolean_leaf_has_one_of_f64() -> None:
    b, y = gt.scalar("b", gradc.bool_), gt.scalar("y")
    gradient = gradc.grad(b * y, b)
    assert gradient.dtype == f64
    equal(at({b: True, y: 2.5}, gradient), 2.5)


def test_s24_cotangents_have_the_dtype_of_their_variable() -> None:
    x = gt.scalar("x", f32)
    y = gt.sin(x)
    found = gradc.grad(y.astype("f64") * 1e-50, [y, x])
    assert [g.dtype for g in found] == [f32, f32]


def test_s25_the_tangent_of_an_integer_is_a_float() -> None:
    n, y, t = gt.scalar("n", i64), gt.scalar("y"), gt.scalar("t")
    pushed = gradc.pushforward(n * y, n, t)
    equal(at({n: 3, y: 2.5, t: 0.5}, pushed), 1.25)


def test_s26_no_gradient_is_an_integer() -> None:
    n, m = gt.scalar("n", i64), gt.scalar("m", i64)
    assert [g.dtype for g in gradc.grad(n * m, [n, m])] == [f64, f64]


def test_s27_a_cast_to_integers_carries_zero() -> None:
    x = gt.vector("x")
    equal(at({x: V}, gradc.grad(gt.sum(x.astype("i64") * 2.0), x)), np.zeros(3))


def test_s28_a_comparison_carries_zero() -> None:
    x = gt.vector("x")
    equal(at({x: V}, gradc.grad(gt.sum((x > 0) * 2.0), x)), np.zeros(3))


def test_s29_an_index_carries_zero() -> None:
    x = gt.vector("x")
    equal(at({x: V}, gradc.grad(gt.argmax(x) * 1.0, x)), np.zeros(3))


def test_s30_forward_mode_carries_the_same_zeros() -> None:
    x = gt.vector("x")
    for cost in (gt.argmax(x) * 1.0, gt.sum(x > 0), gt.sum(gt.floor(x))):
        equal(at({x: V}, gradc.pushforward(cost, x, x)), 0)


# --- what is disconnected ----------------------------------------------------------------------


def test_s31_disconnected_inputs_raise() -> None:
    x, y = scalars("x", "y")
    with pytest.raises(gradc.DisconnectedInputError, match="does not depend on <x: f64>") as error:
        gradc.grad(y, x)
    assert isinstance(error.value, ValueError)
    assert "disconnected_inputs" in error.value.hint


def test_s32_a_shape_is_disconnected() -> None:
    x = gt.vector("x")
    for cost in (x.shape[0] * 1.0 * one, gt.sum(gt.zeros_like(x))):
        with pytest.raises(gradc.DisconnectedInputError, match="shape"):
            gradc.grad(cost, x)


def test_s33_ignored_they_are_zero() -> None:
    x, y = gt.vector("x", f32), gt.scalar("y")
    gradient = gradc.grad(y, x, disconnected_inputs="ignore")
    assert (gradient.dtype, gradient.shape) == (f32, x.shape)
    equal(at({x: V}, gradient), np.zeros(3))


def test_s34_warnings_have_a_class_of_their_own() -> None:
    x, y = scalars("x", "y")
    with pytest.warns(gradc.DisconnectedInputWarning, match="does not depend") as warned:
        gradc.grad(y, x, disconnected_inputs="warn")
    assert warned[0].filename == __file__
    assert issubclass(gradc.DisconnectedInputWarning, UserWarning)


def test_s35_they_can_be_none() -> None:
    x, y = scalars("x", "y")
    found = gradc.grad(x, [x, y], disconnected_inputs="ignore", return_disconnected="none")
    assert isinstance(found[0], Tensor)
    assert found[1] is None


def test_s36_they_can_be_disconnected() -> None:
    x, y = scalars("x", "y")
    found = gradc.grad(y, x, disconnected_inputs="ignore", return_disconnected="disconnected")
    assert found == NoGradient(DisconnectedType())


def test_s37_one_of_several_paths_suffices() -> None:
    (x,) = scalars("x")
    equal(at({x: 3}, gradc.grad(gradc.disconnected_grad(x) * x, x)), 3)


def test_s38_a_disconnected_integer_has_zeros_of_f64() -> None:
    n, y = gt.vector("n", i64), gt.scalar("y")
    assert gradc.grad(y, n, disconnected_inputs="ignore").dtype == f64


def test_s39_words_are_checked_always() -> None:
    (x,) = scalars("x")
    for option in ("disconnected_inputs", "return_disconnected", "null_gradients"):
        with pytest.raises(ValueError, match="perhaps"):
            gradc.grad(x * x, x, **{option: "perhaps"})
    with pytest.raises(ValueError, match="perhaps"):
        gradc.pushforward(x, x, one, disconnected_outputs="perhaps")


def test_s40_jacobians_of_what_is_disconnected() -> None:
    x, y = gt.tensor("x", shape=(2,)), gt.tensor("y", shape=(3,))
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.jacobian(x * x, y)
    assert gradc.jacobian(x * x, y, disconnected_inputs="ignore").shape == (2, 3)


def test_s41_pushforward_of_what_does_not_depend_on_wrt() -> None:
    x, y = scalars("x", "y")
    with pytest.raises(gradc.DisconnectedInputError, match="wrt") as error:
        gradc.pushforward(y, x, one)
    assert "disconnected_outputs" in error.value.hint
    equal(at({x: 1, y: 1}, gradc.pushforward(y, x, one, disconnected_outputs="ignore")), 0)


def test_s42_pullback_has_the_policies_of_grad() -> None:
    x, y = scalars("x", "y")
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.pullback(y, x, one)
    options = {"disconnected_inputs": "ignore", "return_disconnected": "none"}
    assert gradc.pullback(y, x, one, **options) is None


# --- constants ---------------------------------------------------------------------------------


def test_s43_constants_cut_paths() -> None:
    (x,) = scalars("x")
    y = x * x
    equal(at({x: 3}, gradc.grad(y * x, x, consider_constant=[y])), 9)


def test_s44_a_constant_in_wrt_gets_its_gradient() -> None:
    (x,) = scalars("x")
    y = x * x
    equal(at({x: 3}, gradc.grad(y * y, y, consider_constant=[y])), 18)


def test_s45_with_all_paths_cut_it_is_disconnected() -> None:
    (x,) = scalars("x")
    y = x * x
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(y * 2.0, x, consider_constant=[y])


def test_s46_constants_hold_at_second_order() -> None:
    x, p = gt.tensor("x", shape=(3,)), gt.tensor("p", shape=(3,))
    y = x * x
    cost = gt.sum(y * x * x)
    point = {x: V, p: np.ones(3)}
    equal(at({x: V}, gradc.hessian(cost, x, consider_constant=[y])), np.diag(2 * V**2))
    product = gradc.hessian_vector_product(cost, x, p, consider_constant=[y])
    equal(at(point, product), 2 * V**2)


def test_s47_constants_are_a_list_of_variables() -> None:
    (x,) = scalars("x")
    for constants in (x, [3.0]):
        with pytest.raises(TypeError, match="consider_constant"):
            gradc.grad(x * x, x, consider_constant=constants)


def test_s48_constants_of_jacobians_and_pullbacks() -> None:
    x = gt.tensor("x", shape=(2,))
    y = x * x
    equal(at({x: [2, 3]}, gradc.jacobian(y * x, x, consider_constant=[y])), np.diag([4.0, 9.0]))
    pulled = gradc.pullback(y * x, x, gt.ones_like(x), consider_constant=[y])
    equal(at({x: [2, 3]}, pulled), [4.0, 9.0])


# --- known gradients ---------------------------------------------------------------------------


def test_s49_a_known_gradient_replaces_the_one_of_the_cost() -> None:
    (x,) = scalars("x")
    cost = x * x
    equal(at({x: 3}, gradc.grad(cost, x, known_grads={cost: gt.constant(2.0)})), 12)


def test_s50_a_known_gradient_replaces_what_flows_into_a_variable() -> None:
    (x,) = scalars("x")
    y = x * x
    equal(at({x: 3}, gradc.grad(gt.sin(y) + x, x, known_grads={y: gt.constant(5.0)})), 31)


def test_s51_a_known_gradient_of_wrt_is_its_gradient() -> None:
    (x,) = scalars("x")
    equal(at({x: 3}, gradc.grad(x * x, x, known_grads={x: gt.constant(5.0)})), 5)


def test_s52_known_gradients_need_no_cost() -> None:
    (x,) = scalars("x")
    y, z = x * x, 4.0 * x
    known = {y: gt.constant(5.0), z: gt.constant(1.0)}
    equal(at({x: 3}, gradc.grad(None, x, known_grads=known)), 34)


def test_s53_an_integer_keeps_its_known_gradient() -> None:
    n = gt.scalar("n", i64)
    equal(at({n: 1}, gradc.grad(None, n, known_grads={n: gt.constant(4.0)})), 4)


def test_s54_a_known_null_gradient_is_an_error_with_its_reason() -> None:
    (x,) = scalars("x")
    y = x * x
    for known in (NullType("for a reason"), NullType("for a reason")()):
        with pytest.raises(gradc.NullTypeGradError, match="for a reason"):
            gradc.grad(gt.sin(y), x, known_grads={y: known})


def test_s55_a_known_disconnected_gradient_disconnects() -> None:
    (x,) = scalars("x")
    y = x * x
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(gt.sin(y), x, known_grads={y: DisconnectedType()()})


def test_s56_known_gradients_are_float_variables() -> None:
    (x,) = scalars("x")
    for known in ({x: 5.0}, {x: gt.constant(5)}, [x]):
        with pytest.raises(TypeError, match="known_grads"):
            gradc.grad(x, x, known_grads=known)


def test_s57_known_gradients_have_the_shape_of_their_variable() -> None:
    x = gt.tensor("x", shape=(2,))
    with pytest.raises(ValueError, match="shape"):
        gradc.grad(None, x, known_grads={x: gt.constant([1.0, 2.0, 3.0])})


def test_s58_gradients_are_named() -> None:
    x, y = scalars("x", "y")
    cost = x * y * x
    cost.name = "loss"
    assert [g.name for g in gradc.grad(cost, [x, y])] == ["(dloss/dx)", "(dloss/dy)"]


def test_s59_names_can_be_left_away() -> None:
    x, y = scalars("x", "y")
    assert gradc.grad(x * y * x, y).name is None
    cost = x * y * x
    cost.name = "loss"
    assert gradc.grad(cost, y, add_names=False).name is None
