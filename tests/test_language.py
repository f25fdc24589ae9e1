"""The .grad language: every example of its manual, and what its expressions mean."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from gradc import forms
from gradc.codes import CODES
from gradc.diagnostics import DiagnosticError, Refused
from gradc.driver import CompiledFunction
from gradc.elaborate import compile_module, elaborate
from gradc.function_table import BUILTIN_NAMES, FORMS, builtin
from gradc.ir.evaluate import evaluate
from gradc.ir.text import print_function
from gradc.ir.verify import verify
from gradc.lexer import tokenize
from gradc.parse_table import UnexpectedTokenError, compute, load_table, parse
from gradc.parser import parse_source

ROOT = Path(__file__).parent.parent
MANUAL = (ROOT / "docs/language.md").read_text()
EXAMPLES = re.findall(r"^```grad\n(.*?)^```$", MANUAL, re.M | re.S)


def functions_of(text):
    return elaborate(parse_source(text, "test.grad")).functions


def run(fn, *arguments):
    """The results of a function at arguments of any array-like kind, by the NumPy reference."""
    arrays = [np.asarray(x, p.dtype.numpy) for x, p in zip(arguments, fn.parameters, strict=True)]
    verify(fn)
    return evaluate(fn, *arrays)


def value(expression, declarations="", **arguments):
    """The value of an expression over f64 arguments; sizes are named after their axes: x_0, x_1."""
    arrays = {name: np.asarray(x, np.float64) for name, x in arguments.items()}
    header = ", ".join(
        f"{name}: f64[{', '.join(f'{name}_{axis}' for axis in range(x.ndim))}]"
        for name, x in arrays.items()
    )
    text = f"{declarations}\nfn test({header}) {{ {expression} }}"
    results = run(functions_of(text)["test"], *arrays.values())
    return results[0] if len(results) == 1 else results


def codes(text):
    """The codes of the errors of a text."""
    with pytest.raises(DiagnosticError) as caught:
        compile_module(text, "test.grad")
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


# The manual


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("{")[0].strip()[-40:])
def test_example_of_the_manual(example):
    wanted = re.findall(r"^#! (.*)$", example, re.M)
    calls = re.findall(r"^#= (\w+)\((.*)\) -> (.*)$", example, re.M)
    assert bool(wanted) != bool(calls), "an example states results or errors"
    if wanted:
        assert codes(example) == wanted[0].split()
        return
    functions = functions_of(example)
    for name, arguments, expected in calls:
        fn, given = functions[name], json.loads(f"[{arguments}]")
        types = [p.dtype.numpy for p in fn.parameters]
        native = CompiledFunction(fn, False)(*map(np.asarray, given, types))
        for results in (run(fn, *given), native):
            for result, number in zip(results, json.loads(f"[{expected}]"), strict=True):
                np.testing.assert_allclose(result, number, rtol=1e-12, atol=1e-15)
                assert np.shape(result) == np.shape(number)


def test_manual_states_the_grammar():
    grammar = (ROOT / "frontend/gradc/grammar.lark").read_text()
    rules = grammar[grammar.index("module:") : grammar.index("NAME: /")].strip()
    assert f"```\n{rules}\n```" in MANUAL


def test_manual_lists_every_function_and_code():
    section = MANUAL.split("## Built-in functions")[1].split("```")[0]
    assert set(re.findall(r"^\* .*", section, re.M)) and set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\* .*", section, re.M)))
    ) == set(BUILTIN_NAMES)
    assert re.findall(r"^\| (G\d{4}) \| (.*) \|$", MANUAL, re.M) == list(CODES)
    for form in FORMS:
        assert f"`{form}" in MANUAL


@pytest.mark.parametrize("name", sorted(BUILTIN_NAMES))
def test_every_function_of_the_table_exists(name):
    assert set(builtin(name).required) <= set(builtin(name).parameters)


def test_gradients_that_are_changed_or_cut():
    text = """
        fn f(x: f64) { x ** 2 + grad_scale(x, 3) + zero_grad(x) * x + grad_clip(5 * x, -1, 1) }
        export g = grad(f, wrt: x)
    """
    fns = functions_of(text)
    # d/dx: 2 x, 3, x (through the other factor), and 5 times the clipped cotangent
    for results in (run(fns["g"], 2.0), CompiledFunction(fns["g"], False)(2.0)):
        np.testing.assert_allclose(results[0], 4 + 3 + 2 + 5)
    assert run(fns["f"], 2.0)[0] == 4 + 2 + 4 + 10


# Expressions


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("(-2) ** 2", 4),
        ("2 ** -1", 0.5),
        ("7 // 2 * 2", 6),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("-7.5 % 2", 0.5),
        ("10 - 4 - 3", 3),
        ("2 + 3 * 4", 14),
        ("1 / 4", 0.25),
        ("1 / 0.0", np.inf),
        ("(-8.0) ** 0.5", np.nan),
        ("if 1 < 2 then 3 else 4", 3),
        ("if not (1 < 2) or false then 3 else 4", 4),
        ("if false then 1 else if true then 2 else 3", 2),
        ("1_000.5e-1", 100.05),
        ("-9223372036854775808", -(2**63)),
        ("(1, (2, 3))[1][0]", 2),
        ("pi", np.pi),
        ("-inf", -np.inf),
        ("[1, 2, 3] @ [4, 5, 6]", 32),
        ("sum([[1, 2], [3, 4]], axis: 0)", [4, 6]),
        ("i64(2.9)", 2),
        ("f32(1) / 3", np.float32(1) / np.float32(3)),
    ],
)
def test_constant_expression(expression, expected):
    np.testing.assert_array_equal(value(expression), expected)


X = np.arange(12.0).reshape(3, 4) - 3.5


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("x + 1", X + 1),
        ("1 - x", 1 - X),
        ("x // 2", X // 2),
        ("x % 3", X % 3),
        ("-x ** 2", -(X**2)),
        ("+x", X),
        ("x.T @ x", X.T @ X),
        ("x[1]", X[1]),
        ("x[-1, -2]", X[-1, -2]),
        ("x[:, ::-1]", X[:, ::-1]),
        ("x[1:, :-1:2]", X[1:, :-1:2]),
        ("x[..., 0]", X[..., 0]),
        ("x[none, 1, :, none]", X[None, 1, :, None]),
        ("x[[2, 0, 2]]", X[[2, 0, 2]]),
        ("x[[0, 1], [1, 2]]", X[[0, 1], [1, 2]]),
        ("if x > 0 then x else 0.1 * x", np.where(X > 0, X, 0.1 * X)),
        ("f64(x > 0 and not (x > 2))", ((X > 0) & ~(X > 2)).astype(float)),
        ("f64(x == x.T.T or x != x)", np.ones((3, 4))),
        ("x.shape[0] * x_1", 12),
        ("x.size / x.ndim", 6),
        ("x / x_0", X / 3),
        ("reshape(x, [x_1, x_0])", X.reshape(4, 3)),
        ("reshape(x, (2, -1))[1]", X.reshape(2, -1)[1]),
        ("concat((x, x), axis: 1)", np.concatenate((X, X), 1)),
        ("concat([x[0], x[1]])", np.concatenate((X[0], X[1]))),
        ("stack([x[0], x[1]], axis: 1)", np.stack((X[0], X[1]), 1)),
        ("[x[0, 0], 2, x[0, 1] * 2]", [X[0, 0], 2, X[0, 1] * 2]),
        ("[x[0], x[1]]", X[:2]),
        ("mean(x, axis: (0, 1), keepdims: true)", X.mean((0, 1), keepdims=True)),
        ("argmax(x, axis: -1)", X.argmax(-1)),
        ("zeros((x_0, 2)) + ones(2)", np.ones((3, 2))),
        ("arange(x_1) * 2", np.arange(4) * 2),
        ("sum(x[2 * x_0 - 5:])", X[1:].sum()),
        ("clip(x, min: -1, max: 1)", X.clip(-1, 1)),
        ("where(x > 0, x, 0)", X.clip(0)),
        ("take(x, [1, 1], axis: 1)", X[:, [1, 1]]),
        ("set_at(x, 0, 7)[0]", np.full(4, 7.0)),
    ],
)
def test_array_expression(expression, expected):
    np.testing.assert_allclose(value(expression, x=X), expected, rtol=1e-14)


def test_a_chain_groups_from_the_left_and_keeps_its_operators():
    assert value("x - y / z * 2 - 1", x=10, y=6, z=3) == 10 - 6 / 3 * 2 - 1


def test_numbers_and_sizes_take_the_type_beside_them():
    fn = functions_of("fn f(x: f32[n], k: i32[n]) { x * 0.1 + n, k * 2, k * 0.5, x * k }")["f"]
    assert [str(r.dtype) for r in fn.results] == ["f32", "i32", "f64", "f64"]


# Functions


def test_calls_bind_sizes_by_unification():
    text = """
        fn weigh(a: f64[k], b: f64[2*k + 1]) { sum(a) * k + sum(b) }
        fn f(x: f64[n], y: f64[2*n + 1]) { weigh(x, b: y) }
        fn g(x: f64[3], y: f64[7]) { weigh(x, y) }
    """
    fns = functions_of(text)
    assert run(fns["f"], [1, 2], np.ones(5))[0] == 11
    assert run(fns["g"], [1, 2, 3], np.ones(7))[0] == 25
    assert fns["f"].sizes == ("n",)


def test_several_results_and_their_names():
    text = "fn f(x: f64) -> (a: f64, f64) { x, 2 * x }\nfn g(x: f64) { a, b = f(x)\n a - b }"
    fns = functions_of(text)
    assert fns["f"].result_names == ("a", "result1")
    assert run(fns["g"], 3.0)[0] == -3


def test_an_array_of_known_length_unpacks():
    assert value("(x * 1)[0]", x=[5.0]) == 5
    fns = functions_of("fn f(x: f64[2]) { a, b = x\n a - b }")
    assert run(fns["f"], [5.0, 3.0])[0] == 2


def test_values_and_functions_have_separate_names():
    assert value("mean = mean(x)\n mean * 2", x=[1.0, 3.0]) == 4


def test_declarations_stand_in_any_order():
    text = "export h = grad(g, wrt: x)\nfn g(x: f64) { f(x) * k }\nconst k = 2 * j\nconst j = 3\n"
    assert run(functions_of(text + "fn f(x: f64) { x ** 2 }")["h"], 5.0)[0] == 60


def test_a_constant_is_a_length():
    fn = functions_of("const k = 2\nfn f(x: f64[n, k + 1]) -> f64[k] { sum(x) * ones(k) }")["f"]
    assert str(fn.parameters[0].type) == "f64[n, 3]"
    assert codes("const k = undefined\nfn f(x: f64[k]) { x }") == ["G0301"]


def test_exports_come_in_their_order():
    text = "fn a(x: f64) { x }\nfn b(x: f64) { x }\nexport b\nexport c = grad(a, wrt: x)\nexport a"
    exports = compile_module(text, "test.grad")
    assert list(exports) == ["b", "c", "a"]
    assert [fn.name for fn in exports.values()] == ["b", "c", "a"]


def test_comments_above_a_function_document_it():
    text = "# no\n\n# The loss.\n#\n# Two paragraphs.\nfn f(x: f64) { x }\n"
    module = elaborate(parse_source(text, "test.grad"))
    assert module.documentation["f"] == "The loss.\n\nTwo paragraphs."


@pytest.mark.parametrize("ending", ["\n", "\r\n", ";"])
def test_separators(ending):
    text = ending.join(["fn f(x: f64) {", "y = x", "y * 2", "}", "export f"])
    assert run(compile_module(text, "test.grad")["f"], 4.0)[0] == 8


# Derivatives

CUBE = "fn f(x: f64[n], k: f64) { k * sum(x ** 3) }\n"


@pytest.mark.parametrize(
    ("form", "arguments", "expected"),
    [
        ("grad(f, wrt: x)", ([1, 2], 2), ([6, 24],)),
        ("grad(f, wrt: (k, x))", ([1, 2], 2), (9, [6, 24])),
        ("value_and_grad(f, wrt: k)", ([1, 2], 2), (18, 9)),
        ("jvp(f, wrt: x)", ([1, 2], 2, [1, 0]), (18, 6)),
        ("Rop(f, wrt: k)", ([1, 2], 2, 3), (18, 27)),
        ("vjp(f, wrt: x)", ([1, 2], 2, 10), (18, [60, 240])),
        ("Lop(f, wrt: k)", ([1, 2], 2, 10), (18, 90)),
        ("jacobian(grad(f, wrt: x), wrt: x)", ([1, 2], 2), ([[12, 0], [0, 24]],)),
        ("hessian(f, wrt: x)", ([1, 2], 2), ([[12, 0], [0, 24]],)),
        ("hvp(f, wrt: x)", ([1, 2], 2, [1, 1]), ([12, 24],)),
    ],
)
def test_form(form, arguments, expected):
    fn = functions_of(f"{CUBE}export g = {form}")["g"]
    for result, wanted in zip(run(fn, *arguments), expected, strict=True):
        np.testing.assert_allclose(result, wanted)


def test_forms_nest_and_are_called_inside_expressions():
    text = """
        fn f(x: f64) { x ** 4 }
        second = grad(grad(f, wrt: x), wrt: x)
        fn g(x: f64, y: f64) { y * second(x) + grad(f, wrt: x)(x: y) }
        export h = grad(g, wrt: (x, y))
    """
    dx, dy = run(functions_of(text)["h"], 2.0, 3.0)
    assert (dx, dy) == (3 * 24 * 2, 12 * 4 + 12 * 9)


def test_the_language_and_python_build_the_same_graph():
    text = "fn f(x: f64[n], k: f64) { k * sum(x ** 3) }\nexport g = grad(f, wrt: x)"
    fns = functions_of(text)
    by_hand = forms.grad(fns["f"], "x")
    assert print_function(fns["g"]).partition("(")[2] == print_function(by_hand).partition("(")[2]


def test_every_equation_knows_its_place():
    text = "fn f(x: f64[n]) {\n    y = exp(x)\n    sum(y * 2)\n}\nexport g = grad(f, wrt: x)"
    for fn in functions_of(text).values():
        for equation in fn.equations:
            assert equation.span is not None
            assert equation.span.file == "test.grad"
            assert equation.span.line in (2, 3, 5)


def test_native_code_of_an_exported_gradient():
    text = (ROOT / "docs/language.md").read_text().split("```grad\n")[1].split("```")[0]
    exports = compile_module(text, "test.grad")
    rng = np.random.default_rng(0)
    w, data, y = rng.normal(size=3), rng.normal(size=(5, 3)), rng.integers(0, 2, 5) * 1.0
    native, slope = CompiledFunction(exports["loss_grad"], False)(w, data, y, 0.1)
    z = data @ w
    expected = data.T @ (1 / (1 + np.exp(-z)) - y) / 5 + 0.1 * w
    np.testing.assert_allclose(slope, expected, rtol=1e-12)
    loss = np.mean(np.log1p(np.exp(z)) - y * z) + 0.05 * np.sum(w**2)
    np.testing.assert_allclose(native, loss, rtol=1e-12)


def test_the_stored_parse_table_is_that_of_the_grammar():
    folder = ROOT / "frontend/gradc"
    stored = json.loads((folder / "parse_table.json").read_text())
    assert stored == compute((folder / "grammar.lark").read_bytes())


def test_a_program_is_parsed_as_lark_would():
    """The machine that runs the table accepts what Lark's own parser accepts, token by token."""
    lark = pytest.importorskip("lark")

    class Given(lark.lexer.Lexer):
        def __init__(self, conf):
            pass

        def lex(self, tokens):
            return iter(tokens)

    grammar = (ROOT / "frontend/gradc/grammar.lark").read_text()
    parser = lark.Lark(grammar, parser="lalr", lexer=Given, start="module", keep_all_tokens=True)
    for example in EXAMPLES:
        tokens, _ = tokenize(example, "test.grad")
        for end in {len(tokens), len(tokens) // 2, len(tokens) // 3}:
            try:
                parser.parse(tokens[:end])
                accepted = True
            except lark.exceptions.UnexpectedToken:
                accepted = False
            try:
                parse(load_table(), tokens[:end], "module")
                found = True
            except UnexpectedTokenError:
                found = False
            except Refused:
                continue
            assert found == accepted


# Random expressions against NumPy

ARRAYS = {"x": np.linspace(-2.0, 2.5, 12).reshape(3, 4), "y": np.array([0.5, -1.5, 2.0, 3.0])}


def random_expression(rng, depth):
    """An expression of the language, and the same in Python over `np`, both as text."""
    if depth == 0 or rng.random() < 0.15:
        leaf = rng.choice(
            ["x", "y", "2", "0.5", "3", "x[1]", "x[:, ::-1]", "y[-1]", "x[1:, 1:2][0]"]
        )
        return leaf, leaf
    kind = rng.choice(["binary", "binary", "binary", "unary", "choice", "call", "sum", "power"])
    a, pa = random_expression(rng, depth - 1)
    b, pb = random_expression(rng, depth - 1)
    if kind == "binary":
        operator = rng.choice(["+", "-", "*", "/", "//", "%"])
        return f"({a} {operator} {b})", f"np_binary({operator!r}, {pa}, {pb})"
    if kind == "unary":
        return f"(-{a} + {b})", f"(-np.asarray({pa}) + {pb})"
    if kind == "choice":
        operator = rng.choice(["<", ">=", "=="])
        text = f"(if {a} {operator} {b} and not ({a} > 2) then {a} else {b})"
        condition = f"({pa} {operator} np.asarray({pb})) & ~(np.asarray({pa}) > 2)"
        return text, f"np.where({condition}, {pa}, {pb})"
    if kind == "call":
        name = rng.choice(["exp", "tanh", "abs", "square"])
        inner, python = (f"clip({a}, min: -3, max: 3)", f"np.clip({pa}, -3, 3)")
        return f"{name}({inner})", f"np.{name}({python})"
    if kind == "sum":
        return f"sum({a}, axis: -1, keepdims: true)", f"np_sum({pa})"
    return f"({a}) ** 2", f"np.asarray({pa}) ** 2"


def np_binary(operator, a, b):
    functions = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
    return {**functions, "//": np.floor_divide, "%": np.remainder}[operator](a, b)


def np_sum(a):
    if not np.ndim(a):
        raise ValueError("NumPy sums a scalar over its last axis, which it has not")
    return np.sum(a, axis=-1, keepdims=True)


def test_random_expressions_mean_what_numpy_means():
    rng = random.Random(11)
    compared = 0
    for _ in range(400):
        text, python = random_expression(rng, rng.randint(1, 4))
        names = {**ARRAYS, "np": np, "np_binary": np_binary, "np_sum": np_sum}
        try:
            with np.errstate(all="ignore"):
                expected = eval(python, names)
        except ValueError:
            continue  # shapes that do not fit
        source = f"fn f(x: f64[3, 4], y: f64[4]) {{ 1 * ({text}) }}"
        with np.errstate(all="ignore"):
            (found,) = run(functions_of(source)["f"], *ARRAYS.values())
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-12, err_msg=text)
        compared += 1
    assert compared > 250
