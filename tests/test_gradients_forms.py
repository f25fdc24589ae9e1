"""Statements 60 to 116 of docs/gradients.md, one test each: policies, ties, forms, orders."""

from __future__ import annotations

from math import exp, sin

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc import DisconnectedType, NoGradient, NullType, Tensor
from gradc.tracing import make_function
from gradient_graphs import at, both, equal

V = np.array([0.3, -0.7, 1.2])
one, ten = gt.constant(1.0), gt.constant(10.0)


def vector(name: str = "x", n: int = 3) -> Tensor:
    return gt.tensor(name, shape=(n,))


# --- gradients that cannot be computed ---------------------------------------------------------


def test_s60_an_undefined_gradient_is_an_error() -> None:
    x = gt.scalar("x")
    with pytest.raises(gradc.NullTypeGradError, match="undefined_grad forbids it at x") as error:
        gradc.grad(gradc.undefined_grad(x) * x, x)
    assert isinstance(error.value, TypeError)


def test_s61_null_plus_a_number_is_null() -> None:
    x = gt.scalar("x")
    with pytest.raises(gradc.NullTypeGradError):
        gradc.grad(gradc.undefined_grad(x) + x, x)


def test_s62_null_goes_through_ops() -> None:
    x = gt.scalar("x")
    with pytest.raises(gradc.NullTypeGradError):
        gradc.grad(gt.sin(gradc.undefined_grad(gt.exp(x) * 2.0)), x)


def test_s63_null_gradients_can_be_returned() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    found = gradc.grad(gradc.undefined_grad(x) * y, [x, y], null_gradients="return")
    assert isinstance(found[0], NoGradient)
    assert "undefined_grad" in found[0].type.why_null
    equal(at({x: 3, y: 5}, found[1]), 3)


def test_s64_missing_derivatives_are_listed_together() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    y.value.name = "y"
    with pytest.raises(gradc.NullTypeGradError) as error:
        gradc.grad(gradc.undefined_grad(x) * gradc.undefined_grad(y), [x, y])
    assert "at x" in str(error.value)
    assert "at y" in str(error.value)
    assert str(error.value).count(__file__) == 2


def test_s65_forward_mode_refuses_them_too() -> None:
    x = gt.scalar("x")
    cost = gradc.undefined_grad(x) * x
    for derive in (
        lambda: gradc.pushforward(cost, x, one),
        lambda: gradc.jacobian(cost * gt.ones((3,)), x),
    ):
        with pytest.raises(gradc.NullTypeGradError, match="undefined_grad"):
            derive()


def test_s66_what_is_cut_off_may_be_undefined() -> None:
    x = gt.scalar("x")
    cost = gradc.undefined_grad(gradc.disconnected_grad(x)) + x * x
    equal(at({x: 3}, gradc.grad(cost, x)), 6)
    equal(at({x: 3}, gradc.pushforward(cost, x, one)), 6)


def test_s67_no_gradient_is_no_array() -> None:
    x = gt.scalar("x")
    null = gradc.grad(gradc.undefined_grad(x), x, null_gradients="return")
    with pytest.raises(TypeError, match="no gradient to compute with"):
        gt.add(null, x)
    with pytest.raises(TypeError):
        gradc.function([x], null)


def test_s68_their_types_hold_no_data() -> None:
    for kind in (NullType("why"), DisconnectedType()):
        with pytest.raises(ValueError, match="no elements"):
            kind.filter(np.zeros(3))
        with pytest.raises(AssertionError):
            kind.filter(None, strict=True)


def test_s69_their_types_print_and_make_gradients() -> None:
    assert str(NullType("why")) == "NullType(why)"
    assert str(DisconnectedType()) == "DisconnectedType"
    assert NullType("why")() == NoGradient(NullType("why"))
    assert repr(DisconnectedType()()) == "<no gradient: DisconnectedType>"


