"""The benchmark suite: how results are compared, what fails a run, how the tables are made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _in_benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_peers_keep_the_modules_that_python_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processes import environment

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    script = "import sys; print(sys.dont_write_bytecode)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_every_workload_has_all_peers_or_says_why_not() -> None:
    from suite import FRAMEWORKS
    from workloads import NAMES, workload

    for name in NAMES:
        chosen = workload(name)
        for sizes in chosen.cases.values():
            known = {"gradc", "cpp", *chosen.peers, *chosen.absent(sizes)}
            assert known == set(FRAMEWORKS), name
            assert (FOLDER / "peers" / f"{chosen.cpp}.cpp").exists()


SMALL = {
    "n_body": (7,),
    "gmm": (9, 3, 4),
    "bundle_adjustment": (11, 3, 5),
    "mlp": (4, 5, 6, 3, 64),
    "softmax_regression": (9, 5, 3),
}


def small_sizes(name: str, chosen: Any) -> tuple[int, ...]:
    first = next(iter(chosen.cases.values()))
    return SMALL.get(name, tuple(min(n, 8) for n in first))


def arrays_of(result: Any) -> list[Any]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(x) for part in parts for x in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize(
    "name",
    ["logistic", "gmm", "black_scholes", "hierarchical", "log_sum_exp", "softmax_regression",
     "kmeans", "n_body", "mlp", "bundle_adjustment", "rosenbrock"],
)  # fmt: skip
def test_the_models_of_a_workload_agree(name: str) -> None:
    """In gradc, in gradc's language, and by hand in NumPy."""
    if name == "black_scholes":
        pytest.importorskip("scipy", reason="its error function stands in the model in NumPy")
    from gradc.driver import CompiledFunction
    from gradc.elaborate import elaborate_source
    from processes import distance
    from workloads import workload

    chosen = workload(name)
    sizes = small_sizes(name, chosen)
    inputs = chosen.data(sizes)
    expected = arrays_of(chosen.peers["numpy"](sizes)(*inputs))
    gradient, _ = chosen.gradc(sizes)
    assert distance(expected, arrays_of(gradient(*inputs))) < 1e-9
    text = chosen.language(sizes)
    if text:
        fn = elaborate_source(text, f"{name}.grad").functions["gradient"]
        assert fn.parameter_names == gradient.ir.parameter_names
        assert distance(expected, arrays_of(CompiledFunction(fn, False)(*inputs))) < 1e-9


@pytest.mark.parametrize("name", ["hand_tracking", "robot_arm", "robot_arm_hvp"])
def test_the_gradients_by_hand_are_right(name: str) -> None:
    """NumPy by hand against central differences of the models' own formulas."""
    from workloads import robot_arm, workload
    from workloads.hand_tracking import residuals

    chosen = workload(name)
    inputs = chosen.data((8,))
    by_hand = chosen.peers["numpy"]((8,))(*inputs)
    stack, zero = np.stack, np.asarray(0.0)
    if name == "hand_tracking":
        expected = differences(
            lambda q: residuals(np, stack, np.asarray, q, *inputs[1:]), inputs[0]
        )
        np.testing.assert_allclose(by_hand[1], expected, atol=1e-7)
        return

    def end(q: Any) -> Any:
        return robot_arm.end_position(np, stack, zero, q, *inputs[1:5])

    if name == "robot_arm":
        np.testing.assert_allclose(by_hand[1], differences(end, inputs[0]), atol=1e-8)
        return
    target, v = inputs[5:]
    slope = lambda q: differences(lambda p: 0.5 * np.sum((end(p) - target) ** 2), q) @ v  # noqa: E731
    np.testing.assert_allclose(by_hand, differences(slope, inputs[0], 1e-4), atol=1e-5)


# For the C++: whole blocks of vectors, and a rest.
BLOCKS = {
    "logistic": (101, 13),
    "gmm": (45, 10, 3),
    "black_scholes": (1100,),
    "hierarchical": (101, 7),
    "log_sum_exp": (2100,),
    "softmax_regression": (45, 13, 10),
    "kmeans": (45, 10, 13),
    "n_body": (45,),
    "mlp": (45, 300, 61, 10, 64),
    "bundle_adjustment": (101, 3, 5),
    "hand_tracking": (45,),
    "rosenbrock": (45,),
}
FILES = sorted(file.stem for file in (FOLDER / "peers").glob("*.cpp"))
LEVELS = ("x86-64", "x86-64-v3", "native")  # of which this machine may miss the second


def workloads_by_hand() -> list[str]:
    return [name for name in FILES if name != "floor"]


