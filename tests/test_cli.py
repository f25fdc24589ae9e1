"""The command line: what each command prints and writes, and its exit code."""

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command_line import run, source
from gradc import cli
from gradc.codegen.cabi import manifest_of
from gradc.codegen.target import host
from gradc.ir.text import parse_function
from gradc.runtime.manifest import GRADC_VERSION, append_footer, read_manifest
from gradc.runtime.module import load

LOGISTIC = """# Logistic regression with an L2 term.
fn loss(w: f64[d], X: f64[n, d], y: f64[n], l2: f64) -> f64 {
    z = X @ w
    mean(softplus(z) - y * z) + 0.5 * l2 * sum(w ** 2)
}
export loss
export loss_grad = value_and_grad(loss, wrt: w)
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.grad"
    path.write_text(LOGISTIC)
    return path


def usage_error(*arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    assert caught.value.code == 2
    return capsys.readouterr().err


# check


def test_check_prints_what_is_declared(model, capsys):
    code, out, err = run("check", model, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "export loss(w: f64[d], X: f64[n, d], y: f64[n], l2: f64) -> f64",
        "export loss_grad(w: f64[d], X: f64[n, d], y: f64[n], l2: f64) "
        "-> (value: f64, grad_w: f64[d])",
    ]


def test_check_reports_errors(tmp_path, capsys):
    path = source(tmp_path, "fn f(x: f64) { wrong }\n")
    code, out, err = run("check", path, capsys=capsys)
    assert (code, out) == (1, "")
    assert err.startswith(f"error[G0301]: the name `wrong` is not known here\n --> {path}:1:16\n")
    assert err.endswith("\n1 error\n")


def test_check_as_json(tmp_path, model, capsys):
    code, out, err = run("check", source(tmp_path, "fn f() { a + b }"), "--json", capsys=capsys)
    assert (code, err) == (1, "")
    (found,) = json.loads(out)["diagnostics"]
    assert (found["code"], found["line"], found["column"]) == ("G0301", 1, 10)
    code, out, _ = run("check", model, "--json", capsys=capsys)
    assert (code, json.loads(out)) == (0, {"diagnostics": []})


def test_colour(tmp_path, capsys, monkeypatch):
    path = source(tmp_path, "wrong")
    assert "\x1b[" not in run("check", path, capsys=capsys)[2]
    assert "\x1b[1;31m" in run("check", path, "--color", "always", capsys=capsys)[2]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in run("check", path, capsys=capsys)[2]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("check", path, capsys=capsys)[2]


def test_a_file_that_is_not_utf8(tmp_path, capsys):
    path = tmp_path / "bytes.grad"
    path.write_bytes(b"fn f(x: f64) {\n  \xff\n}")
    code, _, err = run("check", path, capsys=capsys)
    assert code == 1
    assert "error[G0101]" in err and f"{path}:2:3" in err


def test_files_that_cannot_be_read(tmp_path, capsys):
    code, _, err = run("check", tmp_path / "none.grad", capsys=capsys)
    assert (code, err) == (4, f"gradc check: {tmp_path}/none.grad: No such file or directory\n")
    assert run("check", tmp_path, capsys=capsys)[0] == 4


def test_standard_input(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"fn f(x: f64) { y }")))
    code, _, err = run("check", "-", capsys=capsys)
    assert code == 1
    assert " --> <stdin>:1:16" in err


def test_a_defect_of_gradc_is_said_to_be_one(model, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("the moon is full")

    monkeypatch.setattr("gradc.elaborate.elaborate_source", broken)
    code, _, err = run("check", model, capsys=capsys)
    assert code == 70
    assert err.startswith("error[G0901]: internal error: RuntimeError: the moon is full\n")
    assert "bug in gradc" in err and "gradc info" in err
    monkeypatch.setenv("GRADC_TRACEBACK", "1")
    assert cli.main(["check", str(model)]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_names_the_line_it_was_met_at(model, capsys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(sys.modules["gradc.elaborate"].__dict__, "evaluate_call", broken)
    code, _, err = run("check", model, capsys=capsys)
    assert code == 70
    assert f" --> {model}:4:5" in err and "ZeroDivisionError" in err


# run


def test_run_prints_results_as_json(model, capsys):
    arguments = ["--arg", "w=[0, 0]", "--arg", "X=[[1, 2], [3, 4]]", "--arg", "y=[0, 1]"]
    code, out, err = run("run", model, "loss_grad", *arguments, "--arg", "l2=0.1", capsys=capsys)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["value"] == pytest.approx(np.log(2))
    assert found["grad_w"] == pytest.approx([-0.5, -0.5])


def test_run_reads_and_writes_files(model, tmp_path, capsys):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5, 2)), np.ones(5)
    np.save(tmp_path / "X.npy", X)
    np.savetxt(tmp_path / "y.csv", y, delimiter=",")
    (tmp_path / "w.csv").write_text("0.5,-1\n")
    files = [f"{file[0]}=@{tmp_path}/{file}" for file in ("w.csv", "X.npy", "y.csv")]
    options = [part for file in files for part in ("--arg", file)]
    output = tmp_path / "out.npz"
    code, out, _ = run(
        "run", model, "loss_grad", *options, "--arg", "l2=0", "-o", output, capsys=capsys
    )
    assert (code, out) == (0, "")
    with np.load(output) as found:
        z = X @ [0.5, -1.0]
        np.testing.assert_allclose(found["value"], np.mean(np.log1p(np.exp(z)) - y * z))
        assert found["grad_w"].shape == (2,)


def test_numbers_that_json_has_not(tmp_path, capsys):
    path = source(tmp_path, "fn f(x: f64[n]) { 1 / x, x > 0 }")
    code, out, _ = run("run", path, "f", "--arg", 'x=[0, "-inf", "nan", 2]', capsys=capsys)
    assert code == 0
    assert json.loads(out) == {
        "result0": ["inf", -0.0, "nan", 0.5],
        "result1": [False, False, False, True],
    }
    scalar = source(tmp_path, "fn f(x: f64) { -x }")
    assert json.loads(run("run", scalar, "f", "--arg", "x=inf", capsys=capsys)[1]) == {
        "result": "-inf"
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lass"], "no function `lass`, did you mean `loss`? (there are loss, loss_grad)"),
        (["loss"], "no value for w, X, y, l2; the parameters are w, X, y, l2: add --arg w=..."),
        (["loss", "--arg", "q=1"], "`loss` has no parameter `q`"),
        (["loss", "--arg", "w"], "--arg w: expected NAME=VALUE"),
        (["loss", "--arg", "w=[1", *["--arg", "X=1", "--arg", "y=1", "--arg", "l2=1"]], "JSON"),
        (["loss", "--arg", "w=1", *["--arg", "X=1", "--arg", "y=1", "--arg", "l2=1"]], "f64[d]"),
        (
            ["loss", "--arg", 'w={"a": 1}', *["--arg", "X=1", "--arg", "y=1", "--arg", "l2=1"]],
            "is no number",
        ),
        (
            [
                "loss",
                *["--arg", "w=[1, 2]", "--arg", "X=[[1, 2, 3]]", "--arg", "y=[1]", "--arg", "l2=1"],
            ],
            "d",
        ),
        (["loss", "--arg", "w=[1]", "--arg", "w=[1]"], "given twice"),
    ],
)
def test_wrong_arguments_of_run(model, arguments, said, capsys):
    code, out, err = run("run", model, *arguments, capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("gradc run: ")


def test_an_argument_file_that_is_missing(model, tmp_path, capsys):
    arguments = [
        part for name in ("w", "X", "y") for part in ("--arg", f"{name}=@{tmp_path}/no.npy")
    ]
    code, _, err = run("run", model, "loss", *arguments, "--arg", "l2=1", capsys=capsys)
    assert code == 4
    assert "no.npy" in err


def test_a_failing_index_is_no_defect(tmp_path, capsys):
    path = source(tmp_path, "fn f(x: f64[n], i: i64[k]) { x[i] }")
    code, _, err = run("run", path, "f", "--arg", "x=[1]", "--arg", "i=[4]", capsys=capsys)
    assert code == 2
    assert "f" in err


def test_too_little_memory_is_no_defect(model, capsys, monkeypatch):
    def full(*_):
        raise MemoryError("1 TiB wanted")

    monkeypatch.setattr("gradc.elaborate.elaborate_source", full)
    code, _, err = run("check", model, capsys=capsys)
    assert (code, err) == (4, "gradc check: not enough memory: 1 TiB wanted\n")


# emit


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("syntax", "FunctionItem 2:1-5:2"),
        ("ir", "fn loss(w: f64[d], X: f64[n, d], y: f64[n], l2: f64) {"),
        ("gradient", "fn loss_value_and_grad("),
        ("optimized", "fn loss(w: f64[d]"),
        ("kernels", "rows at a time"),
        ("loops", "loss"),
        ("llvm", "define"),
        ("asm", "ret"),
    ],
)
def test_emit(model, stage, said, capsys):
    code, out, _ = run("emit", model, f"--stage={stage}", "-f", "loss", capsys=capsys)
    assert code == 0
    assert said in out


def test_emit_for_another_machine(model, capsys):
    def assembly(target):
        return run("emit", model, "--stage=asm", f"--target={target}", "-f", "loss", capsys=capsys)

    assert "%zmm0" in assembly("znver4")[1]
    assert "%ymm0" not in assembly("x86-64")[1]
    code, _, err = assembly("znver99")
    assert code == 2
    assert "LLVM knows no CPU 'znver99'" in err


def test_what_emit_prints_can_be_read_back(model, tmp_path, capsys):
    file = tmp_path / "out.txt"
    code, out, _ = run("emit", model, "-f", "loss_grad", "-o", file, capsys=capsys)
    assert (code, out) == (0, "")
    assert parse_function(file.read_text()).result_names == ("value", "grad_w")


def test_emit_of_what_there_is_not(model, tmp_path, capsys):
    assert run("emit", model, "-f", "nope", capsys=capsys)[0] == 2
    assert run("emit", model, "-f", "nope", "--stage=syntax", capsys=capsys)[0] == 2
    assert run("emit", source(tmp_path, ""), capsys=capsys)[0] == 2
    integers = source(tmp_path, "fn f(k: i64) { k }")
    assert (
        "no parameter of a float type"
        in run("emit", integers, "--stage=gradient", capsys=capsys)[2]
    )
    assert "invalid choice" in usage_error("emit", model, "--stage=nope", capsys=capsys)


# build and inspect


def test_build_inspect_and_load(model, tmp_path, capsys):
    library = tmp_path / "libmodel.so"
    code, out, _ = run("build", model, "-o", library, capsys=capsys)
    assert code == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "libmodel.so",
        "model.h",
        "model.json",
        "model.grad",
    }
    assert str(library) in out
    code, out, _ = run("inspect", library, capsys=capsys)
    assert code == 0
    assert "loss_grad(w: f64[d], X: f64[n, d], y: f64[n], l2: f64) -> (value: f64" in out
    assert "8*d*n + 16*d + 8*n + 16 bytes for arguments and results" in out
    assert "bytes of workspace" in out
    code, out, _ = run("inspect", library, "--json", capsys=capsys)
    assert json.loads(out)["functions"][1]["outputs"][1]["name"] == "grad_w"
    value, slope = load(library)["loss_grad"](np.zeros(2), np.eye(2), np.ones(2), 0.0)
    assert value == pytest.approx(np.log(2))
    np.testing.assert_allclose(slope, [-0.25, -0.25])


def test_build_for_a_target_with_fast_mathematics(model, tmp_path, capsys):
    library = tmp_path / "libmodel.so"
    options = ("--target", "x86-64-v3", "--fast-math")
    assert run("build", model, "-o", library, *options, capsys=capsys)[0] == 0
    assert "x86-64-v3" in run("inspect", library, capsys=capsys)[1]
    code, out, _ = run("emit", model, "--stage=llvm", "--fast-math", capsys=capsys)
    assert code == 0
    assert "reassoc" in out
    assert "reassoc" not in run("emit", model, "--stage=llvm", capsys=capsys)[1]


def test_passes_are_shown(model, tmp_path, capsys):
    library = tmp_path / "libmodel.so"
    code, out, _ = run("build", model, "-o", library, "--time-passes", capsys=capsys)
    assert code == 0
    assert "eliminate_dead_code" in out and " ms  link" in out
    code, out, _ = run(
        "build", model, "-o", tmp_path / "no.so", "--stop-after", "canonicalize", capsys=capsys
    )
    assert code == 0
    assert out.count("-- loss after ") >= 1
    assert not (tmp_path / "no.so").exists()
    code, out, _ = run(
        "build", model, "-o", library, "--print-after", "canonicalize", capsys=capsys
    )
    assert "fn loss(" in out and library.exists()


def test_every_stage_is_dumped(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GRADC_DUMP", str(tmp_path / "dump"))
    assert run("build", model, "-o", tmp_path / "libmodel.so", capsys=capsys)[0] == 0
    names = sorted(p.name for p in (tmp_path / "dump").glob("loss.*"))
    assert names[0] == "loss.00.ir.txt"
    assert [name.split(".")[2] for name in names[-3:]] == ["loops", "llvm", "asm"]
    assert [name.split(".")[1] for name in names] == [f"{i:02}" for i in range(len(names))]


def test_wrong_use_of_build(model, tmp_path, capsys):
    library = tmp_path / "lib.so"
    code, _, err = run("build", model, "-o", library, "--stop-after", "nope", capsys=capsys)
    assert code == 2 and "eliminate_dead_code" in err
    code, _, err = run("build", model, "-o", library, "--target", "pdp11-dec-none", capsys=capsys)
    assert code == 2 and "pdp11" in err
    code, _, err = run(
        "build", source(tmp_path, "fn f(x: f64) { x }"), "-o", library, capsys=capsys
    )
    assert code == 2 and "exports nothing" in err
    assert "-o" in usage_error("build", model, capsys=capsys)
    assert not library.exists()


def test_nothing_is_written_where_the_source_has_errors(tmp_path, capsys):
    path = source(tmp_path, "fn f(x: f64) { y }\nexport f")
    assert run("build", path, "-o", tmp_path / "lib.so", capsys=capsys)[0] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["source.grad"]


def test_a_folder_that_does_not_exist(model, tmp_path, capsys):
    assert run("build", model, "-o", tmp_path / "no" / "lib.so", capsys=capsys)[0] == 4
    assert run("emit", model, "-o", tmp_path / "no" / "x.txt", capsys=capsys)[0] == 4


def test_devices_and_pipes_are_not_replaced(model, tmp_path, capsys):
    """A pipe stands for what must stay what it is, such as /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, _, err = run("build", model, "-o", pipe, capsys=capsys)
    assert (code, err) == (4, f"gradc build: {pipe}: is no regular file\n")
    assert pipe.is_fifo() and {p.name for p in tmp_path.iterdir()} == {"model.grad", "pipe"}
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run("emit", model, "-f", "loss", "-o", pipe, capsys=capsys)[0] == 0
    assert os.read(reader, 1 << 16).startswith(b"fn loss(")
    os.close(reader)
    assert pipe.is_fifo()


