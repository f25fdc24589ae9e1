"""Sources that no person writes: accepted or refused with a clear error, in time linear in them."""

import random
import time

import pytest
from gradc.diagnostics import DiagnosticError, Refused
from gradc.elaborate import compile_module
from gradc.lexer import MAX_DEPTH, MAX_SOURCE, decode, tokenize
from gradc.parser import parse_source


def errors_of(text, compile=compile_module):
    with pytest.raises(DiagnosticError) as caught:
        compile(text, "hostile.grad")
    assert len(str(caught.value)) < 200_000
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def body(expression):
    return f"fn f(x: f64[n]) {{ {expression} }}\nexport f"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (body("(" * 100_000 + "x" + ")" * 100_000), "G0105"),
        (body("[" * 100_000), "G0105"),
        ("{" * 100_000, "G0105"),
        (")" * 100_000, "G0106"),
        (body("-" * 20_000 + "x"), "G0105"),
        (body("not " * 20_000 + "x"), "G0105"),
        (body("x" + "[0]" * 20_000), "G0105"),
        (body("x" + ".T" * 20_000), "G0105"),
        (body("f" + "(x)" * 20_000), "G0105"),
        (body("x ** " * 20_000 + "x"), "G0105"),
        (body("if x > 0 then x else " * 10_000 + "x"), "G0105"),
        (body("1" * 10_000), "G0104"),
        (body("x" * 10_000), "G0104"),
        (body("0." + "3" * 1_000), "G0104"),
        (body("9" * 399), "G0104"),
        (body("1e" + "9" * 300), "G0104"),
        (body("9 ** 9 ** 9 ** 9"), "G0205"),
        (body("x\0y"), "G0102"),
        (body("\x1b[31mx"), "G0102"),
        (body("x\u200by"), "G0102"),
        (body("\ud800"), "G0102"),
        ("fn f(x: f64) {\r x \r}", "G0102"),
        ("\N{DESERET CAPITAL LETTER EW}" * 1000, "G0102"),
        ("fn f(x: f64) { x }\n" * 2, "G0306"),
        (body("x " * 1000), "G0108"),
        (body("@" * 1000), "G0108"),
        ("=" * 10_000, "G0108"),
        (";" * 1000 + "fn", "G0108"),
        (body("n" + " * n" * 1000), "G0205"),
        (body("arange(1000000000)"), "G0902"),
        (body("arange(0, 1, 1e-300)"), "G0902"),
        (body("arange(inf)"), "G0902"),
        (body("linspace(0, 1, num: 1000000000)"), "G0902"),
        (body("reshape(x, " + "(n + " * 40 + "1" + ") * (n + 2)" * 40 + ")"), "G0205"),
    ],
    ids=lambda text: repr(text[:30]) if len(text) > 5 else text,
)
def test_refused_with_its_code(text, code):
    start = time.process_time()
    assert errors_of(text)[0] == code
    assert time.process_time() - start < 10


def test_too_large_a_file_is_refused_before_it_is_read():
    assert errors_of("#" * (MAX_SOURCE + 1)) == ["G0107"]


def test_deep_but_allowed_nesting_compiles():
    depth = MAX_DEPTH - 2
    compile_module(body("(" * depth + "x" + ")" * depth), "deep.grad")
    compile_module(body("exp(" * depth + "x" + ")" * depth), "deep.grad")
    compile_module(body("if x > 0 then x else " * (depth - 2) + "x"), "deep.grad")
    compile_module(body("-" * (depth - 1) + "x"), "deep.grad")


def test_a_line_of_a_mebibyte():
    name = "a_long_name_x"
    text = f"fn f({name}: f64) {{ {name}{f' + {name}' * 2**16} }}"
    assert len(text) > 2**20
    module = parse_source(text, "long.grad")
    assert len(module.items[0].body[0].value.rest) == 2**16
    assert errors_of(text.replace("x }", "$ }"))[0] == "G0102"


def test_a_long_sum_and_many_statements_compile():
    terms = compile_module(body("x" + " + x" * 3_000), "long.grad")["f"]
    assert len(terms.equations) == 3_000
    lines = "\n".join(f"x{i + 1} = x{i} * x" for i in range(3_000))
    text = f"fn f(x: f64[n]) {{\nx0 = x\n{lines}\nx3000\n}}\nexport f"
    assert len(compile_module(text, "long.grad")["f"].equations) == 3_000


def seconds(text):
    start = time.process_time()
    parse_source(text, "long.grad")
    return time.process_time() - start


def test_parsing_takes_linear_time():
    """Eight times the statements take about eight times as long; quadratic would be 64."""

    def text(count):
        return body("\n".join(f"x{i} = x + 1.0" for i in range(count)) + "\nx")

    parse_source(text(10), "warm.grad")
    short = min(seconds(text(1_000)) for _ in range(3))
    assert seconds(text(8_000)) < 32 * short


def test_many_errors_take_linear_time():
    text = body("\n".join(f"y{i} = nothing{i}" for i in range(2_000)) + "\nx")
    start = time.process_time()
    assert errors_of(text) == ["G0301"] * 2_000
    assert time.process_time() - start < 10
    assert errors_of("\n".join("fn f( {" for _ in range(50)))[0] == "G0106"
    assert set(errors_of("$ " * 100_000)) == {"G0102"}


