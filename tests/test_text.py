"""The text form and the verifier: what is printed is read back, and what is wrong is named."""

from dataclasses import replace

import numpy as np
import pytest
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Equation, Requirement, Value, function, parameter
from gradc.ir.ops.arithmetic import add, mul
from gradc.ir.ops.cast import cast
from gradc.ir.ops.constants import array, constant
from gradc.ir.ops.elementwise import exp, sin
from gradc.ir.ops.slicing import slice_
from gradc.ir.ops.structural import broadcast
from gradc.ir.ops.table import OPS_BY_NAME
from gradc.ir.span import Span, at
from gradc.ir.text import TextFormError, parse_function, print_function
from gradc.ir.types import ArrayType, ConstantData, bool_, f32, f64, i32, i64
from gradc.ir.verify import InvalidFunctionError, verify
from random_programs import random_arguments, random_function, with_derivatives


def same_again(fn):
    """The function read back from its text, which is printed the same."""
    text = print_function(fn, spans=True)
    back = parse_function(text)
    verify(back)
    assert print_function(back, spans=True) == text
    return back


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(15))
def test_random_programs_and_their_derivatives(seed):
    fn = random_function(seed)
    fn = with_derivatives(fn) if seed % 2 else fn
    arguments = random_arguments(fn, seed, n=3, m=2)
    wanted, found = evaluate(fn, *arguments), evaluate(same_again(fn), *arguments)
    assert [a.tobytes() for a in found] == [a.tobytes() for a in wanted]


def test_the_form_on_a_page():
    x = parameter(f64["n", 3], "x")
    w = slice_(exp(x), starts=(1, 0), stops=(size("n"), 2), steps=(1, 1))
    fn = function("f", [x], [w, x], result_names=["w", "same"])
    assert print_function(fn) == (
        "fn f(x: f64[n, 3]) {\n"
        '  require n - 1 >= 0 "the slice 1:n of axis 0 of f64[n, 3], whose length is n, needs '
        'n >= 1"\n'
        "  %0: f64[n, 3] = exp(x)\n"
        "  %1: f64[n - 1, 2] = slice(%0, starts=[1, 0], stops=[n, 2], steps=[1, 1])\n"
        "  return w = %1, same = x\n"
        "}\n"
    )
    same_again(fn)


FLOATS = [0.0, -0.0, 1.0, 0.1, -1e300, 5e-324, np.pi, np.inf, -np.inf, np.nan, 1e16, 123456789.125]


@pytest.mark.parametrize("dtype", [f64, f32], ids=str)
def test_floats_come_back_bit_by_bit(dtype):
    with np.errstate(over="ignore"):
        numbers = np.array(FLOATS).astype(dtype.numpy)
    rng = np.random.default_rng(0)
    words = rng.integers(0, 256, 200 * dtype.itemsize, dtype="u1").tobytes()
    for data in (numbers.tobytes(), words):
        elements = np.frombuffer(data, dtype.numpy)
        type = ArrayType(dtype, elements.shape)
        back = same_again(function("f", [], [constant(value=ConstantData(type, data))]))
        assert back.equations[0].attrs["value"].data == data


@pytest.mark.parametrize(
    ("elements", "dtype", "shown"),
    [
        ([-(2**63), 2**63 - 1], i64, "i64[2] {-9223372036854775808, 9223372036854775807}"),
        ([1, 1, 1], i32, "i32[3] {1, ...}"),
        ([[True, False]], bool_, "bool[1, 2] {true, false}"),
        (2.5, f32, "f32 2.5"),
        (0.1, f32, "f32 0.1"),
        (np.zeros((0, 3)), f64, "f64[0, 3] {}"),
        ([0.0, -0.0], f64, "f64[2] {0.0, -0.0}"),
        (np.nan, f64, "f64 nan"),
    ],
)
def test_constants(elements, dtype, shown):
    fn = function("f", [], [array(elements, dtype)])
    assert f"constant(value={shown})" in print_function(fn)
    same_again(fn)