def test_no_linker(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    code, _, err = run("build", model, "-o", tmp_path / "lib.so", capsys=capsys)
    assert code == 4
    assert "no linker was found" in err


def test_inspect_of_what_is_no_library(model, tmp_path, capsys):
    code, _, err = run("inspect", model, capsys=capsys)
    assert code == 4
    assert str(model) in err
    assert run("inspect", tmp_path / "none.so", capsys=capsys)[0] == 4


def test_inspect_says_what_is_wrong_with_a_library(model, tmp_path, capsys):
    library = tmp_path / "libmodel.so"
    assert run("build", model, "-o", library, capsys=capsys)[0] == 0
    whole = library.read_bytes()
    newer = append_footer(whole, '{"gradc_abi": 1000, "gradc_version": "9.0"}')
    for data, reason in (
        (b"", "it is empty"),
        (b"hello", "it is no ELF shared library"),
        (whole[:40], "it is truncated: the ELF header is incomplete"),
        (whole[:4000], "it is truncated: 4000 bytes of at least"),
        (whole[:-1], "it has no gradc footer at its end"),
        (whole[:5000] + b"?" + whole[5001:], "it is corrupted"),
        (newer, "ABI 1000"),
    ):
        library.write_bytes(data)
        code, out, err = run("inspect", library, capsys=capsys)
        assert (code, out) == (4, "")
        assert err.startswith(f"gradc inspect: {library}: ") and reason in err


# info, usage, the process


def test_info(capsys):
    code, out, _ = run("info", capsys=capsys)
    assert code == 0
    for word in ("numpy", "llvmlite", "cpu", "vector width", "linker"):
        assert word in out


def test_usage(capsys):
    code, out, err = run(capsys=capsys)
    assert (code, out) == (2, "")
    assert "compile the exports to a shared library" in err
    assert "invalid choice" in usage_error("compile", "x", capsys=capsys)
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("gradc ")


def process(*arguments, **options):
    command = [sys.executable, "-m", "gradc", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": options.pop("encoding", "utf-8")}
    return subprocess.run(
        command, capture_output=True, env=environment, timeout=60, check=False, **options
    )


def test_the_process_exits_with_the_code(tmp_path):
    found = process("check", "-", input="fn f(x: f64) { é }".encode())
    assert found.returncode == 1
    assert b"G0102" in found.stderr
    assert (
        process("check", "-", input=b"fn f(x: f64) { \xc3\xa9 }", encoding="ascii").returncode == 1
    )


def test_a_process_ends_when_its_work_is_done():
    """Nothing is taken apart that the system takes back, and nothing that was written is lost."""
    code = (
        "import atexit, sys; from gradc.__main__ import main; sys.argv = ['gradc', 'check', '-'];"
        "atexit.register(print, 'taken apart'); print('before', end=''); main()"
    )
    command = [sys.executable, "-c", code]
    for text, status in ((LOGISTIC, 0), ("fn f(", 1)):
        found = subprocess.run(command, input=text.encode(), capture_output=True, timeout=60)
        assert found.returncode == status
        assert found.stdout.startswith(b"before") and b"taken apart" not in found.stdout
        assert (b"error[" in found.stderr) == bool(status)


def test_help_lists_all_commands_and_a_command_its_own_options(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "72")
    helps = {}
    for arguments in ((), ("check",), ("run",), ("cache",)):
        with pytest.raises(SystemExit) as caught:
            cli.main([*arguments, "--help"])
        assert caught.value.code == 0
        helps[arguments] = capsys.readouterr().out
        assert max(map(len, helps[arguments].splitlines())) <= 70
    commands = ("check", "build", "run", "emit", "inspect", "grad-check", "info", "cache")
    assert set(commands) <= set(helps[()].split())
    assert helps["run",].startswith("usage: gradc run ") and "--trap-nan" in helps["run",]
    assert "--trap-nan" not in helps["check",] and "{info,clean}" in helps["cache",]


def test_a_closed_pipe_is_no_error(model):
    command = f"{sys.executable} -m gradc emit {model} --stage=asm | head -c 1 > /dev/null"
    found = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, b"")


def test_what_a_check_does_not_import():
    """LLVM and Lark would take longer to load than a check takes; OpenSSL and shutil, 3 ms each."""
    code = (
        "import sys; from gradc.cli import main; main(['check', '-']); "
        "assert not {'lark', 'llvmlite', 'hashlib', 'shutil'} & set(sys.modules), [*sys.modules]"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], input=LOGISTIC.encode(), capture_output=True, timeout=60
    )
    assert found.returncode == 0, found.stderr.decode()[-300:]


