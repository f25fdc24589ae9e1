"""Optimizer passes: values before = values after, and each pass does what it is for."""

from time import process_time

import numpy as np
import pytest
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function, function, parameter
from gradc.ir.ops.arithmetic import add, div, neg
from gradc.ir.ops.constants import full_like, scalar
from gradc.ir.ops.elementwise import exp, log, sigmoid, sin
from gradc.ir.ops.reductions import max_
from gradc.ir.ops.structural import broadcast, sum_
from gradc.ir.passes.canonical import canonicalize
from gradc.ir.passes.cse import share_common_subexpressions
from gradc.ir.passes.dce import eliminate_dead_code
from gradc.ir.passes.pipeline import BEFORE_DERIVATIVES, DEFAULT, optimize
from gradc.ir.passes.rewrite import Table, _Guarded, needs, rewrite
from gradc.ir.passes.simplify import simplify_algebra
from gradc.ir.passes.stability import stabilize
from gradc.ir.span import Span, at
from gradc.ir.text import parse_function, print_function
from gradc.ir.transforms.reverse import pull_cotangents, pullback
from gradc.ir.types import ArrayType, f32, f64
from gradc.ir.verify import InvalidFunctionError, verify
from random_programs import random_arguments, random_function, with_derivatives

PASSES = tuple(dict.fromkeys((*DEFAULT, *BEFORE_DERIVATIVES)))
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -2.5, 1e308, -1e308, np.inf, -np.inf, np.nan])


def logistic_regression() -> Function:
    """Value and gradient, as a user writes the loss."""
    return with_gradient(
        parse_function("""
        fn loss(w: f64[d], X: f64[n, d], y: f64[n], l2: f64) {
          %0 = broadcast(w, shape=[n, d], axes=[1])
          %1 = mul(X, %0)
          %2 = sum(%1, axes=[1])
          %3 = exp(%2)
          %4 = constant(value=f64 1.0)
          %5 = broadcast(%4, shape=[n], axes=[])
          %6 = add(%3, %5)
          %7 = log(%6)
          %8 = mul(y, %2)
          %9 = sub(%7, %8)
          %10 = sum(%9, axes=[0])
          %11 = mul(w, w)
          %12 = sum(%11, axes=[0])
          %13 = constant(value=f64 0.5)
          %14 = mul(%13, l2)
          %15 = mul(%14, %12)
          %16 = add(%10, %15)
          return %16
        }""")
    )


def with_gradient(fn: Function) -> Function:
    fn = optimize(fn, BEFORE_DERIVATIVES, check=True)
    cost = fn.results[0]
    (g,) = pull_cotangents([(cost, scalar(1.0, f64))], [fn.parameters[0]])
    return function(f"{fn.name}_grad", fn.parameters, [cost, g])


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("work", PASSES, ids=lambda p: p.__name__)
@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_a_pass_keeps_values(work, dtype):
    tolerance = 1e-9 if dtype is f64 else 1e-3
    for seed in range(6):
        fn = random_function(seed, dtype)
        fn = with_derivatives(fn) if dtype is f64 else fn
        made = work(fn)
        verify(made)
        arguments = random_arguments(fn, seed, n=3, m=2)
        pairs = zip(evaluate(fn, *arguments), evaluate(made, *arguments), strict=True)
        for before, after in pairs:
            np.testing.assert_allclose(after, before, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", range(20, 32))
def test_the_pipeline_keeps_values_and_sizes(seed):
    fn = with_derivatives(random_function(seed))
    made = optimize(fn, check=True)
    assert len(made.equations) <= len(fn.equations)
    for n, m in ((4, 3), (1, 1), (2, 5)):
        arguments = random_arguments(fn, seed, n=n, m=m)
        pairs = zip(evaluate(fn, *arguments), evaluate(made, *arguments), strict=True)
        for before, after in pairs:
            np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)