def test_s70_rules_say_why_there_is_no_gradient() -> None:
    x = gt.scalar("x")
    missing = gradc.grad_not_implemented("lu", 0, x, "pivots")
    assert "lu with respect to its input 0 is not implemented: pivots" in repr(missing)
    with pytest.raises(gradc.NullTypeGradError, match="input 1 is mathematically undefined"):
        gradc.grad(x, x, known_grads={x: gradc.grad_undefined("lu", 1, x)})


# --- identities with another derivative --------------------------------------------------------


def test_s71_their_values_are_those_of_the_identity() -> None:
    x = gt.vector("x")
    outputs = [
        gradc.zero_grad(x),
        gradc.disconnected_grad(x),
        gradc.undefined_grad(x),
        gradc.grad_clip(x, -1, 1),
        gradc.grad_scale(x, 5),
        gradc.consider_constant(x),
    ]
    f = gradc.function([x], outputs)
    for value in f(V):
        np.testing.assert_array_equal(value, V)
    assert not f.optimized.equations  # nothing is left of them


def test_s72_zero_grad_is_zero_and_connected() -> None:
    x = gt.scalar("x")
    equal(at({x: 3}, gradc.grad(gradc.zero_grad(x * x), x)), 0)
    equal(at({x: 3}, gradc.grad(gradc.zero_grad(x) * x, x)), 3)


def test_s73_zero_grad_in_forward_mode_and_at_second_order() -> None:
    x = gt.scalar("x")
    cost = gradc.zero_grad(x) * x * x
    equal(at({x: 3}, gradc.pushforward(cost, x, one)), 18)
    equal(at({x: 3}, gradc.pushforward(gradc.zero_grad(x), x, one)), 0)
    equal(at({x: 3}, gradc.grad(gradc.grad(cost, x), x)), 6)


def test_s74_disconnected_grad_cuts() -> None:
    x = gt.scalar("x")
    cut = gradc.disconnected_grad(x * x)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(cut, x)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.pushforward(cut, x, one)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.pushforward_through_pullback(cut, x, one)


def test_s75_disconnected_grad_at_second_order() -> None:
    x = gt.scalar("x")
    cost = gradc.disconnected_grad(x) * x
    equal(at({x: 3}, gradc.grad(cost, x)), 3)
    with pytest.raises(gradc.DisconnectedInputError):
        gradc.grad(gradc.grad(cost, x), x)


def test_s76_grad_clip_clips_cotangents_entry_by_entry() -> None:
    x = vector()
    gradient = gradc.grad(gt.sum(gradc.grad_clip(x, -1, 2) ** 3), x)
    equal(at({x: [0.1, 5.0, -5.0]}, gradient), [0.03, 2.0, 2.0])
    negative = gradc.grad(-gt.sum(gradc.grad_clip(x, -1, 2) ** 3), x)
    equal(at({x: [0.1, 5.0, -5.0]}, negative), [-0.03, -1.0, -1.0])


def test_s77_grad_clip_leaves_tangents_alone() -> None:
    x = gt.scalar("x")
    cost = gradc.grad_clip(x, -1, 1) ** 2
    equal(at({x: 3}, gradc.pushforward(cost, x, one)), 6)
    equal(at({x: 3}, gradc.pushforward_through_pullback(cost, x, one)), 6)


def test_s78_second_derivatives_are_those_of_the_clipped_gradient() -> None:
    x = vector()
    cost = gt.sum(gradc.grad_clip(x, -1, 1) ** 2)
    point = {x: [0.1, 5.0, -5.0]}
    equal(at(point, gradc.hessian(cost, x)), np.diag([2.0, 0.0, 0.0]))
    again = gradc.pullback(gradc.grad(cost, x), x, gt.ones_like(x))
    equal(at(point, again), [1.0, 0.0, 0.0])