def test_dimensions_dtypes_conditions_and_spans():
    n = size("n")
    dims = (n, 2 * n + 1, n * n, (n + 1) // 2, 3 * ((n + 1) // 2) - n * 7, 5)
    x = parameter(ArrayType(f64, dims), "x")
    with at(Span("a b.grad", 3, 4, 3, 9)):
        y = cast(exp(x), dtype=i32)
    with at(Span('quote".py', 12)):
        z = cast(y, dtype=f64)
    conditions = [Requirement(n - 7, ">= 0", 'because "n"'), Requirement(n - 8, "== 0", "é")]
    back = same_again(function("f", [x], [z], conditions))
    assert back.requires == tuple(conditions)
    assert [made.span for made in back.equations][-1] == Span('quote".py', 12)
    assert back.parameters[0].shape == dims


def test_sizes_and_parameters_named_like_words_of_the_form():
    x = parameter(ArrayType(f64, (size("f64"), size("nan"))), "return")
    y = parameter(ArrayType(f64), "f32")
    fn = function("fn", [x, y], [broadcast(y, shape=x.shape, axes=()), x], result_names=["a", "b"])
    back = same_again(fn)
    assert back.results[0].shape == x.shape


def test_names_that_are_no_identifiers_are_made_so():
    x, same = parameter(ArrayType(f64), "2 x"), parameter(ArrayType(f64), "2 x")
    fn = function("<lambda>", [x, same], [x + same])
    assert print_function(fn).startswith("fn _lambda_(_2_x: f64, _2_x_: f64)")
    same_again(fn)


def test_dead_equations_are_kept_as_they_stand():
    text = "fn f(x: f64) {\n  %0: f64 = exp(x)\n  %1: f64 = sin(x)\n  return %1\n}\n"
    assert print_function(parse_function(text)) == text


def test_types_of_targets_and_comments_may_be_left_out_or_in():
    fn = parse_function("-- a comment\nfn f(x: f64[n]) { %7 = exp(x) -- here\n return y = %7, }")
    assert fn.result_names == ("y",) and fn.results[0].type == f64["n"]


def test_a_long_function_is_read_in_linear_time():
    x = parameter(ArrayType(f64), "x")
    y = x
    for _ in range(10_000):
        y = sin(y)
    assert len(same_again(function("f", [x], [y])).equations) == 10_000


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: expected fn, found the end"),
        ("fn f(x: f16) {}", "line 1, column 9: f16 is no dtype; those are f64, f32"),
        ("fn f(x: f64, x: f64) {}", "the parameter x stands here twice"),
        ("fn f() {\n  %0 = sine()\n}", "line 2, column 8: there is no op sine"),
        ("fn f() {\n  %0 = exp(y)\n}", "line 2, column 12: y is not defined here"),
        ("fn f(x: f64) {\n  %0 = exp(%0)\n}", "line 2, column 12: %0 is not defined here"),
        ("fn f(x: f64) {\n %0 = exp(x)\n %0 = exp(x)\n}", "line 3, column 2: %0 is defined a sec"),
        ("fn f(x: i64) {\n  %0 = exp(x)\n}", "line 2, column 8: exp: takes floats, not i64"),
        ("fn f(x: f64) {\n  %0: f32 = exp(x)\n}", "line 2, column 3: %0 has the type f64, not f32"),
        ("fn f(x: f64) {\n  %0, %1 = exp(x)\n}", "exp has 1 results, not 2"),
        ("fn f(x: f64) {\n  %0 = sum(x, axes=[], axes=[])\n}", "the attribute axes stands"),
        ("fn f(x: f64) {\n  %0 = sum(x, axis=[])\n}", "line 2, column 8: .*axis"),
        ("fn f(x: f64) { return a = x, x }", "either all results have names or none"),
        ("fn f(x: f64) { return x } x", "line 1, column 27: expected the end of the text"),
        ("fn f(x: f64[n +]) { }", "expected a dimension or attribute"),
        ("fn f(x: f64) { return x ! }", "line 1, column 25: '!' does not belong here"),
        ('fn f() {\n require n >= 1 "x"\n}', "line 2, column 15: a condition compares with 0"),
        ("fn f() {\n %0 = constant(value=f64[2] {1.0})\n}", r"f64\[2\] has 2 elements, not 1"),
        ("fn f() {\n %0 = constant(value=i32 3000000000)\n}", "expected a number of type i32"),
        ("fn f() {\n %0 = constant(value=f64[n] {})\n}", "has no known size"),
        ("fn f() {\n %0 = sum(axes=" + "[" * 200, "nested more than 100 deep"),
        ("fn f(x: f64) {", "expected an op's name or return, found the end"),
    ],
)
def test_errors_name_line_and_column(text, message):
    with pytest.raises(TextFormError, match=message):
        parse_function(text)