def check_by_hand(name: str, folder: Path, *flags: str) -> None:
    """The C++ with these flags against NumPy."""
    from frameworks import by_hand, flat
    from harness import CXX
    from processes import distance
    from workloads import workload

    chosen = workload(name)
    sizes = BLOCKS.get(name) or small_sizes(name, chosen)
    inputs = chosen.data(sizes)
    # NumPy has no error function
    reference = chosen.gradc(sizes)[0] if name == "black_scholes" else chosen.peers["numpy"](sizes)
    made = by_hand(chosen, sizes, inputs, folder, (*CXX, "-Werror", *flags))
    assert distance(flat(reference(*inputs)), made.entries["C++"].result()) < 1e-9, flags


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("name", workloads_by_hand())
def test_the_gradients_in_cpp_are_right(name: str, tmp_path: Path) -> None:
    check_by_hand(name, tmp_path, "-O1")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("name", workloads_by_hand())
def test_the_gradients_in_cpp_are_right_in_vectors_of_any_width(name: str, tmp_path: Path) -> None:
    for level in LEVELS:
        if level == "x86-64-v3" and "avx2" not in Path("/proc/cpuinfo").read_text():
            continue
        (tmp_path / level).mkdir()
        check_by_hand(name, tmp_path / level, f"-march={level}")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_the_floors_and_vectors_compile_for_every_width(level: str, tmp_path: Path) -> None:
    from harness import CXX, compile_library

    for name in ("floor", "hand_tracking"):
        source = FOLDER / "peers" / f"{name}.cpp"
        compile_library(source, tmp_path / "peer.so", (*CXX, "-Werror", f"-march={level}", "-O1"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_loading_the_c_leaves_subnormal_numbers_alone() -> None:
    from harness import compile_c

    compile_c("double half(double x) { return 0.5 * x; }")
    assert np.array([5e-324])[0] * np.array([1.0])[0] > 0


def differences(f: Any, x: Any, step: float = 1e-5) -> Any:
    """The derivative of f at x, by central differences along the last axis."""
    moves = step * np.eye(len(x))
    return np.stack([(f(x + move) - f(x - move)) / (2 * step) for move in moves], axis=-1)


def test_distances() -> None:
    from processes import distance

    ones = [np.ones(3)]
    assert distance(ones, [np.ones((3, 1))]) == 0
    assert distance(ones, [np.ones(4)]) == float("inf")
    assert distance(ones, [np.array([1, np.nan, 1])]) == float("inf")
    assert distance([np.zeros(2), 4 * np.ones(2)], [np.zeros(2), np.array([4, 5.0])]) == 0.25


def test_wrong_results_and_our_own_failures_fail_the_run() -> None:
    from suite import WRONG, failures

    row = {"title": "t", "case": "c", "missing": {"jax": "not installed", "torch": f"{WRONG} by 1"}}
    assert failures([row]) == [f"t, c: torch: {WRONG} by 1"]
    assert failures([{**row, "missing": {"gradc": "ValueError"}}]) == ["t, c: gradc: ValueError"]
    assert failures([{**row, "missing": {"casadi": "it computes in f64 only"}}]) == []


def test_added_peers_replace_theirs_only() -> None:
    from suite import joined

    row = {"case": "c", "entries": {"gradc": 1, "torch": 2}, "missing": {"jax": "old"}}
    other = {"case": "c", "entries": {"C++": 5, "jax": 3}, "missing": {"torch": "new"}}
    found = joined(row, [other], ["cpp", "jax", "torch"])
    assert found["entries"] == {"gradc": 1, "jax": 3}
    assert found["missing"] == {"torch": "new"}
    assert joined(row, [], ["jax"]) is row


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_suite_that_is_ended_leaves_no_folders(tmp_path: Path) -> None:
    words = [sys.executable, "suite.py", "--quick", "--peers", "cpp", "--rounds", "100000"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    suite = subprocess.Popen([*words, "rosenbrock"], cwd=FOLDER, env=environment)
    for _ in range(600):
        if list(tmp_path.glob("*/cpp/*.so")):
            break
        time.sleep(0.1)
    assert list(tmp_path.glob("*/cpp/*.so"))
    suite.terminate()
    assert suite.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_a_floor_is_the_larger_of_memory_and_arithmetic() -> None:
    from floors import floor_of

    assert floor_of({"memory": 3.0, "memory_streaming": 2.0, "arithmetic": 1.0}) == 2.0
    assert floor_of({"memory": 3.0, "memory_streaming": 2.0, "arithmetic": 2.5}) == 2.5


def test_the_tables_of_the_page_are_those_of_the_results() -> None:
    made = subprocess.run(
        [sys.executable, "report.py", "--print"], cwd=FOLDER, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    page = (FOLDER.parent / "docs" / "performance.md").read_text()
    between = page.split("<!-- benchmarks: begin -->")[1].split("<!-- benchmarks: end -->")[0]
    assert between.strip() == made.stdout.strip()
