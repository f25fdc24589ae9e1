"""Golden cases: `golden/<stage>/<name>.txt` holds a function, `-- expected`, and what it becomes.

A case of the stage `elaborate` is a `.grad` source and the functions it declares; one of `loops` is
a function and its loops for vectors of 256 bits.

With GRADC_UPDATE_GOLDEN=1 the expected part is rewritten; that run fails where anything changed, so
that a change is seen and looked at.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.lower import lower
from gradc.elaborate import elaborate
from gradc.ir.function import Function
from gradc.ir.passes.canonical import canonicalize
from gradc.ir.passes.contractions import form_contractions
from gradc.ir.passes.cse import share_common_subexpressions
from gradc.ir.passes.dce import eliminate_dead_code
from gradc.ir.passes.indexing import simplify_indexing
from gradc.ir.passes.pads import join_pads
from gradc.ir.passes.pairs import share_pairs
from gradc.ir.passes.pipeline import optimize
from gradc.ir.passes.reciprocals import share_reciprocals
from gradc.ir.passes.scattered_factors import pull_factors_out_of_scatters
from gradc.ir.passes.simplify import simplify_algebra
from gradc.ir.passes.stability import stabilize
from gradc.ir.text import parse_function, print_function
from gradc.ir.transforms.batch import batch
from gradc.ir.transforms.expand import expand_composites
from gradc.ir.transforms.forward import pushforward
from gradc.ir.transforms.reverse import pullback
from gradc.ir.verify import verify
from gradc.listing import print_program
from gradc.parser import parse_source

GOLDEN = Path(__file__).parent / "golden"
MARK = "-- expected\n"


def every_parameter(fn: Function) -> list[int]:
    return list(range(len(fn.parameters)))


TRANSFORMS: dict[str, Callable[[Function], Function]] = {
    "dce": eliminate_dead_code,
    "cse": share_common_subexpressions,
    "fold": canonicalize,
    "shapes": canonicalize,
    "simplify": simplify_algebra,
    "stability": stabilize,
    "contractions": form_contractions,
    "indexing": simplify_indexing,
    "pads": join_pads,
    "pairs": share_pairs,
    "reciprocals": share_reciprocals,
    "scattered_factors": pull_factors_out_of_scatters,
    "pushforward": lambda fn: pushforward(fn, every_parameter(fn)),
    "pullback": lambda fn: pullback(fn, every_parameter(fn)),
    "batch": lambda fn: batch(fn, [0] + [None] * (len(fn.parameters) - 1), 5),
    "expand": expand_composites,
}


def transformed(work: Callable[[Function], Function], source: str) -> str:
    made = work(parse_function(source))
    verify(made)
    return print_function(made)


def elaborated(source: str) -> str:
    """The functions of a .grad source, derivatives too."""
    module = elaborate(parse_source(source, "case.grad"))
    return "\n".join(print_function(fn) for fn in module.functions.values())


def loops(source: str) -> str:
    fn = parse_function(source)
    return print_program(lower(optimize(fn, check=True), fn.name, Choices(vector_bits=256)))


STAGES: dict[str, Callable[[str], str]] = {
    **{name: partial(transformed, work) for name, work in TRANSFORMS.items()},
    "elaborate": elaborated,
    "loops": loops,
}


def test_every_stage_has_cases():
    assert {path.name for path in GOLDEN.iterdir()} == set(STAGES)
    assert all(list((GOLDEN / stage).glob("*.txt")) for stage in STAGES)


@pytest.mark.parametrize(
    "case", sorted(GOLDEN.rglob("*.txt")), ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_golden(case):
    source, _, expected = case.read_text().partition(MARK)
    actual = STAGES[case.parent.name](source)
    if os.environ.get("GRADC_UPDATE_GOLDEN") == "1":
        case.write_text(f"{source}{MARK}{actual}")
    assert actual == expected