def test_the_pipeline_keeps_values_of_empty_arrays():
    compared = 0
    for seed in range(12):
        fn = random_function(seed)
        made = optimize(fn, check=True)
        arguments = random_arguments(fn, seed, n=0, m=2)
        try:
            expected = evaluate(fn, *arguments)
        except (ValueError, IndexError):  # it takes an entry that an empty array has not
            continue
        for before, after in zip(expected, evaluate(made, *arguments), strict=True):
            np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("seed", range(6))
def test_the_pipeline_reaches_a_fixed_point(seed):
    made = optimize(optimize(optimize(with_derivatives(random_function(seed)))))
    assert print_function(optimize(made)) == print_function(made)


@pytest.mark.parametrize(
    "body",
    [
        "%2 = mul(x, %0)",
        "%2 = mul(x, %1)",
        "%2 = add(x, %0)",
        "%2 = sub(%0, x)",
        "%2 = sub(x, x)",
        "%2 = div(x, x)",
        "%2 = div(%0, x)",
        "%2 = add(x, x)",
        "%9 = neg(x)\n %2 = mul(%9, %1)",
        "%9 = neg(x)\n %8 = neg(y)\n %2 = div(%9, %8)",
        "%9 = sub(x, y)\n %2 = neg(%9)",
        "%9 = neg(y)\n %2 = add(x, %9)",
        "%9 = mul(x, %1)\n %2 = neg(%9)",
        "%9 = gt(x, y)\n %8 = logical_not(%9)\n %2 = where(%8, x, y)",
        "%9 = maximum(x, x)\n %2 = minimum(%9, x)",
        "%9 = neg(x)\n %2 = abs(%9)",
    ],
)
def test_algebra_keeps_infinities_and_nans(body):
    fn = parse_function(f"""fn f(x: f64[n], y: f64[n]) {{
      %10 = constant(value=f64 0.0)
      %0 = broadcast(%10, shape=[n], axes=[])
      %11 = constant(value=f64 -2.0)
      %1 = broadcast(%11, shape=[n], axes=[])
      {body}
      return %2 }}""")
    x, y = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    before, after = evaluate(fn, x, y)[0], evaluate(simplify_algebra(fn), x, y)[0]
    np.testing.assert_array_equal(after, before)


# --- what they are for -----------------------------------------------------------------------


def op_names(fn: Function) -> list[str]:
    return [made.op.name for made in fn.equations]


def test_logistic_regression_reads_as_one_would_write_it():
    made = optimize(logistic_regression(), check=True)
    names = op_names(made)
    assert names.count("contract") == 2 and names.count("sigmoid") == 1
    assert "exp" not in names and "log" not in names
    assert len(names) <= 17


@pytest.mark.parametrize(
    ("formula", "x", "expected"),
    [
        (lambda x, c: log(x + c), 1e-20, 1e-20),
        (lambda x, c: log(exp(x) + c), 800.0, 800.0),
        (lambda x, c: log(sigmoid(x)), -800.0, -800.0),
        (lambda x, c: log(c - sigmoid(x)), 800.0, -800.0),
        (lambda x, c: exp(x) - c, 1e-20, 1e-20),
        (lambda x, c: c - sigmoid(x), 100.0, np.exp(-100.0)),
        (lambda x, c: div(exp(x), exp(x) + c), 800.0, 1.0),
        (lambda x, c: log(div(c, exp(-x) + c)), -800.0, -800.0),
    ],
)
def test_stable_forms_give_the_right_number_where_the_formula_fails(formula, x, expected):
    value = parameter(f64["n"], "x")
    fn = function("f", [value], [formula(value, full_like(value, 1.0))])
    at_point = np.array([x])
    assert not np.isclose(evaluate(fn, at_point)[0][0], expected, rtol=1e-12, atol=0)
    made = optimize(fn, BEFORE_DERIVATIVES, check=True)
    np.testing.assert_allclose(evaluate(made, at_point)[0][0], expected, rtol=1e-14)


