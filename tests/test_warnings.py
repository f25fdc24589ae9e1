"""Warnings on the command line: shown, allowed, denied, JSON. Their words: test_diagnostics."""

import json
import subprocess
import sys
from pathlib import Path

from command_line import run, source

WARNED = "fn f(x: f64, y: f64) {\n    z = 2 * x\n    x\n}\nexport f\n"


def test_warnings_do_not_stop_a_command(tmp_path, capsys):
    file = source(tmp_path, WARNED)
    for command in (["check", file], ["emit", file], ["run", file, "f", "--arg=x=1", "--arg=y=2"]):
        code, out, err = run(*command, capsys=capsys)
        assert (code, err.count("warning[")) == (0, 2)
        assert out
        assert err.endswith("\n2 warnings\n")


def test_warnings_are_allowed_by_code(tmp_path, capsys):
    file = source(tmp_path, WARNED)
    code, _, err = run("check", file, "--allow", "G0701", capsys=capsys)
    assert (code, err.count("warning["), "G0702" in err) == (0, 1, True)
    for allowed in (["--allow=G0701", "--allow=G0702"], ["--allow=all"]):
        code, _, err = run("check", file, *allowed, "--deny-warnings", capsys=capsys)
        assert (code, err) == (0, "")
    code, _, err = run("check", file, "--allow", "G0203", capsys=capsys)
    assert code == 2
    assert "no such warning" in err


def test_denied_warnings_are_errors(tmp_path, capsys):
    file = source(tmp_path, WARNED)
    library = tmp_path / "libf.so"
    code, out, err = run("build", file, "-o", library, "--deny-warnings", capsys=capsys)
    assert (code, out, library.exists()) == (1, "", False)
    assert "2 warnings" in err


def test_warnings_as_json(tmp_path, capsys):
    file = source(tmp_path, WARNED)
    code, out, err = run("check", file, "--json", capsys=capsys)
    found = json.loads(out)["diagnostics"]
    assert (code, err) == (0, "")
    assert [(d["code"], d["severity"]) for d in found] == [
        ("G0702", "warning"),
        ("G0701", "warning"),
    ]
    code, out, err = run("build", file, "-o", tmp_path / "libf.so", "--json", capsys=capsys)
    report = json.loads(out)
    assert (code, err, len(report["diagnostics"]), len(report["bytes"])) == (0, "", 2, 3)
    assert all(Path(name).stat().st_size == count for name, count in report["bytes"].items())


def test_numbers_too_large_for_f32_are_said_in_gradcs_words(tmp_path):
    """NumPy's own warning, with a line of gradc's, would mean nothing to a user of the language."""
    file = source(tmp_path, "fn f(x: f32) { x * 1e300 }\nexport f\n")
    command = [sys.executable, "-m", "gradc", "check", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0
    assert "warning[G0705]" in found.stderr
    assert "RuntimeWarning" not in found.stderr
