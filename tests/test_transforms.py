"""Forward, reverse, batch, inline, expand: what they mean on graphs, and that depth is no limit."""

import dataclasses
from functools import reduce
from time import process_time

import numpy as np
import pytest
from gradc.ir.dims import parse_dim, size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import (
    Function,
    Requirement,
    Value,
    equations_behind,
    function,
    parameter,
    sorted_equations,
)
from gradc.ir.lowering import Composite, IndexMap
from gradc.ir.op import DISCONNECTED, Null, Op
from gradc.ir.ops.arithmetic import add, mul
from gradc.ir.ops.cast import cast
from gradc.ir.ops.composite import logsumexp, softmax
from gradc.ir.ops.constants import full, scalar, size_value, zeros_like
from gradc.ir.ops.contract import contract
from gradc.ir.ops.elementwise import exp, log, sin, sqrt
from gradc.ir.ops.kinds import elementwise
from gradc.ir.ops.logic import ge, gt, lt, where
from gradc.ir.ops.reductions import argmax
from gradc.ir.ops.slicing import concat, slice_
from gradc.ir.ops.structural import broadcast, reshape, sum_, transpose
from gradc.ir.span import Span, at
from gradc.ir.transforms.batch import batch, batch_values
from gradc.ir.transforms.expand import expand_composites
from gradc.ir.transforms.forward import push_tangents, pushforward
from gradc.ir.transforms.inline import bind_sizes, conditions_at, inline
from gradc.ir.transforms.reverse import NullGradientError, is_connected, pull_cotangents, pullback
from gradc.ir.types import ArrayType, DType, f32, f64, i64
from gradc.ir.verify import verify
from random_programs import random_arguments, random_function

SCALAR = ArrayType(f64)


def real(name: str = "x", dtype: DType = f64) -> Value:
    return parameter(ArrayType(dtype), name)


def vector(name: str = "x", length: str = "n") -> Value:
    return parameter(f64[length], name)


def one() -> Value:
    return scalar(1.0, f64)


def repeated(x: Value, like: Value) -> Value:
    return broadcast(x, shape=like.shape, axes=())


def value_of(result: Value, **given: float) -> float:
    """The value of a graph of scalars, its parameters found by name."""
    found: dict[str, Value] = {}
    stack, seen = [result], set()
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.owner is None:
            found[value.name] = value
        else:
            stack.extend(value.owner.inputs)
    fn = function("f", list(found.values()), [result])
    verify(fn)
    arguments = [np.asarray(given[name], found[name].dtype.numpy) for name in found]
    return evaluate(fn, *arguments)[0].item()


def opaque(name: str, cotangent: object) -> Op:
    """An identity whose reverse rule always answers `cotangent`."""
    return Op(
        name=name,
        infer=lambda x: x,
        evaluate=lambda x: x,
        jvp=lambda primals, result, tangents: None,
        vjp=lambda primals, result, ct: (cotangent,),
        batch=lambda inputs, batched, size: inputs[0],
        lower=IndexMap(lambda k, index, operands: operands[0].read(index), lambda x: ((),)),
    )


undefined = opaque("undefined", Null("undefined, for a test"))
cut = opaque("cut", DISCONNECTED)
zero = opaque("zero", None)


# --- connectivity ----------------------------------------------------------------------------


def test_the_gradient_of_a_value_with_respect_to_itself():
    x = real()
    (g,) = pull_cotangents([(x, one())], [x])
    assert value_of(g) == 1.0


def test_a_partial_derivative_that_nobody_asks_for_is_not_built():
    built = []

    def partial(own: str, other: int):
        def derivative(result, *primals):
            built.append(own)
            return primals[other]

        return derivative

    product = elementwise(
        "product",
        evaluate=np.multiply,
        partials=(partial("a", 1), partial("b", 0)),
        scalar=lambda k, a, b: k.binary("mul", a, b),
    )
    a, b = real("a"), real("b")
    (cotangent,) = pull_cotangents([(product(a, b), one())], [b])
    assert built == ["b"] and value_of(cotangent, a=3.0, b=5.0) == 3.0
    assert product.vjp((a, b), product(a, b), one()) and built == ["b", "a", "b"]


