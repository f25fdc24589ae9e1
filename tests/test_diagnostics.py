"""Diagnostics: `diagnostics/<case>.txt` holds a source, `-- expected`, and what is printed for it.

With GRADC_UPDATE_GOLDEN=1 the expected part is rewritten; that run fails where anything changed, so
that a change is seen and looked at.
"""

import json
import os
import re
from pathlib import Path

import pytest
from gradc.codes import CODES
from gradc.diagnostics import (
    COLOURED,
    Diagnostic,
    DiagnosticError,
    Label,
    render,
    sort_diagnostics,
    to_json,
)
from gradc.elaborate import compile_module, elaborate_source
from gradc.ir.span import Span

FOLDER = Path(__file__).parent / "diagnostics"
CASES = sorted(FOLDER.glob("*.txt"))
MARK = "-- expected\n"
SOURCES = Path(__file__).parent.parent / "frontend/gradc"
# Triggered in test_hostile_source.py and test_cli.py: their causes are no small files of text.
ELSEWHERE = {"G0101", "G0107", "G0901", "G0902"}


def diagnostics_of(text):
    with pytest.raises(DiagnosticError) as caught:
        compile_module(text, "case.grad")
    return caught.value


def found_in(text):
    """The errors of a source text; where it has none, its warnings."""
    try:
        module = elaborate_source(text, "case.grad")
    except DiagnosticError as error:
        return error
    return DiagnosticError(module.warnings, module.sources)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_diagnostics(case):
    source, _, expected = case.read_text().partition(MARK)
    actual = str(found_in(source))
    if os.environ.get("GRADC_UPDATE_GOLDEN"):
        case.write_text(f"{source}{MARK}{actual}")
    assert actual == expected


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_code_in_the_name_is_reported(case):
    source = case.read_text().partition(MARK)[0]
    found = {diagnostic.code for diagnostic in found_in(source).diagnostics}
    wanted = case.stem.partition("_")[0]
    assert wanted in found or not re.fullmatch(r"G\d{4}", wanted)


def test_every_code_has_a_case():
    shown = {path.stem.partition("_")[0] for path in CASES}
    assert {code for code, _ in CODES} - shown == ELSEWHERE


def test_every_code_that_is_used_is_in_the_table():
    texts = [p.read_text() for p in SOURCES.glob("**/*.py") if p.name != "codes.py"]
    used = {code for text in texts for code in re.findall(r"\bG0\d{3}\b", text)}
    assert used == {code for code, _ in CODES}


def test_no_line_of_an_underline_is_longer_than_its_source():
    for case in CASES:
        for line in case.read_text().partition(MARK)[2].splitlines():
            assert len(line) < 400


def test_carets_stand_under_what_they_mean():
    """Tabs go to the next multiple of four columns, wide characters take two."""
    text = (FOLDER / "tabs_and_wide_characters.txt").read_text().partition(MARK)[0]
    error = diagnostics_of(text.replace("漢 #", "x #")).diagnostics[0]
    assert (error.span.line, error.span.column, error.span.end_column) == (3, 10, 15)
    line, carets = str(diagnostics_of(text.replace("漢 #", "x #"))).splitlines()[3:5]
    assert line.index("wrong") == carets.index("^")


def test_json_says_what_the_text_says():
    source = (FOLDER / "G0306_twice.txt").read_text().partition(MARK)[0]
    error = diagnostics_of(source)
    data = json.loads(to_json(error.diagnostics))["diagnostics"]
    assert [d["code"] for d in data] == re.findall(r"error\[(G\d{4})\]", str(error))
    first = data[0]
    assert first["severity"] == "error"
    assert (first["file"], first["line"]) == ("case.grad", error.diagnostics[0].span.line)
    assert all(
        {"message", "column", "end_line", "end_column", "causes", "help"} <= {*d} for d in data
    )
    assert any(d["causes"] and d["causes"][0]["line"] > 0 for d in data)


def test_colour_is_only_colour():
    error = diagnostics_of("fn f(x: f64[n], y: f64[m]) { x + y }")
    coloured = render(error.diagnostics, error.sources, COLOURED)
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == str(error)


def test_errors_are_sorted_and_counted_once():
    def at(line):
        return Diagnostic("G0301", "m", Label(Span("f", line, 1, line, 2)))

    assert [d.span.line for d in sort_diagnostics([at(3), at(1), at(3)])] == [1, 3]
    assert render([at(1)], {"f": "x"}).endswith("1 error\n")
    assert "150 errors; the first 100 are shown" in render(
        map(at, range(1, 151)), {"f": "x\n" * 150}
    )


def test_one_mistake_is_reported_once():
    """What reads a value with an error is silent, in other functions and in derivatives too."""
    text = "fn f(x: f64) { y = x + wrong\n z = y * 2\n g(z) }\nfn g(x: f64) { x + nothing }\n"
    text += "export df = grad(f, wrt: x)\nexport f\nconst c = undefined\nfn h(x: f64) { x * c }"
    found = [d.message for d in diagnostics_of(text).diagnostics]
    assert [m.partition("`")[2].partition("`")[0] for m in found] == [
        "wrong",
        "nothing",
        "undefined",
    ]


def test_a_file_with_errors_shows_no_warnings():
    assert [d.code for d in found_in("fn f(x: f64, y: f64) { x + z }").diagnostics] == ["G0301"]


QUIET = (
    "fn f(x: f64, _y: f64) { _z = x\n _ = x\n x }",
    "fn f(x: f64[n]) -> f64[n] { zeros(n) }",
    "fn f(x: f64[n, m]) -> i64 { m }",
    "const k = 3\nfn f(x: f64[k]) { x }",
    "const k = 3\nfn f(x: f64) -> f64[k] { x * [1.0, 2.0, 3.0] }",
    "fn f(x: f64) { floor(x) }\nderivative of f(x) by pullback(c) { 0.0 }\nd = grad(f, wrt: x)",
    "fn f(x: f64, y: f64) { zero_grad(y) + x }\nd = grad(f, wrt: y)",
    "fn f(x: f64, _y: f64) { x }\nd = grad(f, wrt: _y, disconnected: zero)",
    "fn f(x: f32) { x * 3.4e38 + 1e-45 + inf }",
    "fn f(x: f64) { x * 1e300 + f32(0.1) }",
    "fn f(k: i64[n]) { k * 2.5 + i64(2.0) }",
    "fn f(x: f64[n]) -> bool { n > 0 }",
    "fn f(x: f64[n + 1]) -> bool { n - 3 >= 0 }",
)


@pytest.mark.parametrize("text", QUIET)
def test_what_is_meant_is_not_warned_of(text):
    assert elaborate_source(text, "case.grad").warnings == ()


def test_examples_have_no_warnings():
    sources = sorted((SOURCES.parent.parent / "examples").rglob("*.grad"))
    assert sources
    for source in sources:
        assert elaborate_source(source.read_text(), source.name).warnings == (), source
