"""What a newcomer does wrong on the command line: each is a word, an exit code, and no damage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, source

MODEL = "fn f(x: f64[n]) { sum(x ** 2) }\nexport f\nexport g = grad(f, wrt: x)\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(source(tmp_path, MODEL))


def gradc(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradc", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert "Traceback" not in done.stderr
    return done


def test_the_source_is_never_overwritten(model: Path, capsys: Any) -> None:
    header = model.with_name("header.h")
    header.write_text(MODEL)
    for command in (
        ("build", model, "-o", model),
        ("build", header, "-o", model.with_name("libheader.so")),
        ("emit", model, "-o", model.parent / "." / model.name),
        ("run", model, "f", "--arg", "x=[1]", "-o", model),
    ):
        code, out, err = run(*command, capsys=capsys)
        assert (code, out) == (2, "")
        assert "is the source file, and would be overwritten" in err
    assert model.read_text() == header.read_text() == MODEL


@pytest.mark.parametrize("name", ["model.h", "model.json", "", "."])
def test_what_is_no_name_for_a_library(model: Path, capsys: Any, name: str) -> None:
    code, _, err = run("build", model, "-o", name, capsys=capsys)
    assert code == 2
    assert "is no name for a library" in err
    assert not err.startswith("gradc build: build:")


@pytest.mark.parametrize(
    ("name", "said"),
    [("no/lib.so", "no: there is no such folder"), ("x" * 252 + ".so", "too long")],
)
def test_what_cannot_be_written(
    model: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(model.parent)
    code, _, err = run("build", model, "-o", name, capsys=capsys)
    assert code == 4
    assert said in err
    assert ".gradc-" not in err


def test_an_option_is_not_abbreviated(model: Path) -> None:
    done = gradc("build", model, "-o", model.with_name("libf.so"), "--fast")
    assert done.returncode == 2
    assert "unrecognized arguments: --fast" in done.stderr
    assert not model.with_name("libf.so").exists()


def test_standard_input_that_is_closed_or_empty(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gradc", "build", "-", "-o", str(tmp_path / "libf.so")]
    closed = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True)
    assert (closed.returncode, closed.stderr) == (4, b"gradc build: standard input is closed\n")
    empty = gradc(*command[3:], stdin=subprocess.DEVNULL)
    assert empty.returncode == 2
    assert empty.stderr.startswith("gradc build: standard input exports nothing")


def test_a_file_of_any_size_is_refused_at_once(tmp_path: Path, capsys: Any) -> None:
    """The file is sparse: all of it read would take minutes and more memory than there is."""
    path = tmp_path / "large.grad"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    start = time.monotonic()
    code, _, err = run("check", path, capsys=capsys)
    assert (code, "error[G0107]" in err) == (1, True)
    assert time.monotonic() - start < 10


def test_a_processor_that_there_is_not(model: Path) -> None:
    done = gradc("build", model, "-o", model.with_name("libf.so"), "--target", "pentium9")
    assert done.returncode == 2
    assert done.stderr.startswith("gradc build: LLVM knows no CPU 'pentium9'")
    assert done.stderr.count("\n") == 1


def test_without_a_linker_only_libraries_cannot_be_made(model: Path) -> None:
    environment = {**os.environ, "PATH": "/nonexistent", "CC": ""}
    done = gradc("build", model, "-o", model.with_name("libf.so"), env=environment)
    assert done.returncode == 4
    assert "no linker was found; looked for" in done.stderr
    assert "Install" in done.stderr
    assert sorted(os.listdir(model.parent)) == [model.name]
    done = gradc("run", model, "f", "--arg", "x=[3, 4]", env=environment)
    assert (done.returncode, done.stdout) == (0, '{"result": 25.0}\n')


def test_rows_of_several_lengths(model: Path, capsys: Any) -> None:
    code, _, err = run("run", model, "f", "--arg", "x=[[1, 2], [3]]", capsys=capsys)
    assert (code, err) == (2, "gradc run: --arg x: the rows of an array have one length\n")
    code, _, err = run("run", model, "f", "--arg", "x=x.npy", capsys=capsys)
    assert code == 2 and err.endswith("; a file is @file.npy\n")


@pytest.mark.parametrize("name", ["empty.npy", "text.npy", "objects.npy", "ragged.csv", "x.txt"])
def test_files_that_hold_no_array(model: Path, capsys: Any, name: str) -> None:
    path = model.with_name(name)
    path.write_text({"text.npy": "text", "ragged.csv": "1,2\n3\n"}.get(name, ""))
    if name == "objects.npy":
        np.save(path, np.array([{}], object))
    code, out, err = run("run", model, "f", "--arg", f"x=@{path}", capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("gradc run: --arg x: ")


def test_a_function_that_there_is_not(model: Path, capsys: Any) -> None:
    code, _, err = run("run", model, "ff", capsys=capsys)
    assert code == 2
    assert err == "gradc run: no function `ff`, did you mean `f`? (there are f, g)\n"


@pytest.mark.parametrize("delay", [0.15, 0.25, 0.35])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, delay: float) -> None:
    """Whenever it comes: either it is too late, or there is no file and no traceback."""
    lines = "".join(f"fn f{i}(x: f64[n]) {{ sum(exp(x) * {i}) }}\nexport f{i}\n" for i in range(99))
    model = source(tmp_path, lines)
    command = [sys.executable, "-m", "gradc", "build", str(model), "-o", str(tmp_path / "libf.so")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    if process.returncode == 130:
        assert err == ""
        assert os.listdir(tmp_path) == ["source.grad"]