def test_what_is_not_reached_is_disconnected():
    x, y = real("x"), real("y")
    _, second = pull_cotangents([(sin(x), one())], [x, y])
    assert second is DISCONNECTED


def test_a_shape_is_disconnected():
    x = vector()
    count = cast(size_value(dim=x.shape[0]), dtype=f64)
    assert pull_cotangents([(count, one())], [x]) == [DISCONNECTED]


@pytest.mark.parametrize(
    "through_integers",
    [
        lambda x: cast(cast(x, dtype=i64), dtype=f64),
        lambda x: cast(argmax(reshape(x, shape=(1,)), axis=0), dtype=f64),
        lambda x: where(gt(x, scalar(0.0, f64)), scalar(2.0, f64), scalar(3.0, f64)),
        lambda x: zero(x),
    ],
)
def test_a_path_through_integers_or_a_zero_rule_is_connected(through_integers):
    x = real()
    assert pull_cotangents([(through_integers(sin(x)), one())], [x]) == [None]


def test_a_rule_may_cut_and_another_path_stays():
    x = real()
    assert pull_cotangents([(cut(sin(x)), one())], [x]) == [DISCONNECTED]
    (g,) = pull_cotangents([(cut(x) * x, one())], [x])
    assert value_of(g, x=3.0) == 3.0


def test_a_cut_is_seen_behind_a_zero():
    x = real()
    assert pull_cotangents([(zero(cut(x)), one())], [x]) == [DISCONNECTED]
    assert pull_cotangents([(zero(sin(x)), one())], [x]) == [None]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: sin(x) * exp(x),
        lambda x: real("y"),
        lambda x: cast(cast(x, dtype=i64), dtype=f64),
        lambda x: cast(argmax(reshape(x, shape=(1,)), axis=0), dtype=f64),
        lambda x: zero(cut(x)),
        lambda x: cut(sin(x)) + zero(x),
        lambda x: undefined(cut(x)),
        lambda x: undefined(x),
        lambda x: cut(x) * cut(exp(x)),
        lambda x: where(gt(x, scalar(0.0, f64)), cut(x), scalar(3.0, f64)),
    ],
)
def test_what_is_connected_can_be_asked_for_itself(make):
    x = real()
    y = make(x)
    for stop in ((), (x,), (y,)):
        (cotangent,) = pull_cotangents([(y, one())], [x], stop=stop)
        assert is_connected(y, x, stop) == (cotangent is not DISCONNECTED)


def test_one_path_is_enough_to_be_connected():
    asked = []
    probe = dataclasses.replace(zero, vjp=lambda *given: asked.append(given) or (None,))
    x = real()
    total = reduce(add, [probe(sin(x)) for _ in range(50)])
    assert is_connected(total, x) and len(asked) == 1


def test_null_poisons_sums_and_passes_through_rules():
    x, y = real("x"), real("y")
    first, second = pull_cotangents([(sin(undefined(exp(x))) + x * y, one())], [x, y])
    assert isinstance(first, Null) and "for a test" in first.reason
    assert value_of(second, x=2.0) == 2.0


def test_null_does_not_pass_a_cut():
    x = real()
    assert pull_cotangents([(undefined(cut(x)), one())], [x]) == [DISCONNECTED]


def test_pullback_says_which_gradient_is_null():
    x = real("speed")
    with pytest.raises(NullGradientError, match=r"speed.*undefined, for a test"):
        pullback(function("f", [x], [undefined(x)]), [0])


# --- sums, seeds, intermediates --------------------------------------------------------------