# --- the verifier ----------------------------------------------------------------------------


def good():
    x = parameter(f64["n"], "x")
    return function("f", [x], [exp(mul(x, x))])


def test_the_verifier_is_content_with_what_is_right():
    verify(good())
    verify(with_derivatives(random_function(3)))


def broken_functions():
    fn, other = good(), parameter(f64["n"], "y")
    first, second = fn.equations
    x = fn.parameters[0]
    free = Value(f64["n"], "free")
    retyped = Equation(OPS_BY_NAME["exp"], (x,), {})
    retyped.outputs = (Value(f32["n"], None, retyped),)
    wrong_op = Equation(OPS_BY_NAME["add"], (x,), {})
    wrong_op.outputs = (Value(f64["n"], None, wrong_op),)
    listed = Equation(OPS_BY_NAME["sum"], (x,), {"axes": [0]})
    listed.outputs = (Value(f64[()], None, listed),)
    foreign = broadcast(parameter(ArrayType(f64), "s"), shape=(size("m"),), axes=())
    owner = foreign.owner
    condition = Requirement(size("m"), ">= 0", "why")
    relation = Requirement(size("n"), "> 0", "why")
    return [
        (replace(fn, equations=(second, first)), "equation 0 .exp.: input 0 .* before it is def"),
        (replace(fn, parameters=(other,)), "input 0 .* is used before it is defined"),
        (replace(fn, parameters=(x, x), parameter_names=("x", "x")), "one value stands twice"),
        (replace(fn, parameter_names=()), "1 parameters, but 0 names"),
        (replace(fn, result_names=("a", "b")), "1 results, but 2 names"),
        (replace(fn, results=(free,)), "result 0 .*free.* is not defined"),
        (replace(fn, equations=(first, first, second)), "equation 1 .mul.: output 0 is defined a"),
        (replace(fn, equations=(retyped,)), r"infers f64\[n\], but the outputs have f32\[n\]"),
        (replace(fn, equations=(wrong_op,)), "add: takes 2 operands, not 1"),
        (replace(fn, equations=(listed,)), "the attribute axes holds list, which is no attribute"),
        (
            replace(
                fn, parameters=(x, *owner.inputs), parameter_names=("x", "s"), equations=(owner,)
            ),
            "reads the size m, which is in no parameter's shape",
        ),
        (replace(fn, requires=(condition,)), "condition 'why': reads the size m"),
        (replace(fn, requires=(relation,)), "a condition is '== 0' or '>= 0', not '> 0'"),
    ]


@pytest.mark.parametrize("case", range(len(broken_functions())))
def test_the_verifier_names_what_is_wrong(case):
    fn, message = broken_functions()[case]
    with pytest.raises(InvalidFunctionError, match=message):
        verify(fn)


def test_an_output_that_names_another_owner():
    fn = good()
    first, second = fn.equations
    stranger = add(fn.parameters[0], fn.parameters[0])
    first.outputs = stranger.owner.outputs
    with pytest.raises(InvalidFunctionError, match="output 0 names another owner"):
        verify(replace(fn, equations=(first, second)))