def test_s79_the_lower_bound_is_below_the_upper() -> None:
    for bounds in ((1, -1), (0.0, float("nan"))):
        with pytest.raises(ValueError, match="below"):
            gradc.grad_clip(gt.scalar("x"), *bounds)


def test_s80_grad_scale_scales_in_both_directions() -> None:
    x = gt.scalar("x")
    cost = gradc.grad_scale(x, -2.0) ** 2
    equal(at({x: 3}, gradc.grad(cost, x)), -12)
    equal(at({x: 3}, gradc.pushforward(cost, x, one)), -12)
    equal(at({x: 3}, gradc.pushforward_through_pullback(cost, x, one)), -12)


def test_s81_grad_scale_scales_at_every_order() -> None:
    x = gt.scalar("x")
    first = gradc.grad(gradc.grad_scale(x, 3.0) ** 3, x)
    equal(at({x: 2}, [first, gradc.grad(first, x)]), [36, 108])


def test_s82_consider_constant_is_zero_grad() -> None:
    x = gt.scalar("x")
    equal(at({x: 3}, gradc.grad(gradc.consider_constant(x) * x, x)), 3)
    equal(at({x: 3}, gradc.grad(gradc.consider_constant(x), x)), 0)


# --- ties, kinks, branches ---------------------------------------------------------------------


def test_s83_ties_of_a_reduction_share() -> None:
    x = vector()
    for found in both(gt.max(x), x, np.array([1.0, 1.0, 0.0])):
        np.testing.assert_array_equal(found, [0.5, 0.5, 0.0])


def test_s84_ties_of_two_operands_share() -> None:
    x = vector("x", 2)
    for cost in (gt.maximum(x[0], x[1]), gt.minimum(x[0], x[1])):
        for found in both(cost, x, np.array([1.0, 1.0])):
            np.testing.assert_array_equal(found, [0.5, 0.5])


def test_s85_clip_passes_at_its_bounds() -> None:
    x = vector()
    for found in both(gt.sum(gt.clip(x, 0, 1)), x, np.array([0.0, 1.0, 2.0])):
        np.testing.assert_array_equal(found, [1.0, 1.0, 0.0])


def test_s86_abs_has_derivative_zero_at_zero() -> None:
    x = gt.scalar("x")
    for found in both(abs(x), x, np.array(0.0)):
        np.testing.assert_array_equal(found, 0.0)


def test_s87_what_a_mask_cuts_stays_cut_in_both_directions() -> None:
    x = gt.scalar("x")
    for found in both(gt.where(x > 0, gt.sqrt(x), 0.0), x, np.array(0.0)):
        np.testing.assert_array_equal(found, 0.0)
    y = gt.scalar("y")
    cost = gt.log(gt.where(x > -1, x, gt.arctan2(y, y)))
    point = {x: 0.0, y: 0.0}
    np.testing.assert_array_equal(at(point, gradc.grad(cost, y)), 0.0)
    np.testing.assert_array_equal(at(point, gradc.pushforward(cost, y, one)), 0.0)


def test_s88_a_product_is_differentiated_to_any_order() -> None:
    x = vector()
    point = {x: [0.0, 2.0, 3.0]}
    equal(at(point, gradc.grad(gt.prod(x), x)), [6, 0, 0])
    equal(at(point, gradc.hessian(gt.prod(x), x)), [[0, 3, 2], [3, 0, 0], [2, 0, 0]])


# --- Jacobians and Hessians --------------------------------------------------------------------


def test_s89_shapes_of_jacobians() -> None:
    x, y = gt.tensor("x", shape=(2, 3)), gt.scalar("y")
    assert gradc.jacobian(x * y, x).shape == (2, 3, 2, 3)
    assert gradc.jacobian(x * y, y).shape == (2, 3)
    assert gradc.jacobian(gt.sum(x) * y, x).shape == (2, 3)
    assert [j.shape for j in gradc.jacobian(y * y, (y, y))] == [(), ()]
    assert gradc.jacobian(gt.sum(x, 1)[:1], x, vectorize=True).shape == (1, 2, 3)
    v = gt.vector("v")
    roots = at({v: [0.0, 4.0, -1.0]}, gradc.jacobian(gt.sqrt(v), v))
    equal(roots, [[np.inf, 0, 0], [0, 0.25, 0], [0, 0, np.nan]])


