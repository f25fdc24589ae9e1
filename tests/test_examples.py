"""The examples run by their one command, and find what they say they find."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PYTHON = Path(sys.executable)


def printed(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GRADC": f"{PYTHON} -m gradc", **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_logistic_finds_one_optimum_from_python_and_c() -> None:
    text = printed(PYTHON, EXAMPLES / "logistic" / "run.py")
    assert re.search(r"NumPy +agrees to \d\.\de-1\d", text)
    assert "accuracy  0.9877" in text
    if shutil.which("cc"):
        assert text.count("0.059829471881805") == 3
        assert re.search(r"Python and C agree to \d\.\de-1\d", text)


def test_logistic_without_a_c_compiler(tmp_path: Path) -> None:
    linker = shutil.which("ld")
    if linker is None:
        pytest.skip("no linker")
    (tmp_path / "ld").symlink_to(linker)
    text = printed(PYTHON, EXAMPLES / "logistic" / "run.py", PATH=str(tmp_path))
    assert "no C compiler (cc) on the PATH: skipped" in text
    assert "accuracy  0.9877" in text


def test_logistic_leaves_its_files_where_it_is_told_to(tmp_path: Path) -> None:
    printed(PYTHON, EXAMPLES / "logistic" / "run.py", "--out", tmp_path / "built")
    assert {"liblogistic.so", "logistic.h", "logistic.json"} <= {*os.listdir(tmp_path / "built")}


def test_the_sampler_converges() -> None:
    """It stops with a word where the chains do not agree with one another and with the formula."""
    text = printed(PYTHON, EXAMPLES / "sampler" / "run.py", "--draws", "500")
    found = re.search(r"body_mass +(\S+) ", text)
    assert found is not None
    assert abs(float(found[1]) - 0.318) < 0.02


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_arm_follows_the_circle() -> None:
    text = printed("sh", EXAMPLES / "robot_arm" / "run.sh")
    assert re.search(r"Jacobian +agrees with differences to \d\.\de-(09|1\d)", text)
    assert len(re.findall(r"mm off the circle", text)) == 8
    assert re.search(r"control .* 0\.0\d+ mm off at most", text)
