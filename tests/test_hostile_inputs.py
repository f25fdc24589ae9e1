"""Seeded misuse of the Python API and damaged programs: a small sample, and all that was found.

More: `python tests/hostile_calls.py SEED COUNT`, `python tests/hostile_programs.py SEED COUNT`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradc
import gradc.tensor as gt
import hostile_calls
import hostile_programs
import pytest
from command_line import run, source

SOURCES = hostile_programs.programs()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", range(8))
def test_any_call_gives_an_array_or_an_error_of_gradc(block: int) -> None:
    for seed in range(25 * block, 25 * block + 25):
        hostile_calls.check_program(seed)


@pytest.mark.parametrize("block", range(4))
def test_any_program_gets_an_answer(block: int, tmp_path: Path) -> None:
    for seed in range(100 * block, 100 * block + 100):
        hostile_programs.check_program(seed, tmp_path, SOURCES)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 1, 0),
        (0, 1, 0.0),
        (1e300,),
        (2**40,),
        (float("nan"),),
        ("a", 1j),
        (None, 3, None),
        ([],),
    ],
)
def test_aranges_that_cannot_be(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(gradc.GradcError):
        gt.arange(*arguments)


def test_a_linspace_that_no_memory_holds() -> None:
    with pytest.raises(gradc.GradcValueError, match="too many"):
        gt.linspace(0, 1, 10**15)


def test_a_step_of_zero_in_a_program(tmp_path: Path, capsys: Any) -> None:
    file = source(tmp_path, "fn f(x: f64) { x * arange(0, 1, 0) }")
    code, _, err = run("check", file, capsys=capsys)
    assert code == 1
    assert "error[G0202]: arange: from 0 to 1 in steps of 0" in err


def test_a_name_that_is_a_size_and_a_parameter_is_reported_once(
    tmp_path: Path, capsys: Any
) -> None:
    file = source(tmp_path, "fn f(x: f64[n, 3], rows: i64[x]) { x[0, rows] }")
    code, _, err = run("check", file, capsys=capsys)
    assert (code, err.count("error[")) == (1, 1)