def test_a_log_softmax_keeps_its_digits_however_large_it_is():
    x = parameter(f64["n"], "x")
    maximum = broadcast(max_(x, axes=(0,)), shape=x.shape, axes=())
    shifted = x - maximum
    total = broadcast(sum_(exp(shifted), axes=(0,)), shape=x.shape, axes=())
    fn = function("f", [x], [shifted - log(total)])
    made = optimize(optimize(fn, BEFORE_DERIVATIVES), check=True)
    assert op_names(made).count("max") == 1
    found = evaluate(made, np.array([1e15, 1e15 + 1, 0.0]))[0]
    np.testing.assert_allclose(found, [-np.log1p(np.e), -np.log1p(1 / np.e), -1e15], rtol=1e-14)


@pytest.mark.parametrize(
    ("formula", "x", "expected"),
    [
        (lambda x, c: log(exp(x) + c), 800.0, 1.0),
        (lambda x, c: log(c + exp(-x)), -800.0, -1.0),
        (lambda x, c: log(sigmoid(x)), -800.0, 1.0),
        (lambda x, c: log(div(c, exp(-x) + c)), -800.0, 1.0),
        (lambda x, c: div(c, exp(-x) + c), -800.0, 0.0),
    ],
)
def test_a_gradient_is_stabilized_also_after_differentiation(formula, x, expected):
    value = parameter(f64["n"], "x")
    cost = formula(value, full_like(value, 1.0))
    (g,) = pull_cotangents([(cost, full_like(value, 1.0))], [value])
    fn = function("f", [value], [g])
    assert not np.isfinite(evaluate(fn, np.array([x]))[0][0])
    np.testing.assert_allclose(evaluate(optimize(fn), np.array([x]))[0][0], expected, atol=1e-14)


@pytest.mark.parametrize("early", [True, False])
def test_the_maximum_trick_costs_nothing(early):
    """m + log(sum(exp(x - m))) and its gradient are logsumexp and softmax, with one exp between."""
    x = parameter(f64["n", "k"], "x")
    m = max_(x, axes=(1,))
    powers = exp(x - broadcast(m, shape=x.shape, axes=(0,)))
    fn = function("f", [x], [sum_(m + log(sum_(powers, axes=(1,))), axes=(0,))])
    fn = optimize(fn, BEFORE_DERIVATIVES, check=True) if early else fn
    cost = fn.results[0]
    (g,) = pull_cotangents([(cost, scalar(1.0, f64))], [x])
    made = optimize(function("g", [x], [cost, g], fn.requires), check=True)
    assert op_names(made).count("exp") == 1 and len(made.requires) == 1
    assert op_names(made).count("max") == (1 if early else 2)
    at_point = np.array([[800.0, 800.0, 0.0], [-900.0, -900.0, -900.0]])
    value, gradient = evaluate(made, at_point)
    np.testing.assert_allclose(value, 800 + np.log(2) - 900 + np.log(3))
    np.testing.assert_allclose(gradient, [[0.5, 0.5, 0], [1 / 3] * 3], atol=1e-15)


def test_equal_equations_with_attributes_of_other_kinds_stay_apart():
    fn = parse_function("""fn f() {
      %0 = constant(value=f64 0.0)
      %1 = constant(value=f64 -0.0)
      %2 = constant(value=i64 0)
      return %0, %1, %2 }""")
    assert share_common_subexpressions(fn) is fn


def test_a_pass_that_finds_nothing_gives_the_function_back():
    fn = parse_function("fn f(x: f64[n]) { %0 = sin(x) return %0 }")
    for work in PASSES:
        assert work(fn) is fn


def test_names_and_conditions_survive():
    fn = parse_function("""fn f(x: f64[n]) {
      require n - 3 >= 0 "at least three"
      %0 = neg(x)
      %1 = neg(%0)
      return y = %1 }""")
    made = optimize(fn, check=True)
    assert made.parameter_names == ("x",) and made.result_names == ("y",)
    assert made.results == fn.parameters and made.requires == fn.requires


def test_the_condition_of_a_dead_equation_stays():
    fn = parse_function("""fn f(x: f64[n]) {
      %0 = slice(x, starts=[5], stops=[7], steps=[1])
      return x }""")
    made = eliminate_dead_code(fn)
    assert not made.equations and made.requires == fn.requires and len(made.requires) == 1


