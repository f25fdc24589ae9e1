"""docs/c_abi.md: its library is built, its C program compiled and run, its output compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gradc.runtime.manifest import read_manifest

PAGE = Path(__file__).parent.parent / "docs" / "c_abi.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of the page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


def run(*command: str, folder: Path) -> str:
    path = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's library, its header and manifest."""
    place = tmp_path_factory.mktemp("c_abi")
    (place / "build.py").write_text(blocks("python")[0])
    run(sys.executable, "build.py", folder=place)
    return place


def test_the_program_compiles_and_prints_what_the_page_says(folder: Path) -> None:
    (source,), (command,), (expected,) = blocks("c"), blocks("sh"), blocks("text")
    (folder / "program.c").write_text(source)
    assert run("sh", "-c", command, folder=folder) == expected


def test_the_program_is_right_under_the_memory_checker(folder: Path) -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not on this machine")
    library = (
        "import gradc.codegen.target as t, runpy, gradc\n"
        "build = gradc.build\n"
        "gradc.build = lambda path, **f: build(path, target='x86-64-v3', **f)\n"
        "runpy.run_path('build.py')\n"
    )
    place = folder / "avx2"
    place.mkdir()
    (place / "build.py").write_text(blocks("python")[0])
    run(sys.executable, "-c", library, folder=place)
    (place / "program.c").write_text(blocks("c")[0])
    run("cc", "-g", "program.c", "./liblogistic.so", "-o", "program", folder=place)
    run("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "./program", folder=place)


def test_other_languages_call_it(folder: Path) -> None:
    (folder / "call.py").write_text(blocks("python")[1])
    run(sys.executable, "call.py", folder=folder)


def test_the_manifest_of_the_page_is_one() -> None:
    (text,) = blocks("json")
    (function,) = read_manifest(text).functions
    assert str(function) == "windows(x: f64[2*n + 1, 3], scale: f64) -> f64[n - 7]"


def test_the_manifest_beside_the_library_is_its_own(folder: Path) -> None:
    import gradc

    module = gradc.load(folder / "liblogistic.so")
    assert read_manifest((folder / "logistic.json").read_text()) == module.manifest
    assert list(module) == ["loss", "loss_grad"]