def test_s90_rows_and_columns_give_the_same() -> None:
    x, s = vector(), gt.scalar("s")
    by_columns = gradc.jacobian(gt.exp(x * s), s)  # one column, three rows
    by_rows = gradc.jacobian(gt.sum(gt.exp(x * s)), x)  # one row, three columns
    point = {x: V, s: 2.0}
    for found in (by_columns, by_rows):  # neither has made a square of it
        made = make_function([x, s], [found], "f")
        assert max(v.type.size for e in made.equations for v in e.outputs) == 3
    equal(at(point, by_columns), V * np.exp(2 * V))
    equal(at(point, by_rows), 2 * np.exp(2 * V))


def test_s91_chunks_give_the_same() -> None:
    x = vector()
    point = {x: V}
    whole = at(point, gradc.jacobian(gt.sin(x) * gt.sum(x), x))
    hessian = at(point, gradc.hessian(gt.sum(x) ** 3, x))
    for chunk in (1, 2, 3, 100):
        equal(at(point, gradc.jacobian(gt.sin(x) * gt.sum(x), x, chunk=chunk)), whole)
        equal(at(point, gradc.hessian(gt.sum(x) ** 3, x, chunk=chunk)), hessian)


def test_s92_a_chunk_is_a_number_of_rows() -> None:
    x = gt.vector("x")
    for chunk in (0, -3, 1.5, True):
        with pytest.raises(ValueError, match="at least 1"):
            gradc.jacobian(x * x, x, chunk=chunk)
    point = {x: [1.0, 2.0, 3.0]}
    expected = 6 * np.eye(3) + np.outer(point[x], np.ones(3))
    equal(at(point, gradc.jacobian(x * gt.sum(x), x, chunk=2)), expected)
    equal(at({x: [1.0, 2.0, 3.0]}, gradc.jacobian(x * x, x, chunk=2)), np.diag([2.0, 4.0, 6.0]))


def test_s93_hessians_have_any_rank() -> None:
    x = gt.tensor("x", shape=(2, 2))
    assert gradc.hessian(gt.sum(x**3), x).shape == (2, 2, 2, 2)
    y = gt.scalar("y")
    equal(at({y: 3}, gradc.hessian(y**3, y)), 18)


def test_s94_several_wrt_give_the_diagonal_blocks_or_all() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    point, cost = {x: 2, y: 5}, x * x * y
    equal(at(point, gradc.hessian(cost, [x, y])), [10, 0])
    full = gradc.hessian(cost, [x, y], blocks="full")
    equal(at(point, [block for row in full for block in row]), [10, 4, 4, 0])
    with pytest.raises(ValueError, match="blocks"):
        gradc.hessian(cost, x, blocks="some")


def test_s95_a_linear_cost_has_no_curvature() -> None:
    x = vector()
    cost = gt.sum(2.0 * x)
    equal(at({x: V}, gradc.hessian(cost, x)), np.zeros((3, 3)))
    equal(at({x: V}, gradc.hessian_vector_product(cost, x, x)), np.zeros(3))


def test_s96_products_have_cross_terms() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    equal(at({x: 2, y: 5}, gradc.hessian_vector_product(x * y, [x, y], [one, ten])), [10, 1])


def test_s97_second_derivatives_have_the_policies_of_grad() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    for derive in (gradc.hessian, lambda c, v: gradc.hessian_vector_product(c, v, one)):
        with pytest.raises(gradc.DisconnectedInputError):
            derive(y * y, x)
    words = {"disconnected_inputs": "ignore", "return_disconnected": "none"}
    found = gradc.hessian_vector_product(y * y, [x, y], [one, one], **words)
    assert found[0] is None
    equal(at({y: 3}, found[1]), 2)