def test_repeated_outputs_and_outputs_that_are_ancestors_add_up():
    x = real()
    u = x * x
    v = u * 3.0
    (g,) = pull_cotangents([(u, one()), (v, scalar(20.0, f64))], [u])
    assert value_of(g) == 61.0
    (g,) = pull_cotangents([(u, one()), (u, one())], [x])
    assert value_of(g, x=5.0) == 20.0


def test_nested_wrt_get_total_derivatives_forward_and_reverse():
    x = real()
    y = x * x
    z = y * x
    gx, gy = pull_cotangents({z: one()}, [x, y])
    assert value_of(gx, x=2.0) == 12.0
    assert value_of(gy, x=2.0) == 2.0
    (moved,) = push_tangents([z], {x: one(), y: scalar(10.0, f64)})
    assert value_of(moved, x=2.0) == 12.0 + 10.0 * 2.0


def test_one_value_twice_in_wrt_and_in_two_slots():
    x = real()
    first, second = pull_cotangents([(x * x, one())], [x, x])
    assert value_of(first, x=3.0) == value_of(second, x=3.0) == 6.0


def test_stop_cuts_paths_but_a_stopped_wrt_keeps_its_gradient():
    x = real()
    y = x * x
    z = y * x
    (g,) = pull_cotangents([(z, one())], [x], stop=[y])
    assert value_of(g, x=3.0) == 9.0
    gx, gy = pull_cotangents([(z, one())], [x, y], stop=[y])
    assert value_of(gx, x=3.0) == 9.0
    assert value_of(gy, x=3.0) == 3.0
    assert pull_cotangents([(y, one())], [x], stop=[y]) == [DISCONNECTED]


def test_known_cotangents_replace_what_flows_in():
    x = real()
    y = sin(x)
    z = y * y
    gx, gy = pull_cotangents([(z, one())], [x, y], known={y: scalar(7.0, f64)})
    assert value_of(gy) == 7.0
    assert value_of(gx, x=0.0) == 7.0


def test_known_cotangents_work_without_outputs_and_for_leaves():
    x = real()
    (g,) = pull_cotangents([], [x], known={x * 2.0: scalar(3.0, f64)})
    assert value_of(g) == 6.0
    (g,) = pull_cotangents([(x * 2.0, one())], [x], known={x: scalar(5.0, f64)})
    assert value_of(g) == 5.0


def test_a_known_null_poisons_and_a_known_disconnection_cuts():
    x = real()
    y = sin(x)
    assert pull_cotangents([(y * 2.0, one())], [x], known={y: DISCONNECTED}) == [DISCONNECTED]
    assert pull_cotangents([(y * 2.0, one())], [x], known={y: Null("no")}) == [Null("no")]


def test_an_integer_leaf_gets_the_default_float():
    k = real("k", i64)
    (g,) = pull_cotangents([(cast(k, dtype=f32) * 3.0, scalar(1.0, f32))], [k])
    assert g.type == SCALAR and value_of(g) == 3.0
    (g,) = pull_cotangents([(k, one())], [k])
    assert value_of(g) == 1.0


def test_a_known_cotangent_of_an_integer_stays_its_own():
    x = real()
    k = cast(x, dtype=i64)
    gx, gk = pull_cotangents([], [x, k], known={k: scalar(4.0, f64)})
    assert gx is None and value_of(gk) == 4.0


def test_cotangents_and_tangents_of_the_wrong_type_are_refused():
    x = vector("speed")
    with pytest.raises(TypeError, match=r"speed.*f64\[n\].*f64 was given"):
        pull_cotangents([(x, one())], [x])
    with pytest.raises(TypeError, match=r"speed.*f64\[n\].*f64 was given"):
        push_tangents([x], {x: one()})


def test_derivatives_carry_the_spans_of_their_primals():
    x = real()
    line = Span("model.grad", 7, 3)
    with at(line):
        y = sin(x)
    (g,) = pull_cotangents([(y, one())], [x])
    (t,) = push_tangents([y], {x: one()})
    assert g.span == line and t.span == line