def test_rewritten_equations_carry_the_span_of_what_they_replace():
    x = parameter(ArrayType(f64), "x")
    line = Span("model.grad", 5, 2)
    with at(line):
        fn = function("f", [x], [log(exp(x) + 1.0)])
    assert {made.span for made in stabilize(fn).equations} == {line}


def test_huge_constants_are_not_made():
    x = parameter(f64[1000, 1000], "x")
    fn = function("f", [x], [x * exp(full_like(x, 2.0))])
    made = optimize(fn, check=True)
    sizes = [len(made.attrs["value"].data) for made in made.equations if "value" in made.attrs]
    assert max(sizes) == 8


def test_computing_before_broadcasting():
    s = parameter(ArrayType(f64), "s")
    wide = broadcast(s, shape=(size("n"), 4), axes=())
    x = parameter(f64["n", 4], "x")
    made = canonicalize(function("f", [s, x], [x * exp(sin(wide))]))
    on_arrays = [made.op.name for made in made.equations if made.outputs[0].shape]
    assert on_arrays == ["broadcast", "mul"]


def test_a_sum_of_equal_terms_over_nothing():
    s = parameter(ArrayType(f64), "s")
    x = parameter(f64["n"], "x")
    fn = function("f", [s, x], [sum_(broadcast(s, shape=x.shape, axes=()), axes=(0,))])
    assert evaluate(optimize(fn, check=True), 3.0, np.zeros(0)) == (0.0,)


# --- the machinery ---------------------------------------------------------------------------


def test_rules_that_undo_one_another_end():
    x, y = parameter(ArrayType(f64), "x"), parameter(ArrayType(f64), "y")
    fn = function("f", [x, y], [x + y])
    swap = {add: (lambda made: add(made.inputs[1], made.inputs[0]),)}
    assert evaluate(rewrite(fn, Table(swap)), 1.0, 2.0) == (3.0,)


def test_a_rule_that_changes_the_type_is_named():
    x = parameter(f64["n"], "x")

    def shrink(made):
        return sum_(made.inputs[0], axes=(0,))

    with pytest.raises(TypeError, match=r"the rule shrink replaced f64\[n\] by f64"):
        rewrite(function("f", [x], [x + x]), Table({add: (shrink,)}))


@pytest.mark.parametrize("seed", range(10))
def test_rules_that_are_not_asked_would_not_fire(seed, monkeypatch):
    fn = with_derivatives(random_function(seed))
    found = print_function(optimize(fn))
    monkeypatch.setattr(_Guarded, "applies", lambda rule, makers: True)
    assert print_function(optimize(fn)) == found


def test_a_rule_is_asked_where_what_it_needs_makes_an_input():
    asked = []

    @needs((exp, log), sin)
    def note(made):
        asked.append([value.owner.op for value in made.inputs])

    x = parameter(f64["n"], "x")
    results = [add(exp(x), sin(x)), add(exp(x), log(x)), add(sin(x), log(x)), add(x, sin(x))]
    rewrite(function("f", [x], results), Table({add: (note,)}))
    assert asked == [[exp, sin], [sin, log]]


def test_rules_are_asked_again_only_where_something_changed():
    asked = []
    table = Table({sin: (lambda made: asked.append(made),), neg: (lambda made: made.inputs[0],)})
    x, y = parameter(f64["n"], "x"), parameter(f64["n"], "y")
    first, second, third = sin(x), sin(y), sin(sin(x))
    fn = rewrite(function("f", [x, y], [first, second, third]), table)
    assert len(asked) == 4
    assert rewrite(fn, table) is fn
    rewrite(function("f", [x, y], [first, sin(-second)]), table)
    assert [made.inputs for made in asked[4:]] == [(second,)]


def test_a_table_leaves_equations_of_ops_without_rules_as_they_are():
    x = parameter(f64["n"], "x")
    fn = function("f", [x], [sin(exp(x))])
    table = Table({sin: (lambda made: None,)})
    assert rewrite(fn, table) is fn
    assert [made.unchanged_by for made in fn.equations] == [(), (table,)]