def test_s98_directions_correspond_one_to_one() -> None:
    x = vector()
    with pytest.raises(ValueError, match="2 tangents were given for 1"):
        gradc.pushforward(x, [x], [x, x])
    with pytest.raises(ValueError, match="1 cotangents were given for 2"):
        gradc.pullback([x, x], x, [x])
    with pytest.raises(ValueError, match="given for 2"):
        gradc.hessian_vector_product(gt.sum(x * x), [x, x], [x])
    with pytest.raises(ValueError, match="has its shape"):
        gradc.pushforward(x, x, one)


# --- directions that repeat or depend on one another -------------------------------------------


def test_s99_tangents_of_a_sum_add_up() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    for push in (gradc.pushforward, gradc.pushforward_through_pullback):
        equal(at({x: 1, y: 1}, push(x + y, [x, y], [one, ten])), 11)


def test_s100_tangents_of_one_variable_add_up() -> None:
    x = gt.scalar("x")
    equal(at({x: 3}, gradc.pushforward(x * x, [x, x], [one, ten])), 66)


def test_s101_tangents_of_dependent_variables_add_up() -> None:
    x = gt.scalar("x")
    y = 3.0 * x
    equal(at({x: 1}, gradc.pushforward(y * 1.0, [x, y], [one, ten])), 13)


def test_s102_cotangents_of_repeated_outputs_add_up() -> None:
    x = gt.scalar("x")
    y = 3.0 * x
    equal(at({x: 1}, gradc.pullback([y, y], x, [one, ten])), 33)


def test_s103_cotangents_of_dependent_outputs_add_up() -> None:
    x = gt.scalar("x")
    two, twenty = gt.constant(2.0), gt.constant(20.0)
    equal(at({x: 1}, gradc.pullback([x, 3.0 * x], x, [two, twenty])), 62)


def test_s104_forward_rules_of_repeats_and_borders() -> None:
    x = vector("x", 2)
    for f in (lambda x: gt.repeat(x, 3), lambda x: gt.tile(x, 2), lambda x: gt.pad(x, 1)):
        pushed = gradc.pushforward(f(x), x, 2.0 * x)
        equal(at({x: [3.0, 5.0]}, pushed), at({x: [6.0, 10.0]}, f(x)))


# --- parts of graphs ---------------------------------------------------------------------------


def test_s105_subgraph_gradients_compose() -> None:
    x, w = gt.scalar("x"), gt.scalar("w")
    hidden = w * x
    _, (end,) = gradc.subgraph_grad([], [hidden], cost=hidden**2)
    (dw,), (dx,) = gradc.subgraph_grad([w], [x], start={hidden: end})
    equal(at({x: 2, w: 3}, [dw, dx]), [24, 36])


def test_s106_subgraph_details() -> None:
    x, w = gt.scalar("x"), gt.scalar("w")
    hidden = w * x
    found = gradc.subgraph_grad([w], [x], {hidden: one}, hidden**2, details=True)
    assert [len(part) for part in found] == [1, 1, 2, 2]
    equal(at({x: 2, w: 3}, [g for part in found for g in part]), [26, 39, 2, 3, 24, 36])
    assert gradc.subgraph_grad([w], [x], cost=hidden, details=True)[2] is None


def test_s107_subgraphs_want_lists_and_a_source() -> None:
    x = gt.scalar("x")
    with pytest.raises(TypeError, match="lists"):
        gradc.subgraph_grad(x, [x], cost=x)
    with pytest.raises(TypeError, match="start"):
        gradc.subgraph_grad([x], [x], start=[x])
    with pytest.raises(ValueError, match="neither"):
        gradc.subgraph_grad([x], [x])