# --- masks -----------------------------------------------------------------------------------


def cut_at_zero(x: Value) -> Value:
    return where(gt(x, zeros_like(x)), sqrt(x), zeros_like(x))


def masked_functions() -> dict[str, Function]:
    s, x = real("s"), vector("x")
    wide = repeated(s, x)
    pairs = broadcast(s, shape=(2, 3), axes=())
    inner = where(gt(x, zeros_like(x)), where(ge(x, zeros_like(x)), sqrt(x), x), zeros_like(x))
    scalar_root = where(repeated(gt(s, scalar(0.0, f64)), x), repeated(sqrt(s), x), x)
    parts = concat(sqrt(x), log(x), axis=0)
    both = where(gt(parts, zeros_like(parts)), parts, zeros_like(parts))
    first = slice_(sqrt(x), starts=(0,), stops=(1,), steps=(1,))
    total = where(lt(first, zeros_like(first)), first, zeros_like(first))
    turned = transpose(reshape(cut_at_zero(pairs), shape=(3, 2)), permutation=(1, 0))
    row_sum = sum_(repeated(sqrt(s), x), axes=(0,))
    two = cut_at_zero(x) + where(lt(x, zeros_like(x)), sqrt(-x), zeros_like(x))
    return {
        "plain": function("f", [x], [sum_(cut_at_zero(x) * 3.0, axes=(0,))]),
        "nested": function("f", [x], [sum_(inner, axes=(0,))]),
        "through broadcast": function("f", [s, x], [sum_(cut_at_zero(wide), axes=(0,))]),
        "root before broadcast": function("f", [s, x], [sum_(scalar_root, axes=(0,))]),
        "concat": function("f", [x], [sum_(both, axes=(0,))]),
        "slice": function("f", [x], [sum_(total, axes=(0,))]),
        "reshape and transpose": function("f", [s], [sum_(turned, axes=(0, 1))]),
        "sum": function("f", [s, x], [where(gt(s, one()), row_sum, scalar(0.0, f64))]),
        "two masks": function("f", [x], [sum_(two, axes=(0,))]),
    }


@pytest.mark.parametrize("name", masked_functions())
def test_what_a_mask_cuts_is_zero_in_both_directions(name):
    fn = masked_functions()[name]
    wrt = [i for i, p in enumerate(fn.parameters)]
    reverse, forward = pullback(fn, wrt), pushforward(fn, wrt)
    verify(reverse)
    verify(forward)
    arguments = [np.zeros([2] * p.type.rank) for p in fn.parameters]
    gradients = evaluate(reverse, *arguments, 1.0)[1:]
    tangents = [np.ones_like(a) for a in arguments]
    (pushed,) = evaluate(forward, *arguments, *tangents)[1:]
    assert all(np.isfinite(g).all() for g in gradients)
    assert sum(g.sum() for g in gradients) == pushed


def test_masks_do_not_change_what_is_not_cut():
    fn = masked_functions()["two masks"]
    x = np.array([4.0, -9.0])
    _, gradient = evaluate(pullback(fn, [0]), x, 1.0)
    np.testing.assert_allclose(gradient, [0.25, -1 / 6])


# --- Function forms --------------------------------------------------------------------------


def test_pushforward_and_pullback_have_the_stated_parameters():
    x, k = vector("x"), real("k", i64)
    fn = function("f", [x, k], [sin(x), k], result_names=["y", "k_out"])
    forward, reverse = pushforward(fn, [0]), pullback(fn, [0, 1])
    assert forward.parameter_names == ("x", "k", "x_tangent")
    assert forward.result_names == ("y", "k_out", "y_tangent", "k_out_tangent")
    assert reverse.parameter_names == ("x", "k", "y_cotangent", "k_out_cotangent")
    assert reverse.result_names == ("y", "k_out", "x_cotangent", "k_cotangent")
    assert reverse.parameters[3].type == SCALAR  # an integer's cotangent: the default float
    verify(forward)
    verify(reverse)


