"""`extern fn`: C functions declared in a `.grad` file, with derivative rules, in a library."""

from __future__ import annotations

import ctypes
import resource
import shutil
from pathlib import Path
from typing import Any

import gradc
import numpy as np
import pytest
from gradc.codegen.link import LinkError
from gradc.diagnostics import DiagnosticError
from gradc.elaborate import compile_module, elaborate_source
from gradc.trap import find_not_finite

SOURCE = Path(__file__).parent / "external.c"
X = np.array([0.5, -1.25, 2.0])
needs_a_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

MODULE = """
extern fn cubic(x: f64) -> f64 from "external.c"
extern fn cubic_slope(x: f64) -> f64 from "external.c"
derivative of cubic(x) by pullback(c) { c * cubic_slope(x) }
derivative of cubic_slope(x) by pullback(c) { 6 * x * c }

extern fn running(x: f64[n], scale: f64) -> f64[n] from "external.c"
derivative of running(x, s) by pullback(c) { s * flip(cumsum(flip(c))), sum(c * cumsum(x)) }

extern fn turn(x: f64[n]) -> (sine: f64[n], cosine: f64[n]) from "external.c" status
derivative of turn(x) -> s, c by pullback(a, b) { a * c - b * s }

extern fn c_dot(x: f64[n], y: f64[n]) -> f64 from "external.c" symbol "dot"
derivative of c_dot(x, y) by pushforward(dx, dy) { sum(dx * y + x * dy) }

extern fn halves(x: f64[n]) -> (low: f64[n], high: f32[n], count: i64, mean: f64) from "external.c"

fn mixed(x: f64[n], k: f64) -> f64 {
    s, c = turn(x)
    sum(running(cubic(x), k)) + c_dot(s, c * c)
}
export mixed
export slope = grad(mixed, wrt: (x, k))
export curvature = hessian(mixed, wrt: x)
export c_halves = halves
export cube = cubic
fn table(A: f64[n, m], b: f64[m]) { cubic(A) + cubic(b) }
export table
"""


@pytest.fixture
def exports(tmp_path: Path) -> dict[str, Any]:
    shutil.copy(SOURCE, tmp_path)
    made = compile_module(MODULE, str(tmp_path / "model.grad"))
    return {name: gradc.function(fn) for name, fn in made.items()}


def mixed(x: Any, k: float) -> Any:
    return np.sum(k * np.cumsum(x**3)) + np.sum(np.sin(x) * np.cos(x) ** 2)


@needs_a_compiler
def test_values_and_derivatives(exports: dict[str, Any]) -> None:
    np.testing.assert_allclose(exports["mixed"](X, 2.0), mixed(X, 2.0), rtol=1e-14)
    weights = np.arange(3, 0, -1)
    s, c = np.sin(X), np.cos(X)
    of_x, of_k = exports["slope"](X, 2.0)
    np.testing.assert_allclose(of_x, 6 * weights * X**2 + c**3 - 2 * c * s**2, rtol=1e-13)
    np.testing.assert_allclose(of_k, np.sum(np.cumsum(X**3)), rtol=1e-13)
    H = np.diag(12 * weights * X - 7 * s * c**2 + 2 * s**3)
    np.testing.assert_allclose(exports["curvature"](X, 2.0), H, rtol=1e-13, atol=1e-13)


@needs_a_compiler
def test_functions_of_numbers_are_applied_entry_by_entry(exports: dict[str, Any]) -> None:
    A = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(exports["table"](A, X), A**3 + X**3)
    assert exports["cube"](3.0) == 27.0


@needs_a_compiler
def test_several_results_of_several_types(exports: dict[str, Any]) -> None:
    low, high, count, mean = exports["c_halves"](X)
    np.testing.assert_array_equal(low, [-1.25, 0.0, 0.0])
    np.testing.assert_array_equal(high, np.array([0.5, 2.0, 0.0], "f4"))
    assert (count, mean) == (1, X.mean())