def test_what_a_run_does_not_load():
    """Nor what this program has no use for, nor LLVM's code generators for other machines."""
    code = (
        "import sys; from gradc.cli import main\n"
        "values = [f'--arg={a}' for a in ('w=[0.1]', 'X=[[1]]', 'y=[0]', 'l2=0.1')]\n"
        "main(['run', '-', 'loss_grad', *values])\n"
        "names = ('lark', 'difflib', 'gradc.codegen.matmul', 'gradc.ir.text_parser',"
        " 'gradc.tracing', 'gradc.trap')\n"
        "print([name for name in names if name in sys.modules])\n"
        "from llvmlite.binding import Target\n"
        "Target.from_triple('riscv64-linux-gnu')"
    )
    environment = {**os.environ, "GRADC_CACHE": "off"}
    found = subprocess.run(
        [sys.executable, "-c", code], input=LOGISTIC, capture_output=True, text=True, timeout=60,
        env=environment,
    )  # fmt: skip
    assert found.stdout.startswith('{"value": ') and found.stdout.endswith("\n[]\n")
    assert "RuntimeError: No available targets" in found.stderr


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    from gradc.codegen.whole_file import write_whole

    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in Path(tmp_path).iterdir()] == ["file"]


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    from gradc.codegen.whole_file import write_whole

    with pytest.raises(FileNotFoundError) as raised:
        write_whole(tmp_path / "no" / "file", b"")
    assert raised.value.filename == str(tmp_path / "no" / "file")


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == GRADC_VERSION
    assert read_manifest(manifest_of([], host())).gradc_version == GRADC_VERSION