def test_names_that_are_taken_are_avoided():
    x, other = real("x"), real("x_tangent")
    fn = pushforward(function("f", [x, other], [x * other]), [0])
    assert fn.parameter_names == ("x", "x_tangent", "x_tangent_")


@pytest.mark.parametrize("seed", range(12))
def test_pullback_is_the_adjoint_of_pushforward(seed):
    fn = random_function(seed)
    wrt = list(range(len(fn.parameters)))
    primals = random_arguments(fn, seed, n=3, m=2)
    tangents = random_arguments(fn, seed + 100, n=3, m=2)
    forward = evaluate(pushforward(fn, wrt), *primals, *tangents)
    results, pushed = forward[: len(fn.results)], forward[len(fn.results) :]
    rng = np.random.default_rng(seed)
    cotangents = [rng.normal(size=r.shape) for r in results]
    pulled = evaluate(pullback(fn, wrt), *primals, *cotangents)[len(results) :]
    left = sum(np.vdot(c, p) for c, p in zip(cotangents, pushed, strict=True))
    right = sum(np.vdot(t, p) for t, p in zip(tangents, pulled, strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_nest(order):
    x = real()
    fn = function("f", [x], [sin(x * x)])
    for _ in range(order):
        cost = fn.results[-1]
        (g,) = pull_cotangents([(cost, one())], [x])
        fn = function("g", [x], [g])
    z = 0.7
    expected = [
        2 * z * np.cos(z**2),
        2 * np.cos(z**2) - 4 * z**2 * np.sin(z**2),
        -12 * z * np.sin(z**2) - 8 * z**3 * np.cos(z**2),
    ]
    np.testing.assert_allclose(evaluate(fn, z)[0], expected[order - 1], rtol=1e-12)


# --- batch, inline, expand -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_is_a_loop_over_examples(seed):
    fn = random_function(seed)
    many = batch(fn, [0, 1, None, 0], "k" and size("k"))
    verify(many)
    rows = [random_arguments(fn, seed + i, n=3, m=2) for i in range(4)]
    shared = rows[0][2]
    expected = [evaluate(fn, a, b, shared, d) for a, b, _, d in rows]
    stacked = [np.stack([row[i] for row in rows], axis=1 if i == 1 else 0) for i in range(4)]
    stacked[2] = shared
    for position, found in enumerate(evaluate(many, *stacked)):
        wanted = np.stack([results[position] for results in expected])
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_outputs_that_do_not_depend_on_the_batch_are_broadcast():
    x, y = vector("x"), vector("y")
    many = parameter(f64[4, "n"], "x")
    first, second = batch_values([sin(x), sin(y)], {x: many}, 4)
    assert first.type == second.type == f64[4, "n"]


def test_batch_refuses_wrong_axes():
    fn = function("f", [vector("speed")], [vector("speed")][:0])
    with pytest.raises(ValueError, match="1 parameters, but in_axes has 2"):
        batch(fn, [0, 0], 4)
    with pytest.raises(ValueError, match="speed is one of 0 to 1, not 2"):
        batch(fn, [2], 4)


def matrix_vector() -> Function:
    A, x = parameter(f64["m", "n"], "A"), vector("x")
    return function("f", [A, x], [contract(A, x, lhs=(0, 1), rhs=(1,), out=(0,))])


def test_inline_replaces_sizes_everywhere():
    fn = matrix_vector()
    A = parameter(f64["2*k", 3], "A")
    padded = function("g", [A], inline(fn, [A, full((3,), 2.0, f64)]))
    verify(padded)
    assert padded.results[0].type == f64["2*k"]
    np.testing.assert_allclose(evaluate(padded, np.ones((4, 3)))[0], [6.0] * 4)


def test_inline_solves_for_sizes_inside_expressions():
    x = parameter(f64["2*n + 1"], "x")
    fn = function("f", [x], [sum_(x, axes=(0,))])
    assert bind_sizes(fn, [parameter(f64[7], "y")]) == {"n": 3}
    assert bind_sizes(fn, [parameter(f64["4*k + 5"], "y")]) == {"n": parse_dim("2*k + 2")}
    with pytest.raises(TypeError, match=r"axis 0 of the argument x has the length 2\*n \+ 1"):
        bind_sizes(fn, [parameter(f64[8], "y")])


def test_conditions_follow_the_sizes():
    x = vector()
    condition = Requirement(size("n") - 3, ">= 0", "at least three")
    fn = function("f", [x], [sum_(x, axes=(0,))], [condition])
    (found,) = conditions_at(fn, [parameter(f64["2*k + 1"], "y")])
    assert found.dim == parse_dim("2*k - 2") and found.why == "at least three"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f64["m", "n"]], "takes 2 arguments"),
        ([f64["m", "n"], f64["n", 1]], r"argument x has the type f64\[n\]"),
        ([f32["m", "n"], f64["n"]], r"argument A has the type f64\[m, n\], but f32\[m, n\]"),
        ([f64["m", 4], f64[3]], r"argument x has the length n, which is 4 here.*f64\[3\]"),
    ],
)
def test_inline_names_the_argument_that_does_not_fit(arguments, message):
    with pytest.raises(TypeError, match=message):
        inline(matrix_vector(), [parameter(type) for type in arguments])


