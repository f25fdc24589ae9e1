"""The source archive, the wheel made from it, an installed and an editable gradc (slow)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"frontend/gradc": "gradc", "ir": "gradc/ir", "codegen": "gradc/codegen",
            "runtime": "gradc/runtime"}  # fmt: skip

pytestmark = pytest.mark.slow

# What an installed gradc does: light imports, data files, a call in process, a library and back.
PROGRAM = """
import sys
import gradc
from gradc import f64
from gradc.runtime import module
assert not {"llvmlite", "lark"} & set(sys.modules), "imported too early"
from importlib.resources import files
assert "GRADC_ABI_VERSION" in (files("gradc.runtime") / "include" / "gradc.h").read_text()
assert (files("gradc") / "py.typed").is_file()

@gradc.function
def total(x: f64["n"]):
    return (x * x).sum()

assert total([1.0, 2.0]) == 5.0
gradc.build("libtotal.so", total=total)
assert gradc.load("libtotal.so").total([3.0, 4.0]) == 25.0
print(gradc.__file__)
"""

# What a user's own module may be checked with: types of arrays, and of what comes out.
TYPED = """
from typing import Annotated

import gradc
import gradc.tensor as gt
from gradc import f64

Rows = Annotated[gt.Tensor, f64["n", 2]]


@gradc.function
def total(x: Rows, scale: Annotated[gt.Tensor, f64]) -> gt.Tensor:
    return scale * gt.sum(x[1:] ** 2)


def graph() -> gt.Tensor:
    x = gt.vector("x")
    return gt.sum(x.at[0].set(1.0))


compiled: gradc.CompiledFunction = total
report: gradc.BuildReport = gradc.build("libtotal.so", total=total)
model: gradc.Module = gradc.load(report.library)
wrong: int = graph()
"""


def run(*command: object, folder: Path) -> str:
    """Run a command without what the environment says of Python's paths; its output."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def modules() -> set[str]:
    """Every module, data file and header that belongs into a wheel, by its name there."""
    suffixes = (".py", ".pyi", ".lark", ".json", ".h")
    return {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes or path.name == "py.typed"
        if "csrc" not in path.parts
    }


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with what builds packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    run(interpreter, "-m", "pip", "install", "-q", "build", folder=folder)
    return interpreter


@pytest.fixture(scope="module")
def sdist(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(python, "-m", "build", "-q", "--sdist", "-o", folder, ROOT, folder=folder)
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(python: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the source archive, built where the checkout cannot be seen."""
    folder = tmp_path_factory.mktemp("wheel")
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sdist, folder=folder)
    (found,) = folder.iterdir()
    return found


def test_the_source_archive_holds_sources_only(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"pyproject.toml", "CMakeLists.txt", "README.md", "runtime/csrc/call.c"} <= set(names)
    unwanted = (".so", ".o", ".pyc")
    assert [name for name in names if name.endswith(unwanted) or name.startswith("build/")] == []


def test_the_wheel_holds_every_module_and_one_extension(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    own = {name for name in names if name.startswith("gradc/")}
    extensions = {name for name in own if name.endswith(".so")}
    assert len(extensions) == 1
    assert extensions.pop().startswith("gradc/runtime/_core.")
    assert {name for name in own if not name.endswith(".so")} == modules()


def test_the_wheel_works_where_nothing_else_is(python: Path, wheel: Path, tmp_path: Path) -> None:
    run(python, "-m", "pip", "install", "-q", wheel, folder=tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    place = Path(run(python, "program.py", folder=tmp_path).strip())
    assert place.is_relative_to(python.parent.parent)
    assert "usage" in run(python, "-m", "gradc", "--help", folder=tmp_path).lower()
    assert "usage" in run(python.with_name("gradc"), "--help", folder=tmp_path).lower()
    check_types(python, tmp_path)
    run(python, "-m", "pip", "uninstall", "-q", "-y", "gradc", folder=tmp_path)


def check_types(python: Path, folder: Path) -> None:
    """mypy reads the types of the installed package: it finds the one mistake, and no other."""
    (folder / "typed.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
    done = subprocess.run([*command, "typed.py"], cwd=folder, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, done.stdout
    assert '(expression has type "Tensor", variable has type "int")' in errors[0]


def test_an_editable_install_runs_the_checkout(python: Path, tmp_path: Path) -> None:
    run(python, "-m", "pip", "install", "-q", "-e", ROOT, folder=tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    place = Path(run(python, "program.py", folder=tmp_path).strip())
    assert place == ROOT / "frontend" / "gradc" / "__init__.py"
    links = ROOT / "build" / "typing" / "gradc"
    for folder in ("ir", "codegen", "runtime", "__init__.py"):
        assert (links / folder).is_symlink()
        assert (links / folder).exists()
    run(python, "-m", "pip", "uninstall", "-q", "-y", "gradc", folder=tmp_path)
