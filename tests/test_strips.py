"""Small products over rows in strips: zeros in known places, and entries that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import gradc
import gradc.tensor as gt
import numpy as np
import pytest
from gradc.codegen.loop_plan import plan_loops
from gradc.codegen.lower import cut_into_kernels, lower
from gradc.codegen.row_group import RowGroup
from gradc.codegen.steps import Nest
from gradc.ir.function import Function
from gradc.listing import print_program
from test_row_blocks import CHOICES, USUAL, check

Make: TypeAlias = Callable[[Any, int], Any]


def packed(x: Any, d: int) -> Any:
    """Lower triangles of which x holds the logarithms of the diagonals, then what is below them."""
    rows, columns = np.tril_indices(d, -1)
    lower = gt.zeros((x.shape[0], d, d), dtype=x.dtype).at[:, rows, columns]
    diagonal = lower.set(x[:, d : d + len(rows)]).at[:, np.arange(d), np.arange(d)]
    return diagonal.set(gt.exp(x[:, :d]))


def square(x: Any, d: int) -> Any:
    return gt.reshape(x, (x.shape[0], d, d))


FORMS: dict[str, Make] = {
    "packed": packed,
    "tril": lambda x, d: gt.tril(square(x, d)),
    "below the diagonal": lambda x, d: gt.tril(square(x, d), -1),
    "triu": lambda x, d: gt.triu(square(x, d), 1),
    "band": lambda x, d: gt.tril(gt.triu(square(x, d), -2), 2),
    "few rows": lambda x, d: gt.zeros((d, d), dtype=x.dtype) + square(x, d).at[:, 3:].set(0),
}


def likelihood(
    make: Make, dtype: str, k: int | None, d: int, n: int | str = "n"
) -> tuple[list[Any], Any]:
    """The arguments and the log likelihood of a mixture of such matrices."""
    means, q = gt.tensor("m", dtype, (k or "k", d)), gt.tensor("q", dtype, (k or "k", d * d))
    x = gt.tensor("x", dtype, (n, d))
    y = gt.einsum("kab,nkb->nka", make(q, d), x[:, None, :] - means)
    return [means, q, x], gt.sum(gt.logsumexp(-gt.sum(y**2, axis=2), axis=1))


def mixture(make: Make, dtype: str, k: int | None, d: int, n: int | str = "n") -> Function:
    """The same with its gradient."""
    inputs, cost = likelihood(make, dtype, k, d, n)
    return gradc.function(inputs, [cost, *gradc.grad(cost, inputs[:2])]).optimized


def groups_of(fn: Function) -> list[RowGroup]:
    return [step for step in cut_into_kernels(fn, USUAL).steps if isinstance(step, RowGroup)]


def parts_of(fn: Function) -> list[int]:
    """The number of strips of each product of a function's blocks of rows."""
    nests = [step for g in groups_of(fn) for step in g.steps if isinstance(step, Nest)]
    return [len(nest.parts) for nest in nests if nest.parts]


@pytest.mark.parametrize(("form", "d", "strips"), [("packed", 10, 3), ("tril", 32, 8)])
def test_triangles_are_cut(form: str, d: int, strips: int) -> None:
    """The product with the triangle, and that which gives its gradient."""
    assert parts_of(mixture(FORMS[form], "f64", None, d))[:2] == [strips, strips]


def test_strips_share_the_loop_around_them() -> None:
    """What one component reads stays in the first cache: all its strips, then the next one's."""
    (group, *_) = groups_of(mixture(packed, "f64", None, 10))
    columns = group.columns | group.tiles
    for nest in (step for step in group.steps if isinstance(step, Nest) and step.parts):
        outer = [plan_loops(part, 4, columns, in_block=True)[0] for part in nest.parts]
        assert outer[0].axes != (0,)
        assert all(loop == outer[0] for loop in outer)


@pytest.mark.parametrize(("form", "terms"), [("packed", 20), ("tril", 15), ("triu", 10)])
def test_axes_that_are_written_out_leave_zeros_out(form: str, terms: int) -> None:
    """Terms with zeros in known places, and sums over rows that nobody reads, are not written."""
    assert written_terms(mixture(FORMS[form], "f64", None, 2)) == terms
    assert written_terms(mixture(square, "f64", None, 2)) == 24


def written_terms(fn: Function) -> int:
    """The products in a function's loops that are added up."""
    return print_program(lower(fn, "f", USUAL)).count(" = term(")


def test_full_matrices_are_not_cut() -> None:
    assert parts_of(mixture(square, "f64", None, 10)) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("d", [3, 10])
def test_choices(form: str, name: str, d: int) -> None:
    check(mixture(FORMS[form], "f64", None, d), CHOICES[name], 5)


@pytest.mark.parametrize("dtype", ["f64", "f32"])
@pytest.mark.parametrize(("k", "d"), [(None, 2), (3, 4), (None, 5), (None, 13), (3, 9), (None, 32)])
@pytest.mark.parametrize("form", ["packed", "below the diagonal"])
def test_widths(form: str, k: int | None, d: int, dtype: str) -> None:
    check(mixture(FORMS[form], dtype, k, d), USUAL, k or 6)


@pytest.mark.parametrize("n", [128, 203])
def test_known_numbers_of_rows(n: int) -> None:
    fn = mixture(packed, "f64", 4, 10, n)
    assert parts_of(fn)
    check(fn, USUAL, 4)


def test_second_derivatives() -> None:
    (means, q, x), cost = likelihood(packed, "f64", None, 10)
    t = gt.tensor("t", "f64", ("k", 100))
    product = gradc.grad(gt.sum(gradc.grad(cost, q) * t), q)
    fn = gradc.function([means, q, x, t], [product]).optimized
    assert parts_of(fn)
    check(fn, USUAL, 3)


def test_one_matrix_for_all_rows() -> None:
    """Sums over the rows that no loop but theirs goes around."""
    q, x = gt.tensor("q", "f64", (8, 8)), gt.tensor("x", "f64", ("n", 8))
    cost = gt.sum(gt.log1p((x @ gt.tril(q).T) ** 2))
    fn = gradc.function([q, x], [cost, gradc.grad(cost, q)]).optimized
    for name in CHOICES:
        check(fn, CHOICES[name], 1)


def test_entries_that_nobody_reads_are_not_computed() -> None:
    """Rows over rows of which only a triangle is gathered: fewer operations, the same numbers."""
    d = 16
    x = gt.tensor("x", "f64", ("n", d))
    moments = gt.sin(x).T @ gt.cos(x)
    some = gradc.function([x], [moments[np.tril_indices(d)], gt.sum(gt.sin(x))]).optimized
    every = gradc.function([x], [moments, gt.sum(gt.sin(x))]).optimized
    assert parts_of(some) == [4] and parts_of(every) == []
    for name in CHOICES:
        check(some, CHOICES[name], 1)
