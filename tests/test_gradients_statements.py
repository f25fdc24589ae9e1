"""docs/gradients.md and its tests have the same statements, numbered without a gap."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "gradients.md"
FILES = tuple(TESTS / f"test_gradients_{part}.py" for part in ("meaning", "forms", "rules"))


def test_every_statement_is_a_test() -> None:
    stated = [int(n) for n in re.findall(r"^(\d+)\. ", PAGE.read_text(), re.MULTILINE)]
    tested = [
        int(n)
        for file in FILES
        for n in re.findall(r"^def test_s(\d+)_", file.read_text(), re.MULTILINE)
    ]
    assert stated == list(range(1, len(stated) + 1))
    assert tested == stated
    assert len(stated) >= 80


def test_the_files_say_which_statements_they_hold() -> None:
    for file in FILES:
        text = file.read_text()
        numbers = [int(n) for n in re.findall(r"^def test_s(\d+)_", text, re.MULTILINE)]
        assert f"Statements {numbers[0]} to {numbers[-1]} of docs/gradients.md" in text
