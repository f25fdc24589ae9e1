"""`gradc grad-check`: what it prints, and when it fails. More: test_gradients_command."""

from command_line import run, source
from gradc.elaborate import elaborate_source


def test_grad_check_passes(tmp_path, capsys):
    text = "fn f(x: f64[n]) { sum(softplus(x)) }\nexport f\nexport g = grad(f, wrt: x)"
    code, out, _ = run("grad-check", source(tmp_path, text), "--points", "1", capsys=capsys)
    assert code == 0
    assert out.splitlines()[-1] == "2 of 2 functions passed (seed 0)"


def test_grad_check_in_single_precision_and_with_integers(tmp_path, capsys):
    text = "fn f(x: f32[n], k: i64) { sum(exp(x) * k), k + 1, x * 2 }\nexport f"
    code, out, _ = run("grad-check", source(tmp_path, text), capsys=capsys)
    assert (code, out.startswith("ok   f: ")) == (0, True)


def test_grad_check_fails_at_a_wrong_derivative(tmp_path, capsys, monkeypatch):
    """`abs` at points on both sides of 0, with a forward rule that forgets the sign."""
    from gradc import forms

    right = forms.jvp
    path = source(tmp_path, "fn f(x: f64[n]) { sum(abs(x)) }\nfn g(x: f64[n]) { sum(x) }\nexport f")
    module = elaborate_source(path.read_text(), "source.grad")
    monkeypatch.setattr(forms, "jvp", lambda fn, wrt: right(module.functions["g"], wrt))
    code, out, _ = run("grad-check", path, "--low", "-1", "--high", "1", capsys=capsys)
    assert code == 3
    assert out.startswith("FAIL f: ")
    assert "0 of 1 functions passed" in out


def test_grad_check_where_a_function_is_not_finite(tmp_path, capsys):
    path = source(tmp_path, "fn f(x: f64[n]) { sum(log(x)) }\nexport f")
    code, out, _ = run("grad-check", path, "--low", "-2", "--high", "-1", capsys=capsys)
    assert code == 3
    assert "the result is nan at a random point; choose another range by --low" in out
    assert run("grad-check", path, capsys=capsys)[0] == 0
    assert run("grad-check", path, "--low", "2", "--high", "1", capsys=capsys)[0] == 2
    assert run("grad-check", path, "--points", "0", capsys=capsys)[0] == 2


def test_grad_check_of_a_function_without_floats(tmp_path, capsys):
    code, out, _ = run("grad-check", source(tmp_path, "fn f(k: i64) { k }"), capsys=capsys)
    assert code == 0
    assert "nothing to differentiate" in out


def test_grad_check_finds_sizes_that_fit(tmp_path, capsys):
    text = "fn f(x: f64[n], y: f64[2*n - 3]) { sum(x[3:]) * sum(y) + x[2] }\nexport f"
    code, out, _ = run("grad-check", source(tmp_path, text), capsys=capsys)
    assert (code, out[:4]) == (0, "ok  ")
