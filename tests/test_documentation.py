"""What users write about their functions reaches the header, the manifest, Python and `inspect`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import gradc
import gradc.tensor as gt
import pytest
from gradc import f64
from gradc.cli import main
from gradc.elaborate import elaborate
from gradc.parser import parse_source

SOURCE = """\
# The length of x, energyd.
#
#   x: any vector, */ and "quotes" \\ /* and \u00e9\t
fn energy(x: f64[n]) -> f64 { sum(x ** 2) }

# Twice x.
slope = grad(energy, wrt: x)
export energy
export slope
export curved = hvp(energy,
    wrt: x)  # not this
# Another name.
export again = energy
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documentation")
    (folder / "energy.grad").write_text(SOURCE, encoding="utf-8")
    path = folder / "libenergy.so"
    assert main(["build", str(folder / "energy.grad"), "-o", str(path)]) == 0
    return path


def test_comments_and_definitions() -> None:
    found = elaborate(parse_source(SOURCE, "energy.grad")).documentation
    assert found["energy"].splitlines()[0] == "The length of x, energyd."
    assert found["slope"] == "Twice x."
    assert found["curved"] == "hvp(energy, wrt: x)"
    assert found["again"] == "Another name."


def test_the_manifest_holds_the_texts(library: Path) -> None:
    entries = json.loads(library.with_name("energy.json").read_text())["functions"]
    texts = {entry["name"]: entry["documentation"] for entry in entries}
    assert texts["energy"].endswith('*/ and "quotes" \\ /* and \u00e9')
    assert texts["curved"] == "hvp(energy, wrt: x)"


def test_a_loaded_function_shows_them(library: Path) -> None:
    energy = gradc.load(library).energy
    first, _, text, *_ = energy.__doc__.splitlines()
    assert first == "energy(x: f64[n]) -> f64"
    assert text == "The length of x, energyd."


def test_inspect_shows_them(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(library)]) == 0
    assert "\nTwice x.\n\nArguments:\n" in capsys.readouterr().out


def test_the_header_is_a_comment_that_nothing_ends(library: Path) -> None:
    header = library.with_name("energy.h").read_text(encoding="utf-8")
    assert ' * The length of x, energyd.\n *\n *   x: any vector, * / and "quotes" \\ / *' in header
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    source = f'#include "{library.with_name("energy.h")}"\nint main(void) {{ return 0; }}\n'
    done = subprocess.run([*command, "-xc", "-"], input=source, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_docstring_of_python_reaches_the_library(tmp_path: Path) -> None:
    @gradc.function
    def energy(x: f64["n"]):  # noqa: F821
        """The length of x, energyd.

        Its gradient is 2 x.
        """
        return gt.sum(x**2)

    report = gradc.build(tmp_path / "libs.so", energy=energy, slope=gradc.grad(energy, wrt="x"))
    text = "The length of x, energyd.\n\nIts gradient is 2 x."
    entries = json.loads(report.manifest.read_text())["functions"]
    assert [entry["documentation"] for entry in entries] == [text, ""]
