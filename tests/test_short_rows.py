"""Rows whose lengths are not known: a call that finds them short has the rows in its lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeAlias

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.choices import Choices
from gradc.codegen.explain import explain_kernels
from gradc.codegen.llvm import emit_module
from gradc.codegen.loop_plan import plan_loops
from gradc.codegen.lower import cut_into_kernels, lower
from gradc.codegen.row_group import RowGroup
from gradc.codegen.steps import Nest, ProductStep
from gradc.codegen.target import Target, host
from gradc.ir.dims import size
from gradc.ir.evaluate import evaluate
from gradc.ir.function import Function
from gradc.ir.loops import For, If, Statement
from native import native

Make: TypeAlias = Callable[[str], Function]

USUAL = Choices(host().vector_bits)
ALWAYS = replace(USUAL, short="always")
CHOICES = {
    "usual": USUAL,
    "always": ALWAYS,
    "blocks of 1": replace(ALWAYS, block=1),
    "512 bits": replace(ALWAYS, vector_bits=512),
    "scalars": replace(ALWAYS, vector_bits=64),
}
ROWS = (0, 1, 7, 33, 64, 130)
# Alternatives (or classes) and dimensions: short, on both sides of the limits, and long.
LENGTHS = ((1, 1), (3, 4), (4, 3), (5, 5), (6, 0), (1, 17), (17, 3), (17, 5), (40, 2))


def choices_of_alternatives(dtype: str) -> Function:
    """A logit: arrays of three axes, booleans, and numbers of alternatives."""
    weights, offsets = gt.tensor("w", dtype, ("d",)), gt.tensor("a", dtype, ("j",))
    x, given = gt.tensor("x", dtype, ("n", "j", "d")), gt.tensor("given", "bool", ("n", "j"))
    chosen = gt.tensor("chosen", "i64", ("n",))
    utility = gt.where(given, x @ weights + offsets, -30.0)
    shares = gt.log_softmax(utility, axis=1)
    cost = -gt.sum(gt.take_along_axis(shares, chosen[:, None], axis=1))
    inputs = [weights, offsets]
    return gradc.function([*inputs, x, given, chosen], [cost, *gradc.grad(cost, inputs)]).optimized


def classes(dtype: str) -> Function:
    """Products of unknown size beside the rows."""
    weights, x = gt.tensor("w", dtype, ("d", "j")), gt.tensor("x", dtype, ("n", "d"))
    cost = gt.sum(gt.logsumexp(x @ weights, axis=1))
    return gradc.function([weights, x], [cost, gradc.grad(cost, weights)]).optimized


def normalised(dtype: str) -> Function:
    """Means and variances of rows, with a gradient of every row, and integers in the rows."""
    x, marks = gt.tensor("x", dtype, ("n", "j")), gt.tensor("marks", "i32", ("n", "j"))
    scale = gt.tensor("scale", dtype, ("j",))
    centred = x - gt.mean(x, axis=1)[:, None]
    spread = gt.sqrt(gt.mean(centred**2, axis=1) + 1.0)
    weights = gt.exp(-gt.abs(marks).astype(dtype))
    cost = gt.sum((centred / spread[:, None] * scale - 1.0) ** 2 * weights)
    inputs = [x, scale]
    return gradc.function([*inputs, marks], [cost, *gradc.grad(cost, inputs)]).optimized


def components(dtype: str) -> Function:
    """A mixture with a variance for each component and dimension."""
    means, widths = gt.tensor("m", dtype, ("j", "d")), gt.tensor("s", dtype, ("j", "d"))
    x = gt.tensor("x", dtype, ("n", "d"))
    z = (x[:, None, :] - means) * gt.exp(-widths)
    cost = gt.sum(gt.logsumexp(-0.5 * gt.sum(z**2, axis=2), axis=1))
    inputs = [means, widths]
    return gradc.function([*inputs, x], [cost, *gradc.grad(cost, inputs)]).optimized


def layers(dtype: str) -> Function:
    """A product of known size, which stays one of the packed kernel, before one that does not."""
    first, second = gt.tensor("w", dtype, (20, 24)), gt.tensor("v", dtype, (24, "j"))
    x = gt.tensor("x", dtype, ("n", 20))
    cost = gt.sum(gt.logsumexp(gt.tanh(x @ first) @ second / 5.0, axis=1))
    inputs = [first, second]
    return gradc.function([*inputs, x], [cost, *gradc.grad(cost, inputs)]).optimized


MODELS = [choices_of_alternatives, classes, normalised, components]


def arguments(fn: Function, sizes: Mapping[str, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(sizes["n"])
    found = []
    for value in fn.parameters:
        shape, dtype = [sizes.get(str(d), d) for d in value.shape], value.dtype.numpy
        if value.dtype.is_float:
            found.append(rng.normal(size=shape).astype(dtype))
        else:
            found.append(
                rng.integers(0, 2 if dtype is np.bool_ else sizes["j"], shape).astype(dtype)
            )
    return found


def check(fn: Function, choices: Choices, lengths: Sequence[tuple[int, int]]) -> None:
    compiled = native(fn, choices=choices)
    for n, (j, d) in product(ROWS, lengths):
        given = arguments(fn, {"n": n, "j": j, "d": d})
        for found, wanted in zip(compiled(*given), evaluate(fn, *given), strict=True):
            scale = max(1.0, float(np.max(np.abs(wanted), initial=0.0)))
            tolerance = 1e-11 if found.dtype == np.float64 else 2e-4
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("made", MODELS)
def test_choices(made: Make, name: str) -> None:
    check(made("f64"), CHOICES[name], ((3, 5), (17, 5)))


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize("made", [*MODELS, layers])
def test_lengths(made: Make, dtype: str) -> None:
    check(made(dtype), ALWAYS, LENGTHS)


def group_of(fn: Function, choices: Choices) -> RowGroup:
    (group, *_) = (s for s in cut_into_kernels(fn, choices).steps if isinstance(s, RowGroup))
    return group


@pytest.mark.parametrize("made", MODELS)
def test_short_rows_are_in_lanes(made: Make) -> None:
    """All loops of a block have vectors of rows, and no product is one of the packed kernel."""
    group = group_of(made("f64"), Choices(256, short="always"))
    assert group.short is not None
    short, _ = group.short
    assert not any(isinstance(step, ProductStep) for step in short.steps)
    for nest in (step for step in short.steps if isinstance(step, Nest)):
        loops = plan_loops(nest, 4, short.columns | short.tiles, True, short.usual)
        assert [loop.axes for loop in loops if loop.lanes > 1] == [(0,)]


def loops_in(body: Sequence[Statement]) -> list[tuple[int, int, int]]:
    """The step, lanes and copies of all loops, in order."""
    found = []
    for loop in (s for s in body if isinstance(s, For)):
        found += [(loop.step, loop.lanes, loop.copies), *loops_in(loop.body)]
    return found


def test_other_calls_run_the_loops_that_there_would_be_alone() -> None:
    made = choices_of_alternatives("f64")
    short, others = (
        loops_in(s.body)
        for s in lower(made, "f", Choices(256)).kernels[0].body
        if isinstance(s, If)
    )
    alone = loops_in(lower(made, "f", Choices(256, short="never")).kernels[0].body)
    assert others == alone != short


def test_cost_decides() -> None:
    """Where rows are in the lanes anyway, or few terms are computed, nothing is written twice."""
    assert group_of(choices_of_alternatives("f64"), Choices(256)).short is not None
    centres, x = gt.tensor("c", "f64", ("k", 3)), gt.tensor("x", "f64", ("n", 3))
    cost = gt.sum(gt.min(gt.sum((x[:, None, :] - centres) ** 2, axis=2), axis=1))
    fn = gradc.function([centres, x], [cost, gradc.grad(cost, centres)]).optimized
    assert group_of(fn, Choices(256)).short is None


def test_what_is_said() -> None:
    text = explain_kernels(choices_of_alternatives("f64"), "f", Choices(256))
    assert "16 rows at a time, or 32 where they are short (" in text
    assert "d*j <= 64" in text


def test_square_arrays_have_no_short_rows() -> None:
    """Where rows are short there are few of them, too."""
    for columns in ("n", 2 * size("n")):
        x = gt.tensor("x", "f64", ("n", columns))
        cost = gt.sum(gt.logsumexp(x, axis=1))
        fn = gradc.function([x], [cost, gradc.grad(cost, x)]).optimized
        assert group_of(fn, ALWAYS).short is None


def test_rows_of_known_length_are_written_once() -> None:
    x = gt.tensor("x", "f64", ("n", 6))
    cost = gt.sum(gt.logsumexp(x, axis=1))
    fn = gradc.function([x], [cost, gradc.grad(cost, x)]).optimized
    assert all(
        s.short is None
        for s in cut_into_kernels(fn, replace(ALWAYS, straight=False)).steps
        if isinstance(s, RowGroup)
    )


@pytest.mark.parametrize("cpu", ["x86-64", "znver4"])
def test_tiles_of_booleans_are_no_gathers(cpu: str) -> None:
    """Bytes of a row are copied one by one: masked gathers of bytes are a branch each."""
    target = Target(host().triple, cpu)
    made = lower(choices_of_alternatives("f64"), "f", Choices(target.vector_bits, short="always"))
    assert "gather.v8i8" not in emit_module([made], "", target)