def test_shapes_and_constants_show_each_other_what_to_do_in_one_sweep():
    """The part of what is joined is a constant, whose logarithm is one, too."""
    fn = parse_function("""
        fn f(x: f64[n]) {
          %0: f64[2] = constant(value=f64[2] {1.0, 2.0})
          %1 = concat(%0, x, axis=0)
          %2 = slice(%1, starts=[0], stops=[2], steps=[1])
          %3 = log(%2)
          return %3
        }
        """)
    made = canonicalize(fn)
    assert op_names(made) == ["constant"] and canonicalize(made) is made
    assert_same(evaluate(made, np.ones(3)), evaluate(fn, np.ones(3)))


def test_an_equation_that_rules_build_again_is_not_rewritten_again():
    """Each sum of a chain of normalisations is a quotient of the one before: not of all before."""

    def equations(length):
        v = x = parameter(f64["n"], "x")
        for _ in range(length):
            v = v / broadcast(sum_(v, axes=(0,)), shape=x.shape, axes=())
        return len(optimize(function("f", [x], [v])).equations)

    assert equations(40) <= 2 * equations(20)


def test_a_pass_runs_again_only_where_something_has_changed():
    fn = parse_function("fn f(x: f64) { %0 = sin(x) %1 = neg(%0) return %1 }")
    seen = []

    def look(fn):
        seen.append(fn)
        return fn

    def change(fn):
        return function("f", fn.parameters, [neg(fn.results[0])])

    made = optimize(fn, (look, look, change, look, look))
    assert seen == [fn, made]


def test_observers_see_every_stage_and_checks_name_the_pass():
    seen = []
    fn = parse_function("fn f(x: f64) { %0 = neg(x) %1 = neg(%0) %2 = sin(x) return %1 }")
    optimize(fn, observe=lambda *stage: seen.append(stage))
    assert [name for name, *_ in seen] == [work.__name__ for work in DEFAULT]
    changed = {name: changed for name, _, _, changed in reversed(seen)}  # at first
    assert changed["eliminate_dead_code"] and changed["simplify_algebra"]
    assert not changed["canonicalize"]
    assert all(seconds >= 0 for _, _, seconds, _ in seen)

    def lose(fn):
        return Function(fn.name, fn.parameters, (), fn.results, (), fn.parameter_names)

    with pytest.raises(InvalidFunctionError, match="after the pass lose: f: result 0"):
        optimize(fn, (lose,), check=True)


def test_a_long_chain_is_ordinary():
    x = parameter(ArrayType(f64), "x")
    y = x
    for i in range(10_000):
        y = sin(y) if i % 2 else y * 1.0 + x
    start = process_time()
    made = optimize(pullback(function("f", [x], [y]), [0]))
    assert process_time() - start < 60
    assert "broadcast" not in op_names(made)


def test_folding_is_idempotent():
    fn = parse_function("fn f() { %0 = constant(value=f64 2.0) %1 = exp(%0) return %1 }")
    made = canonicalize(fn)
    assert op_names(made) == ["constant"] and canonicalize(made) is made


def test_index_arithmetic_is_folded() -> None:
    """Places known when the function is made are one constant; a mask that always holds is none."""
    fn = parse_function("""
        fn picked(x: f64[n, 900]) {
          %0: i64[5] = constant(value=i64[5] {7, 0, 3, 8, 2})
          %1: i64 = constant(value=i64 100)
          %2 = broadcast(%1, shape=[5], axes=[])
          %3 = mul(%0, %2)
          %4 = iota(size=5, dtype=i64)
          %5 = add(%3, %4)
          %6 = take(x, %5, axis=1)
          %7 = ge(%5, %4)
          %8 = broadcast(%7, shape=[n, 5], axes=[1])
          %9: f64 = constant(value=f64 0.0)
          %10 = broadcast(%9, shape=[n, 5], axes=[])
          %11 = where(%8, %6, %10)
          return out = %11
        }
        """)
    made = simplify_algebra(canonicalize(fn))
    assert op_names(eliminate_dead_code(made)) == ["constant", "take"]
    argument = np.random.default_rng(0).normal(size=(3, 900))
    assert_same(evaluate(made, argument), evaluate(fn, argument))


def assert_same(found: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
