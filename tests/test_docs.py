"""README.md and docs/: every block of code is run, here or by the test that `RUN_BY` names.

A page is run from top to bottom in a folder of its own:

    grad    is written to the file that its first line names, `# name.grad`
    c       is written to program.c
    python  is executed; all blocks of a page share their names
    sh      is executed; `gradc` and `cc` are on the PATH
    text    is what the block before it prints, where `...` stands for anything
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import pytest
from gradc import cli, f64

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
CODE = ("python", "grad", "c", "sh")

# Whose code is run by a test of its own; every other page is run here, from top to bottom.
RUN_BY = {
    "adding_an_op.md": "test_adding_an_op.py",
    "architecture.md": "test_docs.py",
    "c_abi.md": "test_c_abi.py",
    "language.md": "test_language.py",
    "python_api.md": "test_api.py",
}

# The commands under these headings of README.md are run by .ci/run, in fresh environments.
INSTALLATION = ("Install and run", "Install and test")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    heading: str


def blocks(page: Path) -> list[Block]:
    found, heading = [], ""
    for part in re.finditer(
        r"^#+ ([^\n]*)$|^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S
    ):
        if part[1] is not None:
            heading = part[1]
        else:
            found.append(Block(part[2], part[3], heading))
    return found


def fits(printed: str, expected: str) -> bool:
    """Whether a text is the expected one; `...` is anything, and so is the number of lanes."""
    lanes = re.compile(r"\(\d+ lanes( x \d+)?\)")
    parts = [re.escape(part) for part in lanes.sub("(lanes)", expected).strip().split("...")]
    return re.fullmatch(".*".join(parts), lanes.sub("(lanes)", printed).strip(), re.S) is not None


@dataclass
class Reader:
    """Runs a page in a folder, as a reader would who tries everything."""

    folder: Path
    names: dict[str, Any]

    def run(self, block: Block) -> str:
        """What the block prints."""
        if block.language == "python":
            return self._execute(block.text)
        if block.language == "sh":
            return self._shell(block.text)
        if block.language == "grad":
            name = re.match(r"# (\w+\.grad)\b", block.text)
            assert name, "the first line names the file"
            (self.folder / name[1]).write_text(block.text)
        else:
            (self.folder / "program.c").write_text(block.text)
        return ""

    def _execute(self, text: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, "page.py", "exec"), self.names)
        return out.getvalue()

    def _shell(self, text: str) -> str:
        search = [os.path.abspath(p) for p in sys.path if p]
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(search),
        }
        done = subprocess.run(
            ["sh", "-euc", text],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader in an empty folder, with this interpreter's `gradc` on the PATH."""
    command = tmp_path / "bin" / "gradc"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gradc "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    yield Reader(tmp_path, {"__name__": "page"})


def read(page: Path, reader: Reader) -> int:
    """Run a page; how many texts it was held against."""
    printed, compared = "", 0
    for block in blocks(page):
        if block.heading in INSTALLATION:
            continue
        if block.language == "text":
            assert fits(printed, block.text), (
                f"{page.name} says\n{block.text}\nbut it is\n{printed}"
            )
            compared += 1
        elif block.language in CODE:
            printed = reader.run(block)
    return compared


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_right(page: Path, reader: Reader) -> None:
    if page.name in RUN_BY:
        test = (ROOT / "tests" / RUN_BY[page.name]).read_text("utf-8")
        assert f'{page.name}"' in test
    else:
        read(page, reader)


def test_output_is_compared(reader: Reader) -> None:
    """The pages are held against what their code prints, so the test above can fail."""
    assert sum(b.language == "text" for b in blocks(ROOT / "docs" / "debugging.md")) >= 10
    assert read(ROOT / "README.md", reader) == 2
    assert fits("a 1\nb (4 lanes x 2)\n", "a ...\nb (8 lanes)")
    assert not fits("a\nb\n", "a\nc\n")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 150


def test_the_installation_is_run_by_ci() -> None:
    file = ROOT / ".ci" / "run"
    if not file.exists():
        pytest.skip("a source archive has no .ci")
    script = file.read_text("utf-8")
    for heading in INSTALLATION:
        assert f'"{heading}"' in script
        (command,) = (b for b in blocks(ROOT / "README.md") if b.heading == heading)
        assert command.language == "sh"


def test_the_declarations_in_the_architecture_are_those_of_a_library(tmp_path: Path) -> None:
    """The page's `c` block: a library's header declares it, or `gradc.h` the type of it."""

    @gradc.function
    def loss(w: f64["d"], X: f64["n", "d"], l2: f64) -> Any:  # noqa: F821
        return {"value": gt.sum((X @ w) ** 2) + l2}

    gradc.build(tmp_path / "liblogistic.so", loss=loss)
    header = _plain((tmp_path / "logistic.h").read_text())
    common = _plain((ROOT / "runtime" / "include" / "gradc.h").read_text())
    (block,) = (b for b in blocks(ROOT / "docs/architecture.md") if b.language == "c")
    declarations = [line.strip() for line in _plain(block.text).split(";") if line.strip()]
    assert len(declarations) == 5
    for declaration in declarations:
        generic = re.sub(r"\b(gradc_call|gradc_workspace)_loss", r"(*\1)", declaration)
        if generic == declaration:
            assert f"{declaration};" in header
        else:
            assert f"typedef {generic};" in common


def _plain(text: str) -> str:
    """C on one line, without comments."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"\s+", " ", text).replace("( ", "(")


# The pages among themselves


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_say_their_language(page: Path) -> None:
    known = {*CODE, "text", "json", ""}
    assert {block.language for block in blocks(page)} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    folders = "benchmarks|codegen|docs|examples|frontend|ir|runtime|tests"
    paths = [ROOT / path for path in re.findall(rf"(?<![\w/])((?:{folders})/[\w/]*\.\w+)\b", text)]
    assert [str(path) for path in (*links, *paths) if not path.exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [page.name for page in PAGES[1:] if page.name not in text] == []


def test_every_stage_is_documented() -> None:
    text = (ROOT / "docs" / "debugging.md").read_text("utf-8")
    table = re.findall(r"^\| (\w+) \| .* \| `gradc emit", text, re.M)
    assert sorted(table) == sorted(cli.STAGES)


def test_every_option_is_documented() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    documented = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", text))
    obvious = {"-h", "--help", "--output", "--function"}
    assert set(_options()) <= documented | obvious


def test_every_command_is_documented() -> None:
    manual = (ROOT / "docs" / "language.md").read_text("utf-8")
    documented = re.findall(r"^\| `gradc ([\w-]+)", manual, re.M)
    assert sorted(documented) == sorted(_commands())


def _commands() -> dict[str, argparse.ArgumentParser]:
    parser = cli._parser(())
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def _options() -> Iterator[str]:
    for command in _commands().values():
        for action in command._actions:
            yield from action.option_strings