def test_a_chain_of_functions_is_no_recursion():
    count = 3_000
    lines = [f"fn g{i}(x: f64) {{ g{i + 1}(x) }}" for i in range(count)]
    text = "\n".join([*lines, f"fn g{count}(x: f64) {{ x * 2 }}", "export g0"])
    assert len(compile_module(text, "calls.grad")["g0"].equations) == 2  # 2.0, and x * 2.0


def test_a_cycle_of_functions_is_shown_short():
    count = 1_000
    text = "\n".join(f"fn g{i}(x: f64) {{ g{(i + 1) % count}(x) }}" for i in range(count))
    with pytest.raises(DiagnosticError) as caught:
        compile_module(text, "cycle.grad")
    (error,) = caught.value.diagnostics
    assert error.code == "G0308"
    assert (
        error.message
        == "`g0` needs itself: g0 -> g1 -> g2 -> g3 -> ... -> g997 -> g998 -> g999 -> g0"
    )


def test_doubling_calls_are_refused(monkeypatch):
    """Forty functions that each call the one before twice would be 2^40 operations."""
    monkeypatch.setattr("gradc.calls.MAX_EQUATIONS", 2_000)
    lines = ["fn g0(x: f64) { exp(x) * x }"]
    lines += [f"fn g{i + 1}(x: f64) {{ g{i}(g{i}(x)) }}" for i in range(40)]
    assert errors_of("\n".join(lines)) == ["G0902"]
    nested = "grad(" * 12 + "h" + ", wrt: x)" * 12
    terms = " + ".join(f"exp({i}.5 * x) * sin(x)" for i in range(20))
    many = f"fn h(x: f64) {{ {terms} }}\n"
    assert errors_of(f"{many}export d = {nested}") == ["G0902"]


@pytest.mark.parametrize("data", [b"fn f(x: f64) { \xff }", b"\xfe\xff\x00f", b"a\n\xc3(", b"\x80"])
def test_what_is_not_utf8(data):
    with pytest.raises(Refused) as caught:
        decode(data, "bytes.grad")
    assert caught.value.diagnostic.code == "G0101"
    assert caught.value.diagnostic.span.line == data[: data.find(b"\n") + 1].count(b"\n") + 1


def test_byte_order_mark_crlf_tabs_and_form_feeds_are_fine():
    text = decode(
        b"\xef\xbb\xbffn f(x: f64) {\r\n\ty = x\f\r\n\ty * 2\r\n}\r\nexport f\r\n", "bom.grad"
    )
    assert list(compile_module(text, "bom.grad")) == ["f"]
    error = errors_of("\ufefffn f(x: f64) {\r\n\twrong\r\n}")
    assert error == ["G0301"]


def test_no_prefix_of_a_program_crashes():
    text = """
        # comment
        const k = [1.0, 2e-3]
        fn f(w: f64[d, 2*n + 1], t: bool) -> (a: f64, f64[d]) {
            a, _ = (sum(w, axis: (0, 1)), 1_0);
            b = if not t and a >= -1 then w[..., ::-1].T[0] else w[:, 1]
            a ** 2 @ k, b
        }
        export g = value_and_grad(f, wrt: (w))
    """
    for end in range(len(text)):
        try:
            compile_module(text[:end], "prefix.grad")
        except DiagnosticError as error:
            assert str(error)


WORDS = """
fn export const if then else and or not ( ) [ ] { } , ; : = -> . ... + - * / //
% ** @ == < <= != x f n 1 2.5 sum grad wrt axis f64 i64 bool none true pi exp
reshape zeros T shape jvp
"""


def test_no_random_tokens_crash():
    """Programs of random words: every one is accepted or refused, none raises anything else."""
    rng, words = random.Random(7), WORDS.split()
    head = "fn f(x: f64[n], k: i64) { x }\n"
    for _ in range(1_500):
        line = " ".join(rng.choice(words) for _ in range(rng.randint(1, 12)))
        for text in (
            line,
            head + line,
            head + f"fn g(x: f64[n, 2], k: i64) {{ {line} }}\nexport g",
        ):
            try:
                compile_module(text, "random.grad")
            except DiagnosticError as error:
                assert str(error)


def test_no_random_bytes_crash():
    rng = random.Random(3)
    for _ in range(300):
        data = bytes(
            rng.choice(b"fn(){}[]x:=\n;\"'\\#\x00\xff\xc3\xa9+-*/ 0.1e_") for _ in range(60)
        )
        try:
            compile_module(decode(data, "bytes.grad"), "bytes.grad")
        except (DiagnosticError, Refused) as error:
            assert str(error)


def test_tokens_know_their_places():
    tokens, errors = tokenize("ab  +\n\t(c)", "t")
    assert not errors
    assert [(t.type, t.line, t.column, t.end_column) for t in tokens] == [
        ("NAME", 1, 1, 3),
        ("PLUS", 1, 5, 6),
        ("SEP", 1, 6, 7),
        ("LPAR", 2, 2, 3),
        ("NAME", 2, 3, 4),
        ("RPAR", 2, 4, 5),
    ]