def test_expand_leaves_no_composite():
    x = vector()
    line = Span("model.py", 3)
    with at(line):
        fn = function("f", [x], [logsumexp(x, axes=(0,)), softmax(x, axes=(0,))])
    expanded = expand_composites(fn)
    verify(expanded)
    assert not any(isinstance(made.op.lower, Composite) for made in expanded.equations)
    assert {made.span for made in expanded.equations} == {line}
    at_point = np.array([1.0, 2.0, 3.0])
    for a, b in zip(evaluate(fn, at_point), evaluate(expanded, at_point), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


# --- depth -----------------------------------------------------------------------------------


def chain(length: int) -> Function:
    x = real()
    y = x
    for i in range(length):
        y = sin(y) if i % 2 else add(y, x)
    return function("chain", [x], [y])


def test_equations_are_sorted_from_values_that_are_given():
    x = real()
    first = sin(x)
    second, third = exp(first), log(first)
    total = add(second, third)
    made = [value.owner for value in (first, second, third, total)]
    assert list(sorted_equations([total])) == made
    assert sorted_equations([total, second], stop=[second, third]) == (made[3],)
    assert equations_behind([total, third], {first, second, third, total}) == made[2:]


def test_a_chain_of_100_000_equations_is_ordinary():
    start = process_time()
    fn = chain(100_000)
    reverse, forward = pullback(fn, [0]), pushforward(fn, [0])
    assert process_time() - start < 60
    pulled, pushed = evaluate(reverse, 0.5, 1.0)[1], evaluate(forward, 0.5, 1.0)[1]
    np.testing.assert_allclose(pulled, pushed, rtol=1e-9)


def test_the_other_transforms_take_long_chains_too():
    fn = chain(20_000)
    start = process_time()
    many, inlined = batch(fn, [0], 4), inline(fn, [real("y")])
    assert expand_composites(fn) is fn
    assert process_time() - start < 20
    assert len(many.equations) == 20_000 and inlined[0].type == SCALAR


def test_wide_sums_are_linear():
    x = real()
    total = x
    for _ in range(5_000):
        total = add(total, mul(x, x))
    (g,) = pull_cotangents([(total, one())], [x])
    assert value_of(g, x=1.0) == 10_001.0
