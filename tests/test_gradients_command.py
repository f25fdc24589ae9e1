"""`gradc grad-check`: second order, conditioning, JSON, and why a gradient is zero."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from gradc import cli


def run(tmp_path: Path, capsys: Any, text: str, *options: str) -> tuple[int, str]:
    path = tmp_path / "model.grad"
    path.write_text(text)
    code = cli.main(["grad-check", str(path), *options])
    return code, capsys.readouterr().out


def test_every_order_is_reported(tmp_path: Path, capsys: Any) -> None:
    text = "fn f(x: f64[n]) { sum(exp(x)) * sum(x) }\nexport f\nexport g = grad(f, wrt: x)"
    code, out = run(tmp_path, capsys, text, "--json")
    found = json.loads(out)
    assert code == 0
    assert [f["name"] for f in found["functions"]] == ["f", "g"]
    for function in found["functions"]:
        errors = function["errors"]
        assert function["ok"]
        assert errors["differences"] < 1e-8
        assert errors["second_order"] < 1e-8
        assert errors["adjoint"] < 1e-14
        assert 0 < errors["condition"] < 100


def test_a_wrong_second_derivative_fails(tmp_path: Path, capsys: Any) -> None:
    """The value is x**2 and the gradient 2 x, which counts as constant."""
    text = "fn f(x: f64) { zero_grad(x * x) + 2.0 * zero_grad(x) * (x - zero_grad(x)) }\nexport f"
    code, out = run(tmp_path, capsys, text)
    assert code == 3
    assert out.startswith("FAIL f: forward against differences")
    assert "second order 1.0e+00" in out
    code, out = run(tmp_path, capsys, text, "--json")
    assert (code, json.loads(out)["functions"][0]["ok"]) == (3, False)


def test_a_wrong_gradient_fails(tmp_path: Path, capsys: Any) -> None:
    code, out = run(tmp_path, capsys, "fn f(x: f64) { grad_scale(x, 1.01) }\nexport f")
    assert code == 3
    assert "forward against differences 9.9e-03" in out


def test_cancellation_is_no_error_of_the_derivative(tmp_path: Path, capsys: Any) -> None:
    text = "fn f(x: f64) { (1.0e9 + x * x) - 3.0 }\nexport f"
    code, out = run(tmp_path, capsys, text)
    assert code == 0
    assert re.search(r"condition \d\.\de\+(09|10)$", out.splitlines()[0])


def test_why_a_derivative_is_zero(tmp_path: Path, capsys: Any) -> None:
    text = "fn f(x: f64[n], k: f64) {\n    y = floor(k)\n    sum(x) * y\n}\nexport f"
    code, out = run(tmp_path, capsys, text, "--why", "k")
    assert code == 0
    assert out.startswith("f: d cost / d k: zero, because every path ends")
    assert "model.grad:2:9: floor: its derivative is zero wherever it has one (k -> floor)" in out
    code, out = run(tmp_path, capsys, text, "--why", "x", "--json")
    assert (code, json.loads(out)["f"]["verdict"]) == (0, "not zero")
    assert cli.main(["grad-check", str(tmp_path / "model.grad"), "--why", "z"]) == 2


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_several_results_and_integers(tmp_path: Path, capsys: Any, dtype: str) -> None:
    text = f"fn f(x: {dtype}[n], k: i64) {{ sum(exp(x) * k), k + 1, x * x }}\nexport f"
    assert run(tmp_path, capsys, text)[0] == 0


EXP = "fn f(x: f64[n]) -> f64[n] { exp(x) }\nderivative of f(x) -> y by pullback(c) { RULE }\n"


def test_a_wrong_rule_is_named_with_its_worst_entry(tmp_path: Path, capsys: Any) -> None:
    text = EXP.replace("RULE", "1.001 * c * y") + "export g = f"
    code, out = run(tmp_path, capsys, text)
    assert code == 3
    assert re.search(
        r"the tangent of the result\[\d\] is [\d.]+, differences say [\d.]+$", out, re.M
    )
    code, out = run(tmp_path, capsys, text, "--json")
    errors = json.loads(out)["functions"][0]["errors"]
    assert "differences say" in errors["place"]
    assert 9e-4 < errors["differences"] < 1.1e-3


def test_what_is_not_finite_is_named(tmp_path: Path, capsys: Any) -> None:
    """A derivative is no less wrong for being infinite; a value asks for another range."""
    text = EXP.replace("RULE", "c / (x - x)") + "export g = f"
    code, out = run(tmp_path, capsys, text)
    assert code == 3
    assert out.startswith("FAIL g: the tangent of the result[0] is inf at a random point\n")
    logarithm = "fn f(x: f64[n]) { log(x) }\nexport f"
    code, out = run(tmp_path, capsys, logarithm, "--low", "-2")
    assert code == 3
    assert re.match(r"FAIL f: the result\[\d\] is nan at a random point; choose another range", out)
    code, out = run(tmp_path, capsys, logarithm, "--low", "-2", "--json")
    assert json.loads(out)["functions"][0]["errors"] is None
