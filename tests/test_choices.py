"""Whatever the scheduler is made to choose, results agree with the reference evaluator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.target import host
from native import assert_agrees, native
from random_programs import random_arguments, random_function, with_derivatives

USUAL = Choices(host().vector_bits)
FORCED = {
    "store everything": replace(USUAL, store="everything"),
    "store least": replace(USUAL, store="least"),
    "no nest is shared": replace(USUAL, share=False),
    "fuse nothing": replace(USUAL, store="everything", share=False, rows=False, straight=False),
    "no rows": replace(USUAL, rows=False),
    "blocks of 1": replace(USUAL, block=1),
    "blocks of 64": replace(USUAL, block=64, straight=False),
    "loops for short rows": replace(USUAL, short="always", straight=False),
    "no loops for short rows": replace(USUAL, short="never"),
    "products finished in passes of their own": replace(USUAL, finish=False),
    "loops in phases": replace(USUAL, phases="always"),
    "loops in one piece": replace(USUAL, phases="never"),
    "an arena that is stacked": replace(USUAL, store="everything", stack="always"),
    "an arena in layers": replace(USUAL, stack="never"),
    "all terms of sums": replace(USUAL, select=False),
    "loops only": replace(USUAL, straight=False),
    "ends not apart": replace(USUAL, ends=False),
    "scalars": replace(USUAL, vector_bits=64),
    "128 bits": replace(USUAL, vector_bits=128),
    "256 bits": replace(USUAL, vector_bits=256),
}


def check(seed: int, choices: Choices) -> None:
    fn = with_derivatives(random_function(seed, equations=10))
    compiled = native(fn, choices=choices)
    for sizes in ({"n": 5, "m": 3}, {"n": 70, "m": 17}):
        assert_agrees(compiled, fn, random_arguments(fn, seed, **sizes))


@pytest.mark.parametrize("name", FORCED)
@pytest.mark.parametrize("seed", range(500, 506))
def test_forced_choice(name: str, seed: int) -> None:
    check(seed, FORCED[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORCED)
@pytest.mark.parametrize("seed", range(500, 600))
def test_forced_choice_on_many_programs(name: str, seed: int) -> None:
    check(seed, FORCED[name])
