"""The cut into kernels in words: `kernels/<name>.txt` is a function, `-- expected`, and the text.

With GRADC_UPDATE_GOLDEN=1 the expected part is rewritten; that run fails where anything changed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.cost import bytes_of, cost_of, least_bytes, total_of
from gradc.codegen.explain import explain_kernels
from gradc.codegen.lower import Cut, cut_into_kernels
from gradc.codegen.prepare import prepare
from gradc.codegen.rows import parts_of
from gradc.codegen.schedule import schedule
from gradc.codegen.steps import Nest, inlined_reads, reads, reads_of, written
from gradc.ir.dims import evaluate_dim, size
from gradc.ir.text import parse_function
from random_programs import random_function, with_derivatives

CASES = sorted((Path(__file__).parent / "kernels").glob("*.txt"))
MARK = "-- expected\n"
SIZES = {"n": 50, "m": 7}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_golden(case: Path) -> None:
    source, _, expected = case.read_text().partition(MARK)
    fn = parse_function(source)
    actual = explain_kernels(fn, fn.name, Choices(512))
    if os.environ.get("GRADC_UPDATE_GOLDEN") == "1":
        case.write_text(f"{source}{MARK}{actual}")
    assert actual == expected


def cut(text: str, choices: Choices = Choices()) -> Cut:  # noqa: B008
    return cut_into_kernels(parse_function(text), choices)


def test_what_a_loop_does_not_change_is_counted_once() -> None:
    """x[i] * exp(y[j]) over n by m: n*m products, but m exponentials."""
    found = cut(
        """fn f(x: f64[n], y: f64[m]) {
          %0 = exp(y)
          %1 = broadcast(x, shape=[n, m], axes=[0])
          %2 = broadcast(%0, shape=[n, m], axes=[1])
          %3 = mul(%1, %2)
          return %3
        }""",
        Choices(store="least"),
    )
    costs = [cost_of(found, step) for step in found.steps]
    n, m = size("n"), size("m")
    traffic, operations = total_of(costs)
    assert operations == n * m + 20 * m
    assert least_bytes(found, costs) == 8 * n * m + 8 * n + 8 * m
    assert evaluate_dim(traffic, SIZES) >= 8 * (50 * 7 + 50 + 7)


def test_a_part_of_an_array_is_counted_as_such() -> None:
    found = cut(
        "fn f(x: f64[n + 9]) { %0 = slice(x, starts=[3], stops=[n + 3], steps=[1]) "
        "%1 = neg(%0) return %1 }"
    )
    (cost,) = [cost_of(found, step) for step in found.steps]
    (x,) = found.fn.parameters
    assert dict(cost.reads) == {x: 8 * size("n")}
    assert cost.bytes == 16 * size("n")


def test_shifted_reads_of_one_array_are_no_more_than_the_array() -> None:
    found = cut(
        """fn f(x: f64[n + 2]) {
          %0 = slice(x, starts=[0], stops=[n], steps=[1])
          %1 = slice(x, starts=[2], stops=[n + 2], steps=[1])
          %2 = add(%0, %1)
          return %2
        }"""
    )
    (cost,) = [cost_of(found, step) for step in found.steps]
    assert list(cost.reads.values()) == [8 * size("n") + 16]


@pytest.mark.parametrize("store", ["by cost", "everything", "least"])
@pytest.mark.parametrize("seed", range(700, 703))
def test_random_programs_are_explained(seed: int, store: str) -> None:
    """Every array in memory has its line; the traffic is no less than inputs and results need."""
    fn = with_derivatives(random_function(seed))
    choices = Choices(store=store)
    text = explain_kernels(fn, "f", choices)
    found = cut_into_kernels(fn, choices)
    for value, buffer in (*found.outputs.items(), *found.arena.buffers.items()):
        assert f"  {buffer.name}: {value.type} = " in text
    costs = [cost_of(found, step) for step in found.steps]
    for step, cost in zip(found.steps, costs, strict=True):
        made = {value for part in parts_of(step) for value in written(part)}
        needed = {v for part in parts_of(step) for v in inlined_reads(part, found.stored)}
        assert needed <= made | cost.reads.keys()
    traffic, _ = total_of(costs)
    least = least_bytes(found, costs)
    assert evaluate_dim(traffic, SIZES) >= evaluate_dim(least, SIZES)
    assert evaluate_dim(least, SIZES) >= sum(
        evaluate_dim(bytes_of(v), SIZES) for v in found.fn.results
    )


@pytest.mark.parametrize("store", ["by cost", "everything", "least"])
@pytest.mark.parametrize("seed", range(710, 720))
def test_what_nests_note_that_they_read_is_what_lies_behind_their_roots(
    seed: int, store: str
) -> None:
    """Also where values that only their own nest reads are not stored in the end."""
    fn = prepare(with_derivatives(random_function(seed)))
    steps = schedule(fn, Choices(store=store))
    for nest in (step for step in steps.steps if isinstance(step, Nest)):
        own = {root.value for root in nest.roots}
        behind = {value for root in nest.roots for value, _ in reads(root, steps.stored)} - own
        assert {value for value, _ in reads_of(nest, steps.stored)} == behind


def test_work_that_terms_share_counts_once_when_vectors_run_side_by_side() -> None:
    """A tanh and products of its powers, each of which would count all that is before it."""
    fn = parse_function(
        """fn f(x: f64[n]) {
          %0 = tanh(x)
          %1 = mul(%0, %0)
          %2 = mul(%1, %0)
          %3 = add(%1, %2)
          %4 = mul(%3, %2)
          return %4
        }"""
    )
    assert "vectors of 4, 2 side by side" in explain_kernels(fn, "f", Choices(256))