@needs_a_compiler
def test_numbers_of_every_type_go_by_value(tmp_path: Path) -> None:
    shutil.copy(SOURCE, tmp_path)
    text = """
    extern fn any_above(x: f64[n], bound: f64, on: bool) -> bool from "external.c"
    extern fn negated(k: i32, on: bool) -> i32 from "external.c"
    extern fn cubic32(x: f32) -> f32 from "external.c"
    fn f(x: f64[n], k: i32[n], on: bool) {
        above = any_above(x, 1.0, on)
        (if above then 1.0 else 2.0), negated(k, x > 0.0), cubic32(f32(x))
    }
    export f
    """
    f = gradc.function(compile_module(text, str(tmp_path / "model.grad"))["f"])
    k = np.array([1, 2, 3], "i4")
    for on, wanted in ((True, 1.0), (False, 1.0)):
        chosen, signed, cubes = f(X, k, on)
        assert chosen == wanted
        np.testing.assert_array_equal(signed, [-1, 2, -3])
        np.testing.assert_array_equal(cubes, (X**3).astype("f4"))
        assert (signed.dtype, cubes.dtype) == (np.int32, np.float32)
    assert [f(-abs(X), k, on)[0] for on in (False, True)] == [2.0, 1.0]


@needs_a_compiler
def test_a_library_holds_the_functions(tmp_path: Path, exports: dict[str, Any]) -> None:
    target = tmp_path / "libmodel.so"
    gradc.build(target, **exports)
    here = exports["slope"](X, 2.0)
    (tmp_path / "external.c").unlink()
    loaded = gradc.load(target)
    for mine, wanted in zip(loaded.slope(X, 2.0), here, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert not hasattr(ctypes.CDLL(str(target)), "cubic")
    with pytest.raises(LinkError, match=r"c_dot|halves.*external.c"):
        exports["c_halves"](X)
    with pytest.raises(RuntimeError, match="an external function reported a failure"):
        loaded.mixed(np.array([np.inf]), 1.0)


@needs_a_compiler
def test_checking_reads_no_c(tmp_path: Path) -> None:
    """What is wrong with a C file shows where it is compiled, not where it is declared."""
    (tmp_path / "broken.c").write_text("this is no C")
    text = 'extern fn f(x: f64) -> f64 from "broken.c"\nexport g = f\n'
    made = compile_module(text, str(tmp_path / "model.grad"))
    with pytest.raises(LinkError, match="error"):
        gradc.function(made["g"])(1.0)


def test_functions_of_libm() -> None:
    text = """
    extern fn lgamma(x: f64) -> f64
    extern fn gamma_of_half(x: f32) -> f32 symbol "tgammaf"
    fn log_beta(a: f64[n], b: f64) { lgamma(a) + lgamma(b) - lgamma(a + b) }
    export log_beta
    fn root(x: f32[n]) { gamma_of_half(x) ** 2.0 }
    export root
    """
    made = compile_module(text, "model.grad")
    found = gradc.function(made["log_beta"])(np.array([1.0, 2.0]), 3.0)
    np.testing.assert_allclose(found, np.log([1 / 3, 1 / 12]), rtol=1e-14)
    root = gradc.function(made["root"])(np.array([0.5], "f4"))
    np.testing.assert_allclose(root, np.pi, rtol=1e-6)


def test_what_is_the_matter_is_at_the_call() -> None:
    """Where a C function makes an infinity, or has no derivative, is the line that calls it."""
    text = """extern fn lgamma(x: f64) -> f64
    fn f(x: f64[n]) -> f64 {
        sum(lgamma(x))
    }
    """
    f = elaborate_source(text, "model.grad").functions["f"]
    found = find_not_finite(f, np.array([1.0, 0.0]))
    assert found is not None and found.span is not None
    assert (found.op, found.index, found.span.line) == ("lgamma", (1,), 3)
    reason = gradc.why_zero(f, "x").reasons[0]
    assert reason.span is not None
    assert (reason.op, reason.kind, reason.span.line) == ("lgamma", "null", 3)


def test_another_name_and_no_arguments() -> None:
    text = """
    extern fn lgamma(x: f64) -> f64
    extern fn page() -> i32 symbol "getpagesize"
    log_gamma = lgamma
    fn f(x: f64[n]) { sum(log_gamma(x)) + f64(page()) }
    export f
    """
    f = gradc.function(compile_module(text, "model.grad")["f"])
    np.testing.assert_allclose(f(np.array([4.0])), np.log(6.0) + resource.getpagesize(), rtol=1e-14)


def test_a_comment_documents_it() -> None:
    text = "# The logarithm of the gamma function.\nextern fn lgamma(x: f64) -> f64\n"
    module = elaborate_source(text, "model.grad")
    assert module.documentation["lgamma"] == "The logarithm of the gamma function."
    assert not module.warnings


WRONG = {
    'extern fn f(x: f64) -> f64 from "none.c"': ("G0602", "there is no file .*none.c"),
    'extern fn f(x: f64) -> f64 from "/usr/lib/x.c"': ("G0602", "relative to the source"),
    'extern fn f(x: f64) -> f64 symbol "a b"': ("G0602", "'a b' is no name of a C function"),
    "extern fn f(x: f64)": ("G0311", "`f` does not say what it gives"),
    "extern fn f() -> f64[k]": ("G0310", "the size `k` is not known"),
    "extern fn f(x: f64) -> f64 in": ("G0108", "expected `from` or `symbol` or `status`"),
    "extern fn f(x: f64) -> f64 from": ("G0108", "`from` is followed by text in quotes"),
    "extern fn f(x: f64) -> f64 status status": ("G0108", "`status` stands twice"),
    "extern fn f(x: f64) -> f64 from f.c": ("G0108", "without a body: `extern fn f"),
    'extern fn f(x: f64) -> f64 status "s"': ("G0102", "no text in the language"),
    'extern fn f(x: f64) -> f64 from "a': ("G0106", "is never closed"),
    'extern fn f(x: f64) -> f64 from "a\u202eb"': ("G0104", "does not hold the character U.202E"),
    "extern fn f(x: f64) -> f64 { x }": ("G0108", "without a body"),
    "extern double f(x: f64) -> f64": ("G0108", "`extern fn f"),
    "extern fn exp(x: f64) -> f64": ("G0307", "choose another name, .*`symbol .exp.`"),
    "extern fn rise(x: f64) -> f64\nexport rise": ("G0601", "`export c_rise = rise`"),
    "extern fn j0(x: f64) -> f64\nfn g(x: f64[n]) { sum(j0(x)) }\nexport h = grad(g, wrt: x)": (
        "G0503",
        r"j0 has no derivative.*`derivative of j0\(",
    ),
    "extern fn j0(x: f64) -> f64\nfn g(x: f32[n]) { j0(x) }": ("G0406", "the argument `x` is f64"),
    "extern fn pair(x: f64, y: f64) -> f64\nfn g(x: f64[n], y: f64[m]) { pair(x, y) }": (
        "G0202",
        "cannot be broadcast",
    ),
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:45])
def test_errors(text: str) -> None:
    """Each names its place and what to write instead."""
    code, message = WRONG[text]
    with pytest.raises(DiagnosticError) as caught:
        compile_module(text + "\n", "model.grad")
    assert caught.value.diagnostics[0].code == code
    assert caught.value.diagnostics[0].primary.span.file == "model.grad"
    caught.match(f"(?s){message}")


def test_the_words_are_no_reserved_words() -> None:
    text = "fn f(extern: f64, symbol: f64, status: f64) { extern * symbol + status }\nexport f\n"
    assert gradc.function(compile_module(text, "model.grad")["f"])(2.0, 3.0, 4.0) == 10.0