# --- orders and depth --------------------------------------------------------------------------


def test_s108_derivatives_nest_to_any_order() -> None:
    x = gt.scalar("x")
    found = gt.exp(x) * gt.sin(x)
    for _ in range(4):
        found = gradc.grad(found, x)
    np.testing.assert_allclose(at({x: 0.5}, found), -4 * exp(0.5) * sin(0.5), rtol=1e-12)


def test_s109_nested_forward_mode_confuses_no_tangents() -> None:
    x, y = gt.scalar("x"), gt.scalar("y")
    inner = gradc.pushforward(x + y, y, one)
    equal(at({x: 3, y: 5}, gradc.pushforward(x * inner, x, one)), 1)


def test_s110_forward_over_reverse_is_reverse_over_reverse() -> None:
    x = vector()
    cost = gt.sum(gt.exp(x) * gt.flip(x)) ** 2
    reverse = gradc.jacobian(gradc.grad(cost, x), x)
    np.testing.assert_allclose(at({x: V}, gradc.hessian(cost, x)), at({x: V}, reverse), rtol=1e-12)


def test_s111_depth_is_no_limit() -> None:
    x = gt.scalar("x")
    y = x
    for _ in range(5000):
        y = y * 1.0001
    equal(at({x: 2}, gradc.grad(y, x)), 1.0001**5000)


# --- checks ------------------------------------------------------------------------------------


def test_s112_verify_grad_passes_or_names_the_worst_entry() -> None:
    gradc.verify_grad(lambda x: [gt.sin(x), x * x], [V], rng=np.random.default_rng(0), order=2)
    with pytest.raises(gradc.GradientError, match=r"argument 0 differs most at \["):
        gradc.verify_grad(lambda x: gradc.grad_scale(x, 2), [V])
    for point in (V, [np.arange(3)]):
        with pytest.raises(TypeError, match="verify_grad"):
            gradc.verify_grad(lambda x: x, point)


def test_s113_numeric_grad() -> None:
    found = gradc.numeric_grad(lambda x, y: np.sum(np.sin(x)) * y, [V, np.array(2.0)])
    np.testing.assert_allclose(found.gf[0], 2 * np.cos(V), rtol=1e-5)
    assert isinstance(gradc.numeric_grad(np.sum, V).gf, np.ndarray)
    single = gradc.numeric_grad(lambda x: np.sum(x), V.astype("f4"))
    assert single.gf.dtype == np.float32
    assert found.max_err([found.gf[0], found.gf[1] + 1], 1e-4, 1e-4)[:2] == (1, 0)
    for wrong in ([V], [V[:2], np.array(1.0)], [V * np.nan, np.array(1.0)]):
        with pytest.raises(ValueError):
            found.max_err(wrong, 1e-4, 1e-4)


def test_s114_relative_errors_have_a_floor() -> None:
    absolute, relative = gradc.numeric_grad.abs_rel_err(np.array([0.0, 1.0]), np.array([1e-9, 3.0]))
    equal(absolute, [1e-9, 2.0])
    equal(relative, [0.1, 0.5])


def test_s115_as_list_or_tuple() -> None:
    assert gradc.as_list_or_tuple(True, False, (1, 2)) == [1, 2]
    assert gradc.as_list_or_tuple(False, True, [1, 2]) == (1, 2)
    assert gradc.as_list_or_tuple(False, False, [1]) == 1
    for words in ((True, True, [1]), (False, False, [1, 2])):
        with pytest.raises(ValueError):
            gradc.as_list_or_tuple(*words)


def test_s116_zeros_can_be_asked_why() -> None:
    x = gt.scalar("x")
    found = gradc.why_zero(gt.floor(x) * 2.0, x)
    assert found.verdict == "zero"
    (reason,) = found.reasons
    assert (reason.op, reason.path) == ("floor", ("x", "floor"))
    assert reason.span is not None
    assert reason.span.file == __file__
